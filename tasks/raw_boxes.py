"""Outputs that are no boxes yet: encodings relative to anchors, and the queries of transformers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from ..core.boxes import AnchorDecoding, Background, BoxReading, Layout, Units
from ..core.errors import InputError


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Output = TypeVar("Output", bound=_Named)
Parts = Sequence[tuple[Output, tuple[int, ...]]]
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
    flat = [(one, tuple(shape[1:] if len(shape) == 3 else shape)) for one, shape in parts]
    for box, shape in flat:
        if len(shape) != 2 or shape[1] != 4 or not (form or re.search(r"pred_boxes", box.name, re.I)):
            continue
        others = [
            (one, sides)
            for one, sides in flat
            if one is not box and len(sides) == 2 and sides[0] == shape[0] > 0 and sides[1] > 0
        ]
        logits = [pair for pair in others if re.search(r"logit", pair[0].name, re.I)]
        if not logits and form:
            logits = [pair for pair in others if len(others) == 1]
        if len(logits) != 1:
            continue
        ((score, sides),) = logits
        layout: Layout = "rtdetr" if form == "rtdetr" or (not form and classes == sides[1]) else "detr"
        outputs = (box.name, score.name)
        return BoxReading(layout, "cxcywh", units or "shares", outputs, ("boxes", "logits"), (shape, sides), *size)
    return None


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
