"""Detection: every figure equals pycocotools'."""

from __future__ import annotations

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.measurement import Measurement
from edgeproof.tasks import bootstrap, compare, metric_of, task_of
from edgeproof.tasks.agreement import BOXES
from edgeproof.tasks.detection import SHOWN, Detection, placed
from edgeproof.tasks.task import Scored, recorded
from edgeproof.workflows.box_targets import listed_boxes, sized_boxes
from edgeproof.workflows.samples import Samples, data_source, inferred_task

from ..support.coco_figures import class_figures, coco_eval, random_boxes

ROW = Measurement("m", "local/litert", "local", "litert", samples=30)


def flat(answers: np.ndarray) -> np.ndarray:
    return answers.reshape(len(answers), -1)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_figure_is_that_of_pycocotools(seed: int) -> None:
    targets, answers = random_boxes(seed=seed)
    task, expected = Detection(5), coco_eval(targets, answers)
    parts = task.parts(flat(answers), targets)
    assert parts is not None
    estimate = task.estimate(parts)
    assert estimate.value == pytest.approx(expected.stats[0], abs=1e-12)
    assert 0 < estimate.low < estimate.value < estimate.high < 1
    row = task.detailed(ROW, Scored(flat(answers), targets, parts, ["cat", "dog"]))
    assert row.metrics["mAP@.50"] == pytest.approx(expected.stats[1], abs=1e-12)
    assert row.metrics["mAP@.75"] == pytest.approx(expected.stats[2], abs=1e-12)
    names = {0: "AP cat", 1: "AP dog"}
    each = {names.get(number, f"AP {number}"): value for number, value in class_figures(expected).items()}
    assert {name: value for name, value in row.metrics.items() if name.startswith("AP ")} == pytest.approx(each)
    figure = metric_of(recorded(task, row, estimate))
    assert figure is not None and figure.name == "COCO mAP"


def test_a_draw_is_the_figure_of_the_pictures_drawn() -> None:
    targets, answers = random_boxes(12)
    # The order of equal scores counts for COCO, and a picture that is drawn twice has them twice.
    answers[..., 4] *= 1 - np.arange(answers[..., 4].size).reshape(answers.shape[:2]) * 1e-5
    parts = Detection(5).parts(flat(answers), targets)
    assert parts is not None
    weights = np.array([[2, 0, 1, 3, 0, 1, 1, 0, 2, 0, 1, 1], [1] * 12], float)
    drawn = np.repeat(np.arange(12), weights[0].astype(int))
    expected = [coco_eval(targets[drawn], answers[drawn]).stats[0], coco_eval(targets, answers).stats[0]]
    assert Detection.value(parts, weights).tolist() == pytest.approx(expected, abs=1e-9)
    alone = [coco_eval(targets[at : at + 1], answers[at : at + 1]).stats[0] for at in range(12)
             if (targets[at, :, 4] >= 0).any() and (targets[at][targets[at, :, 4] >= 0, 5] == 0).any()]  # fmt: skip
    found = [score for score, there in zip(Detection(5).scores(parts), targets, strict=True)
             if ((there[:, 4] >= 0) & (there[:, 5] == 0)).any()]  # fmt: skip
    assert found == pytest.approx(alone, abs=1e-9)


def test_the_interval_holds_the_true_metric_and_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: of 95 % intervals on 60 pictures 92 in 100 hold the figure of all; of plain percentiles 85 would."""
    monkeypatch.setattr(bootstrap, "DRAWS", 200)
    random = np.random.default_rng(0)

    def drawn(samples: int) -> np.ndarray:
        low = random.random((samples, 9, 2)) * 0.6
        corners = np.concatenate([low, low + 0.1 + random.random((samples, 9, 2)) * 0.3], axis=2)
        classes = random.integers(0, 3, (samples, 9, 1)).astype(float)
        there = random.random((samples, 4, 1)) < 0.7
        targets = np.concatenate([corners[:, :4], np.where(there, classes[:, :4], -1), there * 0], axis=2)
        found = there & (random.random((samples, 4, 1)) < 0.75)
        scores = np.concatenate([random.beta(4, 2, found.shape) * found, random.beta(1.5, 4, (samples, 5, 1))], axis=1)
        corners[:, :4] += random.normal(0, 0.02, (samples, 4, 4))
        parts = Detection(3).parts(flat(np.concatenate([corners, scores, classes], axis=2)), targets)
        assert parts is not None
        return parts

    true = bootstrap.value(Detection.value, drawn(6000))
    estimates = [Detection(3).estimate(drawn(60)) for _ in range(60)]
    assert all(one.low <= one.value <= one.high for one in estimates)
    assert sum(one.low <= true <= one.high for one in estimates) >= 53


def test_a_picture_without_boxes_is_scored_by_what_is_found_in_it() -> None:
    targets, answers = np.full((2, 1, 6), -1.0), np.zeros((2, 300, 6), np.float32)
    answers[0, 0] = (0, 0, 0.5, 0.5, 0.75, 1)
    parts = Detection(0).parts(flat(answers), targets)
    assert parts is not None and Detection(0).scores(parts).tolist() == [0.25, 1]
    assert np.isnan(bootstrap.value(Detection.value, parts))


def test_files_agree_by_boxes_of_the_same_class() -> None:
    task = Detection(0)
    reference = np.zeros((3, 300, 6), np.float32)
    reference[0, :2] = [(0, 0, 0.5, 0.5, 0.9, 1), (0.5, 0.5, 1, 1, 0.8, 2)]
    other = reference.copy()
    other[0, 0, :4] += 0.02  # an IoU of 0.86
    other[0, 1, 5] = 3
    other[1, 0] = (0, 0, 1, 1, SHOWN - 0.01, 0)  # not shown
    other[2, 0] = (0, 0, 1, 1, SHOWN, 0)
    alike = compare(task, flat(reference), flat(other))
    assert (alike.by, alike.scores.tolist()) == (BOXES, [0.5, 1, 0])
    row = alike.recorded(ROW)
    assert (row.agreement, row.agreement_by, row.relative_error) == (0.5, "box", None)
    assert compare(task, flat(reference), flat(reference[:, ::-1])).share == 1, "the order of boxes does not count"
    assert task.closeness(flat(other), flat(reference)).tolist() == [0.5, 1, 0]


def test_targets_are_arrays_or_lists_of_boxes() -> None:
    x = np.zeros((2, 40, 80, 3), np.uint8)
    listed = [{"boxes": [[0, 0, 40, 20]], "classes": [1]}, {"boxes": np.zeros((0, 4)), "labels": []}]
    samples = data_source((x, listed))
    assert isinstance(samples, Samples) and samples.task == "detection" and samples.targets is not None
    assert samples.targets[:, 0].tolist() == [[0, 0, 40, 20, 1, 0, 80, 40], [0, 0, 0, 0, -1, 0, 80, 40]]
    shares = np.array([[[0, 0, 0.5, 0.5, 1]], [[0, 0, 0, 0, -1]]])
    assert inferred_task(shares) == "detection" and inferred_task(np.zeros((2, 6, 5), int)) == "segmentation"
    from_shares = data_source((x, shares))
    assert isinstance(from_shares, Samples) and from_shares.targets is not None
    assert from_shares.targets.tolist() == samples.targets.tolist()
    kept = Detection.check(placed(samples.targets, (40, 80), "stretch"), ())
    assert kept[0, 0].tolist() == [0, 0, 0.5, 0.5, 1, 0] and task_of((), "detection").name == "detection"


@pytest.mark.parametrize(("resize", "expected"), [
    ("stretch", [0, 0.5, 0.25, 1]),
    ("pad", [0, 0.5, 0.25, 0.75]),  # 80 × 40 in 20 × 20: 5 rows of black above and below
    ("crop", [0, 0.5, 0, 1]),  # the centre 40 × 40: the box is left of it
])  # fmt: skip
def test_boxes_are_resized_with_their_picture(resize: str, expected: list[float]) -> None:
    found = placed(np.array([[[0, 20, 20, 40, 3, 0, 80, 40]]], float), (20, 20), resize)[0, 0]
    assert found.tolist() == ([0, 0, 0, 0, -1, 0] if resize == "crop" else [*expected, 3, 0])
    inside = placed(np.array([[[10, 0, 40, 40, 3, 1, 80, 40]]], float), (20, 20), resize)[0, 0]
    assert resize != "crop" or inside.tolist() == [0, 0, 0.5, 1, 3, 1]


@pytest.mark.parametrize(("box", "words"), [
    ([50, 0, 90, 20, 0], "sample 1 of y .from 0., box 0: it is outside the picture"),
    ([5, 0, 5, 20, 0], "no width or no height"),
    ([5, 0, 9, 20, 0.5], "no whole number"),
    ([5, 0, 9, 20, -1], "sample 1 of y .from 0., box 0: its class is -1, that of rows that fill up, and it has a box"),
    ([5, 0, 9, 20, -2], "its class is no whole number from 0"),
    ([50, 0, 79, -20, 0], "no width or no height"),
    ([5, 0, np.inf, 20, 0], "NaN or infinity in 1 samples"),
])  # fmt: skip
def test_boxes_that_are_none_are_refused(box: list[float], words: str) -> None:
    y = np.array([[[0, 0, 10, 10, 0]], [box]], float)
    with pytest.raises(InputError, match=words):
        data_source((np.zeros((2, 40, 80, 3), np.uint8), y))


def test_boxes_are_drawn_as_far_as_the_picture_goes() -> None:
    picture, none = np.full((21, 41, 3), 90, np.uint8), np.full((1, 6), -1.0)
    drawn = [
        Detection(2).drawn(picture, np.array([[0.25, 0.5, end, end, 0.9, 1]], np.float32), none) for end in (1.5, 1e30)
    ]
    assert drawn[0] is not None and np.array_equal(*drawn)
    changed = (drawn[0] != picture).any(axis=-1)
    assert changed[10, 10:].all() and changed[10:, 10].all() and changed.sum() == 31 + 11 - 1


def test_targets_of_another_form_are_refused() -> None:
    with pytest.raises(InputError, match="has no boxes with classes"):
        listed_boxes([{"boxes": [[1, 2, 3]], "classes": [0]}])
    with pytest.raises(InputError, match=r"sample 1 of y .* box 0 \(from 0\) has the class -1"):
        listed_boxes([{"boxes": [], "classes": []}, {"boxes": [[1, 2, 3, 4]], "classes": [-1]}])
    with pytest.raises(InputError, match="is no list of boxes"):
        sized_boxes(np.zeros((2, 5)), {})
    with pytest.raises(InputError, match="x has no pictures"):
        sized_boxes(np.array([[[0, 0, 9, 9, 1]]], float), {"": np.zeros((1, 5))})
    with pytest.raises(InputError, match="no sample of y has any box"):
        Detection.check(np.full((2, 1, 6), -1.0), ())
    assert Detection(0).parts(np.zeros((2, 7), np.float32), np.full((2, 1, 6), -1.0)) is None
