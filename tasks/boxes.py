"""Reads the outputs of a detector as boxes with a class and a score.

Detectors answer in several forms. `reading_of` finds out from an artifact's outputs which one it is, `read` turns the
outputs of some pictures into the one form that is scored: `ROWS` rows of [x1, y1, x2, y2, score, class], the corners as
shares of the input from 0 to 1, by falling score, filled up with zeros. Boxes without a size are none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import TensorSpec
from ..core.boxes import AnchorDecoding, BoxReading, Corners, Layout, Role, Units
from ..core.errors import InputError
from .anchors import best_classes, decoded
from .average_precision import iou
from .raw_boxes import OPEN, from_grid, hint, of_anchors, of_queries, of_scores

VALUES = 6
ROWS = 300
# Candidates of a head: boxes below this score are left aside, and those that overlap a better one of their class by
# more than this IoU, as Ultralytics' validation does by default (https://docs.ultralytics.com/modes/val/).
LEAST_SCORE, OVERLAP, CANDIDATES = 0.001, 0.7, 1000
# How far a class of a quantized output may be from a whole number: half a step of 160 classes in 8 bits.
_OFF = 0.32
FORMATS = (
    "yxyx, xyxy or cxcywh (the order of a box's numbers), yolov8, yolov5, yolox, detr or rtdetr (a head), each also "
    "with -pixels or -shares; or ssd with --anchors"
)
_HEADS: tuple[Layout, ...] = ("yolov8", "yolov5", "yolox")
_FORMS = ("yxyx", "xyxy", "cxcywh", *_HEADS, "detr", "rtdetr", "ssd")
_KNOWN = (
    "known are boxes (…, 4) with scores and classes apart, rows (N, 6) of x1, y1, x2, y2, score, class, and the heads "
    f"of YOLO, whose number of classes --labels says; say --boxes with {FORMATS}"
)
POSTPROCESS = "TFLite_Detection_PostProcess"
_POSTPROCESS_ROLES: tuple[Role, ...] = ("boxes", "classes", "scores", "count")
_NAMED: tuple[tuple[Role, str], ...] = (
    ("boxes", r"box|bbox|loc"),
    ("count", r"num|count|valid"),
    ("scores", r"score|conf|prob"),
    ("classes", r"class|label|categor|cls"),
)


class _Output(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def dtype(self) -> str: ...


def reading_of(
    outputs: Sequence[_Output],
    size: tuple[int, int],
    *,
    named: str = "",
    classes: int = 0,
    corners: Corners = "yxyx",
    operators: Sequence[str] = (),
    decoding: AnchorDecoding | None = None,
) -> BoxReading:
    """Return how `outputs` are read as boxes. Raises InputError where that cannot be told.

    Args:
        outputs: those of the file, with the batch of 1 in their shapes; -1 is an open size.
        size: height and width of the input, in pixels.
        named: one of `FORMATS`, which the user gives; empty: found out.
        classes: how many labels are known; 0: none.
        corners: the order of corners where neither the user nor the file says it.
        operators: those of the file.
        decoding: the anchors of encodings, and what the user says of them; only with the form ``ssd``.
    """
    form, units = checked_format(named)
    parts = [(one, tuple(one.shape)) for one in outputs]
    head = next((one for one in _HEADS if one == form), None)
    order: Corners | None = "yxyx" if form == "yxyx" else "xyxy" if form == "xyxy" else None
    order = "cxcywh" if form == "cxcywh" else order
    layout: Layout = "outputs"
    if form == "ssd":
        return of_anchors(parts, size, classes, decoding)
    apart = of_queries(parts, size, form, units, classes) or of_scores(parts, size, order, units, classes)
    if apart is not None:
        return apart
    if head is None and POSTPROCESS in operators and len(parts) == 4:
        shapes = [(OPEN, 4), (OPEN,), (OPEN,), (1,)]
        found = [(one, role, shape) for (one, _), role, shape in zip(parts, _POSTPROCESS_ROLES, shapes, strict=True)]
        found = [(one, role, _sizes(one.shape, shape)) for one, role, shape in found]
    elif head is None and len(parts) > 1 and (several := _several(parts)):
        found = several
    elif (chosen := _one(parts, head, classes)) is not None:
        layout, one, shape = chosen
        found = [(one, "rows" if layout == "rows" else "head", shape)]
        order = (order or "xyxy") if layout == "rows" else "cxcywh"
    else:
        shown = ", ".join(f"{one.name} {tuple(one.shape)}" for one, _ in parts) or "none"
        raise InputError(f"the outputs cannot be read as boxes: {shown}", hint(parts) or _KNOWN)
    if "detection_boxes" in (one.name for one, *_ in found):  # TensorFlow's detectors, whatever they were converted to
        corners = "yxyx"
    return BoxReading(
        layout,
        order or corners,
        units,
        tuple(one.name for one, *_ in found),
        tuple(role for _, role, _ in found),
        tuple(shape for *_, shape in found),
        *size,
    )


def read(answers: NDArray[Any], reading: BoxReading) -> NDArray[np.float32]:
    """Return boxes (n, ROWS × VALUES) of answers (n, values), the judged outputs one behind the other.

    Raises ValueError, with the reason in words, for values that are no boxes.
    """
    if answers.ndim != 2 or answers.shape[1] != sum(reading.values):
        raise ValueError(f"it returns {answers.shape[-1]} values, and the outputs {', '.join(reading.outputs)} have "
                         f"{sum(reading.values)}")  # fmt: skip
    parts = np.split(answers.astype(np.float64), np.cumsum(reading.values)[:-1], axis=1)
    shaped = [part.reshape(len(answers), *shape) for part, shape in zip(parts, reading.shapes, strict=True)]
    if reading.layout == "outputs":
        boxes, scores, classes = _apart(shaped, reading.roles)
    elif reading.decoding is not None:
        boxes = decoded(shaped[reading.roles.index("encodings")], reading.decoding)
        logits = shaped[reading.roles.index("logits")]
        scores, classes = best_classes(logits, reading.decoding.scores, reading.decoding.background)
    elif reading.layout == "scored":
        boxes, values = (shaped[at] for at in (0, 1))
        background = "first" if reading.roles[1] == "scores by class behind a background" else "none"
        scores, classes = best_classes(values, "", background)
    elif reading.layout in ("detr", "rtdetr"):
        boxes, logits = (shaped[reading.roles.index(role)] for role in ("boxes", "logits"))
        softmax = reading.layout == "detr"
        scores, classes = best_classes(logits, "softmax" if softmax else "sigmoid", "last" if softmax else "none")
    elif reading.layout == "rows":
        boxes, scores, classes = shaped[0][..., :4], shaped[0][..., 4], shaped[0][..., 5]
    else:
        values = from_grid(shaped[0], reading) if reading.layout == "yolox" else shaped[0]
        boxes, scores, classes = _head(values, reading.layout)
    _check(scores, classes)
    classes = np.rint(classes)
    boxes = _corners(boxes, scores, reading)
    scores = np.where((boxes[..., 2:] > boxes[..., :2]).all(axis=-1), scores, 0.0)
    rows = np.zeros((len(answers), ROWS, VALUES), np.float32)
    for row, box, score, of in zip(rows, boxes, scores, classes, strict=True):
        kept = np.flatnonzero(score > 0)
        if reading.decoding is not None:
            kept = _suppressed(box, score, of, reading.decoding.score, reading.decoding.iou)
        elif reading.overlaps:
            kept = _suppressed(box, score, of)
        kept = kept[np.argsort(-score[kept], kind="stable")][:ROWS]
        row[: len(kept)] = np.column_stack([box[kept], score[kept], of[kept]])
    return rows.reshape(len(answers), -1)


def certain_boxes(answers: Mapping[str, NDArray[Any]]) -> NDArray[np.float32] | None:
    """Return the boxes (1, ROWS × VALUES) of one sample's outputs by name; None where these are not certainly boxes."""
    specs = [TensorSpec(name, tuple(value.shape), str(value.dtype)) for name, value in answers.items()]
    try:
        # An IoU is the same in any order of corners and in any unit: those of the input are not needed.
        reading = reading_of(specs, (1, 1))
        if not reading.is_certain:
            return None
        return read(np.concatenate([answers[name].reshape(1, -1) for name in reading.outputs], axis=1), reading)
    except (InputError, ValueError):
        return None


def checked_format(named: str) -> tuple[str, Units]:
    """Return a form of `FORMATS` and its unit, each empty where it is not said. Raises InputError for another one."""
    form, dash, units = named.partition("-")
    if not named or form in _FORMS:
        if units == "pixels":
            return form, "pixels"
        if units == "shares":
            return form, "shares"
        if not dash:
            return form, ""
    raise InputError(f"--boxes {named[:80]!r} is not known", f"give {FORMATS}, e.g. --boxes xyxy-pixels")


def _sizes(shape: Sequence[int], most: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the batch, in the form of `most`, which fills in open sizes."""
    known = tuple(shape)[-len(most) :] if len(shape) >= len(most) else ()
    return tuple(have if have > 0 else fill for have, fill in zip(known or most, most, strict=True))


def _several(parts: Sequence[tuple[_Output, tuple[int, ...]]]) -> list[tuple[_Output, Role, tuple[int, ...]]]:
    """Return the outputs that are boxes, scores, classes and their count, with role and shape; none where unclear."""
    named = {one.name: _role(one.name) for one, _ in parts}
    boxes = [(one, shape) for one, shape in parts if len(shape) in (2, 3) and shape[-1] == 4]
    if len(boxes) > 1:
        boxes = [pair for pair in boxes if named[pair[0].name] == "boxes" and "raw" not in pair[0].name.lower()]
    if len(boxes) != 1:
        return []
    ((box, shape),) = boxes
    count = shape[-2] if shape[-2] > 0 else OPEN
    found: list[tuple[_Output, Role, tuple[int, ...]]] = [(box, "boxes", (count, 4))]
    lists = []
    for one, sides in parts:
        without = sides[1:] if len(shape) == 3 else sides  # the batch
        if one is not box and [side for side in without if side != 1] == [side for side in (shape[-2],) if side != 1]:
            lists.append(one)
        elif one is not box and all(side == 1 for side in without):
            found.append((one, "count", (1,)))
    if len(lists) > 2:
        lists = [one for one in lists if named[one.name] in ("scores", "classes")]
    roles = [named[one.name] for one in lists]
    whole = ["int" in one.dtype and getattr(one, "scale", None) is None for one in lists]
    if len(lists) != 2:
        return []
    if any(whole) and not all(whole):
        roles = ["classes" if one else "scores" for one in whole]
    elif set(roles) != {"scores", "classes"}:
        roles = ["scores or classes"] * 2
    return [*found, *((one, role, (count,)) for one, role in zip(lists, roles, strict=True))]


def _role(name: str) -> Role:
    return next((role for role, pattern in _NAMED if re.search(pattern, name.lower())), "scores or classes")


def _one(
    parts: Sequence[tuple[_Output, tuple[int, ...]]], head: Layout | None, classes: int
) -> tuple[Layout, _Output, tuple[int, ...]] | None:
    """Return the layout, the output and its shape where one output says everything."""
    flat = [(one, tuple(sides[1:] if len(sides) == 3 else sides)) for one, sides in parts if len(sides) in (2, 3)]
    if head is not None:
        before = 4 if head == "yolov8" else 5  # of the scores of classes
        fits = [(one, shape) for one, shape in flat if min(shape) > before]
        if fits and classes not in (0, found := min(fits[0][1]) - before):
            raise InputError(
                f"the head {fits[0][0].name} {fits[0][1]} has scores of {found} classes when it is read as {head}, and "
                f"{classes} are known",
                "give --labels with a line for each, or another --boxes; heads that find masks or key points as well "
                "are not read: export the detector alone",
            )
        return (head, *fits[0]) if fits else None
    rows = [(one, shape) for one, shape in flat if shape[-1] == VALUES and shape[0] <= OPEN]
    if rows:
        one, shape = rows[0]
        return "rows", one, (shape[0] if shape[0] > 0 else OPEN, VALUES)
    for one, shape in flat:
        few = min(shape)
        if classes and few in (classes + 4, classes + 5) and max(shape) > few:
            return ("yolov8" if few == classes + 4 else "yolov5"), one, shape
    return None


def _apart(parts: Sequence[NDArray[Any]], roles: Sequence[Role]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    by_role = {role: part for role, part in zip(roles, parts, strict=True) if role != "scores or classes"}
    unclear = [part for role, part in zip(roles, parts, strict=True) if role == "scores or classes"]
    if unclear:
        # Classes are whole numbers. Scores that all are, are 0 or 1, and so may classes be.
        whole = [bool((part == np.rint(part)).all()) for part in unclear]
        if whole[0] == whole[1]:
            whole = [bool(part.max(initial=0) > 1) for part in unclear]
            if whole[0] == whole[1] and any(part.any() for part in unclear):
                raise ValueError("which of its outputs are scores and which are classes cannot be told from names or "
                                 "values")  # fmt: skip
            whole = whole if any(whole) else [True, False]
        by_role["classes"], by_role["scores"] = unclear if whole[0] else unclear[::-1]
    scores = by_role["scores"]
    if "count" in by_role:
        behind = np.arange(scores.shape[1])[None] >= by_role["count"].reshape(len(scores), 1)
        scores = np.where(behind, 0.0, scores)
    return by_role["boxes"], scores, by_role["classes"]


def _head(values: NDArray[Any], layout: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return boxes, scores and classes of a head (n, 4 + classes, candidates) or with the axes in the other order.

    YOLOv5's has a further value behind the box, with which the score of each class is multiplied.
    """
    if values.shape[1] < values.shape[2]:
        values = values.transpose(0, 2, 1)
    scores = values[..., 4:] if layout == "yolov8" else values[..., 4:5] * values[..., 5:]
    if (values[..., 2:4] < 0).any():
        raise ValueError(
            "it has widths or heights below 0; YOLOX's head has logarithms there, which --boxes yolox reads"
        )
    classes = scores.argmax(axis=2)
    return values[..., :4], scores.max(axis=2), classes.astype(np.float64)


def _check(scores: NDArray[Any], classes: NDArray[Any]) -> None:
    if scores.min(initial=0) < 0:
        raise ValueError(f"its scores go down to {scores.min():.3g}, and are none from 0 to 1")
    given = classes[scores > 0]
    if (np.abs(given - np.rint(given)) > _OFF).any() or given.min(initial=0) < -_OFF:
        raise ValueError("its classes are no whole numbers from 0")


def _corners(boxes: NDArray[Any], scores: NDArray[Any], reading: BoxReading) -> NDArray[Any]:
    """Return boxes as [x1, y1, x2, y2] in shares of the input. Raises ValueError for most boxes without a size."""
    given = scores > 0
    if reading.corners == "yxyx":
        boxes = boxes[..., [1, 0, 3, 2]]
    elif reading.corners == "cxcywh":
        half = boxes[..., 2:] / 2
        boxes = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)
    units = reading.units
    if not units and given.any():
        units = "pixels" if np.median(np.abs(boxes[given]).max(axis=-1)) > 2 else "shares"
    if units == "pixels":
        boxes = boxes / np.array([reading.width, reading.height, reading.width, reading.height])
    reversed_ = (boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])
    if reversed_[given].mean() > 0.5 if given.any() else False:
        raise ValueError(f"most of its boxes end before they begin when they are read as {reading.corners}")
    return boxes


def _suppressed(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any],
    least: float = LEAST_SCORE,
    overlap: float = OVERLAP,
) -> NDArray[np.intp]:
    """Return the candidates that are kept: no better one of the same class overlaps them by more than `overlap`."""
    order = np.flatnonzero((scores >= least) & (scores > 0))
    order = order[np.argsort(-scores[order], kind="stable")][:CANDIDATES]
    near = (iou(boxes[order], boxes[order]) > overlap) & (classes[order][:, None] == classes[order][None])
    alive = np.ones(len(order), bool)
    for at in range(len(order)):
        if alive[at]:
            alive[at + 1 :] &= ~near[at, at + 1 :]
    kept: NDArray[np.intp] = order[alive]
    return kept
