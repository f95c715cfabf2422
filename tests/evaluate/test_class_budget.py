"""The budget of every class's recall: met by all intervals, violated by one beyond their number, else not shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeproof.core.class_figures import ClassFigures
from edgeproof.core.formatting import limits
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.recipe_file import parse_budget
from edgeproof.evaluate.select import verdict
from edgeproof.tasks.per_class import class_figures

from .test_select import MIB, results

LABELS = ("cat", "dog", "<b>cow</b>")


def figures(lost: tuple[int, int, int], of: int) -> ClassFigures:
    """Return the figures of a file that loses so many of the `of` samples of each class to the next one."""
    targets = np.repeat(np.arange(3), of)
    tops = np.concatenate([np.where(np.arange(of) < n, (c + 1) % 3, c) for c, n in enumerate(lost)])
    return class_figures(np.eye(3)[tops], targets, LABELS, np.eye(3)[targets])


def chosen(lost: tuple[int, int, int], of: int, **budget: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    fields = {"drop": 0.0, "drop_low": -0.001, "drop_high": 0.001, "samples": 3 * of, "by_class": figures(lost, of)}
    row = ("tflite:int8", "litert", 0.82, 0.0, 3.0, MIB, fields)
    return verdict(results(row), Budget(**{"max_class_recall_drop": 0.05, **budget}))


@pytest.mark.parametrize(
    ("lost", "of", "state", "words"),
    [
        ((0, 0, 0), 100, "met", ""),
        ((0, 2, 0), 100, "not shown", "in the class dog: with 100 samples of it the 95 % interval of the drop ends at"),
        ((0, 2, 0), 1000, "met", ""),
        ((2, 2, 2), 100, "not shown", "in the class cat and in 2 more"),
        ((0, 30, 0), 100, "not met", "loses 30 points of recall in the class dog (100 samples) (98.3 % interval"),
        ((0, 0, 9), 100, "not shown", "<b>cow</b>"),  # 9 points, which so few samples and three classes do not show
    ],
)
def test_the_verdict_is_by_interval(lost: tuple[int, int, int], of: int, state: str, words: str) -> None:
    budget, recommendation = chosen(lost, of)
    assert budget["verdict"] == state and budget["met"] is (state == "met")
    assert words in recommendation["why"]
    assert ("What would show it" in recommendation["why"]) is (state == "not shown")


def test_what_would_show_it_is_said_where_something_would() -> None:
    why = chosen((0, 2, 0), 100)[1]["why"]
    assert "samples of that class instead of 100" in why and "budget.max_class_recall_drop = 0.0" in why
    beyond = chosen((0, 0, 9), 100)[1]["why"]
    assert "samples of that class instead" not in beyond and "drop_by" not in beyond, "its estimate is beyond the limit"


def test_by_estimate_the_estimates_decide() -> None:
    assert chosen((0, 2, 0), 100, drop_by="estimate")[0]["verdict"] == "met"
    budget, recommendation = chosen((0, 0, 9), 100, drop_by="estimate")
    assert budget["verdict"] == "not met" and "loses 9 points of recall" in recommendation["why"]


def test_a_file_without_figures_by_class_is_not_known_to_keep_it() -> None:
    row = ("tflite:int8", "litert", 0.82, 0.0, 3.0, MIB, {"drop": 0.0, "drop_low": -0.001, "drop_high": 0.001})
    budget, recommendation = verdict(results(row), Budget(max_class_recall_drop=0.05))
    assert budget["verdict"] == "not met"
    assert "the drop of each class's recall is not known to compare with the 5 points" in recommendation["why"]
    assert verdict(results(row), Budget(max_class_recall_drop=1))[0]["met"], "there is no limit"


def test_the_limit_is_read_and_put_into_words() -> None:
    budget = parse_budget(["max_class_recall_drop=0.05"])
    asked = budget.model_dump(exclude_none=True)
    assert ("drop of any class's recall at most", "5 points with its whole 95 % interval") in limits(asked)
