"""What a model answers with: its last layer, and the targets, loss and metrics that train it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.errors import InputError
from ..core.recipe import Train
from ..frameworks.tensorflow import load


@dataclass(frozen=True)
class Answer:
    """The last layer of a model: its `units` and `activation`.

    ``softmax``: a probability for each class; ``sigmoid``: of two classes that of the second (1 unit), or one for each
    tag.
    """

    units: int
    activation: str = "softmax"
    tags: bool = False

    def targets(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return targets as prepared data have them as Keras takes them: (n,) int32, or (n, units) float32."""
        if self.activation == "softmax":
            return labels.astype(np.int32)
        return labels.reshape(len(labels), self.units).astype(np.float32)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of one sample's target."""
        return () if self.activation == "softmax" else (self.units,)

    def loss(self, smoothing: float) -> Any:
        """Return the cross-entropy, of each sigmoid by itself."""
        from .compile import make_loss

        if self.activation == "softmax":
            return make_loss(smoothing, self.units)
        _, keras = load()
        return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)

    def metric(self, name: str) -> Any:
        """Return a Keras metric of targets and answers; of tags ``accuracy`` is the share of right decisions."""
        from .compile import make_metric

        if self.activation == "softmax":
            return make_metric(name, self.units)
        _, keras = load()
        if name == "f1":
            return keras.metrics.F1Score(average="macro", threshold=0.5, name=name)
        if name == "auc":
            return keras.metrics.AUC(multi_label=self.tags, num_labels=self.units if self.tags else None, name=name)
        return {
            "accuracy": keras.metrics.BinaryAccuracy,
            "precision": keras.metrics.Precision,
            "recall": keras.metrics.Recall,
        }[name](name=name)


def answer_of(data: PreparedData, train: Train) -> Answer:
    """Return what a model of `data` answers with. Raises InputError for settings that the task has no use for."""
    check_answer(train, data.task, len(data.labels))
    if data.task == "multilabel":
        return Answer(len(data.labels), "sigmoid", tags=True)
    return Answer(1, "sigmoid") if train.head.output == "sigmoid" else Answer(len(data.labels))


def check_answer(train: Train, task: str, labels: int) -> None:
    """Raise InputError for keys of the table ``train`` that do not fit the task and its number of classes or tags."""
    tags = task == "multilabel"
    if train.head.output == "sigmoid" and not tags and labels != 2:
        raise InputError(
            f'train.head.output = "sigmoid" tells two classes apart, and the data have {labels}',
            "leave it out for a softmax over the classes" + ', or set task = "multilabel" for tags' * (labels > 2),
        )
    if train.head.output == "softmax" and tags:
        raise InputError("a softmax gives one class, and the task is multilabel", "leave train.head.output out")
    sigmoid = tags or train.head.output == "sigmoid"
    if sigmoid and (ranked := [name for name in train.metrics if name.startswith("top_")]):
        raise InputError(f"train.metrics: {ranked[0]} ranks classes, and the answer is sigmoids", "remove it")
    if tags and train.class_weights:
        raise InputError("train.class_weights is for samples of one class each", "remove it")
