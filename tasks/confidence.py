"""How sure a classifier's answers are, and how far that is from how often they are right (calibration)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.class_figures import Calibration
from ..core.statistics import paired_loss

# Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks", ICML: 15 bins of equal width.
BINS = 15
_SIMULATIONS = 200
_CHUNK = 2**20


def confidences(answers: NDArray[Any]) -> NDArray[np.float64]:
    """Return the confidence of each answer (samples, classes) in its top class: (samples,), from 0 to 1.

    Values from 0 to 1 are probabilities (of quantized files their sum is not quite 1); others are logits.
    """
    values = np.asarray(answers)
    top: NDArray[np.float64] = values.max(axis=-1).astype(np.float64)
    if values.min(initial=0.0) >= 0 and top.max(initial=0.0) <= 1:
        return top
    shares: NDArray[np.float64] = np.empty_like(top)
    step = max(1, _CHUNK // values.shape[-1])
    for start in range(0, len(top), step):
        part = slice(start, start + step)
        shares[part] = 1 / np.exp(values[part].astype(np.float64) - top[part, None]).sum(axis=-1)
    return shares


def calibration(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration:
    """Return the calibration of answers with these confidences, `right` or not; both are (samples,), at least one.

    There is no interval: by simulation those of the bootstrap cover the true error in half of the cases. Instead
    samples are drawn that are right as often as the confidences say, and the error of those is the yardstick
    (consistency resampling: Bröcker and Smith 2007, "Increasing the reliability of reliability diagrams", Weather and
    Forecasting 22).
    """
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    gaps = sure - right
    rng = np.random.default_rng(0)
    by_chance = [_error(bins, sure - (rng.random(len(sure)) < sure)) for _ in range(_SIMULATIONS)]
    over = paired_loss(sure, right)
    return Calibration(_error(bins, gaps), float(np.quantile(by_chance, 0.95)), BINS, *_bounded(over))


def _error(bins: NDArray[np.int64], gaps: NDArray[np.float64]) -> float:
    return min(1.0, float(np.abs(np.bincount(bins, gaps, BINS)).sum() / len(gaps)))


def _bounded(interval: tuple[float, float, float]) -> tuple[float, float, float]:
    value, low, high = (max(-1.0, min(1.0, one)) for one in interval)
    return value, low, high
