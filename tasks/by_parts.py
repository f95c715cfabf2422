"""A task whose metric is no mean over samples: it is computed from what each sample adds, its parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.measurement import Example, Measurement
from ..core.sanitize import shorten
from ..core.statistics import CONFIDENCE, Drawn
from . import bootstrap
from .agreement import Agreement, Scores
from .bootstrap import Floats
from .quality import Quality
from .task import Estimate, Scored

# Enough to see what goes wrong; the scores of all samples are in the run's raw folder.
_EXAMPLES = 12


class ByParts(ABC):
    """See `task.Task`. The metric is what `value` makes of the parts (samples, …)."""

    name: str
    noun: str
    metric: str
    figure: ClassVar[type[Quality]]
    certain: bool = True
    needs: ClassVar[str]
    """What targets must be."""
    scores_only: ClassVar[str]
    """What answers can be scored."""
    of_classes: ClassVar[bool] = False
    """Whether targets are classes, which sources of a classifier's samples have, too."""

    def __init__(self, classes: int) -> None:
        self.classes = classes

    @classmethod
    @abstractmethod
    def recognizes(cls, targets: NDArray[Any]) -> bool:
        """Return whether targets (N, …) of numbers or texts are of this task, as far as their shape and values tell."""

    @classmethod
    @abstractmethod
    def check(cls, targets: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """Return the targets that a user gave, as they are kept; `shape` is one answer's, empty if it is not known.

        Raises InputError for targets that do not fit the task.
        """

    @abstractmethod
    def counted(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return what each sample adds to the metric (samples, …); None for answers of another size."""

    @abstractmethod
    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return how well each sample is answered (samples,), from 0 to 1."""

    @staticmethod
    @abstractmethod
    def value(parts: NDArray[Any], weights: Floats) -> Floats:
        """Return the metric (draws,) of samples that count as often as `weights` (draws, samples) say."""

    @abstractmethod
    def figures(self, parts: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
        """Return the figures beside the metric, by name."""

    @classmethod
    def renumbered(cls, targets: NDArray[Any], numbers: Sequence[int], count: int) -> NDArray[Any]:
        """Return targets whose classes, tags or columns are those of a file that has `count`.

        `numbers` are their places there. Columns (N, …, columns) are put in the file's order; fewer or more than it
        has stay as they are, for `check`.
        """
        if targets.ndim < 2 or targets.shape[-1] != count or len(numbers) != count:
            return targets
        columns = np.empty_like(targets)
        columns[..., list(numbers)] = targets
        return columns

    @classmethod
    def having(cls, targets: NDArray[Any], number: int) -> NDArray[np.bool_]:
        """Return which samples (N,) have a class or a tag; none where nothing is numbered."""
        return np.zeros(len(targets), np.bool_)

    def targets(self, data: PreparedData, split: str) -> NDArray[Any] | None:
        """Return each sample's target (samples, …); None where the data are of another task."""
        if data.task != self.name:
            return None
        targets: NDArray[Any] = np.load(data.targets(split), mmap_mode="r", allow_pickle=False)
        return targets

    def parts(self, answers: NDArray[Any], targets: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return what the metric is made of; None where these answers cannot be scored."""
        return None if targets is None else self.counted(answers, targets)

    def estimate(self, parts: NDArray[Any]) -> Estimate:
        """Return the metric with its bootstrap interval."""
        return Estimate(self.value_of(parts), *bootstrap.interval(self.value, parts))

    def value_of(self, parts: NDArray[Any]) -> float:
        """Return the metric alone. Raises ValueError for parts of another task."""
        if parts.ndim != 3:
            raise ValueError(f"the parts of {self.metric} have three dimensions")
        return bootstrap.value(self.value, parts)

    def detailed(self, row: Measurement, scored: Scored) -> Measurement:
        """Return a row with the figures beside the metric, and the samples that it answers badly."""
        return replace(row, metrics=self.figures(scored.parts, scored.labels), examples=self.examples(scored))

    def right(self, target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return what is right for a sample, in words; empty where words do not say it."""
        return ""

    def given(self, answer: NDArray[Any], target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return an answer (values,) to a sample in words; empty where words do not say it."""
        return ""

    def drawn(
        self, picture: NDArray[np.uint8] | None, answer: NDArray[Any] | None, target: NDArray[Any]
    ) -> NDArray[np.uint8] | None:
        """Return a drawing (height, width, 3) of an answer (values,), or of what is right where that is None.

        `picture` (height, width, 3) is the sample, where it is one. None where the task has nothing to draw.
        """
        return None

    def examples(self, scored: Scored) -> tuple[Example, ...]:
        """Return the samples whose score falls most against the float model; where none falls, the lowest scores."""
        scores, before = self.scores(scored.parts), None
        if scored.reference is not None and scored.reference_parts is not None:
            before = self.scores(scored.reference_parts)
        falls = np.zeros(len(scores)) if before is None else before - scores
        if (falls > 0).any():
            order = [sample for sample in np.lexsort((scores, -falls)) if falls[sample] > 0]
        else:
            order = [sample for sample in np.argsort(scores, kind="stable") if scores[sample] < 1]
        found = []
        for sample in order[: min(scored.disagreements, _EXAMPLES)]:
            target = scored.targets[sample]
            exact = None if before is None or scored.reference is None else scored.reference[sample]
            found.append(
                Example(
                    sample=int(sample),
                    score=float(scores[sample]),
                    right=self.right(target, scored.labels),
                    answer=self.given(scored.answers[sample], target, scored.labels),
                    reference="" if exact is None else self.given(exact, target, scored.labels),
                    reference_score=None if before is None else float(before[sample]),
                )
            )
        return tuple(found)

    def quality(self, row: Measurement) -> Quality | None:
        """Return the metric that a row of this task has."""
        value, low, high = self._recorded(row)
        return None if value is None else self.figure(value, row.samples, low, high)

    def reported(self, row: Measurement) -> Estimate | None:
        """Return the metric of a row with its interval."""
        value, low, high = self._recorded(row)
        return None if value is None or low is None or high is None else Estimate(value, low, high)

    def _recorded(self, row: Measurement) -> tuple[float | None, float | None, float | None]:
        """Return the metric of a row with its interval, as `task.recorded` wrote it; three times None: of no row."""
        if row.metric != self.metric:
            return None, None, None
        if self.figure.is_share:
            return row.accuracy, row.accuracy_low, row.accuracy_high
        return row.score, row.score_low, row.score_high

    def not_comparable(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
        """Return that two models' classes differ; empty where they do not."""
        if list(a.get("labels") or ()) == list(b.get("labels") or ()):
            return ""
        return f"{shorten(a['name'])} and {shorten(b['name'])} know different classes"

    def drop(
        self,
        reference: NDArray[Any],
        parts: NDArray[Any],
        *,
        identical: bool = False,
        confidence: float = CONFIDENCE,
    ) -> Estimate:
        """Return the drop of the metric with its paired bootstrap interval."""
        if identical:
            return Estimate(0.0, 0.0, 0.0)
        drop, drawn = self._drop(reference, parts)
        return Estimate(drop, *bootstrap.drop_interval(drawn, confidence))

    def lead(self, a: NDArray[Any], b: NDArray[Any]) -> tuple[Estimate, float]:
        """Return how much better the parts `a` are than `b`, of the same samples, and the p of no difference."""
        lead, drawn = self._drop(a, b)
        return Estimate(lead, *bootstrap.drop_interval(drawn)), bootstrap.sign_p(drawn)

    def of_seeds(self, parts: Sequence[NDArray[Any]]) -> Drawn:
        """Return the metric of models trained with several seeds, from the parts of each, of the same samples."""
        draws = [bootstrap.drawn(self.value, one) for one in parts]
        return Drawn(np.array([self.value_of(one) for one in parts]), np.array(draws))

    def _drop(self, reference: NDArray[Any], parts: NDArray[Any]) -> tuple[float, Floats]:
        """Return what these parts lose of the reference's metric, and that in each bootstrap draw."""
        better, worse = (reference, parts) if self.figure.better == "higher" else (parts, reference)
        drawn = bootstrap.drawn_drops(self.value, better, worse)
        return self.value_of(better) - self.value_of(worse), drawn

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts equal elements, as the answers show what they are."""
        return Agreement(shape, self.classes)

    def closeness(self, answers: NDArray[Any], reference: NDArray[Any]) -> Scores:
        """Return the share of the values' sum that both have."""
        least = np.minimum(answers, reference).reshape(len(answers), -1).sum(axis=1)
        most = np.maximum(answers, reference).reshape(len(answers), -1).sum(axis=1)
        shared: Scores = np.divide(least, most, out=np.ones_like(least, dtype=np.float64), where=most > 0)
        return shared


def beside(answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
    """Return answers and targets (samples, values) as parts (samples, 2, values); None of other sizes."""
    if answers.shape != targets.shape:
        return None
    parts: NDArray[Any] = np.stack([answers, targets], axis=1).astype(np.float64)
    return parts
