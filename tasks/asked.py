"""Whether what a budget asks of the answers is a figure of the task, and the words for such limits."""

from __future__ import annotations

from ..core.errors import InputError
from ..core.formatting import significant
from ..core.recipe_budget import Budget
from . import TASKS
from .quality import Quality

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
