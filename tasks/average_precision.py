"""Average precision of detections as COCO computes it: which boxes match, and the precision at 101 recalls.

The rules are those of pycocotools' ``COCOeval`` (https://github.com/cocodataset/cocoapi) for boxes of all sizes and 100
detections a picture and class, written for many bootstrap draws at once: a draw is how often each picture counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bootstrap import Floats

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
# Detections of one class in one picture that are judged; further ones, of lower scores, are left aside.
MOST = 100
_BLOCK = 1 << 22  # weights that are held at once


def iou(boxes: Floats, others: Floats, crowd: NDArray[np.bool_] | None = None) -> Floats:
    """Return intersection over union (n, m) of boxes (n, 4) and others (m, 4), each [x1, y1, x2, y2].

    Of a `crowd` (m,), one box around many, the union is the first box alone.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    own, theirs = (np.prod(one[:, 2:] - one[:, :2], axis=1) for one in (boxes, others))
    union = own[:, None] + theirs[None] - shared
    if crowd is not None:
        union = np.where(crowd[None], own[:, None], union)
    found: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def matched(overlaps: Floats, crowd: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for detections (n,) by falling score at which thresholds each has a box, and at which that is a crowd.

    Bit t is threshold t. `overlaps` (n, m) are the IoU of detections and boxes of one class in one picture. A detection
    takes the free box of the largest IoU, and a crowd, which is never taken up, only if there is none.
    """
    hits, crowds = np.zeros(len(overlaps), np.int64), np.zeros(len(overlaps), np.int64)
    free = np.ones((len(THRESHOLDS), overlaps.shape[1]), bool)
    bits = 1 << np.arange(len(THRESHOLDS))
    rows = np.arange(len(THRESHOLDS))
    for at in np.flatnonzero((overlaps >= THRESHOLDS[0]).any(axis=1)):
        near = np.where((overlaps[at][None] >= THRESHOLDS[:, None]) & (free | crowd), overlaps[at], -1.0)
        single, many = np.where(crowd, -1.0, near), np.where(crowd, near, -1.0)
        # Of equal ones the last, as COCOeval has it.
        best = single.shape[1] - 1 - single[:, ::-1].argmax(axis=1)
        own = single[rows, best] >= 0
        free[rows[own], best[own]] = False
        of_crowd = ~own & (many.max(axis=1) >= 0)
        hits[at], crowds[at] = bits[own | of_crowd].sum(), bits[of_crowd].sum()
    return hits, crowds


def average_precision(
    weights: Floats, hits: NDArray[np.int64], crowds: NDArray[np.int64], samples: NDArray[np.intp], total: Floats
) -> Floats:
    """Return the average precision (draws, thresholds) of one class; NaN for draws without any box of it.

    Its detections (n,) are by falling score, of the picture `samples` (n,); `hits` and `crowds` are as `matched`
    returns them. `weights` (draws, pictures) say how often a picture counts, `total` (draws,) how many boxes there are.
    """
    step = max(1, _BLOCK // max(1, len(samples)))
    parts = [
        _of_draws(weights[start : start + step, samples], hits, crowds, total[start : start + step])
        for start in range(0, len(weights), step)
    ]
    return np.concatenate(parts)


def _of_draws(weights: Floats, hits: NDArray[np.int64], crowds: NDArray[np.int64], total: Floats) -> Floats:
    given = np.cumsum(weights, axis=1)
    found = np.zeros((len(weights), len(THRESHOLDS)))
    divisor = np.where(total > 0, total, np.nan)[:, None]
    for number in range(len(THRESHOLDS)):
        of_crowd = (crowds >> number) & 1
        # Only a right detection raises recall, and between two of them precision falls: the others need no value.
        right = np.flatnonzero((hits >> number) & ~of_crowd & 1)
        if not len(right):
            continue
        judged = given[:, right]
        if of_crowd.any():
            judged = judged - np.cumsum(weights * of_crowd, axis=1)[:, right]
        true = np.cumsum(weights[:, right], axis=1)
        precision = true / (judged + np.spacing(1))
        highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, np.nan_to_num(true / divisor), side="right")
        found[:, number] = (np.diff(reached, axis=1, prepend=0) * highest).sum(axis=1) / len(RECALLS)
    found[~(total > 0)] = np.nan
    return found
