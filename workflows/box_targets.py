"""The true boxes of pictures, as users give them: checked, and each with the size of its picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.picture_size import sides_of
from ..core.sanitize import shorten
from ..tasks.detection import Detection

FILLS = -1  # the class of rows that fill up


def holds_boxes(y: Any) -> bool:
    """Return whether targets are a list of boxes for each picture: dictionaries with ``boxes``."""
    return isinstance(y, list | tuple) and len(y) > 0 and all(isinstance(one, Mapping) and "boxes" in one for one in y)


def listed_boxes(y: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Return the boxes of each picture as one array (N, boxes, 6). Raises InputError naming the sample."""
    rows = []
    for at, one in enumerate(y):
        try:
            corners = np.asarray(one["boxes"], np.float64).reshape(-1, 4)
            classes = np.asarray(one["classes"] if "classes" in one else one["labels"], np.float64).reshape(-1, 1)
            crowd = np.asarray(one.get("crowd", np.zeros(len(corners))), np.float64).reshape(-1, 1)
            rows.append(np.concatenate([corners, classes, crowd], axis=1))
            if (wrong := np.flatnonzero(~(classes[:, 0] >= 0))).size:
                raise ValueError(f"box {wrong[0]} (from 0) has the class {classes[wrong[0], 0]:g}")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"sample {at} of y (from 0) has no boxes with classes: {shorten(str(error), 200)}",
                'give {"boxes": (n, 4), "classes": (n,)} for each picture, and "crowd": (n,) where there are crowds',
            ) from error
    return filled(rows)


def filled(rows: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the rows of each picture (n, …, columns) as one array, filled up with rows of class -1."""
    columns = rows[0].shape[1] if rows else 6
    array = np.zeros((len(rows), max([1, *map(len, rows)]), columns))
    array[..., 4] = -1
    for at, one in enumerate(rows):
        array[at, : len(one)] = one
    return array


def sized_boxes(y: NDArray[Any], inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Return targets (N, boxes, 5 or 6) with the width and height of their pictures (N, boxes, 8), in pixels.

    Raises InputError, naming sample and box, for boxes outside the picture, of no width or height, for classes that are
    no whole numbers from 0, and for a row that fills up, of class -1, with a box in it.
    """
    if y.ndim != 3 or y.shape[2] not in (5, 6) or y.dtype.kind not in "iuf":
        raise InputError(f"y has the shape {y.shape} of {y.dtype}, and is no list of boxes", Detection.needs)
    y = y.astype(np.float64)
    if y.shape[2] == 5:
        y = np.concatenate([y, np.zeros((*y.shape[:2], 1))], axis=2)
    there = y[..., 4] != FILLS
    shapes = [array.shape for array in inputs.values() if array.ndim in (3, 4)]
    size = next(((height, width) for shape in shapes for height, width in [_picture(shape)]), (1, 1))
    shares = bool((y[there][:, :4] <= 1).all())
    if not shares and not shapes:
        raise InputError("y has boxes in pixels, and x has no pictures", Detection.needs)
    scale = (size[1], size[0]) if shares else (1, 1)
    sized = np.concatenate([y, np.broadcast_to((size[1], size[0]), (*y.shape[:2], 2))], axis=2)
    sized[..., :4] *= np.tile(scale, 2)
    for wrong, words in wrong_boxes(sized):
        sample, box = (int(one) for one in np.argwhere(wrong)[0])
        shown = ", ".join(f"{value:g}" for value in sized[sample, box, :5])
        raise InputError(f"sample {sample} of y (from 0), box {box}: {words} [{shown}]", Detection.needs)
    return np.asarray(sized, np.float64)


def wrong_boxes(sized: NDArray[np.float64]) -> Iterable[tuple[NDArray[np.bool_], str]]:
    """Yield what is wrong with boxes (…, 8), in words, with which ones; a box may be a pixel outside its picture."""
    corners, there = sized[..., :4], sized[..., 4] != FILLS
    meant = ~there & (corners[..., 2:4] > corners[..., :2]).all(-1)
    if meant.any():
        yield meant, f"its class is {FILLS}, that of rows that fill up, and it has a box; those have zeros or {FILLS}"
    beyond = (corners[..., :2] < -1).any(-1) | (corners[..., 2:4] > sized[..., 6:8] + 1).any(-1)
    size = sized[..., 6:8]
    checks = [
        (~np.isfinite(sized).all(-1), "a number is NaN or infinite"),
        ((corners[..., 2:4] <= corners[..., :2]).any(-1), "it has no width or no height"),
        (beyond | (corners[..., :2] >= size).any(-1) | (corners[..., 2:4] <= 0).any(-1), "it is outside the picture"),
        ((sized[..., 4] != np.rint(sized[..., 4])) | (sized[..., 4] < 0), "its class is no whole number from 0"),
        (~np.isin(sized[..., 5], (0, 1)), "crowd is neither 0 nor 1"),
    ]
    for wrong, words in checks:
        if (wrong & there).any():
            yield wrong & there, words


def _picture(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) == 3:
        return shape[1], shape[2]
    return sides_of(shape)[:2]
