"""Phase two: the top layers of the backbone, or all of a Hub module, learn too, slowly, while images stream from the
disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.recipe import Train
from .augment import Augmenter, apply
from .epochs import Phase, Row
from .frameworks import load
from .head import Head, evaluate
from .network import Base

PREFETCH = 2


def unfreeze(base: Base, layers: int) -> list[Any]:
    """Make the top `layers` of the backbone trainable and return their variables, bottom first.

    Counted are layers that have something to learn, from the top down; batch norms are not counted and stay frozen,
    statistics, scale and offset, as small batches would spoil them. More layers than there are means all.
    """
    _, keras = load()
    base.model.trainable = False
    frozen = keras.layers.BatchNormalization
    chosen: list[Any] = []
    for layer in reversed(base.layers):
        if len(chosen) == layers:
            break
        layer.trainable = True
        if layer.trainable_weights and not isinstance(layer, frozen):
            chosen.append(layer)
        else:
            layer.trainable = False
    return [variable for layer in reversed(chosen) for variable in layer.trainable_weights]


def unfreeze_whole(base: Base) -> tuple[list[Any], list[Any]]:
    """Make the layers `base.whole` trainable. Return what the gradient moves, and what changes beside it (the running
    statistics of batch norms): both belong into a checkpoint."""
    for layer in base.whole:
        layer.trainable = True
    learned = {id(v): v for layer in base.whole for v in layer.trainable_weights}
    beside = {id(v): v for layer in base.whole for v in layer.non_trainable_weights if v.dtype.is_floating}
    return list(learned.values()), list(beside.values())


def fine_tune_phase(
    base: Base,
    head: Head,
    images: tuple[NDArray[Any], NDArray[Any]],
    labels: tuple[NDArray[Any], NDArray[Any]],
    spec: Train,
    weights: NDArray[Any],
    *,
    seed: int,
    mixed: bool,
) -> Phase:
    """Return phase two, ready to run; `images` and `labels` are those of training and of validation.

    Images (N, h, w, 3) uint8 may be memory maps larger than memory: each epoch draws an order from seed and number
    and reads a batch at a time. The base runs in inference mode: batch norm frozen, no drop-connect. Layers that are
    trained as a whole run in training mode instead, as their makers meant, and their regularization losses are added
    to what is minimised (not to the loss that is reported).
    """
    tf, keras = load()
    whole = bool(base.whole)
    moved, beside = unfreeze_whole(base) if whole else (unfreeze(base, spec.fine_tune.layers), [])
    learned = [*moved, head.kernel, head.bias]
    optimizer = keras.optimizers.Adam(spec.fine_tune.learning_rate)
    if mixed:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(learned)

    def logits_of(pixels: Any, seed_: Any = None) -> Any:
        features = base.model(pixels, training=whole and seed_ is not None)
        if seed_ is not None and spec.dropout > 0:
            features = tf.nn.experimental.stateless_dropout(features, spec.dropout, seed=seed_)
        return tf.matmul(features, head.kernel) + head.bias

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def step(pixels: Any, y: Any, w: Any, seed_: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(learned)
            logits = logits_of(pixels, seed_)
            losses = w * tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            mean = tf.reduce_mean(losses)
            if whole:
                mean += tf.add_n([tf.cast(loss, tf.float32) for layer in base.whole for loss in layer.losses] or [0.0])
            goal = optimizer.get_scaled_loss(mean) if mixed else mean
        gradients = tape.gradient(goal, learned)
        if mixed:
            gradients = optimizer.get_unscaled_gradients(gradients)
        optimizer.apply_gradients(zip(gradients, learned, strict=True))
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, 1, tf.int32) == y, tf.float32))
        return tf.stack([tf.reduce_sum(losses), right])

    infer = tf.function(logits_of, reduce_retracing=True, autograph=False)
    count = len(labels[0])

    def run_epoch(number: int) -> Row:
        order = np.random.default_rng((seed, 21, number)).permutation(count)
        sums = np.zeros(2)
        batches = training_batches(images[0], labels[0], order, spec, seed=(seed, 22, number))
        for at, (pixels, y) in enumerate(batches):
            w = tf.constant(weights[y.numpy()])
            sums += step(pixels, y, w, tf.constant([seed, number + 7919 * (at + 1)], tf.int32)).numpy()
        return {"loss": sums[0] / count, "accuracy": sums[1] / count}

    def validate() -> Row:
        if not len(labels[1]):
            return {}
        sums = np.zeros(2)
        for at in range(0, len(labels[1]), spec.batch_size):
            part = slice(at, at + spec.batch_size)
            sums += evaluate(infer(tf.constant(images[1][part].astype(np.float32))).numpy(), labels[1][part])
        return {"val_loss": sums[0] / len(labels[1]), "val_accuracy": sums[1] / len(labels[1])}

    return Phase(2, "fine-tune", run_epoch, validate, [*learned, *beside], optimizer.variables)


def training_batches(
    images: NDArray[Any], labels: NDArray[Any], order: NDArray[Any], spec: Train, seed: tuple[int, ...]
) -> Any:
    """Return a ``tf.data.Dataset`` of (float32 pixels, int32 labels) that goes through `order` once.

    Reading, augmenting and training overlap. `seed` decides the augmentation of the whole pass.
    """
    tf, _ = load()
    height, width = images.shape[1:3]
    pixels = tf.TensorSpec([None, height, width, 3], tf.uint8)
    targets = tf.TensorSpec([None], tf.int32)
    augmenter = (
        Augmenter(spec.augment, count=len(images), height=height, width=width, seed=seed)
        if spec.augment.active
        else None
    )

    def read() -> Iterator[tuple[NDArray[Any], ...]]:
        for at in range(0, len(order), spec.batch_size):
            index = np.sort(order[at : at + spec.batch_size])  # within a batch order means nothing to the step
            batch = (images[index], labels[index].astype(np.int32))
            if augmenter is None:
                yield batch
            else:
                changes = augmenter.changes(index)
                yield (*batch, changes.transforms, changes.gain, changes.contrast)

    if augmenter is None:
        data = tf.data.Dataset.from_generator(read, output_signature=(pixels, targets))
        data = data.map(lambda x, y: (tf.cast(x, tf.float32), y), num_parallel_calls=tf.data.AUTOTUNE)
    else:
        vector = tf.TensorSpec([None], tf.float32)
        signature = (pixels, targets, tf.TensorSpec([None, 8], tf.float32), vector, vector)
        data = tf.data.Dataset.from_generator(read, output_signature=signature)
        data = data.map(lambda x, y, *changes: (apply(x, *changes), y), num_parallel_calls=tf.data.AUTOTUNE)
    return data.prefetch(PREFETCH)
