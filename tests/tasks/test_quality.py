"""Which figure says how well a file answers, what the file loses, and the words for both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from edgeproof import tasks
from edgeproof.core.artifact import Artifact
from edgeproof.core.measurement import Latency, Measurement, PooledDrop
from edgeproof.core.results import Results
from edgeproof.evaluate.cells import Cell, cells
from edgeproof.evaluate.pareto import without_budget
from edgeproof.tasks import comparable, metric_of, quality_of
from edgeproof.tasks.agreement import CLASSES, NUMBERS
from edgeproof.tasks.classification import Accuracy, Classification
from edgeproof.tasks.loss import loss_of
from edgeproof.tasks.quality import (
    AgreementShare,
    LargestDifference,
    Quality,
    RelativeError,
    Unknown,
    caption,
    likeness,
    likeness_of,
)

NOTHING = Measurement("a", "local/litert", "local", "litert", samples=500)
DIFFERENT = replace(NOTHING, difference=0.02)
NUMERIC = replace(DIFFERENT, agreement_by=NUMBERS, relative_error=0.03)
ALIKE = replace(DIFFERENT, agreement_by="class", agreement=0.98)
RIGHT = replace(ALIKE, accuracy=0.824, accuracy_low=0.806, accuracy_high=0.84)


def test_the_metric_counts_before_the_agreement_and_that_before_errors() -> None:
    assert quality_of(RIGHT) == Accuracy(0.824, 500, 0.806, 0.84)
    assert quality_of(ALIKE) == AgreementShare(0.98, 500, by="class")
    assert quality_of(NUMERIC) == RelativeError(0.03, 500, difference=0.02)
    assert quality_of(DIFFERENT) == LargestDifference(0.02, 500)
    assert isinstance(quality_of(NOTHING), Unknown)
    assert metric_of(ALIKE) is likeness_of(DIFFERENT) is None
    assert likeness_of(RIGHT) == quality_of(ALIKE), "what is right does not change how alike the answers are"


@pytest.mark.parametrize(
    ("row", "short", "compared", "phrase", "note"),
    [
        (RIGHT, "82.4 %", "82.4 %", "accuracy 82.4 % (95 % interval 80.6 to 84.0)",
         "80.6 to 84.0 (95 % interval); 500 samples"),
        (ALIKE, "98.0 % agree", "98.0 %", "agrees with its float model on 98.0 % of 500 samples",
         "same answer; 500 samples"),
        (NUMERIC, "3.0 % off", "3.0 % off", "3.0 % of their spread off its float model's numbers on 500 samples",
         "of the answers' spread; any value ≤ 0.02; 500 samples"),
        (DIFFERENT, "differs ≤ 0.02", "differs ≤ 0.02", "accuracy not known", "in any value; 500 samples"),
    ],
)  # fmt: skip
def test_each_figure_has_its_words(row: Measurement, short: str, compared: str, phrase: str, note: str) -> None:
    figure = quality_of(row)
    assert (figure.short, figure.compared, figure.phrase, figure.note) == (short, compared, phrase, note)


def test_an_agreement_says_what_it_counts() -> None:
    figure = AgreementShare(0.98, 500, by=CLASSES)
    assert figure.column == "98.0 % of elements" and AgreementShare(0.98).column == "98.0 %"
    assert figure.phrase.endswith("98.0 % of the answers' elements (class of each element) in 500 samples")
    assert AgreementShare(0.98).phrase.endswith("98.0 % of the samples"), "of older results their number is not known"
    assert AgreementShare(0.98, by="of another version").note == "same answer"


def test_unlike_answers_are_warned_of() -> None:
    def warning(agreement: float | None, error: float) -> str:
        alike = likeness(agreement, CLASSES, error)
        return alike.warning if alike else "nothing"

    assert warning(0.9, 9.0) == warning(None, 0.25) == ""
    assert warning(0.85, 0.0) == "its class of each element is that of the float model for 85%"
    assert warning(None, 0.26) == "it is 26% of its answers' own spread away from the float model"


def test_the_best_kind_that_any_has_is_compared() -> None:
    assert comparable([ALIKE, RIGHT]) == [None, quality_of(RIGHT)]
    assert comparable([NUMERIC, ALIKE, NOTHING]) == [None, quality_of(ALIKE), None]
    assert comparable([NUMERIC, DIFFERENT]) == [quality_of(NUMERIC), None]
    assert comparable([DIFFERENT, NOTHING]) == [None, None] and comparable([]) == []
    assert Accuracy(0.9).cost < Accuracy(0.8).cost and RelativeError(0.1).cost < RelativeError(0.2).cost
    assert AgreementShare(0.9).share == RelativeError(0.1).share == 0.9 and RelativeError(3).share == 0


def test_a_table_says_what_its_figures_are() -> None:
    elements = AgreementShare(0.9, by=CLASSES)
    assert caption([RelativeError(0.1), elements, AgreementShare(0.9), Accuracy(0.8), elements], "the test split") == (
        "accuracy on the test split; agree: share of samples with the float model's answer or the answers' elements "
        "with the float model's class of each element; off: relative error of the float model's numbers"
    )
    assert caption([LargestDifference(1)], "") == "differs: by how much at most from the float model's answers"
    assert caption([Unknown()], "the test split") == caption([], "the test split") == "no accuracy"


def test_a_loss_is_the_paired_drop_or_what_the_agreement_leaves() -> None:
    lost = loss_of(replace(RIGHT, drop=0.0035, drop_low=-0.001, drop_high=0.008))
    assert (lost.points, lost.interval, lost.most) == ("+0.35", "−0.10 to +0.80", None)
    assert lost.phrase == "0.35 points below float (95 % interval of the drop −0.10 to +0.80)"
    pooled = PooledDrop(-0.01, None, None, 900, {"test": 500, "validation": 400})
    assert loss_of(replace(RIGHT, pooled_drop=pooled)).phrase == (
        "1 point above float on test and validation, 900 samples"
    )
    bounded = loss_of(RIGHT)
    assert bounded.drop is None and bounded.most == pytest.approx(0.02), "the float model has no accuracy"
    assert (bounded.points, bounded.interval) == ("≤ 2.00", "")
    assert bounded.phrase == "loses at most 2 points of whatever accuracy that has"
    assert bounded.why == "agrees with its float model on 98.0 % of 500 samples"
    assert loss_of(replace(ALIKE, agreement_by=CLASSES)).phrase.endswith("that has, element by element")


def test_of_an_unknown_loss_it_is_said_what_is_known() -> None:
    assert loss_of(NOTHING).why == "the float model has no figure"
    assert (loss_of(NOTHING).points, loss_of(NOTHING).phrase) == ("–", "drop against float not known")
    assert loss_of(NUMERIC).why == (
        "only that no value of its answers is more than 0.02 off its float model's, and that its numbers are 3.0 % of "
        "their spread off"
    )


@dataclass(frozen=True)
class RootMeanSquare(Quality):
    """A metric of which less is better."""

    better = "lower"
    name = full_name = "RMS error"
    title = "RMS error"
    best = "the most exact"
    suffix = "RMS"

    @property
    def text(self) -> str:
        return f"{self.value:.2f}"


class Regression(Classification):
    """A task of the next version: its rows hold its metric somewhere."""

    def quality(self, row: Measurement) -> RootMeanSquare | None:  # type: ignore[override]
        return RootMeanSquare(row.difference, row.samples) if row.difference is not None else None


def test_another_tasks_metric_is_ranked_and_named_by_its_module_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "TASKS", {"regression": Regression})
    results = Results(run={}, environment={})
    latency = Latency(2.0, 1.9, 2.1, 0.95, 2.2, 2.3, 2.4, 6, 600, 1)
    for name, error in (("exact", 0.1), ("rough", 0.4)):
        results.add_artifact(Artifact(name, "model", "tflite", name, None, bytes=1000))
        row = replace(ALIKE, artifact=name, difference=error, latency_ms=latency)
        results.add_measurement(row)
    assert [cell.quality.short for cell in cells(results)] == ["0.10 RMS", "0.40 RMS"]
    assert Cell(results.artifacts[0], NOTHING).quality == quality_of(NOTHING)
    answer = without_budget(results)
    assert [row["artifact"] for row in answer["pareto"]] == ["exact"]
    assert answer["pareto"][0]["why"].startswith("The most exact, among the fastest and the smallest: RMS error 0.10, ")
    assert "beats" not in answer["why"] and "in RMS error, latency and size at once" in answer["why"]
    assert "answers better (0.10 RMS against 0.40 RMS)" in answer["beaten"][0]["why"]
