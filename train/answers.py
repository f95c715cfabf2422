"""What a model answers with: its last layer, and the targets, loss and metrics that train it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.errors import InputError
from ..core.model import VALUES
from ..core.recipe import Train
from ..frameworks.tensorflow import load
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from ..tasks.segmentation import Segmentation
from .figures import mean_average_precision, mean_iou


@dataclass(frozen=True)
class Answer:
    """The last layer of a model: its `units` and `activation`.

    ``softmax``: a probability for each class; ``sigmoid``: of two classes that of the second (1 unit), or one for each
    tag; ``linear``: numbers. These are trained in a scale of their own, in which the training targets have the mean 0
    and the standard deviation 1: `mean` and `deviation` are what they are in the targets' unit. With `maps` it is the
    answer of each pixel.
    """

    units: int
    activation: str = "softmax"
    tags: bool = False
    maps: bool = False
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    @property
    def output(self) -> str:
        """The name of the model's output."""
        return VALUES if self.activation == "linear" else "probabilities"

    @property
    def size(self) -> float:
        """How large answers are, for tolerances: 1 for probabilities."""
        return max(1.0, *(abs(m) + d for m, d in zip(self.mean, self.deviation, strict=True))) if self.mean else 1.0

    def rescale(self, head: Any) -> None:
        """Put the targets' scale into the weights of a trained head's last layer, which then answers in their unit."""
        if self.activation != "linear":
            return
        kernel, bias = head.layers[-1].get_weights()
        mean, deviation = np.array(self.mean, np.float32), np.array(self.deviation, np.float32)
        head.layers[-1].set_weights([kernel * deviation, bias * deviation + mean])

    def targets(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return targets as prepared data have them as Keras takes them: (n,) int32, or (n, units) float32."""
        if self.activation == "softmax":
            return labels.astype(np.int32)
        values = labels.reshape(len(labels), self.units).astype(np.float32)
        if self.activation == "linear":
            values = (values - np.array(self.mean, np.float32)) / np.array(self.deviation, np.float32)
        return values

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of one sample's target."""
        return () if self.activation == "softmax" else (self.units,)

    def loss(self, smoothing: float) -> Any:
        """Return the cross-entropy, of each sigmoid by itself; of numbers the mean squared error in their own scale."""
        from .compile import make_loss

        if self.activation == "softmax":
            return make_loss(smoothing, self.units)
        _, keras = load()
        if self.activation == "linear":
            return keras.losses.MeanSquaredError()
        return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)

    def metric(self, name: str) -> Any:
        """Return a Keras metric of targets and answers.

        Of tags ``accuracy`` is the share of right decisions. Numbers have ``mae`` in its place, the mean absolute error
        in the targets' unit.
        """
        from .compile import make_metric

        if self.activation == "softmax":
            return make_metric(name, self.units)
        tf, keras = load()
        if self.activation == "linear":
            unit = np.array(self.deviation, np.float32)
            return keras.metrics.MeanMetricWrapper(
                lambda right, given: tf.reduce_mean(tf.abs(right - given) * unit, axis=-1), name="mae"
            )
        if name == "f1":
            return keras.metrics.F1Score(average="macro", threshold=0.5, name=name)
        if name == "auc":
            return keras.metrics.AUC(multi_label=self.tags, num_labels=self.units if self.tags else None, name=name)
        return {
            "accuracy": keras.metrics.BinaryAccuracy,
            "precision": keras.metrics.Precision,
            "recall": keras.metrics.Recall,
        }[name](name=name)

    def own_metrics(self) -> list[Any]:
        """Return the metric of the task, where it is not among those of `metric`: mAP of tags, mean IoU of maps."""
        if self.maps:
            return [mean_iou(self.units)]
        return [mean_average_precision(self.units)] if self.tags else []


def answer_of(data: PreparedData, train: Train) -> Answer:
    """Return what a model of `data` answers with. Raises InputError for settings that the task has no use for."""
    check_answer(train, data.task, len(data.labels))
    if data.task == Regression.name:
        targets = np.load(data.targets("train"), allow_pickle=False).reshape(data.counts["train"], -1)
        mean, deviation = targets.mean(axis=0, dtype=np.float64), targets.std(axis=0, dtype=np.float64)
        deviation = np.where(deviation > 0, deviation, 1.0)
        return Answer(targets.shape[1], "linear", mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()))
    if data.task == Multilabel.name:
        return Answer(len(data.labels), "sigmoid", tags=True)
    maps = data.task == Segmentation.name
    if train.head.output == "sigmoid":
        return Answer(1, "sigmoid", maps=maps)
    return Answer(len(data.labels), maps=maps)


def check_answer(train: Train, task: str, labels: int) -> None:
    """Raise InputError for keys of the table ``train`` that do not fit the task and its number of classes or tags."""
    if task == Regression.name:
        _check_numbers(train)
        return
    tags = task == Multilabel.name
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


def _check_numbers(train: Train) -> None:
    """Raise InputError for what belongs to classes."""
    if train.head.output:
        raise InputError(
            f"train.head.output = {train.head.output!r} answers with shares, and the task is regression", "leave it out"
        )
    if len(train.metrics) > 1:
        raise InputError(f"train.metrics: {train.metrics[1]} is of classes, and the task is regression", "remove it")
    for key in ("class_weights", "label_smoothing"):
        if getattr(train, key):
            raise InputError(f"train.{key} is for classes, and the task is regression", "remove it")
