"""What a task tells: what is right, how well a sample is answered, how two files compare on the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, ClassVar, NamedTuple, Protocol

from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.measurement import Measurement
from ..core.statistics import CONFIDENCE
from .agreement import Agreement, Scores
from .quality import Quality


class Estimate(NamedTuple):
    """A figure with its 95 % interval, whose ends are NaN where the samples are too few for one."""

    value: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float] | tuple[None, None]:
        """The ends as a row of results has them: None where there are none."""
        return (self.low, self.high) if isfinite(self.low) and isfinite(self.high) else (None, None)


@dataclass(frozen=True)
class Scored:
    """Answers (samples, values) with the targets and the `parts` of the same samples; `labels` name the classes.

    `reference` are the float model's answers, with their `reference_parts`; at most so many `disagreements` with them
    are listed.
    """

    answers: NDArray[Any]
    targets: NDArray[Any]
    parts: NDArray[Any]
    labels: Sequence[str]
    reference: NDArray[Any] | None = None
    disagreements: int = 0
    reference_parts: NDArray[Any] | None = None


class Task(Protocol):
    """What a right answer is. A task is one module of this room and a row of `TASKS`.

    Answers are float32 (samples, values), flattened, one row for each sample. Scores are (samples,): how well each
    sample is answered, from 0 (wrong) to 1 (right); bool where there is nothing between.
    """

    name: str
    noun: str
    """What answers, one word: the class that an app's code has of a file, such as ``Classifier``."""
    metric: str
    figure: ClassVar[type[Quality]]
    certain: bool
    """Whether it is known that this is the task. Otherwise the answers show what they are."""

    def targets(self, data: PreparedData, split: str) -> NDArray[Any] | None:
        """Return what the right answers of a split are, one for each sample; None where the data do not say."""

    def parts(self, answers: NDArray[Any], targets: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return what the metric is made of, (samples, …); the scores themselves where it is their mean.

        None where these answers cannot be scored.
        """

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return the score of each sample (samples,)."""

    def estimate(self, parts: NDArray[Any]) -> Estimate:
        """Return the metric over all samples. Raises ValueError for no sample."""

    def value_of(self, parts: NDArray[Any]) -> float:
        """Return the metric alone, as `estimate` has it. Raises ValueError or IndexError for parts of another task."""

    def detailed(self, row: Measurement, scored: Scored) -> Measurement:
        """Return a row with what there is to say of a file's answers beside the metric."""

    def quality(self, row: Measurement) -> Quality | None:
        """Return the metric that a row of results has, with its words; None where it has none."""

    def reported(self, row: Measurement) -> Estimate | None:
        """Return the metric of a row with its interval, which rows of older versions lack; None without samples."""

    def not_comparable(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
        """Return why two models (rows of `Results.models`) do not answer the same question; empty where they do."""

    def drop(
        self,
        reference: NDArray[Any],
        parts: NDArray[Any],
        *,
        identical: bool = False,
        confidence: float = CONFIDENCE,
    ) -> Estimate:
        """Return what the file loses of the reference's metric, from the parts of the same samples; above 0: worse.

        `identical`: the answers are the very same, which is a drop of exactly 0. Raises ValueError for other lengths.
        """

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts how far the answers of two files are the same. `shape` is one answer's."""

    def closeness(self, answers: NDArray[Any], reference: NDArray[Any]) -> Scores:
        """Return how close answers are to a reference's (samples,), from 0 to 1; finer than equal or not."""


def recorded(task: Task, row: Measurement, estimate: Estimate) -> Measurement:
    """Return a row of results with a task's metric; as it was where the samples have none (NaN), as without any tag."""
    value, (low, high) = estimate.value, estimate.ends
    if not isfinite(value):
        return row
    if task.figure.is_share:
        return replace(row, metric=task.metric, accuracy=value, accuracy_low=low, accuracy_high=high)
    return replace(row, metric=task.metric, score=value, score_low=low, score_high=high)


def compare(task: Task, reference: NDArray[Any], other: NDArray[Any], shape: Sequence[int] = ()) -> Agreement:
    """Return how alike the answers (samples, values) of two files are; a `shape` of another size is left aside."""
    values = reference[0].size if len(reference) else 0
    size = 1
    for side in shape:
        size *= side
    counted = task.agreement(shape if shape and size == values else (values,))
    counted.add(reference, other)
    return counted
