"""Outputs that are no boxes yet: encodings relative to anchors, candidates with a score for each class, and queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

import numpy as np

from ..core.boxes import AnchorDecoding, Background, BoxReading, Corners, Layout, Role, Units
from ..core.errors import InputError
from .anchors import MOST_EXPONENT, Floats


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Output = TypeVar("Output", bound=_Named)
Parts = Sequence[tuple[Output, tuple[int, ...]]]
OPEN = 1000  # what an output of an open size is read up to
_ENCODED, _SCORED = (
    re.compile(r"box|loc|regress|encod|coord", re.I),
    re.compile(r"score|class|logit|conf|prob|cls", re.I),
)
_ANCHORS = (
    "give --anchors FILE.npy or FILE.csv (rows of ycenter, xcenter, height, width), or the parameters of the model's "
    "anchors, e.g. --anchors strides=8:16:16:16,min_scale=0.15,max_scale=0.75,aspect_ratios=1"
)


def of_anchors(
    parts: Parts[Output], size: tuple[int, int], classes: int, decoding: AnchorDecoding | None
) -> BoxReading:
    """Return how encodings (1, N, 4 or more) and scores (1, N, columns) relative to N anchors are read.

    `classes` is how many labels are known, 0: none. Raises InputError where there are no anchors, no such outputs, or
    columns that are not those classes, with or without one for the background.
    """
    if decoding is None:
        raise InputError("--boxes ssd needs the anchors that boxes are relative to", _ANCHORS)
    found = [(one, wide) for one, shape in parts if (wide := _columns(shape, decoding.count))]
    encoded = [pair for pair in found if pair[1] >= 4]
    if len(encoded) > 1:
        named = [pair for pair in encoded if _ENCODED.search(pair[0].name) and not _SCORED.search(pair[0].name)]
        encoded = named if len(named) == 1 else [pair for pair in encoded if pair[1] == 4]
    if len(encoded) != 1 or len(found) != 2:
        shown = ", ".join(f"{one.name} {shape}" for one, shape in parts) or "none"
        raise InputError(
            f"no two outputs are encoded boxes (1, {decoding.count}, 4) and scores (1, {decoding.count}, classes) for "
            f"{decoding.count} anchors ({decoding.source}): {shown}",
            _ANCHORS + "; levels in outputs of their own are joined before the file is made",
        )
    ((box, values),) = encoded
    score, columns = next(pair for pair in found if pair[0] is not box)
    return BoxReading(
        "ssd",
        "yxyx",
        "shares",
        (box.name, score.name),
        ("encodings", "logits"),
        ((decoding.count, values), (decoding.count, columns)),
        *size,
        decoding=replace(decoding, background=_background(decoding, columns, classes)),
    )


def of_queries(parts: Parts[Output], size: tuple[int, int], form: str, units: Units, classes: int) -> BoxReading | None:
    """Return how the outputs of DETR (Carion et al. 2020) are read, a box and logits for each query; None for others.

    They are recognized by names like ``pred_boxes`` and ``logits``. DETR's last logit says that there is no object;
    RT-DETR and Deformable DETR have a sigmoid for each class, and no such column.
    """
    if form not in ("", "detr", "rtdetr"):
        return None
    pair = _candidates(parts)
    if pair is None:
        return None
    (box, shape), (score, sides) = pair
    if not form and not (re.search("pred_boxes", box.name, re.I) and re.search("logit", score.name, re.I)):
        return None
    layout: Layout = "rtdetr" if form == "rtdetr" or (not form and classes == sides[1]) else "detr"
    if layout == "detr" and sides[1] < 2:
        return None
    outputs = (box.name, score.name)
    return BoxReading(layout, "cxcywh", units or "shares", outputs, ("boxes", "logits"), (shape, sides), *size)


def of_scores(
    parts: Parts[Output], size: tuple[int, int], order: Corners | None, units: Units, classes: int
) -> BoxReading | None:
    """Return how boxes (1, N, 4) and scores (1, N, classes) are read, with or without a background in front.

    None for other outputs, and where the user does not say the order of a box's numbers: they may be encodings.
    """
    pair = _candidates(parts) if order else None
    if pair is None or order is None:
        return None
    (box, shape), (score, sides) = pair
    if classes not in (0, sides[1], sides[1] - 1):
        raise InputError(
            f"the scores have {sides[1]} columns, and {classes} classes are known",
            f"give --labels with {sides[1]} lines, or {sides[1] - 1} where the first column is the background",
        )
    role: Role = "scores by class" if classes in (0, sides[1]) else "scores by class behind a background"
    return BoxReading("scored", order, units, (box.name, score.name), ("boxes", role), (shape, sides), *size)


def from_grid(values: Floats, reading: BoxReading) -> Floats:
    """Return YOLOX's head (n, candidates, 5 + classes), or with the axes in the other order, with boxes in pixels.

    Its centres are in cells of grids of 8, 16 and 32 pixels, one behind the other, and its sizes are logarithms
    (Ge et al. 2021; https://github.com/Megvii-BaseDetection/YOLOX, ``demo_postprocess``). Raises ValueError for another
    number of candidates.
    """
    if values.shape[1] < values.shape[2]:
        values = values.transpose(0, 2, 1)
    cells = []
    for stride in (8, 16, 32):
        y, x = np.meshgrid(np.arange(reading.height // stride), np.arange(reading.width // stride), indexing="ij")
        cells.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=-1))
    places = np.concatenate(cells)
    if len(places) != values.shape[1]:
        raise ValueError(f"it has {values.shape[1]} candidates, and YOLOX has {len(places)} for this input")
    strides = places[:, 2:]
    centres = (values[..., :2] + places[:, :2]) * strides
    sizes = np.exp(np.minimum(values[..., 2:4], MOST_EXPONENT)) * strides
    return np.concatenate([centres, sizes, values[..., 4:]], axis=-1)


def hint(parts: Parts[Output]) -> str:
    """Return what to do with outputs that are no boxes as they are, where they look like some; else an empty text."""
    if (pair := _candidates(parts)) is not None:
        (box, _), (score, _) = pair
        return (
            f"{box.name} and {score.name} look like a box and scores of each class for many candidates: say --boxes "
            "xyxy, yxyx or cxcywh where they are boxes, --boxes detr or rtdetr where they are a transformer's queries, "
            "and --anchors FILE where they are encodings relative to anchors (`edgeproof docs tasks`)"
        )
    if sum(len(shape) in (4, 5) for _, shape in parts) > 1:
        return (
            "they are maps of several levels, before boxes are decoded: put the model's own decoding into the file "
            "(with its suppression, or joined to boxes (1, N, 4) and scores (1, N, classes) for --boxes or --anchors), "
            "and export it again"
        )
    return ""


def _candidates(
    parts: Parts[Output],
) -> tuple[tuple[Output, tuple[int, ...]], tuple[Output, tuple[int, ...]]] | None:
    """Return boxes (N, 4) and scores (N, classes) of N candidates, with the shape of each; None for other outputs."""
    flat = [(one, tuple(shape[1:] if len(shape) == 3 else shape)) for one, shape in parts]
    tables = [(one, (sides[0] if sides[0] > 0 else OPEN, sides[1])) for one, sides in flat if len(sides) == 2]
    tables = [(one, sides) for one, sides in tables if sides[1] > 0]
    boxes = [pair for pair in tables if pair[1][1] == 4]
    if len(boxes) > 1:
        boxes = [pair for pair in boxes if _ENCODED.search(pair[0].name) and not _SCORED.search(pair[0].name)]
    if len(boxes) != 1:
        return None
    (box,) = boxes
    others = [pair for pair in tables if pair[0] is not box[0] and pair[1][0] == box[1][0] > 1]
    return (box, others[0]) if len(others) == 1 else None


def _columns(shape: tuple[int, ...], count: int) -> int:
    """Return how many values an output has for each of `count` anchors; 0 for another one."""
    sides = [side for side in (shape[1:] if len(shape) > 2 or shape[:1] == (1,) else shape) if side != 1]
    return (sides[1] if len(sides) == 2 else 1) if len(sides) in (1, 2) and sides[0] == count else 0


def _background(decoding: AnchorDecoding, columns: int, classes: int) -> Background:
    """Return which column is the background: what the user says, what the number of classes tells, else the first."""
    said = decoding.background
    if not said and classes not in (0, columns, columns - 1):
        raise InputError(
            f"the scores have {columns} columns, and {classes} classes are known",
            f"give --labels with {columns} lines, or {columns - 1} where a column is the background",
        )
    if not said:
        return "none" if columns in (1, classes) else "first"
    free = columns - (said != "none")
    if free < 1 or (classes and free != classes):
        known = f"{classes} classes are known" if classes else "none is left for a class"
        raise InputError(
            f"the scores have {columns} columns with background={said}, and {known}",
            "say which column is the background (background=first, last or none), and --labels with a line a class",
        )
    return said
