"""Trains backbone and head together: a model from scratch, or fine-tuning of a whole text encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.recipe import Train
from ...frameworks.tensorflow import load
from ..answers import Answer
from ..compile import compile_model
from ..head import generators, sample_weights
from ..joint import joint_model
from ..keras_fit import Phase
from .base import Cut, TextBase

TOKENIZE_BATCH = 256


class Samples:
    """Texts with their `Answer.targets`, tokenized once if the backbone is trained on its ids."""

    def __init__(self, base: TextBase, texts: Sequence[str], targets: NDArray[Any]) -> None:
        self.targets = targets
        self._texts = texts
        self._tensors: tuple[NDArray[Any], ...] = ()
        if base.cut is not None and not base.cut.singly:
            self._tensors = tokenize(base.cut, texts)

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, index: NDArray[Any]) -> tuple[Any, ...]:
        """Return the inputs of the texts at `index`: ids and lengths, or strings."""
        if not self._tensors:
            return (np.array([self._texts[i].encode("utf-8", "surrogatepass") for i in index], object),)
        return tuple(part[index] for part in self._tensors)

    @property
    def signature(self) -> tuple[Any, ...]:
        """The output signature of `batch` for TensorFlow."""
        tf, _ = load()
        if not self._tensors:
            return (tf.TensorSpec([None], tf.string),)
        return tuple(tf.TensorSpec([None, *part.shape[1:]], tf.int32) for part in self._tensors)


def tokenize(cut: Cut, texts: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Return ids (n, length) and lengths (n,) int32 of `texts` by the reference tokenizer, padded to full length.

    For a cut with several inputs, the same for each, in order.
    """
    tf, _ = load()
    tensors: list[NDArray[Any]] = []
    for part in cut.inputs:
        tensors.append(np.zeros((len(texts), part.length), np.int32))
        if part.lengths:
            tensors.append(np.zeros(len(texts), np.int32))
    for at in range(0, len(texts), TOKENIZE_BATCH):
        batch = [text.encode("utf-8", "surrogatepass") for text in texts[at : at + TOKENIZE_BATCH]]
        for tensor, batch_tensor in zip(tensors, cut.tokenize(tf.constant(batch)), strict=True):
            rows = batch_tensor.numpy()
            place = tensor[at : at + len(rows)]
            (place if rows.ndim == 1 else place[:, : rows.shape[1]])[...] = rows
    return tuple(tensors)


def joint_phase(
    base: TextBase,
    head: Any,
    training: Samples,
    validation: Samples,
    spec: Train,
    weights: NDArray[Any],
    *,
    number: int,
    seed: int,
    answer: Answer,
) -> Phase:
    """Return phase `number` (1: from scratch, 2: fine-tuning), in which all that is in ``base.learned`` learns with the
    head.

    The loss is that of `answer`, with `weights` per class, the backbone's regularization added. The order of the texts
    and the dropout of the head follow from seed and epoch alone; random numbers inside a Hub encoder are fixed by its
    SavedModel, and may differ from run to run.
    """
    # A cut for single texts holds the weights as constants: the uncut model is trained, and cut again.
    by_ids = base.cut if base.cut is not None and not base.cut.singly else None

    def embed(inputs: tuple[Any, ...], training: bool) -> Any:
        return base.embed(inputs[0], training) if by_ids is None else by_ids.embed(inputs, training)

    model = joint_model(embed, head, base.learned, losses=lambda: list(base.losses()))
    how = spec if number == 1 else spec.fine_tune
    steps = -(-len(training) // spec.batch_size)
    compile_model(model, spec, answer=answer, learning_rate=how.learning_rate, epochs=how.epochs, steps=steps)
    return Phase(
        number=number,
        task="train" if number == 1 else "fine-tune",
        model=model,
        epochs=how.epochs,
        steps=steps,
        batches=lambda first: _training_batches(training, spec.batch_size, weights, seed, range(first, how.epochs)),
        validation=_validation_batches(validation, spec.batch_size) if len(validation) else None,
        generators=generators(head),
        seed=seed,
    )


def _training_batches(samples: Samples, batch: int, by_class: NDArray[Any], seed: int, epochs: range) -> Any:
    weights = sample_weights(samples.targets, by_class)

    def read() -> Iterator[Any]:
        for epoch in epochs:
            order = np.random.default_rng((seed, 41, epoch + 1)).permutation(len(samples))
            for at in range(0, len(order), batch):
                index = order[at : at + batch]
                yield samples.batch(index), samples.targets[index], weights[index]

    return _dataset(read, samples, weighted=True)


def _validation_batches(samples: Samples, batch: int) -> Any:
    def read() -> Iterator[Any]:
        for at in range(0, len(samples), batch):
            index = np.arange(at, min(at + batch, len(samples)))
            yield samples.batch(index), samples.targets[index]

    return _dataset(read, samples)


def _dataset(read: Callable[[], Iterator[Any]], samples: Samples, *, weighted: bool = False) -> Any:
    tf, _ = load()
    target = tf.TensorSpec([None, *samples.targets.shape[1:]], samples.targets.dtype)
    signature = (samples.signature, target, tf.TensorSpec([None], tf.float32))
    return tf.data.Dataset.from_generator(read, output_signature=signature if weighted else signature[:2]).prefetch(2)
