"""Classification: one class of several is right. The answer is a value for each class; the highest one's is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.statistics import paired_drop, wilson
from .agreement import Agreement, Scores
from .task import Estimate


def top_class(answers: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class with the highest value; of answers (…, classes) an array (…)."""
    classes: NDArray[np.int64] = np.asarray(answers).argmax(axis=-1)
    return classes


class Classification:
    """Samples of one class each. `classes` is how many there are; 0: not known, and then nothing is right or wrong."""

    name = "classification"
    metric = "accuracy"

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

    def drop(self, reference: NDArray[Any], found: NDArray[Any], *, identical: bool = False) -> Estimate:
        """Return the drop of accuracy with its paired interval (`statistics.paired_drop`)."""
        return Estimate(0.0, 0.0, 0.0) if identical else Estimate(*paired_drop(reference, found))

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts equal top classes, or whatever else the answers show themselves to be."""
        return Agreement(shape, self.classes)

    def closeness(self, answers: NDArray[Any], reference: NDArray[Any]) -> Scores:
        """Return the share of probability that both give to the same classes."""
        shared: Scores = np.minimum(answers, reference).sum(axis=1)
        return shared
