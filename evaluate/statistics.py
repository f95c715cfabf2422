"""Intervals, percentiles and tests: every method is exact or checked by simulation in tests/test_statistics.py.

Only `wilson` needs SciPy, whose import alone costs about a second; so it is imported when it is called, and a
finished run can be reported without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95


class Percentiles(NamedTuple):
    """Milliseconds that 90, 95 and 99 per cent of the runs did not exceed."""

    p90: float
    p95: float
    p99: float


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927), as (low, high) within [0, 1].

    Raises ValueError unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 ≤ successes ≤ n and n ≥ 1")
    from scipy.stats import binomtest

    interval = binomtest(int(successes), int(n)).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _discordant(reference_correct: ArrayLike, artifact_correct: ArrayLike) -> tuple[int, int, int]:
    """Return (only the reference is right, only the artifact is right, n)."""
    reference, artifact = np.asarray(reference_correct, dtype=bool), np.asarray(artifact_correct, dtype=bool)
    if reference.shape != artifact.shape or reference.ndim != 1 or reference.size == 0:
        raise ValueError(
            f"expected two arrays of one equal length ≥ 1, found shapes {reference.shape} and {artifact.shape}"
        )
    return int(np.sum(reference & ~artifact)), int(np.sum(~reference & artifact)), reference.size


def paired_drop(
    reference_correct: ArrayLike, artifact_correct: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Return (drop, low, high): reference accuracy minus artifact accuracy on the same samples, with its interval.

    Both arrays are (n,) bool: whether each sample was answered rightly. A positive drop means the artifact is
    worse. The interval is Wald's with one added to each discordant count (Bonett and Price 2012, "Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", J. Educational and
    Behavioral Statistics 37(4)). It needs only the samples on which the two differ, has width even when there are
    none, and in simulation kept its 95 % where Agresti and Min's (half of one added) fell just below.
    """
    lost, gained, n = _discordant(reference_correct, artifact_correct)
    p_lost, p_gained = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    centre = p_lost - p_gained
    half = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt((p_lost + p_gained - centre**2) / (n + 2))
    return (lost - gained) / n, max(-1.0, centre - half), min(1.0, centre + half)


def mcnemar(reference_correct: ArrayLike, artifact_correct: ArrayLike) -> float:
    """Return the exact two-sided p of McNemar's test: do the two differ more often one way than the other?

    Under the null hypothesis each differing sample falls either way with probability ½, so p comes from a
    binomial distribution. With no differing sample p is 1.
    """
    lost, gained, _ = _discordant(reference_correct, artifact_correct)
    return min(1.0, 2 * _binomial_half_cdf(min(lost, gained), lost + gained))


def difference_interval(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return (b - a, low, high) for two shares from separate samples, each given as (share, low, high) by Wilson.

    Newcombe's hybrid score interval (1998, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 17, method 10).
    """
    (p_a, low_a, high_a), (p_b, low_b, high_b) = a, b
    below = sqrt((p_b - low_b) ** 2 + (high_a - p_a) ** 2)
    above = sqrt((high_b - p_b) ** 2 + (p_a - low_a) ** 2)
    return p_b - p_a, max(-1.0, p_b - p_a - below), min(1.0, p_b - p_a + above)


def median_interval(
    process_medians: Sequence[float] | NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float, float, float]:
    """Return (median, low, high, coverage) from order statistics: nothing is assumed of the distribution.

    Of all pairs (k-th smallest, k-th largest) whose exact coverage of the true median, 1 - 2·P(Bin(n, ½) < k),
    reaches `confidence`, the innermost is taken. With fewer than six values none reaches 95 %: then it is
    (smallest, largest) with the coverage that it has, e.g. .9375 for five, 0 for one. (David and Nagaraja, Order
    Statistics, 3rd ed., section 7.1.) Raises ValueError when there are no values, or when one is not finite.
    """
    values = _finite(process_medians)
    n = values.size
    rank, coverage = 1, 1 - 2 * _binomial_half_cdf(0, n)
    while rank < n - rank:
        inner = 1 - 2 * _binomial_half_cdf(rank, n)
        if inner < confidence:
            break
        rank, coverage = rank + 1, inner
    return float(np.median(values)), float(values[rank - 1]), float(values[n - rank]), max(0.0, coverage)


def percentiles(runs: Sequence[float] | NDArray[np.float64]) -> Percentiles:
    """Return the 90th, 95th and 99th percentile of all runs, linear between neighbours (NumPy's default)."""
    p90, p95, p99 = np.percentile(_finite(runs), (90, 95, 99))
    return Percentiles(float(p90), float(p95), float(p99))


def ratio_interval(
    a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE
) -> tuple[float, float, float, float]:
    """Return (ratio, low, high, coverage) of b's location over a's; values must be positive.

    The ratio is Hodges and Lehmann's: the median of all b_j / a_i. The interval is Moses's: ordered quotients
    picked so that the exact rank-sum distribution gives at least `confidence` (Hollander, Wolfe and Chicken,
    Nonparametric Statistical Methods, 3rd ed., section 4.3), on the assumption that b is a stretched a. With too
    few values for that it is (smallest, largest quotient) with the coverage that it has.
    """
    first, second = _finite(a), _finite(b)
    if first[0] <= 0 or second[0] <= 0:
        raise ValueError("a ratio needs values above 0")
    quotients = np.sort((second[:, None] / first[None, :]).ravel())
    counts = _rank_sum_counts(first.size, second.size)
    ways, rank, below = comb(first.size + second.size, second.size), 1, counts[0]
    coverage = 1 - 2 * below / ways
    while rank < quotients.size - rank:
        below += counts[rank]
        inner = 1 - 2 * below / ways
        if inner < confidence:
            break
        rank, coverage = rank + 1, inner
    low, high = quotients[rank - 1], quotients[-rank]
    return float(np.median(quotients)), float(low), float(high), max(0.0, coverage)


def _finite(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values sorted, (n,) float64, n ≥ 1."""
    array = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"expected at least one value and only finite ones, found {array.size}")
    return array


def _binomial_half_cdf(k: int, n: int) -> float:
    """Return P(Bin(n, ½) ≤ k), summed in whole numbers: exact until the final division."""
    term, total = 1, 1
    for i in range(1, k + 1):
        term = term * (n - i + 1) // i
        total += term
    return float(total / 2**n)


def _rank_sum_counts(m: int, n: int) -> list[int]:
    """Return, for u = 0, 1, … m·n, how many orderings of m and n values have Mann and Whitney's U = u.

    These are the coefficients of the Gaussian binomial, built up one factor (1 - q^(m+i)) / (1 - q^i) at a time.
    """
    counts = [1] + [0] * (m * n)
    for i in range(1, n + 1):
        for u in range(m * n, m + i - 1, -1):
            counts[u] -= counts[u - m - i]
        for u in range(i, m * n + 1):
            counts[u] += counts[u - i]
    return counts
