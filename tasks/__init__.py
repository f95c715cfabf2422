"""Tasks: what a right answer is, and how the answers of two files are compared on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .classification import Classification
from .task import Estimate, Task, compare

__all__ = ["TASKS", "Estimate", "Task", "compare", "task_of"]

# What makes the task of so many labels, by the task's name.
TASKS: dict[str, Callable[[int], Task]] = {Classification.name: Classification}


def task_of(labels: Sequence[str], name: str = Classification.name) -> Task:
    """Return the task of data or of a file whose answers have these `labels`; none: the classes are not known."""
    return TASKS[name](len(labels))
