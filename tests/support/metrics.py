"""Metrics computed in the plainest way, to compare the product's with."""

from __future__ import annotations

import numpy as np


def average_precision(scores: np.ndarray, right: np.ndarray) -> float:
    """Sum over the distinct thresholds of precision times gained recall, by definition."""
    total, recall = 0.0, 0.0
    for least in sorted(set(scores.tolist()), reverse=True):
        given = scores >= least
        gained = right[given].sum() / right.sum()
        total += (gained - recall) * right[given].mean()
        recall = gained
    return float(total)


def mean_iou(answers: np.ndarray, targets: np.ndarray, void: int) -> dict[int, float]:
    """The IoU of each class that occurs."""
    judged = targets != void
    each = {}
    for number in np.unique(np.concatenate([answers[judged], targets[judged]])):
        one, other = (answers == number) & judged, (targets == number) & judged
        each[int(number)] = float((one & other).sum() / (one | other).sum())
    return each
