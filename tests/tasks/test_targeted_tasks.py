"""Multi-label, segmentation and one sigmoid: every figure equals an independent computation."""

from __future__ import annotations

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Measurement
from edgeproof.tasks import TARGETED, bootstrap, compare, metric_of, quality_of, task_of
from edgeproof.tasks.agreement import CLASS, NUMBERS
from edgeproof.tasks.by_parts import ByParts
from edgeproof.tasks.classification import by_class, threshold
from edgeproof.tasks.detection import Detection
from edgeproof.tasks.drawing import palette
from edgeproof.tasks.embedding import Embedding
from edgeproof.tasks.multilabel import Multilabel
from edgeproof.tasks.regression import Regression
from edgeproof.tasks.segmentation import VOID, Segmentation
from edgeproof.tasks.task import Scored, Task, recorded
from edgeproof.tasks.tensor import Tensor
from edgeproof.workflows.samples import inferred_task

from ..support.coco_figures import random_boxes
from ..support.metrics import average_precision, mean_iou

ROW = Measurement("m", "local/litert", "local", "litert", samples=40)


def detailed(
    task: Task, answers: np.ndarray, targets: np.ndarray, labels: list[str], reference: np.ndarray | None = None
) -> Measurement:
    parts = task.parts(answers, targets)
    assert parts is not None
    return task.detailed(ROW, Scored(answers, targets, parts, labels, reference))


def tagged(samples: int = 40, tags: int = 5, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    targets = (random.random((samples, tags)) < 0.3).astype(np.uint8)
    answers = np.clip(random.random((samples, tags)) * 0.6 + 0.3 * targets, 0, 1).astype(np.float32)
    return (answers.round(1) if ties else answers), targets


@pytest.mark.filterwarnings("error")
def test_samples_without_any_tag_or_judged_pixel_have_no_metric() -> None:
    """As the few samples may be on which the better of two tools' files is chosen."""
    for task, parts in ((Multilabel(1), np.stack([np.full((12, 1), 0.5), np.zeros((12, 1))], 1)),
                        (Segmentation(2), np.zeros((12, 3, 2)))):  # fmt: skip
        estimate = task.estimate(parts)
        assert np.isnan(estimate.value) and recorded(task, ROW, estimate) == ROW
        assert np.isnan(task.drop(parts, parts).value)
        assert all(np.isfinite(one) for one in task.figures(parts, ("a", "b")).values())


@pytest.mark.parametrize("ties", [False, True])
def test_map_is_the_mean_of_each_tags_average_precision(ties: bool) -> None:
    answers, targets = tagged(ties=ties)
    task = Multilabel(0)
    scores = task.parts(answers, targets)
    assert scores is not None
    estimate = task.estimate(scores)
    expected = np.mean([average_precision(answers[:, tag], targets[:, tag]) for tag in range(5)])
    assert estimate.value == pytest.approx(expected, abs=1e-9)
    assert estimate.low < estimate.value < estimate.high
    # An int8 file's answers have many ties: the order of equal values must not count.
    order = np.random.default_rng(1).permutation(len(answers))
    shuffled = task.parts(answers[order], targets[order])
    assert shuffled is not None and task.estimate(shuffled).value == pytest.approx(expected, abs=1e-9)


def test_a_tag_that_no_sample_has_is_left_out_of_the_mean() -> None:
    answers, targets = tagged()
    targets[:, 2] = 0
    parts = Multilabel(0).parts(answers, targets)
    expected = np.mean([average_precision(answers[:, tag], targets[:, tag]) for tag in (0, 1, 3, 4)])
    assert parts is not None and Multilabel(0).estimate(parts).value == pytest.approx(expected, abs=1e-9)


def test_f1_of_each_tag_is_at_one_half_and_of_logits_at_zero() -> None:
    answers, targets = tagged()
    row = detailed(Multilabel(0), answers, targets, ["cat", "dog"])
    logits = np.log(answers / (1 - answers))
    assert threshold(logits) == 0
    assert detailed(Multilabel(0), logits, targets, ["cat", "dog"]).metrics == row.metrics
    yes = answers >= 0.5
    right = (yes & (targets == 1)).sum(axis=0)
    each = 2 * right / (yes.sum(axis=0) + targets.sum(axis=0))
    assert row.metrics["F1 cat"] == pytest.approx(each[0]) and row.metrics["F1 4"] == pytest.approx(each[4])
    assert row.metrics["F1 (micro)"] == pytest.approx(2 * right.sum() / (yes.sum() + targets.sum()))


def maps(samples: int = 12, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    targets = random.integers(0, classes, (samples, 6, 4)).astype(np.uint8)
    answers = random.random((samples, 6, 4, classes)).astype(np.float32) + 0.5 * np.eye(classes)[targets]
    targets[0, :2] = VOID
    return answers.astype(np.float32), targets


def test_mean_iou_is_of_all_pixels_and_void_is_not_judged() -> None:
    answers, targets = maps()
    task = Segmentation(0)
    flat = answers.reshape(len(answers), -1)
    parts = task.parts(flat, targets)
    assert parts is not None
    each = mean_iou(answers.argmax(axis=-1), targets, VOID)
    assert task.estimate(parts).value == pytest.approx(np.mean(list(each.values())), abs=1e-12)
    row = detailed(task, flat, targets, ["sky", "road"])
    assert row.metrics["IoU sky"] == pytest.approx(each[0]) and row.metrics["IoU 2"] == pytest.approx(each[2])
    judged = targets != VOID
    assert row.metrics["pixel accuracy"] == pytest.approx((answers.argmax(-1) == targets)[judged].mean())
    chosen = answers.argmax(axis=-1).reshape(len(answers), -1).astype(np.float32)
    by_number = task.parts(chosen, targets)
    assert by_number is not None and task.estimate(by_number) == task.estimate(parts), "the graph chose itself"


def test_one_value_a_pixel_is_a_sigmoid_or_a_logit() -> None:
    answers, targets = maps(classes=2)
    yes = answers[..., 1] / answers.sum(axis=-1)
    logits = np.log(yes / (1 - yes))
    each = mean_iou((yes >= 0.5).astype(int), targets, VOID)
    for given in (yes, logits):
        parts = Segmentation(0).parts(given.reshape(len(given), -1).astype(np.float32), targets)
        assert parts is not None
        assert Segmentation(0).estimate(parts).value == pytest.approx(np.mean(list(each.values())), abs=1e-12)


def test_answers_of_another_size_have_no_score() -> None:
    answers, targets = maps()
    assert Segmentation(0).parts(answers.reshape(len(answers), -1)[:, :-1], targets) is None
    assert Multilabel(0).parts(*(one[:, :4] if one.dtype == np.float32 else one for one in tagged())) is None


def numbers(samples: int = 40, values: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(6)
    targets = random.normal(20, 5, (samples, values)).astype(np.float32)
    return (targets + random.normal(0, 1, targets.shape)).astype(np.float32), targets


def vectors(samples: int = 40, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    targets = random.integers(0, classes, samples)
    return (2 * np.eye(classes, 6)[targets] + random.normal(0, 0.7, (samples, 6))).astype(np.float32), targets


SAMPLES = {
    Multilabel.name: tagged, Segmentation.name: maps, Regression.name: numbers, Tensor.name: numbers,
    Embedding.name: vectors,
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETED)
def test_the_drop_is_paired_over_the_same_samples(name: str) -> None:
    task = task_of((), name)
    if name == Detection.name:
        targets, answers = random_boxes(60)
        noise = np.where(np.arange(6) < 4, 0.1, 0) * np.random.default_rng(9).normal(size=answers.shape)
    else:
        answers, targets = SAMPLES[name](200)
        noise = np.random.default_rng(9).normal(scale=0.02, size=answers.shape)
    flat = [one.reshape(len(one), -1) for one in (answers, answers + noise.astype(np.float32))]
    reference, other = (task.parts(one, targets) for one in flat)
    assert reference is not None and other is not None
    drop = task.drop(reference, other)
    own, theirs = task.estimate(reference), task.estimate(other)
    lost = own.value - theirs.value if task.figure.better == "higher" else theirs.value - own.value
    assert drop.value == pytest.approx(lost, abs=1e-9), "above 0 the file is worse, whichever way the metric goes"
    assert drop.low <= drop.value <= drop.high
    assert drop.high - drop.low < (own.high - own.low) / 2, "the same samples: what they share cancels"
    assert task.drop(reference, reference, identical=True) == (0, 0, 0)
    with pytest.raises(ValueError, match="same ones"):
        task.drop(reference[:-1], other)


def test_the_interval_holds_the_true_metric_as_often_as_it_says() -> None:
    """Simulated: of 95 % intervals of mean IoU on 60 samples, 90 to 99 in 100 hold that of the population."""
    random = np.random.default_rng(11)

    def drawn(samples: int) -> np.ndarray:
        targets = random.integers(0, 2, (samples, 5, 5)).astype(np.uint8)
        wrong = random.random((samples, 5, 5)) < random.uniform(0.05, 0.4, (samples, 1, 1))
        parts = Segmentation(0).parts(np.where(wrong, 1 - targets, targets).reshape(samples, -1) * 1.0, targets)
        assert parts is not None
        return parts

    true = bootstrap.value(Segmentation.value, drawn(20_000))
    held = [
        low <= true <= high for low, high in (bootstrap.interval(Segmentation.value, drawn(60)) for _ in range(100))
    ]
    assert 90 <= sum(held) <= 99


def test_a_row_says_which_metric_it_has() -> None:
    answers, targets = maps()
    task = Segmentation(0)
    parts = task.parts(answers.reshape(len(answers), -1), targets)
    assert parts is not None
    row = recorded(task, ROW, task.estimate(parts))
    assert row.metric == "mean IoU" and row.accuracy == task.estimate(parts).value
    figure = metric_of(row)
    assert figure is not None and figure.phrase.startswith("mean IoU ") and quality_of(row) == figure
    assert task_of(("a", "b")).quality(row) is None and task.reported(row) == task.estimate(parts)


@pytest.mark.parametrize(
    ("targets", "values", "words"),
    [
        (np.array([[0, 1], [2, 0]]), 2, "0 or 1 for each tag"),
        (np.array([[0, 1], [1, 0]]), 3, "2 tags, and the model answers with 3"),
        (np.zeros((3, 2)), 2, "no sample of y has any tag"),
    ],
)
def test_tags_that_do_not_fit_are_refused(targets: np.ndarray, values: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Multilabel.check(targets, (values,))


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (np.zeros((2, 3, 3)), "no map of classes"),
        (np.full((2, 3, 3), 256), "no map of classes"),
        (np.full((2, 3, 3), VOID), "not judged"),
        (np.full((2, 3, 3), 4), "class number 4, and the model tells 3"),
        (np.zeros((2, 3), int), "no map of classes"),
        (np.zeros((2, 3, 6), int), "maps of 3 × 6 pixels, and the model answers \\(3, 3, 3\\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(targets: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Segmentation.check(targets, (3, 3, 3))


def test_of_two_classes_one_value_says_which() -> None:
    yes = np.array([[0.2], [0.5], [0.9]], np.float32)
    task = task_of(("no", "yes"))
    scores = task.parts(yes, np.array([0, 1, 0]))
    assert scores is not None and scores.tolist() == [True, True, False]
    logits = np.array([[-700.0], [0.0], [700.0]], np.float32)
    assert np.isfinite(by_class(logits, 2)).all()
    same = task.parts(logits, np.array([0, 1, 0]))
    assert same is not None and same.tolist() == [True, True, False]
    row = detailed(task, yes, np.array([0, 1, 0]), ["no", "yes"], yes)
    assert row.by_class is not None and row.by_class.disagreed == 0
    assert np.array(row.by_class.confusion).tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize("logits", [False, True])
def test_two_classes_from_one_value_agree_where_both_say_the_same(logits: bool) -> None:
    yes = np.array([[0.2], [0.6], [0.9], [0.4]], np.float32)
    other = np.array([[0.3], [0.4], [0.8], [0.1]], np.float32)
    if logits:
        yes, other = (np.log(one / (1 - one)) for one in (yes, other))
    alike = compare(task_of(("no", "yes")), yes, other)
    assert alike.by == CLASS and alike.share == 0.75 and alike.scores.tolist() == [1, 0, 1, 1]
    assert compare(task_of(()), yes, other).by == NUMBERS, "without classes it is a number"


@pytest.mark.parametrize(
    ("targets", "name"),
    [
        (np.array([[0, 1], [1, 1]]), "multilabel"),
        (np.array([[0.0, 0.0], [1.0, 0.0]]), "multilabel"),
        (np.array([[0, 1], [1, 0]]), "classification"),
        (np.array([[1], [0]]), "classification"),
        (np.array([0, 1, 2]), "classification"),
        (np.array(["a", "b"]), "classification"),
        (np.array([0.5, 2.25, 1.0]), "regression"),
        (np.array([[-1.0, 2.0], [3.0, 4.0]]), "regression"),
        (np.array([0.0, 1.0, 2.0]), "classification"),
        (np.full((2, 4, 4, 3), 0.25), "tensor"),
        (np.zeros((2, 4, 4), int), "segmentation"),
        (np.zeros((2, 4, 4, 1), np.uint8), "segmentation"),
    ],
)
def test_targets_show_which_task_they_are_of(targets: np.ndarray, name: str) -> None:
    assert inferred_task(targets) == name


def test_answers_with_the_classes_first_are_refused_instead_of_misread() -> None:
    maps_of = np.zeros((2, 4, 5), int)
    with pytest.raises(InputError, match="classes before the pixels"):
        Segmentation.check(maps_of, (3, 4, 5))
    for shape in ((4, 5, 3), (4, 5, 1), (4, 5), ()):
        assert Segmentation.check(maps_of, shape).shape == (2, 4, 5)


def test_each_sample_has_a_score_of_its_own() -> None:
    answers, targets = maps()
    parts = Segmentation(0).parts(answers.reshape(len(answers), -1), targets)
    assert parts is not None
    judged = targets != VOID
    right = (answers.argmax(axis=-1) == targets) & judged
    expected = right.sum(axis=(1, 2)) / judged.sum(axis=(1, 2))
    np.testing.assert_allclose(Segmentation(0).scores(parts), expected)
    tags, there = np.array([[0.9, 0.8], [0.1, 0.2], [0.9, 0.1]], np.float32), np.array([[1, 0], [0, 0], [0, 1]])
    of_tags = Multilabel(0).parts(tags, there)
    assert of_tags is not None and Multilabel(0).scores(of_tags).tolist() == [pytest.approx(2 / 3), 1, 0]


def test_a_sigmoid_does_not_tell_three_classes_apart() -> None:
    answers = np.random.default_rng(2).random((4, 24)).astype(np.float32)
    targets = np.random.default_rng(3).integers(0, 3, (4, 6, 4)).astype(np.uint8)
    assert Segmentation(0).parts(answers, targets) is None


@pytest.mark.parametrize("name", TARGETED)
def test_examples_are_the_samples_that_lose_most(name: str) -> None:
    task = task_of((), name)
    assert isinstance(task, ByParts)
    if name == Detection.name:
        targets, answers = random_boxes(30)
        answers = answers.reshape(30, -1)
    else:
        answers, targets = SAMPLES[name](30)
        answers = answers.reshape(30, -1)
    worse = answers.copy()
    worse[4], worse[9] = answers[9], answers[4]
    parts, before = task.parts(worse, targets), task.parts(answers, targets)
    assert parts is not None and before is not None
    falls = task.scores(before) - task.scores(parts)
    scored = Scored(worse, targets, parts, ["sky"], answers, 5, before)
    found = task.examples(scored)
    expected = [sample for sample in np.lexsort((task.scores(parts), -falls)) if falls[sample] > 0][:5]
    assert [one.sample for one in found] == expected and expected
    assert all(one.reference_score is not None and one.reference_score > one.score for one in found)
    assert all(one.answer and one.right for one in found) or name in (Embedding.name, Tensor.name)
    assert not task.examples(Scored(worse, targets, parts, [], answers, 0, before)), "none is asked for"
    own = task.examples(Scored(answers, targets, before, [], None, 30))
    assert [one.score for one in own] == sorted(one.score for one in own) and all(one.score < 1 for one in own)
    for picture in (np.full((20, 30, 3), 128, np.uint8), None):
        for answer in (worse[0], None):
            drawing = task.drawn(picture, answer, targets[0])
            assert drawing is None or (drawing.ndim == 3 and drawing.shape[2] == 3 and drawing.dtype == np.uint8)


def test_a_map_is_drawn_over_its_picture_and_void_is_dark() -> None:
    targets = np.array([[0, 1], [VOID, 1]], np.uint8)
    drawing = Segmentation(0).drawn(np.zeros((4, 4, 3), np.uint8), None, targets)
    assert drawing is not None
    colours = palette(np.array([0, 1]))
    np.testing.assert_array_equal(drawing[0, 0], (0.6 * colours[0]).astype(np.uint8))
    np.testing.assert_array_equal(drawing[3, 3], (0.6 * colours[1]).astype(np.uint8))
    assert drawing[3, 0].tolist() == [24] * 3
    assert len({tuple(colour) for colour in palette(np.arange(40)).tolist()}) == 40


@pytest.mark.parametrize("places", [1, 6])
def test_roc_auc_is_how_often_the_second_class_scores_higher(places: int) -> None:
    random = np.random.default_rng(4)
    targets = random.integers(0, 2, 60)
    yes = (0.3 * targets + 0.7 * random.random(60)).round(places).astype(np.float32)
    pairs = [(a > b) + 0.5 * (a == b) for a in yes[targets == 1] for b in yes[targets == 0]]
    row = detailed(task_of(("no", "yes")), yes[:, None], targets, ["no", "yes"])
    assert row.metrics == {"ROC AUC": pytest.approx(np.mean(pairs))}
    both = np.stack([1 - yes, yes], axis=1)
    assert detailed(task_of(("no", "yes")), both, targets, ["no", "yes"]).metrics["ROC AUC"] == pytest.approx(
        np.mean(pairs), abs=1e-3 if places > 1 else 1e-9
    )
    assert not detailed(task_of(("no", "yes")), both, np.zeros(60, int), ["no", "yes"]).metrics, "of one class alone"
    assert not detailed(task_of(("a", "b", "c")), np.eye(3)[[0, 1]], np.array([0, 1]), ["a", "b", "c"]).metrics
