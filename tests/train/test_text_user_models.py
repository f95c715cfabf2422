"""Finished models of the user's with TextVectorization inside: cut at their token ids, files and tokenizer agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.model import Model, load_model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks.tensorflow import load
from edgeproof.train.external.import_model import import_model

from ..support.sentencepiece_models import sentencepiece_model
from ..support.text_models import sentences

pytestmark = pytest.mark.slow
WORDS = 40
TEXTS = [*sentences(12, 5)[0], "Größe!", "don't stop, goal - match."]
MODES: dict[str, dict[str, Any]] = {
    "int": {"output_mode": "int", "output_sequence_length": 10},
    "pairs": {"output_mode": "int", "output_sequence_length": 12, "ngrams": 2},
    "multi_hot": {"output_mode": "multi_hot"},
    "tf_idf": {"output_mode": "tf_idf"},
    "open": {"output_mode": "int"},
    "recurrent": {"output_mode": "int", "output_sequence_length": 10},
}


def vectorizing(mode: str) -> Any:
    """A small classifier of texts, as the Keras tutorials build them."""
    _, keras = load()
    keras.utils.set_random_seed(1)
    given = keras.Input((1,), dtype="string", name="text")
    layer = keras.layers.TextVectorization(max_tokens=WORDS, **MODES[mode])
    layer.adapt(sentences(60)[0])
    x = layer(given)
    if MODES[mode]["output_mode"] == "int":
        last = keras.layers.LSTM(5) if mode == "recurrent" else keras.layers.GlobalAveragePooling1D()
        x = last(keras.layers.Embedding(WORDS, 6)(x))
    return keras.Model(given, keras.layers.Dense(2, activation="softmax")(x))


def answers(model: Model, artifact: Artifact, texts: list[str]) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter  # builtin operators alone

    assert artifact.status == "ok", artifact.reason
    assert model.tokenizer is not None
    tokenizer, run = open_tokenizer(model.tokenizer.folder), Interpreter(str(artifact.path)).get_signature_runner()
    feeds = [{name: np.array(v, np.int32) for name, v in tokenizer.feed(text).items()} for text in texts]
    return np.concatenate([next(iter(run(**feed).values())) for feed in feeds])


@pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=pytest.mark.thorough) if mode in ("int", "multi_hot") else mode for mode in MODES]
)
def test_a_keras_file_with_text_vectorization_gives_a_file_of_token_ids(mode: str, tmp_path: Path) -> None:
    tf, _ = load()
    keras_model = vectorizing(mode)
    keras_model.save(str(tmp_path / "model.keras"))
    model = import_model(tmp_path / "model.keras", name="m", workspace=tmp_path / "ws", listener=Silent())
    assert model == load_model(tmp_path / "ws") and model.tokenizer is not None and model.text_model is not None
    assert model.tokenizer.kind == "words" and model.tokenizer.parity["rate"] == 1.0
    # A mean over all places depends on their number: only then must the ids be cut to the text.
    assert model.provenance["padded"] is (mode != "open")
    assert model.input.lengths == ("" if "output_sequence_length" in MODES[mode] else "lens")
    artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    expected = np.concatenate([keras_model(tf.constant([[text]]), training=False).numpy() for text in TEXTS])
    np.testing.assert_allclose(answers(model, artifact, TEXTS), expected, atol=1e-5)


def pieces_encoder() -> Any:
    """A finished encoder with SentencePiece inside, as the multilingual sentence encoder has it; its model is in the
    graph."""
    tf, _ = load()
    import tensorflow_text as tf_text

    letters = "abcdefghijklmnopqrstuvwxyzößäü',.!-"
    entries = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("▁", -2.0, 1)]
    entries += [(letter, -4.0 - at / 100, 1) for at, letter in enumerate(letters)]
    entries += [("▁the", -3.0, 1), ("▁goal", -3.5, 1), ("er", -3.7, 1), ("▁m", -3.8, 1)]

    class Encoder(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            draw = np.random.default_rng(2)
            self.tokenizer = tf_text.SentencepieceTokenizer(sentencepiece_model(entries, {3: 1}, {}), out_type=tf.int32)
            self.table = tf.Variable(draw.normal(0, 1, (len(entries), 6)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
        def __call__(self, texts: Any) -> Any:
            rows = self.tokenizer.tokenize(texts)
            summed = tf.reduce_sum(tf.ragged.map_flat_values(lambda ids: tf.gather(self.table, ids), rows), axis=1)
            return {"embeddings": tf.nn.l2_normalize(summed, axis=1)}

    return Encoder()


def sparse_encoder() -> Any:
    """Words and pairs of words by sparse tensors, as Hub's exporters write it: a text without a word gets an empty
    one."""
    tf, _ = load()
    import tensorflow_text as tf_text

    class Encoder(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            draw = np.random.default_rng(3)
            self.words, self.pairs = (tf.Variable(draw.normal(0, 1, (50, 6)).astype(np.float32)) for _ in range(2))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
        def __call__(self, texts: Any) -> Any:
            clean = tf.strings.regex_replace(texts, r"\pP", "")
            split = tf.compat.v1.string_split(clean, delimiter=" ")
            split, _ = tf.sparse.fill_empty_rows(split, "")
            split = tf.sparse.reset_shape(split)
            ids = tf.SparseTensor(split.indices, tf.strings.to_hash_bucket_fast(split.values, 50), split.dense_shape)
            single = tf.nn.embedding_lookup_sparse(self.words, ids, None, combiner="sqrtn")
            join = tf_text.Reduction.STRING_JOIN
            rows = tf.RaggedTensor.from_sparse(split)
            pairs = tf_text.ngrams(rows, 2, reduction_type=join, string_separator="_")
            buckets = tf.ragged.map_flat_values(lambda flat: tf.strings.to_hash_bucket_fast(flat, 50), pairs)
            return single + tf.reduce_sum(tf.ragged.map_flat_values(lambda at: tf.gather(self.pairs, at), buckets), 1)

    return Encoder()


@pytest.mark.parametrize(("build", "kind"), [(pieces_encoder, "sentencepiece"), (sparse_encoder, "words")])
def test_an_encoder_that_is_exported_as_it_is_gets_the_devices_tokenizer(build: Any, kind: str, tmp_path: Path) -> None:
    tf, _ = load()
    encoder = build()
    tf.saved_model.save(encoder, str(tmp_path / "encoder"))
    texts = [*TEXTS, "", " ", "...", "the"]
    features = [encoder(tf.constant([text])) for text in texts]
    expected = np.concatenate([next(iter(one.values())) if isinstance(one, dict) else one for one in features])
    model = import_model(tmp_path / "encoder", name="m", workspace=tmp_path / "ws", listener=Silent())
    assert model.tokenizer is not None and model.tokenizer.kind == kind, model.provenance["tokenizer"]
    assert model.tokenizer.parity["rate"] == 1.0
    artifact = export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    np.testing.assert_allclose(answers(model, artifact, texts), expected, atol=1e-5)
