"""Whether what a budget asks of the answers is a figure of the task, and the words for such limits."""

from __future__ import annotations

from ..core.errors import InputError
from ..core.formatting import significant
from ..core.recipe_budget import Budget
from . import TASKS
from .classification import Classification
from .quality import Quality
from .task import Task

words = significant  # of a figure beside the metric


def instead(figure: Quality | type[Quality]) -> str:
    """Return what limits a metric that is no share."""
    sign = "<=" if figure.better == "lower" else ">="
    return f'limit it with budget.require, such as "{figure.name} {sign} 0.5", or its loss with budget.max_drop'


def excess(value: float, limit: float) -> float:
    """Return by how many times a limit is missed; at least 1."""
    return 1 + abs(value - limit) / max(abs(limit), 1e-9)


def check_asked(budget: Budget | None, name: str) -> None:
    """Raise InputError for a limit that no file can be judged by: of another task's metric, or in its wrong direction.

    `name` is the task's. Figures beside the metric (ROC AUC, RMSE) depend on the data, and are not checked here.
    """
    if budget is None:
        return
    task = TASKS[name](0)
    figure = task.figure
    if budget.min_accuracy is not None and not figure.is_share:
        raise InputError(
            f"budget.min_accuracy is a share, and the metric of the task {name} is {task.metric}", instead(figure)
        )
    if budget.max_class_recall_drop is not None and name != Classification.name:
        raise InputError(
            f"budget.max_class_recall_drop is of classes, and the task is {name}",
            f"leave it out; budget.max_drop limits what is lost of {task.metric}",
        )
    _check_percentages(budget, task)
    metrics = {make(0).metric.lower(): make(0).name for make in TASKS.values()}
    for required, most, limit in budget.requirements:
        of = metrics.get(required.lower())
        if of is None:
            continue
        if of != name:
            raise InputError(
                f"budget.require limits {required}, the metric of the task {of}, and this one is {name}, whose "
                f"metric is {task.metric}",
                "limit that, or say the task otherwise (task in a recipe, --task)",
            )
        if most != (figure.better == "lower"):
            sign, better = ("<=", "less") if figure.better == "lower" else (">=", "more")
            raise InputError(
                f"budget.require limits {required} on the wrong side: {better} is better",
                f'write it as "{task.metric} {sign} {limit:g}"',
            )
        if figure.is_share and not 0 <= limit <= 1:
            raise InputError(
                f"budget.require wants a {required} of {limit:g}, and it is a share, from 0 to 1",
                f'write it as "{task.metric} >= 0.8" or "{task.metric} >= 80 %"',
            )


def _check_percentages(budget: Budget, task: Task) -> None:
    """Raise InputError for a limit in per cent of a figure that is no share: "5 %" of MAE would be 0.05."""
    if task.figure.is_share:
        return
    sign = "<=" if task.figure.better == "lower" else ">="
    for name in budget.percentages:
        if not name.startswith("R²"):
            raise InputError(
                f"budget.require limits {name} in per cent, and it is no share",
                f'give it in its own unit, such as "{task.metric} {sign} 0.5"; '
                'budget.max_drop = "5 %" is a part of the float model\'s metric',
            )
