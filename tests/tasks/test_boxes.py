"""How the outputs of detectors are read as boxes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgeproof.core.artifact import TensorSpec
from edgeproof.core.boxes import BoxReading
from edgeproof.core.codec import from_json, to_json
from edgeproof.core.errors import InputError
from edgeproof.export.agreement import Difference
from edgeproof.tasks.boxes import OVERLAP, POSTPROCESS, ROWS, VALUES, read, reading_of

SIZE = (64, 128)
BOX = [8.0, 16.0, 32.0, 48.0]  # x1, y1, x2, y2 in pixels
SHARES = [8 / 128, 16 / 64, 32 / 128, 48 / 64]


def specs(**shapes: tuple[int, ...]) -> list[TensorSpec]:
    return [TensorSpec(name, shape, "float32") for name, shape in shapes.items()]


def boxes(answers: np.ndarray, reading: BoxReading) -> np.ndarray:
    return read(answers, reading).reshape(len(answers), ROWS, VALUES)


def of(reading: BoxReading, **values: list[float]) -> np.ndarray:
    """One answer: the values of each output by its name, filled up with zeros."""
    rows = zip(reading.outputs, reading.values, strict=True)
    return np.concatenate([np.pad(values[name], (0, size - len(values[name]))) for name, size in rows])[None]


def test_the_four_outputs_of_tensorflow_lites_suppression_are_read_by_position() -> None:
    outputs = specs(a=(1, 2, 4), b=(1, 2), c=(1, 2), d=(1,))
    reading = reading_of(outputs, SIZE, operators=["CONV_2D", POSTPROCESS])
    assert reading.roles == ("boxes", "classes", "scores", "count") and reading.corners == "yxyx"
    y1, x1, y2, x2 = SHARES[1], SHARES[0], SHARES[3], SHARES[2]
    answer = of(reading, a=[y1, x1, y2, x2, 0, 0, 1, 1], b=[3, 1], c=[0.9, 0.8], d=[1])
    found = boxes(answer, reading)[0]
    assert found[0].tolist() == pytest.approx([*SHARES, 0.9, 3]) and not found[1:].any(), "one counts"
    open_sizes = reading_of(specs(a=(), b=(), c=(), d=()), SIZE, operators=[POSTPROCESS])
    assert open_sizes.values == (4000, 1000, 1000, 1)
    record = to_json(reading)
    assert from_json(BoxReading, record) == reading
    for wrong in (
        {"outputs": ["a"]},
        {"shapes": [[2**30, 2**30], [2], [2], [1]]},
        {"outputs": [], "roles": [], "shapes": []},
    ):
        with pytest.raises(InputError, match="not described as boxes"):
            from_json(BoxReading, {**record, **wrong})


def test_outputs_are_told_apart_by_names_types_or_values() -> None:
    named = reading_of(
        specs(num=(1,), detection_classes=(1, 3), detection_boxes=(1, 3, 4), detection_scores=(1, 3)), SIZE
    )
    assert named.outputs == ("detection_boxes", "num", "detection_classes", "detection_scores")
    typed = [
        TensorSpec("x", (-1, 3), "float32"),
        TensorSpec("y", (-1, 3), "int64"),
        TensorSpec("z", (-1, 3, 4), "float32"),
    ]
    assert reading_of(typed, SIZE, corners="xyxy").roles == ("boxes", "scores", "classes")
    for order in (("s", "c"), ("c", "s")):
        unnamed = reading_of(specs(b=(3, 4), **dict.fromkeys(order, (3,))), SIZE, corners="xyxy")
        assert unnamed.roles == ("boxes", "scores or classes", "scores or classes")
        found = boxes(of(unnamed, b=BOX, s=[0.5], c=[2.0]), unnamed)[0, 0]
        assert found.tolist() == pytest.approx([*SHARES, 0.5, 2]), "scores are no whole numbers; pixels are divided"
        with pytest.raises(ValueError, match="cannot be told"):
            boxes(of(unnamed, b=BOX, s=[1.0], c=[1.0]), unnamed)


def test_rows_and_the_order_that_a_user_names() -> None:
    reading = reading_of(specs(output0=(1, 300, 6)), SIZE)
    assert (reading.layout, reading.corners) == ("rows", "xyxy")
    answer = of(reading, output0=[*BOX, 0.25, 7, *BOX, 0.5, 1])
    assert boxes(answer, reading)[0, :2].tolist() == pytest.approx(np.array([[*SHARES, 0.5, 1], [*SHARES, 0.25, 7]]))
    assert reading_of(specs(output0=(-1, 6)), SIZE).values == (6000,)
    named = reading_of(specs(output0=(1, 300, 6)), SIZE, named="cxcywh-pixels")
    centre = of(named, output0=[20, 32, 24, 32, 0.5, 1])
    assert boxes(centre, named)[0, 0].tolist() == pytest.approx([*SHARES, 0.5, 1])
    assert "[centre x, y, width, height] in pixels" in named.words


@pytest.mark.parametrize("layout", ["yolov8", "yolov5"])
@pytest.mark.parametrize("transposed", [False, True])
def test_heads_are_decoded_with_suppression_within_a_class(layout: str, transposed: bool) -> None:
    random = np.random.default_rng(2)
    more = 5 if layout == "yolov5" else 4
    values = np.zeros((90, more + 3))
    values[:, :2], values[:, 2:4] = random.uniform(20, 44, (90, 2)), random.uniform(8, 20, (90, 2))
    values[:, 4:] = random.uniform(0, 1, (90, more - 1))
    scores = values[:, more:] * (values[:, 4:5] if layout == "yolov5" else 1)
    shape = (1, *values.shape) if transposed else (1, *values.T.shape)
    reading = reading_of(specs(head=shape), SIZE, classes=3)
    assert reading.layout == layout and layout in reading.words
    found = boxes((values if transposed else values.T).reshape(1, -1), reading)[0]
    kept: list[list[float]] = []
    corners = np.concatenate([values[:, :2] - values[:, 2:4] / 2, values[:, :2] + values[:, 2:4] / 2], axis=1)
    for at in np.argsort(-scores.max(axis=1)):
        number = int(scores[at].argmax())
        if all(number != other[5] or overlap(corners[at], np.array(other)) <= OVERLAP for other in kept):
            kept.append([*corners[at], scores[at].max(), number])
    assert 20 < len(kept) < 90
    scale = np.array([128, 64, 128, 64, 1, 1])
    assert found[: len(kept)] == pytest.approx(np.array(kept) / scale, abs=1e-6) and not found[len(kept) :].any()


def test_boxes_with_a_score_for_each_class_are_read_in_the_order_that_is_named() -> None:
    outputs = specs(boxes=(1, 3, 4), scores=(1, 3, 3))
    near = [9.0, 16.0, 33.0, 48.0]
    scores = [[0.1, 0.9, 0.2], [0.1, 0.8, 0.2], [0.7, 0.1, 0.2]]  # the second overlaps the first of its class
    reading = reading_of(outputs, SIZE, named="xyxy")
    assert reading.layout == "scored" and reading.overlaps and "own suppression" in reading.words
    answer = of(reading, boxes=[*BOX, *near, *near], scores=np.ravel(scores).tolist())
    found = boxes(answer, reading)[0]
    assert found[:2, 4:].tolist() == pytest.approx(np.array([[0.9, 1], [0.7, 0]])) and not found[2:].any()
    behind = reading_of(outputs, SIZE, named="xyxy", classes=2)
    assert behind.roles[1] == "scores by class behind a background"
    assert boxes(answer, behind)[0, :2, 4:].tolist() == pytest.approx(np.array([[0.9, 0], [0.2, 1]]))
    with pytest.raises(InputError, match="3 columns, and 9 classes are known"):
        reading_of(outputs, SIZE, named="xyxy", classes=9)


def test_a_named_head_has_the_classes_that_are_known() -> None:
    assert reading_of(specs(output0=(1, 5, 8400)), SIZE, named="yolov8").layout == "yolov8", "one class"
    assert reading_of(specs(output0=(1, 38, 8400)), SIZE, named="yolov8", classes=34).values == (38 * 8400,)
    with pytest.raises(InputError, match="scores of 34 classes when it is read as yolov8, and 2 are known"):
        reading_of(specs(output0=(1, 38, 8400)), SIZE, named="yolov8", classes=2)


def test_the_head_of_yolox_is_decoded_by_its_grids() -> None:
    cells = [(x, y, stride) for stride in (8, 16, 32) for y in range(64 // stride) for x in range(128 // stride)]
    values = np.zeros((len(cells), 7))
    at = cells.index((3, 2, 16))
    values[at] = [0.25, 0.5, np.log(1.5), np.log(0.5), 0.8, 0.5, 1]
    reading = reading_of(specs(output=(1, len(cells), 7)), SIZE, named="yolox", classes=2)
    found = boxes(values.reshape(1, -1), reading)[0]
    x, y, width, height = 3.25 * 16 / 128, 2.5 * 16 / 64, 24 / 128, 8 / 64
    expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2, 0.8, 1]
    assert found[0].tolist() == pytest.approx(expected) and not found[1:].any()
    with pytest.raises(ValueError, match="90 candidates, and YOLOX has 168"):
        read(np.zeros((1, 630)), reading_of(specs(output=(1, 90, 7)), SIZE, named="yolox"))
    with pytest.raises(ValueError, match="--boxes yolox"):
        read(values.reshape(1, -1), reading_of(specs(output=(1, len(cells), 7)), SIZE, classes=2))


def test_the_outputs_of_other_makes_are_known_by_their_names() -> None:
    """Those of TensorFlow's Object Detection API as .onnx, and DETR's with open sizes."""
    api = {"detection_anchor_indices": (-1, -1), "detection_boxes": (-1, -1, 4), "detection_classes": (-1, -1),
           "detection_multiclass_scores": (-1, -1, 91), "detection_scores": (-1, -1), "num_detections": (-1,),
           "raw_detection_boxes": (-1, 1917, 4), "raw_detection_scores": (-1, 1917, 91)}  # fmt: skip
    reading = reading_of(specs(**api), SIZE, corners="xyxy")
    read_ones = dict(zip(reading.roles, reading.outputs, strict=True))
    assert read_ones == {"boxes": "detection_boxes", "classes": "detection_classes", "scores": "detection_scores",
                         "count": "num_detections"}  # fmt: skip
    assert reading.corners == "yxyx" and reading.is_certain, "the API's order, whatever the file is"
    assert reading_of(specs(**api), SIZE, named="xyxy").corners == "xyxy"
    detr = reading_of(specs(logits=(-1, -1, 92), pred_boxes=(-1, -1, 4)), SIZE)
    assert detr.layout == "detr" and detr.values == (4000, 92000)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:4], other[2:4])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared / float(np.prod(one[2:4] - one[:2]) + np.prod(other[2:4] - other[:2]) - shared)


@pytest.mark.parametrize(("outputs", "named", "words"), [
    (specs(probabilities=(1, 10)), "", "cannot be read as boxes: probabilities"),
    (specs(b=(1, 9, 4), s=(1, 9)), "", "cannot be read as boxes"),
    (specs(b=(1, 9, 4), c=(1, 9, 4), s=(1, 9)), "", "cannot be read as boxes"),
    (specs(b=(1, 9, 4), s=(1, 9, 3)), "", "b and s look like a box and scores .* --boxes xyxy, .* --anchors"),
    (specs(a=(1, 8, 8, 12), b=(1, 8, 8, 9), c=(1, 4, 4, 12), d=(1, 4, 4, 9)), "", "are maps of several levels"),
    (specs(b=(1, 9, 4), s=(1, 9, 3)), "ssd", "needs the anchors"),
    (specs(head=(1, 84, 8400)), "", "say --boxes with"),
    (specs(rows=(1, 9, 6)), "abcd", "'abcd' is not known"),
    (specs(rows=(1, 9, 6)), "xyxy-inches", "is not known"),
    (specs(rows=(1, 9, 6)), "-pixels", "is not known"),
    ([], "yolov8", "cannot be read as boxes: none"),
])  # fmt: skip
def test_other_outputs_are_refused(outputs: list[TensorSpec], named: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        reading_of(outputs, SIZE, named=named)
    assert re.search(words, f"{raised.value.message} {raised.value.remedy}")


@pytest.mark.parametrize(("row", "words"), [
    ([*BOX, -0.5, 1], "none from 0 to 1"),
    ([*BOX, 0.5, 1.5], "no whole numbers"),
    ([30, 30, 3, 3, 0.5, 1], "end before they begin"),
])  # fmt: skip
def test_values_that_are_no_boxes_are_refused(row: list[float], words: str) -> None:
    reading = reading_of(specs(rows=(1, 9, 6)), SIZE)
    with pytest.raises(ValueError, match=words):
        read(of(reading, rows=row), reading)
    with pytest.raises(ValueError, match="returns 3 values"):
        read(np.zeros((1, 3)), reading)


def test_files_of_detectors_are_compared_by_boxes_when_they_are_made() -> None:
    answers = {
        "boxes": np.array([[[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]]], np.float32),
        "scores": np.array([[0.9, 0.8]], np.float32),
        "classes": np.array([[1, 2]], np.float32),
    }
    turned = {name: value[:, ::-1] for name, value in answers.items()}
    fewer = {name: value[:, :1] for name, value in answers.items()}
    difference = Difference("classes")
    difference.add(answers, turned)
    assert (difference.by, difference.error, difference.agreement) == ("box", 0, 1)
    difference.add(answers, fewer)
    difference.add(answers, {**answers, "classes": answers["classes"] + 0.5})
    assert difference.agreement == pytest.approx((1 + 2 / 3 + 0) / 3) and difference.samples == 3
    assert difference.record()["warning"] == "its box is that of the float model for 56% on 3 calibration samples"
    with pytest.raises(ValueError, match="its outputs are"):
        difference.add(answers, {"boxes": answers["boxes"]})
