"""Phase two: fine-tuning of the backbone's top layers, or of a whole Hub module, on images streamed from the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import Rows
from ..core.recipe import Train
from ..frameworks.tensorflow import load
from .answers import Answer
from .augment import Augmenter, apply
from .compile import compile_model
from .head import generators, sample_weights
from .joint import joint_model
from .keras_fit import Phase
from .network import Base

PREFETCH = 2


def unfreeze(base: Base, layers: int) -> list[Any]:
    """Make the top `layers` of the backbone trainable and return their variables, bottom first.

    Layers with weights are counted, from the top down. Batch norms are not counted and stay frozen (statistics, scale
    and offset), as small batches would spoil them. If `layers` exceeds their number, all are unfrozen.
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


def unfreeze_whole_layers(base: Base) -> tuple[list[Any], list[Any]]:
    """Make the layers `base.whole_layers` trainable. Return the variables that the gradient moves, and those that
    training changes otherwise (running statistics of batch norms). A checkpoint needs both."""
    for layer in base.whole_layers:
        layer.trainable = True
    learned = {id(v): v for layer in base.whole_layers for v in layer.trainable_weights}
    beside = {id(v): v for layer in base.whole_layers for v in layer.non_trainable_weights if v.dtype.is_floating}
    return list(learned.values()), list(beside.values())


def fine_tune_phase(
    base: Base,
    head: Any,
    images: tuple[Rows, Rows],
    labels: tuple[NDArray[Any], NDArray[Any]],
    spec: Train,
    weights: NDArray[Any],
    *,
    seed: int,
    mixed: bool,
    answer: Answer | None = None,
) -> Phase:
    """Return phase two, ready to run, on the `images` and `labels` of training and validation.

    Labels are targets as `Answer.targets` of `answer` (not given: a softmax) makes them. Images (N, h, w, 3) uint8 may
    be memory maps larger than memory: each epoch draws an order from seed and number and reads a batch at a time. The
    base runs in inference mode: batch norm frozen, no drop-connect. Layers that are trained as a whole run in training
    mode instead, as their authors intended, and their regularization losses are minimised too (and not part of the
    reported loss).
    """
    trains_layer = bool(base.whole_layers)
    moved, beside = unfreeze_whole_layers(base) if trains_layer else (unfreeze(base, spec.fine_tune.layers), [])
    model = joint_model(
        lambda pixels, training: base.model(pixels, training=trains_layer and training),
        head,
        moved,
        beside=beside,
        losses=lambda: [loss for layer in base.whole_layers for loss in layer.losses],
    )
    epochs, steps = spec.fine_tune.epochs, -(-len(labels[0]) // spec.batch_size)
    compile_model(
        model, spec, answer=answer or Answer(len(weights)), learning_rate=spec.fine_tune.learning_rate, epochs=epochs,
        steps=steps, mixed=mixed,
    )  # fmt: skip
    return Phase(
        number=2,
        task="fine-tune",
        model=model,
        epochs=epochs,
        steps=steps,
        batches=lambda first: training_batches(images[0], labels[0], spec, weights, seed, range(first, epochs)),
        validation=validation_batches(images[1], labels[1], spec.batch_size) if len(labels[1]) else None,
        generators=generators(head),
        seed=seed,
    )


def training_batches(
    images: Rows, labels: NDArray[Any], spec: Train, weights: NDArray[Any], seed: int, epochs: range
) -> Any:
    """Return a ``tf.data.Dataset`` of (float32 pixels, int32 labels, weights) that goes through all images once for
    each of `epochs` (0 is the first).

    Reading, augmenting and training overlap. Order and augmentation follow from seed and epoch.
    """
    tf, _ = load()
    height, width = images.shape[1:3]
    active = spec.augment.active
    vector = tf.TensorSpec([None], tf.float32)
    signature = (
        tf.TensorSpec([None, height, width, 3], tf.uint8),
        *((tf.TensorSpec([None, 8], tf.float32), vector, vector) if active else ()),
        tf.TensorSpec([None, *labels.shape[1:]], labels.dtype),
        vector,
    )

    def read() -> Iterator[tuple[NDArray[Any], ...]]:
        for epoch in epochs:
            order = np.random.default_rng((seed, 21, epoch + 1)).permutation(len(labels))
            augmenter = Augmenter(
                spec.augment, count=len(images), height=height, width=width, seed=(seed, 22, epoch + 1)
            )
            for at in range(0, len(order), spec.batch_size):
                index = np.sort(order[at : at + spec.batch_size])  # the order within a batch does not affect the step
                y = labels[index]
                changes = augmenter.changes(index) if active else None
                drawn = (changes.transforms, changes.gain, changes.contrast) if changes is not None else ()
                yield (images[index], *drawn, y, sample_weights(y, weights))

    def prepare(pixels: Any, *rest: Any) -> Any:
        *changes, y, w = rest
        return (apply(pixels, *changes) if active else tf.cast(pixels, tf.float32)), y, w

    data = tf.data.Dataset.from_generator(read, output_signature=signature)
    return data.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(PREFETCH)


def validation_batches(images: Rows, labels: NDArray[Any], batch_size: int) -> Any:
    """Return a ``tf.data.Dataset`` of (float32 pixels, int32 labels), unchanged and in their order."""
    tf, _ = load()
    target = tf.TensorSpec([None, *labels.shape[1:]], labels.dtype)
    signature = (tf.TensorSpec([None, *images.shape[1:]], tf.float32), target)

    def read() -> Iterator[tuple[NDArray[Any], ...]]:
        for at in range(0, len(labels), batch_size):
            part = slice(at, at + batch_size)
            yield images[part].astype(np.float32), labels[part]

    return tf.data.Dataset.from_generator(read, output_signature=signature).prefetch(PREFETCH)
