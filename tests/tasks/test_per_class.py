"""Figures by class: recall, precision, confusion, top five, calibration, and the samples two files disagree on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof.core.class_figures import ClassFigures, ClassRow
from edgeproof.core.codec import from_json, to_json
from edgeproof.core.measurement import Measurement
from edgeproof.core.statistics import paired_drop, wilson
from edgeproof.tasks import task_of
from edgeproof.tasks.confidence import calibration, confidences
from edgeproof.tasks.per_class import FEW_CLASSES, ROWS, class_figures, hurt_classes, recall_drop
from edgeproof.tasks.task import Scored

LABELS = ("cat", "dog", "cow")


def rows(tops: NDArray[np.int64], classes: int = 3, sure: float = 0.8) -> NDArray[np.float32]:
    """Return answers whose top class is `tops`, each `sure` of it."""
    answers = np.full((len(tops), classes), (1 - sure) / (classes - 1), np.float32)
    answers[np.arange(len(tops)), tops] = sure
    return answers


def figures(tops: list[int], targets: list[int], reference: list[int] | None = None) -> ClassFigures:
    exact = rows(np.array(reference)) if reference is not None else None
    return class_figures(rows(np.array(tops)), np.array(targets), LABELS, exact)


def test_recall_and_precision_are_counted_by_hand() -> None:
    found = figures([0, 0, 1, 1, 0, 0], targets=[0, 0, 0, 1, 1, 1])
    cat, dog, cow = found.rows
    assert (cat.label, cat.samples, cat.answered) == ("cat", 3, 4)
    assert cat.recall is not None and cat.recall.value == 2 / 3
    assert (cat.recall.low, cat.recall.high) == wilson(2, 3)
    assert cat.precision is not None and cat.precision.value == 2 / 4
    assert dog.recall is not None and dog.recall.value == 1 / 3
    assert cow.recall is cow.precision is None, "there is neither a cow nor an answer cow"
    assert cat.recall.drop is None and found.disagreed is None, "there is no float model"
    assert found.confusion == ((2, 1, 0), (2, 1, 0), (0, 0, 0))
    assert [(one.label, one.answer, one.samples) for one in found.confused] == [("dog", "cat", 2), ("cat", "dog", 1)]


def test_a_class_is_compared_with_the_float_model_on_its_own_samples() -> None:
    targets = [0] * 50 + [1] * 50
    found = figures([1] * 20 + [0] * 30 + [1] * 50, targets, reference=targets)
    cat = found.rows[0]
    assert (cat.lost, cat.gained) == (20, 0)
    assert cat.recall is not None and cat.recall.p is not None and cat.recall.p_holm is not None
    before, after = np.ones(50, bool), np.arange(50) >= 20
    assert (cat.recall.drop, cat.recall.drop_low, cat.recall.drop_high) == paired_drop(before, after)
    assert recall_drop(cat) == paired_drop(before, after)
    assert recall_drop(cat, 0.999)[1] < recall_drop(cat)[1]
    hurt = hurt_classes(found)
    assert [(one.row.label, one.side) for one in hurt] == [("cat", "recall"), ("dog", "precision")]
    assert found.confused[0].reference == 0


def test_the_correction_counts_all_recalls_and_precisions_of_a_file() -> None:
    """Six of fifty lost: p = .031, which is beyond chance for one test and not for four."""
    targets = [0] * 50 + [1] * 50
    found = figures([1] * 6 + [0] * 44 + [1] * 50, targets, reference=targets)
    recall = found.rows[0].recall
    assert recall is not None and recall.p == pytest.approx(2 / 2**6)
    assert recall.p_holm is not None and recall.p_holm > 0.05
    assert all(one.side == "precision" for one in hurt_classes(found))


def test_noise_hurts_no_class() -> None:
    """Answers that change at random: of 60 files with ten classes each, at most a few are said to be hurt."""
    rng = np.random.default_rng(3)
    targets = np.tile(np.arange(10), 60)
    alarms = 0
    for _ in range(60):
        first, second = (np.where(rng.random(600) < 0.8, targets, rng.integers(0, 10, 600)) for _ in range(2))
        alarms += bool(hurt_classes(class_figures(rows(second, 10), targets, list("abcdefghij"), rows(first, 10))))
    assert alarms <= 7  # 5 % of 60 is 3; 8 or more has a probability of .02


def test_the_very_same_answers_lose_exactly_nothing() -> None:
    targets = [0, 1, 2] * 10
    found = figures(targets, targets, reference=targets)
    for row in found.rows:
        for share in (row.recall, row.precision):
            assert share is not None
            assert (share.drop, share.drop_low, share.drop_high, share.p_holm) == (0, 0, 0, 1)
    assert found.disagreed == 0 and hurt_classes(found) == []


def test_many_classes_have_top_five_and_pairs_instead_of_a_matrix() -> None:
    classes = 2 * ROWS
    rng = np.random.default_rng(1)
    targets = rng.integers(0, classes, 4000)
    exact = rng.normal(size=(4000, classes)).astype(np.float32)
    exact[np.arange(4000), targets] += 3
    answers = exact.copy()
    answers[targets == 7] = exact[targets == 7][:, ::-1]
    found = class_figures(answers, targets, [f"class {n}" for n in range(classes)], exact)
    assert found.confusion == () and found.classes == classes and len(found.rows) <= ROWS
    assert 7 in {row.number for row in found.rows}, "what loses most is listed"
    assert found.confused and found.top_five is not None
    own = np.take_along_axis(answers, targets[:, None], axis=1)
    assert found.top_five.value == pytest.approx(((answers > own).sum(axis=1) < 5).mean())
    assert found.top_five.drop is not None and found.top_five.drop > 0


def test_of_equal_values_the_first_counts_as_higher_among_five() -> None:
    classes = FEW_CLASSES + 1
    answers = np.zeros((classes, classes), np.float32)  # an int8 file that has no idea: all are equal
    found = class_figures(answers, np.arange(classes), [str(n) for n in range(classes)])
    assert found.top_five is not None and found.top_five.value == 5 / classes


def test_samples_of_disagreement_are_those_of_which_both_are_surest() -> None:
    targets = np.zeros(4, np.int64)
    exact, ours = rows(np.zeros(4, np.int64)), rows(np.array([1, 0, 1, 1]))
    ours[0] = (0.3, 0.5, 0.2)
    ours[2] = (0.05, 0.9, 0.05)
    exact[3] = (0.95, 0.03, 0.02)
    found = class_figures(ours, targets, LABELS, exact, disagreements=2)
    assert found.disagreed == 3
    first, second = found.disagreements
    assert {first.sample, second.sample} == {2, 3}, "on sample 0 the file is unsure"
    assert (first.label, first.reference, first.answer) == ("cat", "cat", "dog")
    assert first.confidence == pytest.approx(0.9) and first.reference_confidence == pytest.approx(0.8)
    assert class_figures(ours, targets, LABELS, exact, disagreements=0).disagreements == ()


def test_confidence_is_the_probability_or_the_softmax_of_logits() -> None:
    np.testing.assert_allclose(confidences(np.array([[0.7, 0.2, 0.09]])), [0.7])  # a quantized sum is not quite 1
    np.testing.assert_allclose(confidences(np.array([[0.0, np.log(3.0), -50.0]])), [0.75])
    np.testing.assert_allclose(confidences(np.array([[1000.0, 999.0]])), [1 / (1 + np.exp(-1))])


def test_calibration_tells_overconfidence_from_chance() -> None:
    rng = np.random.default_rng(5)
    sure = rng.uniform(0.5, 1, 2000)
    good = calibration(sure, rng.random(2000) < sure)
    bad = calibration(sure, rng.random(2000) < sure - 0.15)
    assert good.error <= good.chance < bad.error
    assert good.overconfidence_low < 0 < good.overconfidence_high
    assert bad.error == pytest.approx(0.15, abs=0.04)
    assert 0.1 < bad.overconfidence_low < bad.overconfidence < bad.overconfidence_high < 0.2


def test_a_perfectly_calibrated_file_is_beyond_chance_in_one_of_twenty() -> None:
    rng = np.random.default_rng(8)
    beyond = 0
    for _ in range(100):
        sure = rng.beta(5, 1.5, 300)
        one = calibration(sure, rng.random(300) < sure)
        beyond += one.error > one.chance
    assert beyond <= 11  # 12 or more of 100 at 5 % has a probability of .004


def test_a_row_keeps_its_figures_by_class_as_json() -> None:
    row = Measurement("a", "local/litert", "local", "litert")
    targets = np.array([0, 1, 2, 0])
    answers = rows(np.array([0, 1, 1, 0]))
    task = task_of(LABELS)
    parts = task.parts(answers, targets)
    assert parts is not None
    detailed = task.detailed(row, Scored(answers, targets, parts, LABELS, rows(targets), disagreements=3))
    assert detailed.by_class is not None and len(detailed.by_class.disagreements) == 1
    assert from_json(Measurement, to_json(detailed)) == detailed
    assert task.parts(answers[:, :2], targets) is None, "not one value for each class"


def test_the_most_hurt_class_is_that_with_the_largest_drop() -> None:
    targets = [0] * 10 + [1] * 10
    found = figures([0] * 9 + [1] + [0] * 3 + [1] * 7, targets, reference=targets)
    assert found.most_hurt is not None and found.most_hurt[0].label == "dog"
    assert replace(found, rows=(ClassRow(0, "cat", 0, 0),)).most_hurt is None
    assert figures(targets, targets, reference=targets).most_hurt is None  # of the float file itself, say
