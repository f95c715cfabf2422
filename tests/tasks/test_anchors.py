"""Anchors, the boxes that are decoded with them, and how users give them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import TensorSpec
from edgeproof.core.boxes import AnchorDecoding
from edgeproof.core.errors import InputError
from edgeproof.tasks.anchors import AnchorGrid, decoded, packed, unpacked
from edgeproof.tasks.boxes import ROWS, VALUES, read, reading_of
from edgeproof.workflows.anchors import anchors_of

ROW = np.array([[0.5, 0.25, 0.2, 0.4]], np.float32)


def specs(**shapes: tuple[int, ...]) -> list[TensorSpec]:
    return [TensorSpec(name, shape, "float32") for name, shape in shapes.items()]


def decoding(rows: np.ndarray, **settings: Any) -> AnchorDecoding:
    return AnchorDecoding("test", len(rows), packed(rows), **settings)


def test_the_grid_is_that_of_ssd_mobilenet_and_of_blazeface() -> None:
    """Of both the numbers are known: 1,917 anchors of 300 × 300 pixels, and 896 of 128 × 128."""
    mobilenet = AnchorGrid(strides=(16, 32, 64, 128, 256, 512), reduce_boxes_in_lowest_layer=True).rows((300, 300))
    assert len(mobilenet) == 1917
    first = (0.5 / 19, 0.5 / 19)
    sizes = [(0.1, 0.1), (0.2 / math.sqrt(2), 0.2 * math.sqrt(2)), (0.2 * math.sqrt(2), 0.2 / math.sqrt(2))]
    assert mobilenet[:3] == pytest.approx(np.array([(*first, *size) for size in sizes]), abs=1e-6)
    second = mobilenet[19 * 19 * 3 :]
    assert second[0] == pytest.approx([0.05, 0.05, 0.35, 0.35], abs=1e-6), "scales are evenly spread from .2 to .95"
    assert second[5] == pytest.approx([0.05, 0.05, math.sqrt(0.35 * 0.5), math.sqrt(0.35 * 0.5)], abs=1e-6)
    assert mobilenet[-1] == pytest.approx([0.5, 0.5, math.sqrt(0.95), math.sqrt(0.95)], abs=1e-6)

    face = AnchorGrid(
        strides=(8, 16, 16, 16), num_layers=4, min_scale=0.1484375, max_scale=0.75, aspect_ratios=(1.0,),
        fixed_anchor_size=True,
    ).rows((128, 128))  # fmt: skip
    assert len(face) == 896 and set(face[:, 2:].ravel()) == {1.0}
    assert face[:3, :2] == pytest.approx(np.array([[1, 1], [1, 1], [1, 3]]) / 32), "two at each of 16 × 16 places"
    assert face[512:518, :2] == pytest.approx(np.full((6, 2), 1 / 16)), "six at each of 8 × 8: layers of one stride"
    wide = AnchorGrid(strides=(8,), aspect_ratios=(1.0,), interpolated_scale_aspect_ratio=0).rows((16, 32))
    assert wide[1].tolist() == pytest.approx([0.25, 0.375, 0.575, 0.575])


def test_encodings_are_decoded_by_the_formula_of_the_operator_and_by_mediapipes() -> None:
    encoded = np.array([[[1.0, -2.0, 0.5, 1.0, 99.0]]])
    y, x = 0.5 + 0.1 * 0.2, 0.25 - 0.2 * 0.4
    h, w = 0.2 * math.exp(0.1), 0.4 * math.exp(0.2)
    assert decoded(encoded, decoding(ROW))[0, 0] == pytest.approx([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    linear = decoding(ROW, sizes="linear", order="xywh", scales=(128.0, 128.0, 64.0, 32.0))
    given = np.array([[[-2.0, 1.0, 16.0, 32.0]]])  # x, y, width, height
    y, x, h, w = 0.5 + 0.2 / 128, 0.25 - 2 * 0.4 / 128, 0.2 * 32 / 64, 0.4 * 16 / 32
    assert decoded(given, linear)[0, 0] == pytest.approx([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    assert np.isfinite(decoded(np.full((1, 1, 4), 1e30), decoding(ROW))).all()


@pytest.mark.parametrize(("settings", "values", "score", "number"), [
    ({"background": "first"}, [9.0, 1.0, 2.0], 1 / (1 + math.exp(-2)), 1),
    ({"background": "last"}, [3.0, 1.0, 9.0], 1 / (1 + math.exp(-3)), 0),
    ({"background": "none"}, [3.0, 1.0, 9.0], 1 / (1 + math.exp(-9)), 2),
    ({"background": "first", "scores": "softmax"}, [1.0, 1.0, 2.0], math.e / (2 + math.e), 1),
    ({"background": "first"}, [0.1, 0.25, 0.5], 0.5, 1),
])  # fmt: skip
def test_scores_and_the_column_of_the_background(
    settings: dict[str, Any], values: list[float], score: float, number: int
) -> None:
    rows = np.concatenate([ROW, ROW])
    reading = reading_of(specs(c=(1, 2, 3), b=(1, 2, 1, 4)), (8, 8), named="ssd", decoding=decoding(rows, **settings))
    low = [0.0 if "scores" in settings else -99.0, -99.0, -99.0] if min(values) > 0.1 else [0.0] * 3
    found = read(np.concatenate([np.zeros(8), values, low])[None], reading).reshape(ROWS, VALUES)
    assert found[0].tolist() == pytest.approx([0.05, 0.4, 0.45, 0.6, score, number], abs=1e-6) and not found[1:].any()


def test_which_outputs_are_encoded_and_which_columns_are_classes() -> None:
    rows = decoding(np.repeat(ROW, 9, axis=0))
    faces = reading_of(specs(classificators=(1, 9, 1), regressors=(1, 9, 16)), (8, 8), named="ssd", decoding=rows)
    assert faces.outputs == ("regressors", "classificators") and faces.values == (144, 9)
    assert faces.decoding is not None and faces.decoding.background == "none"
    wide = specs(raw_detection_scores=(1, 9, 6), raw_detection_boxes=(1, 9, 4), other=(1, 5))
    for classes, column in ((0, "first"), (5, "first"), (6, "none")):
        found = reading_of(wide, (8, 8), named="ssd", decoding=rows, classes=classes)
        assert found.outputs[0] == "raw_detection_boxes" and found.decoding is not None
        assert found.decoding.background == column
    both = reading_of(specs(scores=(1, 9, 4), boxes=(1, 9, 4)), (8, 8), named="ssd", decoding=rows)
    assert both.outputs == ("boxes", "scores")
    for outputs, classes, given, words in (
        (wide, 3, rows, "6 columns, and 3 classes are known"),
        (wide, 6, replace(rows, background="last"), "6 columns with background=last, and 6 classes"),
        (specs(a=(1, 9, 4), b=(1, 9, 4)), 0, rows, "no two outputs are encoded boxes"),
        (specs(a=(1, 8, 4), b=(1, 8, 2)), 0, rows, r"for 9 anchors \(test\): a \(1, 8, 4\)"),
        (specs(a=(1, 9, 4), b=(1, 9, 2)), 0, None, "needs the anchors"),
    ):
        with pytest.raises(InputError, match=words):
            reading_of(outputs, (8, 8), named="ssd", decoding=given, classes=classes)


@pytest.mark.parametrize(("given", "words"), [
    ("strides=8:16,num_layers=3", "num_layers is 3, and there are 2 strides"),
    ("strides=0", "strides are pixels"), ("strides=8.5", "strides has '8.5'"), ("min_scale=0.1", "neither anchors nor"),
    ("strides=8,min_scale=2,max_scale=1", "no shares of the input"), ("strides=8,stride=9", "does not know stride"),
    ("strides=8,aspect_ratios=0", "width by height"),
    ("strides=8,fixed_anchor_size=maybe", "fixed_anchor_size is 'maybe'"),
    ("strides=8,scales=10:10", "scales is 10:10"), ("strides=8,iou=2", "iou is 2"), ("strides=8,iou", "not KEY=VALUE"),
    ("strides=8,order=yx", "order is 'yx'"), ("strides=8,strides=9", "strides twice"), ("strides=nan", "has 'nan'"),
    ("missing.npy", "there is no file missing.npy"), (".npy/", "neither a .npy"), ("folder.npy", "no file folder.npy"),
    ("anchors.txt", "neither a .npy nor a .csv"),
    ("word.csv", "line 2 is 'a,b,c,d'"),
    ("flat.csv", "row 1 .from 0. has no height"), ("pixels.csv", "anchors in pixels"),
    ("empty.csv", "no list of anchors"),
    ("good.csv,strides=8", "both anchors and the parameter strides"), ("broken.npy", "cannot be read"),
    ({"anchors": [[1, 2]]}, "no list of anchors"), ({"anchors": [[1, 2], [3]]}, "no array"), (7, "no list of anchors"),
])  # fmt: skip
def test_wrong_anchors_are_named(given: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.npy").mkdir()
    good = "0.5,0.5,0.2,0.2\n"
    files = {"good.csv": good, "word.csv": good + "a,b,c,d\n", "flat.csv": good + "0.5,0.5,0,1\n", "empty.csv": "\n",
             "pixels.csv": "50,50,20,20\n", "broken.npy": "x", "anchors.txt": good}  # fmt: skip
    for name, text in files.items():
        Path(name).write_text(text)
    with pytest.raises(InputError, match=words) as raised:
        anchors_of(given)
    assert raised.value.remedy
    with pytest.raises(InputError, match="more than 1,048,576 anchors"):
        AnchorGrid((1,)).rows((4096, 4096))
    with pytest.raises(ValueError, match="not 2 rows"):
        unpacked(replace(decoding(ROW), count=2))
    with pytest.raises(ValueError, match="cannot be read"):
        unpacked(replace(decoding(ROW), anchors="AAAA"))


def test_the_queries_of_transformers_are_read_with_and_without_a_column_of_no_object() -> None:
    detr = specs(logits=(1, 5, 4), pred_boxes=(1, 5, 4))
    reading = reading_of(detr, (64, 128))
    assert (reading.layout, reading.roles, reading.units) == ("detr", ("boxes", "logits"), "shares")
    assert reading_of(detr, (64, 128), classes=4).layout == "rtdetr" and "decoded as detr" in reading.words
    assert reading_of(specs(a=(1, 5, 4), b=(1, 5, 7)), (8, 8), named="rtdetr").outputs == ("a", "b")
    logits = np.full((5, 4), -9.0)
    logits[0], logits[1] = [1, 2, 0, 0], [0, 0, 0, 5]
    queries = np.tile([0.5, 0.5, 0.2, 0.4], (5, 1))
    answer = np.concatenate([queries.ravel(), logits.ravel()])[None]
    found = read(answer, reading).reshape(ROWS, VALUES)
    share = math.exp(2) / (math.exp(1) + math.exp(2) + 2)
    assert found[0].tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7, share, 1], abs=1e-6)
    named = read(answer, reading_of(detr, (64, 128), named="rtdetr")).reshape(ROWS, VALUES)
    assert named[0, 4:].tolist() == pytest.approx([1 / (1 + math.exp(-5)), 3])
