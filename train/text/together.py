"""Training backbone and head together: a model from scratch, or the fine-tuning of a whole text encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.recipe import Train
from ..epochs import Phase, Row
from ..frameworks import load
from ..head import Head, evaluate
from .base import Cut, TextBase

TOKENIZE_BATCH = 256


class Samples:
    """Texts with their labels, tokenized once where the backbone can be cut at its ids."""

    def __init__(self, base: TextBase, texts: Sequence[str], labels: NDArray[Any]) -> None:
        self.labels = labels
        self._texts = texts
        self._ids: NDArray[Any] | None = None
        if base.cut is not None:
            self._ids, self._lens = tokenize(base.cut, texts)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: NDArray[Any]) -> tuple[Any, ...]:
        """Return the inputs of the texts at `index`: ids and lengths, or strings."""
        tf, _ = load()
        if self._ids is None:
            return (tf.constant([self._texts[i] for i in index]),)
        return tf.constant(self._ids[index]), tf.constant(self._lens[index])


def tokenize(cut: Cut, texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ids (n, length) and lengths (n,) int32 of `texts` by the reference tokenizer, padded to full length."""
    tf, _ = load()
    ids = np.zeros((len(texts), cut.length), np.int32)
    lens = np.zeros(len(texts), np.int32)
    for at in range(0, len(texts), TOKENIZE_BATCH):
        found, counts = cut.tokenize(tf.constant(list(texts[at : at + TOKENIZE_BATCH])))
        ids[at : at + len(counts), : found.shape[1]] = found.numpy()
        lens[at : at + len(counts)] = counts.numpy()
    return ids, lens


def together_phase(
    base: TextBase,
    head: Head,
    training: Samples,
    validation: Samples,
    spec: Train,
    weights: NDArray[Any],
    *,
    number: int,
    learning_rate: float,
    seed: int,
) -> Phase:
    """Return phase `number`, in which all that is in ``base.learned`` learns with the head.

    Adam, sparse categorical cross-entropy, `weights` per class, the backbone's regularization added. The order of
    the texts and the dropout before the head follow from seed and epoch alone; how a Hub encoder draws at random
    inside itself while it is fine-tuned was decided when it was saved, and may differ from run to run.
    """
    tf, keras = load()
    learned = [*base.learned, head.kernel, head.bias]
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(learned)

    def logits_of(inputs: tuple[Any, ...], training_: bool, seed_: Any = None) -> Any:
        embed: Callable[..., Any] = base.embed if base.cut is None else base.cut.embed
        features = embed(*inputs, training_)
        if seed_ is not None and spec.dropout > 0:
            features = tf.nn.experimental.stateless_dropout(features, spec.dropout, seed=seed_)
        return tf.matmul(features, head.kernel) + head.bias

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def step(inputs: tuple[Any, ...], y: Any, w: Any, seed_: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(learned)
            logits = logits_of(inputs, True, seed_)
            losses = w * tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            goal = tf.reduce_mean(losses) + sum(base.losses())
        optimizer.apply_gradients(zip(tape.gradient(goal, learned), learned, strict=True))
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, 1, tf.int32) == y, tf.float32))
        return tf.stack([tf.reduce_sum(losses), right])

    infer = tf.function(lambda *inputs: logits_of(inputs, False), reduce_retracing=True, autograph=False)

    def run_epoch(epoch: int) -> Row:
        order = np.random.default_rng((seed, 41, epoch)).permutation(len(training))
        sums = np.zeros(2)
        for at in range(0, len(order), spec.batch_size):
            index = order[at : at + spec.batch_size]
            y = training.labels[index].astype(np.int32)
            seed_ = tf.constant([seed, epoch + 7919 * (at + 1)], tf.int32)
            sums += step(training.batch(index), tf.constant(y), tf.constant(weights[y]), seed_).numpy()
        return {"loss": sums[0] / len(training), "accuracy": sums[1] / len(training)}

    def validate() -> Row:
        if not len(validation):
            return {}
        sums = np.zeros(2)
        for at in range(0, len(validation), spec.batch_size):
            index = np.arange(at, min(at + spec.batch_size, len(validation)))
            sums += evaluate(infer(*validation.batch(index)).numpy(), validation.labels[index])
        return {"val_loss": sums[0] / len(validation), "val_accuracy": sums[1] / len(validation)}

    task = "train" if number == 1 else "fine-tune"
    return Phase(number, task, run_epoch, validate, learned, optimizer.variables)
