"""Classification: one class of several is right. The answer is a value for each class; the highest one's is given.

Of two classes the answer may be one value, a sigmoid or a logit: the second class's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.measurement import Measurement
from ..core.sanitize import shorten
from ..core.statistics import CONFIDENCE, paired_drop, wilson
from .agreement import CLASS, Agreement, Scores
from .per_class import class_figures
from .quality import Quality
from .task import Estimate, Scored


def threshold(answers: NDArray[Any]) -> float:
    """Return from which value on a sigmoid says yes: one half, of logits 0. Logits are outside of 0 to 1."""
    return 0.5 if not answers.size or (answers.min() >= 0 and answers.max() <= 1) else 0.0


def by_class(answers: NDArray[Any], classes: int) -> NDArray[Any]:
    """Return answers (samples, classes); of two classes also from one value a sample (samples, 1)."""
    if classes != 2 or answers.shape[1:] != (1,):
        return answers
    yes = np.asarray(answers, np.float64)
    if not threshold(yes):
        # Only the sign of a logit counts for the class. The tail of a large one must not overflow.
        yes = 1 / (1 + np.exp(-np.clip(yes, -60, 60)))
    # A tie is a yes, as it is for whoever compares with the threshold.
    return np.concatenate([np.nextafter(1 - yes, 0), yes], axis=1)


def answers_fit(values: int | None, classes: int) -> bool:
    """Return whether an answer of so many `values` (None: not known) can be one of so many classes."""
    return values in (None, classes) or (values == 1 and classes == 2)


def top_class(answers: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class with the highest value; of answers (…, classes) an array (…)."""
    classes: NDArray[np.int64] = np.asarray(answers).argmax(axis=-1)
    return classes


def roc_auc(scores: NDArray[Any], positive: NDArray[Any]) -> float | None:
    """Return the area under the ROC curve: how often a sample of the second class has the higher score (samples,).

    A tie counts one half (Mann and Whitney 1947). None where one of the classes has no sample.
    """
    yes, no = np.sort(scores[positive > 0]), scores[positive == 0]
    if not len(yes) or not len(no):
        return None
    below, upto = (np.searchsorted(yes, no, side=side) for side in ("left", "right"))
    return float((len(yes) - (below + upto) / 2).sum() / (len(yes) * len(no)))


class Accuracy(Quality):
    """The share of samples whose top class is their own."""

    name = full_name = "accuracy"
    title = "Accuracy"
    best = "the most accurate"
    definition = "the share of {samples} that a file answers rightly, with a 95 % Wilson interval"
    paired = "Bonett and Price 2012"

    @classmethod
    def better_than(cls) -> str:
        """Return ``more accurate``."""
        return "more accurate"

    @classmethod
    def worse_than(cls) -> str:
        """Return ``less accurate``."""
        return "less accurate"

    @classmethod
    def best_model(cls) -> str:
        """Return ``the most accurate model``."""
        return "the most accurate model"


class Classification:
    """Samples of one class each. `classes` is how many there are; 0: not known, and then nothing is right or wrong.

    `certain`: targets are classes, so that answers are values by class, even where they are sigmoids, as tags have.
    """

    name = "classification"
    noun = "Classifier"
    metric = Accuracy.name
    figure: ClassVar[type[Quality]] = Accuracy

    def __init__(self, classes: int, *, certain: bool = False) -> None:
        self.classes, self.certain = classes, certain

    def targets(self, data: PreparedData, split: str) -> NDArray[np.int64] | None:
        """Return each sample's class (samples,) int64, an index into ``data.labels``; None where there are none."""
        if not data.labels:
            return None
        classes: NDArray[np.int64] = np.load(data.targets(split), allow_pickle=False)
        return classes

    def parts(self, answers: NDArray[Any], targets: NDArray[Any] | None) -> NDArray[np.bool_] | None:
        """Return whether each sample's top class is its own; None unless there is one value for each class."""
        if targets is None or self.classes < 2:
            return None
        answers = by_class(answers, self.classes)
        if answers.shape[1:] != (self.classes,):
            return None
        right: NDArray[np.bool_] = top_class(answers) == targets
        return right

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return the parts: accuracy is their mean."""
        return parts

    def estimate(self, parts: NDArray[Any]) -> Estimate:
        """Return the accuracy with its Wilson interval."""
        right = int(parts.sum())
        return Estimate(right / max(1, len(parts)), *wilson(right, len(parts)))

    def value_of(self, parts: NDArray[Any]) -> float:
        """Return the accuracy. Raises ValueError for what are no scores."""
        if parts.ndim != 1:
            raise ValueError("accuracy is made of one score for each sample")
        return float(parts.mean())

    def detailed(self, row: Measurement, scored: Scored) -> Measurement:
        """Return a row with its figures by class, and of two classes the area under the ROC curve."""
        reference = None if scored.reference is None else by_class(scored.reference, self.classes)
        answers = by_class(scored.answers, self.classes)
        figures = class_figures(answers, scored.targets, scored.labels, reference, scored.disagreements)
        area = roc_auc(answers[:, 1].astype(np.float64) - answers[:, 0], scored.targets) if self.classes == 2 else None
        return replace(row, by_class=figures, metrics={} if area is None else {"ROC AUC": area})

    def quality(self, row: Measurement) -> Accuracy | None:
        """Return the accuracy that a row has. Results of older versions do not name their metric."""
        if row.accuracy is None or row.metric not in ("", self.metric):
            return None
        return Accuracy(row.accuracy, row.samples, row.accuracy_low, row.accuracy_high)

    def reported(self, row: Measurement) -> Estimate | None:
        """Return a row's accuracy with its interval, recomputed where an older version did not write it."""
        if row.accuracy is None or row.samples < 1 or row.metric not in ("", self.metric):
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

    def drop(
        self,
        reference: NDArray[Any],
        parts: NDArray[Any],
        *,
        identical: bool = False,
        confidence: float = CONFIDENCE,
    ) -> Estimate:
        """Return the drop of accuracy with its paired interval (`statistics.paired_drop`)."""
        return Estimate(0.0, 0.0, 0.0) if identical else Estimate(*paired_drop(reference, parts, confidence))

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts equal top classes, or whatever else the answers show themselves to be."""
        known = self.certain and self.classes > 1 and answers_fit(prod(shape), self.classes)
        return Agreement(shape, self.classes, CLASS if known else "")

    def closeness(self, answers: NDArray[Any], reference: NDArray[Any]) -> Scores:
        """Return the share of probability that both give to the same classes."""
        shared: Scores = np.minimum(answers, reference).sum(axis=1)
        return shared
