"""Tasks: what a right answer is, and how the answers of two files are compared on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from ..core.measurement import Measurement
from .by_parts import ByParts
from .classification import Accuracy, Classification
from .detection import Detection
from .embedding import Embedding
from .multilabel import Multilabel
from .quality import LargestDifference, Quality, Unknown, likeness_of
from .regression import Regression
from .segmentation import Segmentation
from .task import Estimate, Task, compare
from .tensor import Tensor

__all__ = [
    "TARGETED",
    "TASKS",
    "ByParts",
    "Estimate",
    "Quality",
    "Task",
    "comparable",
    "compare",
    "figure_of",
    "inferred_task",
    "metric_of",
    "quality_of",
    "task_of",
    "task_of_row",
    "trained_task",
]

# What makes the task of so many labels, by the task's name.
TASKS: dict[str, Callable[[int], Task]] = {Classification.name: Classification}
# Those whose targets are arrays (samples, …), and no classes.
TARGETED: dict[str, type[ByParts]] = {
    task.name: task for task in (Detection, Multilabel, Regression, Tensor, Segmentation, Embedding)
}
TASKS |= TARGETED


def inferred_task(targets: NDArray[Any]) -> str:
    """Return the task that targets (N, …) show themselves to be of; classification, which has checks of its own."""
    return next((name for name, task in TARGETED.items() if task.recognizes(targets)), Classification.name)


def task_of(labels: Sequence[str], name: str = Classification.name, *, certain: bool = False) -> Task:
    """Return the task of data or of a file whose answers have these `labels`; none: the classes are not known.

    `certain`: there are targets, so that it is no guess from labels that a classifier is one.
    """
    return Classification(len(labels), certain=certain) if name == Classification.name else TASKS[name](len(labels))


def trained_task(labels: Sequence[str], name: str) -> Task:
    """Return the task of a model or a file that was trained for the task `name`; of none that is known, `task_of`."""
    return task_of(labels, name if name in TASKS else Classification.name)


def task_of_row(row: Measurement) -> Task | None:
    """Return the task that a row of results has a metric of; None where right answers are not known."""
    return next((task for make in TASKS.values() if (task := make(0)).quality(row)), None)


def metric_of(row: Measurement) -> Quality | None:
    """Return the metric of whichever task a row of results has; None where right answers are not known."""
    task = task_of_row(row)
    return None if task is None else task.quality(row)


def quality_of(row: Measurement) -> Quality:
    """Return the figure that says how well a row's file answers: the metric, else the likeness to the float model."""
    if figure := metric_of(row) or likeness_of(row):
        return figure
    return Unknown() if row.difference is None else LargestDifference(row.difference, row.samples)


def figure_of(metric: str) -> type[Quality]:
    """Return what a metric's values are; of an empty name, as of classifiers, accuracies."""
    return next((task.figure for task in TARGETED.values() if task.metric == metric), Accuracy)


def comparable(rows: Sequence[Measurement]) -> list[Quality | None]:
    """Return the figures of several rows by the one kind that counts for all: the best kind that any of them has.

    None where a row lacks it.
    """
    figures = [quality_of(row) for row in rows]
    kind = min((figure.rank for figure in figures if figure.better), default=None)
    return [figure if figure.rank == kind else None for figure in figures]
