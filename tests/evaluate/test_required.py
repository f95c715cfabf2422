"""`budget.require`: limits of the metric by its interval, and of figures beside it by the estimate."""

import re

import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.formatting import limits
from edgeproof.core.measurement import Measurement
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.recipe_file import parse_budget
from edgeproof.core.results import load_results
from edgeproof.evaluate.budget import Limits
from edgeproof.evaluate.cells import Cell
from edgeproof.evaluate.select import verdict
from edgeproof.tasks.asked import check_asked

from .test_select import results


def said(row_facts, **asked):
    """What a budget that limits no loss says of a row."""
    cell = Cell(results(("tflite:int8", "litert", 0.8, 0.0, 3.0, 1000)).artifacts[0],
                Measurement("m", "local/litert", "local", "litert", samples=40, **row_facts))  # fmt: skip
    found = Limits(Budget(max_accuracy_drop=1, **asked), {}).violations(cell)
    return [one for one in found if not one.about_latency]


MAE = {"metric": "MAE", "score": 0.42, "score_low": 0.35, "score_high": 0.49}
SHARE = {"metric": "mean IoU", "accuracy": 0.81, "accuracy_low": 0.77, "accuracy_high": 0.85}
PLAIN = {"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.95, "metrics": {"ROC AUC": 0.87}}


@pytest.mark.parametrize(
    ("row", "limit", "verdict", "words"),
    [
        (MAE, "MAE <= 0.5", "met", ""),
        (
            MAE,
            "mae ≤ 0.45",
            "not shown",
            "0.45 of MAE at most: on these it is 0.42, and its 95 % interval ends at 0.49",
        ),
        (MAE, "MAE <= 0.4", "not met", "MAE 0.42 is above the 0.4 asked"),
        ({**MAE, "score_low": None, "score_high": None}, "MAE <= 0.5", "not shown", "so few have no interval"),
        (SHARE, "mean IoU >= 75 %", "met", ""),
        (SHARE, "mean IoU >= 0.8", "not shown", "80.0 % of mean IoU at least: on these it is 81.0 %"),
        (SHARE, "mean IoU >= 85%", "not met", "mean IoU 81.0 % is below the 85.0 % asked"),
        (PLAIN, "accuracy >= 75 %", "met", ""),
        (PLAIN, "ROC AUC >= 0.85", "met", ""),
        (PLAIN, "ROC AUC >= 0.9", "not met", "ROC AUC 0.87 is below the 0.9 asked"),
        (
            PLAIN,
            "F1 dog >= 0.9",
            "not met",
            "F1 dog is not known to compare with the 0.9 of the budget: the figures of",
        ),
        (SHARE, "ROC AUC >= 0.9", "not met", "none beside the metric"),
    ],
)
def test_a_figure_is_limited_by_its_name(row, limit, verdict, words):
    found = said(row, require=limit)
    assert ("met" if not found else "not shown" if found[0].not_shown else "not met") == verdict
    assert all(words in one.why for one in found) and len(found) == (verdict != "met")
    if verdict == "not shown":
        assert not said(row, require=limit, drop_by="estimate"), "the estimate keeps it"
        assert "drop_by" in found[0].remedy


def test_limits_are_read_from_a_command_line_and_said():
    budget = parse_budget(['require=["MAE <= 0.5", "R² >= 0.9"]', "max_drop=5 %"])
    assert budget.requirements == (("MAE", True, 0.5), ("R²", False, 0.9)) and budget.says_enough
    assert ("requires", "R² >= 0.9") in limits(budget.model_dump(mode="json", exclude_none=True))
    assert parse_budget(["require=ROC AUC >= 85 %"]).requirements == (("ROC AUC", False, 0.85),)
    by_share = limits({"max_accuracy_drop": 0.01, "min_accuracy": 0.8}, metric="mean IoU")
    assert by_share == [("mean IoU drop at most", "1 point"), ("mean IoU at least", "80.0 %")]
    for wrong in ("MAE", "MAE < 0.5", ">= 3", "MAE <= much"):
        with pytest.raises(InputError, match="is no limit of a figure: write it as"):
            parse_budget([f"require={wrong}"])
    assert "require" not in Budget().model_dump(), "the hashes of older recipes stay"


def test_results_with_requirements_are_read_again(tmp_path):
    run = results(("tflite:int8", "litert", 0.82, 0.0, 3.0, 1000))
    run.budget, run.recommendation = verdict(run, Budget(require=["accuracy >= 80 %", "ROC AUC >= 0.9"]))
    run.save(tmp_path)
    again = load_results(tmp_path)
    assert again.budget["asked"]["require"] == ["accuracy >= 80 %", "ROC AUC >= 0.9"] and not again.budget["met"]
    assert "ROC AUC is not known" in again.recommendation["why"]
    assert "requires ROC AUC >= 0.9" in " ".join(" ".join(pair) for pair in limits(again.budget["asked"]))


@pytest.mark.parametrize(
    ("task", "asked", "message", "remedy"),
    [
        (
            "regression",
            {"min_accuracy": 0.9},
            "min_accuracy is a share, and the metric of the task regression is MAE",
            "MAE <= ",
        ),
        ("tensor", {"min_accuracy": 0.9}, "is SNR", "SNR >= "),
        ("classification", {"require": "MAE <= 0.5"}, "limits MAE, the metric of the task regression", "--task"),
        ("regression", {"require": "MAE >= 0.5"}, "on the wrong side: less is better", "MAE <= 0.5"),
        ("regression", {"max_class_recall_drop": 0.05}, "is of classes, and the task is regression", "max_drop"),
        ("multilabel", {"max_class_recall_drop": 0.05}, "is of classes, and the task is multilabel", "mAP"),
        ("regression", {"require": "MAE <= 5 %"}, "limits MAE in per cent, and it is no share", '"MAE <= 0.5"'),
        ("regression", {"require": "RMSE ≤ 5%"}, "limits RMSE in per cent", 'max_drop = "5 %"'),
        ("tensor", {"require": "SNR >= 50 %"}, "limits SNR in per cent", '"SNR >= 0.5"'),
        ("segmentation", {"require": "mean IoU >= 80"}, "it is a share, from 0 to 1", "mean IoU >= 80 %"),
    ],
)
def test_what_no_file_of_the_task_can_be_judged_by_is_refused(task, asked, message, remedy):
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        check_asked(Budget(**asked), task)
    assert remedy in refused.value.remedy
    check_asked(Budget(require=["R² >= 80 %"]), "regression")
    check_asked(Budget(max_class_recall_drop=0.05), "classification")
    check_asked(Budget(min_accuracy=0.9, require=["ROC AUC >= 0.8", "accuracy >= 0.9"]), "classification")
