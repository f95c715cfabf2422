"""Where strings end in a graph, what crosses there, and how that is told when it cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeproof.frameworks.tensorflow import load
from edgeproof.train.text.crossing import Fixed, Ids, Linear, PaddedIds, Positions
from edgeproof.train.text.divide import divide
from edgeproof.train.text.frontier import NoFrontier, find_frontier, flatten, reads

from ..support.text_models import sentences

pytestmark = pytest.mark.slow
TEXTS = sentences(20)[0]
WIDTH = 6


def table() -> Any:
    tf, _ = load()
    keys = tf.constant(["goal", "team", "bank", "the", "and"])
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.range(1, 6, dtype=tf.int64)), 0)


def weights(*shape: int) -> Any:
    tf, _ = load()
    return tf.Variable(np.random.default_rng(len(shape)).normal(0, 1, shape).astype(np.float32))


def check(divided: Any, embed: Any, texts: list[str]) -> None:
    """The halves give what the whole gives, on texts that the cut was not tried on too."""
    tf, _ = load()
    run = divided.compiled()
    for text in texts:
        features = run(*divided.tokenize(tf.constant([text]))).numpy()
        np.testing.assert_allclose(features, embed(tf.constant([text])).numpy(), atol=1e-5)


def test_ids_cross_and_what_follows_from_their_number_is_rebuilt() -> None:
    tf, _ = load()
    words, rows = table(), weights(6, WIDTH)

    def embed(texts: Any) -> Any:
        split = tf.strings.split(texts)
        vectors = tf.gather(rows, tf.ragged.map_flat_values(words.lookup, split))
        return tf.reduce_mean(vectors, axis=1)

    frontier = find_frontier(flatten(embed))
    assert {reads(frontier.flat, name).type for name in frontier.crossing} == {"LookupTableFindV2", "StringSplitV2"}
    divided = divide(embed, TEXTS, 12)
    kinds = [type(what) for what in divided.crossing.values()]
    assert kinds.count(Ids) == 1 and set(kinds) <= {Ids, Linear, Positions, Fixed}
    assert divided.padded and divided.difference <= 1e-6
    check(divided, embed, [*sentences(10, 3)[0], "goal"])


def test_a_network_that_masks_its_padding_is_cut_with_fixed_shapes() -> None:
    """Attention over padded ids: a transformer's way, whatever the rest of it is."""
    tf, _ = load()
    words, rows, query = table(), weights(6, WIDTH), weights(WIDTH, WIDTH)

    def embed(texts: Any) -> Any:
        ragged = tf.ragged.map_flat_values(words.lookup, tf.strings.split(texts))
        ids, lens = ragged.to_tensor(), ragged.row_lengths()
        mask = tf.sequence_mask(lens, tf.shape(ids)[1], dtype=tf.float32)
        x = tf.gather(rows, ids)
        scores = tf.matmul(tf.matmul(x, query), x, transpose_b=True) + (1 - mask[:, None, :]) * -1e9
        x = tf.matmul(tf.nn.softmax(scores), x) * mask[:, :, None]
        return tf.reduce_sum(x, axis=1) / tf.sqrt(tf.cast(tf.maximum(lens, 1), tf.float32))[:, None]

    divided = divide(embed, TEXTS, 12)
    assert divided.padded and [type(what) for what in divided.inputs] == [Ids]
    check(divided, embed, sentences(10, 3)[0])


def test_a_network_that_does_not_mask_gets_the_texts_own_number_of_ids() -> None:
    tf, _ = load()
    words, rows = table(), weights(6, WIDTH)

    def embed(texts: Any) -> Any:
        ids = tf.ragged.map_flat_values(words.lookup, tf.strings.split(texts)).to_tensor(default_value=0)
        return tf.reduce_mean(tf.gather(rows, ids), axis=1)

    divided = divide(embed, TEXTS, 12)
    assert not divided.padded
    check(divided, embed, sentences(10, 3)[0])


def test_a_recurrent_network_and_ids_of_a_fixed_number() -> None:
    tf, _ = load()
    words, rows, own = table(), weights(6, WIDTH), weights(2 * WIDTH, WIDTH)

    def embed(texts: Any) -> Any:
        ids = tf.ragged.map_flat_values(words.lookup, tf.strings.split(texts)).to_tensor(shape=[None, 5])
        x = tf.gather(rows, ids)
        state = tf.zeros([tf.shape(ids)[0], WIDTH])

        def step(at: Any, state: Any) -> Any:
            return at + 1, tf.tanh(tf.matmul(tf.concat([x[:, at], state], axis=1), own))

        shapes = [tf.TensorShape([]), tf.TensorShape([None, WIDTH])]
        return tf.while_loop(lambda at, _: at < 5, step, [0, state], shape_invariants=shapes)[1]

    divided = divide(embed, TEXTS, 12)
    assert [type(what) for what in divided.inputs] == [PaddedIds] and divided.inputs[0].shape == (1, 5)
    check(divided, embed, sentences(10, 3)[0])


def test_texts_that_are_too_long_are_cut_and_keep_their_last_id() -> None:
    tf, _ = load()
    words, rows = table(), weights(12, WIDTH)

    def embed(texts: Any) -> Any:
        ragged = tf.ragged.map_flat_values(words.lookup, tf.strings.split(texts))
        ends = tf.fill([ragged.nrows(), 1], tf.constant(9, tf.int64))
        ids = tf.concat([ends + 1, ragged, ends], axis=1).to_tensor()
        return tf.reduce_sum(tf.gather(rows, ids) * tf.cast(ids > 0, tf.float32)[:, :, None], axis=1)

    divided = divide(embed, TEXTS, 6)
    ids, count = (part.numpy() for part in divided.tokenize(tf.constant(["goal team bank the and goal", "goal"])))
    assert ids.tolist() == [[10, 1, 2, 3, 4, 9], [10, 1, 9, 0, 0, 0]] and count.tolist() == [6, 3]


@pytest.mark.parametrize("what", ["strings", "length", "nothing"])
def test_what_cannot_be_cut_says_why(what: str) -> None:
    tf, _ = load()
    rows = weights(1, WIDTH)

    def embed(texts: Any) -> Any:
        if what == "strings":
            return tf.strings.to_number(tf.strings.regex_replace(texts, ".+", "1"))
        if what == "length":
            return tf.matmul(tf.cast(tf.strings.length(texts), tf.float32)[:, None], rows)
        return tf.tile(rows, [2, 1])[:1]

    messages = {
        "strings": "operators on text themselves",
        "length": "crosses",
        "nothing": "does not depend on the text",
    }
    with pytest.raises(NoFrontier, match=messages[what]):
        divide(embed, TEXTS, 8)
