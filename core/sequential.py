"""Intervals from blocks, and repeated looks at growing data: what the bench needs to stop as soon as it is certain.

A block is a measurement with fresh processes. Blocks are independent of each other, the rounds inside one are not, so
an interval is Student's over the blocks' values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import atan, cos, pi, sin, sqrt
from typing import NamedTuple

import numpy as np

from .statistics import CONFIDENCE

GROWTH = 1.5


class Interval(NamedTuple):
    """An estimate with the ends of its interval; infinite ends where there is one value only."""

    estimate: float
    low: float
    high: float


def looks(first: int) -> list[int]:
    """Return after how many blocks the data are looked at: `first`, and then half as many more each time."""
    counts = [first]
    while counts[-1] < 1000:
        counts.append(max(counts[-1] + 1, round(counts[-1] * GROWTH)))
    return counts


def level(look: int, *, last: bool = False, confidence: float = CONFIDENCE) -> float:
    """Return the error that the interval of a look may have: half of what the looks before it left, from look 0 on.

    This is alpha spending (Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials", Biometrika 70(3))
    with the union bound: the levels of all looks add up to less than 1 - confidence, so all intervals of all looks
    cover the truth together with that confidence, whenever and why ever the measurement stops. The `last` look of a
    plan that was fixed before the data may spend all that is left.
    """
    left = (1 - confidence) * 0.5**look
    return left if last else left / 2


def block_interval(values: Sequence[float], error: float, floor: float = 0.0) -> Interval:
    """Return the mean of the blocks' values with Student's interval; it misses the truth with probability `error`.

    A few blocks agree by chance now and then, and their interval is then much too narrow. `floor` is the least standard
    deviation that a block's value can have: that which follows from the spread of its rounds.
    """
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if array.size < 2:
        return Interval(mean, -np.inf, np.inf)
    deviation = max(float(array.std(ddof=1)), floor)
    half = student_quantile(1 - error / 2, array.size - 1) * deviation / sqrt(array.size)
    return Interval(mean, mean - half, mean + half)


def difference_of_means(
    a: Sequence[float], b: Sequence[float], error: float, floors: tuple[float, float] = (0.0, 0.0)
) -> Interval:
    """Return mean(b) - mean(a) of two independent sets of blocks, with Welch's interval; `floors` as `block_interval`.

    Welch 1947, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34. The degrees of freedom are rounded down, which is cautious.
    """
    parts = [
        (max(float(np.var(x, ddof=1)), floor**2) / len(x), len(x) - 1) if len(x) > 1 else (np.inf, 0)
        for x, floor in zip((a, b), floors, strict=True)
    ]
    estimate = float(np.mean(b) - np.mean(a))
    variance = float(sum(part for part, _ in parts))
    if not np.isfinite(variance):
        return Interval(estimate, -np.inf, np.inf)
    if variance == 0:
        return Interval(estimate, estimate, estimate)
    freedom = max(1, int(variance**2 / sum(part**2 / count for part, count in parts)))
    half = student_quantile(1 - error / 2, freedom) * sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half)


def student_quantile(probability: float, freedom: int) -> float:
    """Return Student's t quantile of a probability of at least ½, for whole degrees of freedom.

    The distribution function is a finite sum then (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3
    and 26.7.4); it is inverted by bisection. SciPy has this function, and is too large a dependency for it alone.
    """
    low, high = 0.0, 1.0
    while _student_within(high, freedom) < 2 * probability - 1:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, freedom) < 2 * probability - 1 else (low, middle)
    return (low + high) / 2


def _student_within(value: float, freedom: int) -> float:
    """Return the probability that Student's t lies within ± value."""
    angle = atan(value / sqrt(freedom))
    odd = freedom % 2
    term = total = cos(angle) if odd else 1.0
    if freedom == 1:
        return 2 * angle / pi
    for k in range(2 + odd, freedom - 1, 2):
        term *= (k - 1) / k * cos(angle) ** 2
        total += term
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total
