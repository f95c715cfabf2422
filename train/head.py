"""Phase one: trains the head (dropout → dense → softmax) on features, a whole epoch in one TensorFlow call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.recipe import Train
from .epochs import Phase, Row
from .frameworks import load

BLOCK_BYTES = 256 << 20  # of features in memory at a time


@dataclass(frozen=True)
class Labelled:
    """Features with their classes. `views` are arrays (N, features) float32, one per version of each image."""

    views: Sequence[NDArray[Any]]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return len(self.labels)


def class_weights(labels: NDArray[Any], classes: int, balanced: bool) -> NDArray[Any]:
    """Return a weight per class: 1, or if `balanced` N / (classes × count), so that each class weighs the same."""
    if not balanced:
        return np.ones(classes, np.float32)
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Head:
    """The head's variables: `kernel` (features, classes) and `bias` (classes,), float32."""

    kernel: Any
    bias: Any


def new_head(features: int, classes: int, seed: int) -> Head:
    """Return a head as Keras' Dense starts: Glorot uniform and zeros."""
    tf, keras = load()
    start = keras.initializers.GlorotUniform(seed=seed)((features, classes), dtype="float32")
    return Head(tf.Variable(start, name="kernel"), tf.Variable(tf.zeros(classes), name="bias"))


def head_phase(
    head: Head, train: Labelled, validation: Labelled, spec: Train, weights: NDArray[Any], seed: int
) -> Phase:
    """Return phase one, ready to run. Epochs go through the whole of `train` in an order drawn from seed and number.

    Of an image with several views, an epoch sees one; each image starts with another and goes through all.
    Adam, sparse categorical cross-entropy, `weights` per class: what `model.fit` would do on the same features.
    """
    tf, keras = load()
    optimizer = keras.optimizers.Adam(spec.learning_rate)
    optimizer.build([head.kernel, head.bias])
    steps = _steps(head, optimizer, spec.batch_size, spec.dropout)
    first_view = np.random.default_rng((seed, 11)).integers(len(train.views), size=len(train))
    width = head.kernel.shape[0]
    block = max(1, BLOCK_BYTES // (4 * width * spec.batch_size)) * spec.batch_size

    def run_epoch(number: int) -> Row:
        order = np.random.default_rng((seed, 12, number)).permutation(len(train))
        loss = right = 0.0
        for at in range(0, len(order), block):
            index = order[at : at + block]
            rows = gather(train.views, (first_view[index] + number - 1) % len(train.views), index)
            labels = train.labels[index].astype(np.int32)
            part = steps(rows, labels, weights[labels], tf.constant([seed, number], tf.int32), at)
            loss, right = loss + float(part[0]), right + float(part[1])
        return {"loss": loss / len(train), "accuracy": right / len(train)}

    def validate() -> Row:
        if not len(validation):
            return {}
        sums = np.zeros(2)
        for rows, labels in _blocks(validation, block):
            sums += evaluate(rows @ head.kernel.numpy() + head.bias.numpy(), labels)
        return {"val_loss": sums[0] / len(validation), "val_accuracy": sums[1] / len(validation)}

    return Phase(1, "train head", run_epoch, validate, [head.kernel, head.bias], optimizer.variables)


def evaluate(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the sum of cross-entropies of `logits` (n, classes), and how many are right, as an array of two."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return np.array([losses.sum(), (logits.argmax(axis=1) == labels).sum()])


def gather(views: Sequence[NDArray[Any]], view: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
    """Return row ``index[i]`` of view ``view[i]`` for each i; a memory map is read in the order it lies in."""
    out = np.empty((len(index), views[0].shape[1]), np.float32)
    for number, rows in enumerate(views):
        mine = np.flatnonzero(view == number)
        mine = mine[np.argsort(index[mine])]
        out[mine] = rows[index[mine]]
    return out


def _blocks(data: Labelled, block: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    for at in range(0, len(data), block):
        yield np.asarray(data.views[0][at : at + block]), data.labels[at : at + block]


def _steps(head: Head, optimizer: Any, batch: int, dropout: float) -> Any:
    """Return a function that trains on a block of rows, batch by batch, and sums loss and hits."""
    tf, _ = load()

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, head.kernel.shape[0]], tf.float32),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
        ]
    )
    def steps(rows: Any, labels: Any, weights: Any, seed: Any, at: Any) -> Any:
        loss, right = 0.0, 0.0
        for start in tf.range(0, tf.shape(labels)[0], batch):
            x, y, w = rows[start : start + batch], labels[start : start + batch], weights[start : start + batch]
            if dropout > 0:
                step_seed = tf.stack([seed[0], seed[1] + 7919 * (at + start + 1)])
                x = tf.nn.experimental.stateless_dropout(x, dropout, seed=step_seed)
            with tf.GradientTape() as tape:
                logits = tf.matmul(x, head.kernel) + head.bias
                losses = w * tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
                mean = tf.reduce_mean(losses)
            gradients = tape.gradient(mean, [head.kernel, head.bias])
            optimizer.apply_gradients(zip(gradients, [head.kernel, head.bias], strict=True))
            loss += tf.reduce_sum(losses)
            right += tf.reduce_sum(tf.cast(tf.argmax(logits, 1, tf.int32) == y, tf.float32))
        return tf.stack([loss, right])

    return steps
