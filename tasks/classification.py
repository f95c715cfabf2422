"""Classification: one class of several is right. The answer is a value for each class; the highest one's is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.measurement import Measurement
from ..core.sanitize import shorten
from ..core.statistics import paired_drop, wilson
from .agreement import Agreement, Scores
from .per_class import class_figures
from .quality import Quality
from .task import Estimate


def top_class(answers: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class with the highest value; of answers (…, classes) an array (…)."""
    classes: NDArray[np.int64] = np.asarray(answers).argmax(axis=-1)
    return classes


class Accuracy(Quality):
    """The share of samples whose top class is their own."""

    name = full_name = "accuracy"
    title = "Accuracy"
    best = "the most accurate"


class Classification:
    """Samples of one class each. `classes` is how many there are; 0: not known, and then nothing is right or wrong."""

    name = "classification"
    metric = Accuracy.name

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def targets(self, data: PreparedData, split: str) -> NDArray[np.int64] | None:
        """Return each sample's class (samples,) int64, an index into ``data.labels``; None where there are none."""
        if not data.labels:
            return None
        classes: NDArray[np.int64] = np.load(data.targets(split), allow_pickle=False)
        return classes

    def scores(self, answers: NDArray[Any], targets: NDArray[Any] | None) -> NDArray[np.bool_] | None:
        """Return whether each sample's top class is its own; None unless there is one value for each class."""
        if targets is None or self.classes < 2 or answers.shape[1:] != (self.classes,):
            return None
        right: NDArray[np.bool_] = top_class(answers) == targets
        return right

    def estimate(self, scores: NDArray[Any]) -> Estimate:
        """Return the accuracy with its Wilson interval."""
        right = int(scores.sum())
        return Estimate(right / max(1, len(scores)), *wilson(right, len(scores)))

    def recorded(self, row: Measurement, estimate: Estimate) -> Measurement:
        """Return a row with the accuracy and its interval."""
        return replace(row, accuracy=estimate.value, accuracy_low=estimate.low, accuracy_high=estimate.high)

    def detailed(
        self,
        row: Measurement,
        answers: NDArray[Any],
        targets: NDArray[Any] | None,
        labels: Sequence[str],
        reference: NDArray[Any] | None = None,
        *,
        disagreements: int = 0,
    ) -> Measurement:
        """Return a row with its figures by class; as it is where the answers cannot be scored."""
        if self.scores(answers, targets) is None or targets is None:
            return row
        return replace(row, by_class=class_figures(answers, targets, labels, reference, disagreements))

    def quality(self, row: Measurement) -> Accuracy | None:
        """Return the accuracy that a row has."""
        if row.accuracy is None:
            return None
        return Accuracy(row.accuracy, row.samples, row.accuracy_low, row.accuracy_high)

    def reported(self, row: Measurement) -> Estimate | None:
        """Return a row's accuracy with its interval, recomputed where an older version did not write it."""
        if row.accuracy is None or row.samples < 1:
            return None
        if row.accuracy_low is None or row.accuracy_high is None:
            return Estimate(row.accuracy, *wilson(round(row.accuracy * row.samples), row.samples))
        return Estimate(row.accuracy, row.accuracy_low, row.accuracy_high)

    def not_comparable(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
        """Return why the accuracies of two models are of other classes; empty where the classes are the same."""
        for model in (a, b):
            if not model.get("labels"):
                return f"the classes of {shorten(model['name'])} are not known"
        return "" if sorted(a["labels"]) == sorted(b["labels"]) else "the two know different classes"

    def drop(self, reference: NDArray[Any], scores: NDArray[Any], *, identical: bool = False) -> Estimate:
        """Return the drop of accuracy with its paired interval (`statistics.paired_drop`)."""
        return Estimate(0.0, 0.0, 0.0) if identical else Estimate(*paired_drop(reference, scores))

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts equal top classes, or whatever else the answers show themselves to be."""
        return Agreement(shape, self.classes)

    def closeness(self, answers: NDArray[Any], reference: NDArray[Any]) -> Scores:
        """Return the share of probability that both give to the same classes."""
        shared: Scores = np.minimum(answers, reference).sum(axis=1)
        return shared
