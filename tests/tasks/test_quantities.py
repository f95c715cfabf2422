"""Regression, embeddings and tensors: every figure equals an independent computation, also where less is better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Measurement
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.statistics import paired_drop, wilson
from edgeproof.evaluate.budget import _drop
from edgeproof.tasks import compare, metric_of, quality_of
from edgeproof.tasks.agreement import CLASS, CLASSES, NUMBERS, SIDES
from edgeproof.tasks.bootstrap import FEWEST
from edgeproof.tasks.by_parts import ByParts
from edgeproof.tasks.classification import Classification
from edgeproof.tasks.embedding import Embedding
from edgeproof.tasks.loss import loss_of
from edgeproof.tasks.multilabel import Multilabel
from edgeproof.tasks.regression import Regression
from edgeproof.tasks.segmentation import VOID, Segmentation
from edgeproof.tasks.task import Scored, recorded
from edgeproof.tasks.tensor import MOST_DB, Tensor

from ..support.metrics import mean_iou
from .test_targeted_tasks import ROW, detailed, maps, numbers, vectors


def test_mae_rmse_and_r2_are_those_of_their_definitions() -> None:
    answers, targets = numbers()
    parts = Regression(0).parts(answers, targets)
    assert parts is not None
    error = answers.astype(float) - targets
    estimate = Regression(0).estimate(parts)
    assert estimate.value == pytest.approx(np.abs(error).mean()) and estimate.low < estimate.value < estimate.high
    row = detailed(Regression(0), answers, targets, ["width"])
    assert row.metrics["RMSE"] == pytest.approx((error**2).mean() ** 0.5)
    each = 1 - (error**2).sum(axis=0) / ((targets - targets.astype(float).mean(axis=0)) ** 2).sum(axis=0)
    assert row.metrics["R²"] == pytest.approx(each.mean(), abs=1e-6)
    assert row.metrics["R² width"] == pytest.approx(each[0], abs=1e-6)
    assert row.metrics["MAE 1"] == pytest.approx(np.abs(error[:, 1]).mean())
    one = detailed(Regression(0), answers[:, :1], targets[:, :1], [])
    assert set(one.metrics) == {"RMSE", "R²"}, "of one value the mean is all"
    constant = detailed(Regression(0), answers[:, :1], np.full_like(targets[:, :1], 3), [])
    assert set(constant.metrics) == {"RMSE"}, "nothing varies that could be explained"


def test_the_score_of_a_sample_is_its_error_against_the_spread_of_the_targets() -> None:
    targets = np.array([[0.0], [10.0], [20.0]], np.float32)
    parts = Regression(0).parts(targets + np.array([[0.0], [2.0], [100.0]], np.float32), targets)
    assert parts is not None
    spread = np.abs(targets - 10).mean()
    assert Regression(0).scores(parts).tolist() == [1, pytest.approx(1 - 2 / spread), 0]


def test_the_interval_of_the_mae_holds_as_often_as_it_says() -> None:
    random = np.random.default_rng(12)
    true = (2 / np.pi) ** 0.5
    held = []
    for _ in range(100):
        error = random.normal(0, 1, (80, 1))
        low, high = Regression(0).estimate(np.stack([error, np.zeros_like(error)], axis=1))[1:]
        held.append(low <= true <= high)
    assert 88 <= sum(held) <= 99


def test_a_row_has_the_metric_as_a_score_and_no_accuracy() -> None:
    task = Regression(0)
    parts = task.parts(*numbers())
    assert parts is not None
    estimate = task.estimate(parts)
    row = recorded(task, ROW, estimate)
    assert (row.metric, row.accuracy, row.score) == ("MAE", None, estimate.value)
    figure = metric_of(row)
    assert figure is not None and quality_of(row) == figure and task.reported(row) == estimate
    assert figure.phrase == f"MAE {estimate.value:.3g} (95 % interval {estimate.low:.3g} to {estimate.high:.3g})"
    assert not figure.is_share and figure.cost == figure.value, "less is better"


@pytest.mark.parametrize(
    ("metric", "drop", "words", "phrase", "before"),
    [
        ("MAE", 0.25, "loses 0.25 of MAE", "0.25 of MAE worse than float", 2.25),
        ("MAE", -0.25, "gains 0.25 of MAE", "0.25 of MAE better than float", 2.75),
        ("MAE", 0.0, "has no more MAE", "no drop against float", 2.5),
        ("SNR", 1.5, "loses 1.5 dB of SNR", "1.5 dB below float", 4.0),
    ],
)
def test_a_loss_is_said_in_the_metrics_unit(metric: str, drop: float, words: str, phrase: str, before: float) -> None:
    row = Measurement("a", "t", "d", "r", samples=9, metric=metric, score=2.5, drop=drop, drop_low=drop - 1,
                      drop_high=drop + 1)  # fmt: skip
    loss, figure = loss_of(row), metric_of(row)
    assert (loss.words, loss.phrase.partition(" (")[0]) == (words, phrase)
    assert figure is not None and figure.before(drop) == before


@pytest.mark.parametrize(
    ("targets", "shape", "words"),
    [
        (np.array([[1.0, 2.0]]), (3,), "y has 2 values for each sample, and the model answers with 3"),
        (np.array([1.0, np.inf]), (1,), "NaN, infinity"),
        (np.array(["a", "b"]), (1,), "no list of numbers"),
        (np.zeros((2, 2, 2)), (4,), "no list of numbers"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(targets: np.ndarray, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Regression.check(targets, shape)


def test_snr_is_of_the_energies_and_bounded() -> None:
    answers, targets = numbers()
    parts = Tensor(0).parts(answers, targets)
    assert parts is not None
    exact = targets.astype(float)
    expected = 10 * np.log10((exact**2).sum() / ((answers - exact) ** 2).sum())
    assert Tensor(0).estimate(parts).value == pytest.approx(expected, abs=1e-9)
    each = 10 * np.log10((exact**2).sum(axis=1) / ((answers - exact) ** 2).sum(axis=1))
    figures = Tensor(0).figures(parts, [])
    assert figures["SNR of the worst sample"] == pytest.approx(each.min())
    assert figures["RMSE"] == pytest.approx(((answers - exact) ** 2).mean() ** 0.5)
    same = Tensor(0).parts(targets, targets)
    assert same is not None and Tensor(0).estimate(same) == (MOST_DB, MOST_DB, MOST_DB)
    assert Tensor(0).scores(same).tolist() == [1] * len(targets)


def test_recall_is_that_of_the_nearest_other_by_cosine() -> None:
    answers, targets = vectors()
    targets[0] = 9  # alone: nothing can be found
    parts = Embedding(0).parts(answers, targets)
    assert parts is not None
    found, among_five = [], []
    for sample in range(1, len(answers)):
        cosines = [
            float(answers[sample] @ other / np.linalg.norm(other)) if number != sample else -np.inf
            for number, other in enumerate(answers.astype(float))
        ]
        order = np.argsort(cosines)[::-1]
        found.append(targets[order[0]] == targets[sample])
        among_five.append((targets[order[:5]] == targets[sample]).any())
    assert Embedding(0).estimate(parts).value == pytest.approx(np.mean(found))
    assert Embedding(0).figures(parts, [])["recall@5"] == pytest.approx(np.mean(among_five))
    assert Embedding(0).scores(parts)[0] == 1
    row = Embedding(0).detailed(ROW, Scored(answers, targets, parts, [], reference=-2 * answers))
    assert row.metrics["lowest cosine"] == pytest.approx(-1) == pytest.approx(row.metrics["cosine to the float model"])


def test_of_several_nearest_the_share_of_the_class_counts() -> None:
    same = np.ones((4, 3), np.float32)
    parts = Embedding(0).parts(same, np.array([0, 0, 1, 1]))
    assert parts is not None and Embedding(0).estimate(parts).value == pytest.approx(1 / 3)
    assert Embedding(0).parts(np.zeros((4, 3), np.float32), np.array([0, 0, 1, 1])) is None, "0 has no direction"
    for targets, words in ((np.arange(4), "no two samples"), (np.zeros((4, 2)), "no list of classes")):
        with pytest.raises(InputError, match=words):
            Embedding.check(targets, (3,))
    assert Embedding.check(np.array(["b", "a", "b"]), (3,)).tolist() == [1, 0, 1]


@pytest.mark.parametrize("task", [Regression(0), Tensor(0), Segmentation(0)])
def test_few_samples_have_no_interval(task: ByParts) -> None:
    if isinstance(task, Segmentation):
        answers, targets = maps(FEWEST)
        answers = answers.reshape(FEWEST, -1)
    else:
        answers, targets = numbers(FEWEST)
    parts = task.parts(answers, targets)
    assert parts is not None and None not in task.estimate(parts).ends
    few = task.estimate(parts[1:])
    assert few.ends == (None, None) == task.drop(parts[1:], parts[1:]).ends and np.isfinite(few.value)
    row = recorded(task, replace(ROW, samples=FEWEST - 1), few)
    figure = metric_of(row)
    assert figure is not None and figure.interval == "" and "interval" not in figure.phrase


def test_a_budget_is_not_shown_to_be_met_by_so_few() -> None:
    row = replace(ROW, samples=3, metric="MAE", score=2.0, drop=0.1)
    (violation,) = _drop(row, Budget(max_drop=0.5))
    assert violation.not_shown and "so few have no interval" in violation.why and str(FEWEST) in violation.remedy
    assert not _drop(row, Budget(max_drop=0.5, drop_by="estimate"))
    assert not _drop(replace(row, samples=40, drop_low=0.0, drop_high=0.2), Budget(max_drop=0.5))


def test_recall_has_the_interval_of_a_share_of_samples() -> None:
    answers, targets = np.repeat(np.eye(3, dtype=np.float32), 6, axis=0), np.repeat(np.arange(3), 6)
    parts = Embedding(0).parts(answers, targets)
    assert parts is not None and Embedding(0).estimate(parts) == (1.0, *wilson(18, 18))
    wrong = parts.copy()
    wrong[0, 0] = 0
    assert Embedding(0).drop(parts, wrong) == paired_drop(np.ones(18, bool), np.arange(18) > 0)


def test_tags_agree_where_both_give_them_whatever_the_labels() -> None:
    """Of a tagger the highest tag is no answer: equal tags agree, also where another one is the highest."""
    exact = np.array([[0.9, 0.8, 0.1], [0.2, 0.1, 0.3]], np.float32)
    other = np.array([[0.8, 0.9, 0.2], [0.3, 0.2, 0.1]], np.float32)
    logits = [np.log(one / (1 - one)) for one in (exact, other)]
    for pair in ((exact, other), logits):
        alike = compare(Multilabel(3), *pair)
        assert alike.by == SIDES and alike.share == 1.0
    assert compare(Classification(3), exact, other).by == SIDES, "sigmoids are no distribution"
    assert compare(Classification(3), *logits).by == CLASS, "logits may be of classes"
    soft = [one / one.sum(axis=1, keepdims=True) for one in (exact, other)]
    assert compare(Classification(3), *soft).by == CLASS
    assert compare(Segmentation(0), *(one.reshape(1, -1) for one in logits), (1, 2, 3)).by == CLASSES
    assert compare(Embedding(0), *soft).by == compare(Regression(0), *soft).by == NUMBERS


def test_classes_of_one_name_keep_their_figures() -> None:
    answers, targets = maps()
    row = detailed(Segmentation(0), answers.reshape(len(answers), -1), targets, ["sky", "road", "road"])
    each = mean_iou(answers.argmax(axis=-1), targets, VOID)
    assert row.metrics["IoU road#1"] == pytest.approx(each[1]) and row.metrics["IoU road#2"] == pytest.approx(each[2])
