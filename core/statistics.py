"""Intervals, percentiles and tests: every method is exact or checked by simulation in tests/core/test_statistics.py.

Student's t distribution comes from SciPy. Only intervals over several seeds need it, and only training has seeds; so
SciPy is part of the extra `train`, and is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log10, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .extras import EXTRAS

CONFIDENCE = 0.95


class Percentiles(NamedTuple):
    """Milliseconds that 90, 95 and 99 per cent of the runs did not exceed."""

    p90: float
    p95: float
    p99: float


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval (Wilson 1927) of a share as (low, high) within [0, 1].

    Raises ValueError unless 0 ≤ successes ≤ n and n ≥ 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: expected 0 ≤ successes ≤ n and n ≥ 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = successes / n, z * z / n
    centre, half = share + spread / 2, z * sqrt((share * (1 - share) + spread / 4) / n)
    # Without successes, or without failures, the formula gives 0 or 1; rounding errors must not change that.
    low = 0.0 if successes == 0 else (centre - half) / (1 + spread)
    high = 1.0 if successes == n else (centre + half) / (1 + spread)
    return float(low), float(high)


def _discordant(reference_correct: ArrayLike, artifact_correct: ArrayLike) -> tuple[int, int, int]:
    """Return (only the reference is correct, only the artifact is correct, n)."""
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

    Both arrays are (n,) bool: whether each sample was answered correctly. A positive drop means that the artifact is
    worse. The interval is Wald's with one added to each discordant count (Bonett and Price 2012, "Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", J. Educational and
    Behavioral Statistics 37(4)). It depends only on the samples on which the two differ, has a width above zero even
    when there are none, and in simulation it covered 95 % where Agresti and Min's (half of one added) fell just below.
    """
    lost, gained, n = _discordant(reference_correct, artifact_correct)
    p_lost, p_gained = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    centre = p_lost - p_gained
    half = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt((p_lost + p_gained - centre**2) / (n + 2))
    return (lost - gained) / n, max(-1.0, centre - half), min(1.0, centre + half)


def paired_loss(reference: ArrayLike, other: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return (loss, low, high): the mean of `reference` minus `other`, two arrays (samples,) of scores from 0 to 1.

    Scores of 0 and 1 only (wrong and correct samples) go to `paired_drop`. For other scores the mean of the differences
    is assumed to be normal, as a mean of hundreds of bounded values is. Raises ValueError when the lengths differ or
    are 0.
    """
    first, second = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        return paired_drop(first.astype(bool), second.astype(bool), confidence)
    if first.shape != second.shape:
        raise ValueError(f"scores of {first.shape} and of {second.shape} samples are not of the same samples")
    losses = first - second
    mean = float(losses.mean())
    if losses.size < 2:
        return mean, -1.0, 1.0
    half = NormalDist().inv_cdf((1 + confidence) / 2) * float(losses.std(ddof=1)) / losses.size**0.5
    return mean, mean - half, mean + half


def samples_needed(drop: float, low: float, high: float, n: int, allowed: float) -> int | None:
    """Return about how many samples are needed to show that a drop is at most `allowed`, to two digits, or None.

    None means that no number is enough. `drop` and its interval are the result of `paired_drop` on `n` samples. The
    estimate assumes that on more samples the two differ as often, and with the same drop; the interval's upper end is
    then `allowed`.
    """
    if drop >= allowed:
        return None
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre, half = (low + high) / 2, (high - low) / 2
    differing = max(abs(drop), (((half / z) ** 2 * (n + 2) + centre**2) * (n + 2) - 2) / n)

    def upper(count: float) -> float:
        share, middle = (differing * count + 2) / (count + 2), drop * count / (count + 2)
        return middle + z * sqrt((share - middle**2) / (count + 2))

    needed = float(n)
    while upper(needed) > allowed:
        needed *= 1.02
        if needed > 1e9:
            return None
    digit = int(10 ** max(0, int(log10(needed)) - 1))
    return ceil(needed / digit) * digit


def mcnemar(reference_correct: ArrayLike, artifact_correct: ArrayLike) -> float:
    """Return the exact two-sided p of McNemar's test: is one of the two correct more often than the other?

    Under the null hypothesis each differing sample favours either one with probability ½, so p comes from a binomial
    distribution. Without a differing sample p is 1.
    """
    lost, gained, _ = _discordant(reference_correct, artifact_correct)
    return min(1.0, 2 * _binomial_half_cdf(min(lost, gained), lost + gained))


class Difference(NamedTuple):
    """A difference of shares with its interval and two-sided p; `seeds_part` is the seeds' share of its variance.

    `freedom` are the degrees of freedom of Student's t: infinite if the seeds add no variance.
    """

    estimate: float
    low: float
    high: float
    p: float
    freedom: float
    seeds_part: float


def seeds_difference(a: ArrayLike, b: ArrayLike, confidence: float = CONFIDENCE) -> Difference:
    """Return mean accuracy of `a` minus that of `b`, two training methods that were each run with some seeds.

    `a` is (seeds of a, n) bool and `b` (seeds of b, n): whether each of the same n samples was answered correctly. All
    seeds share the samples, so the answers are not seeds × n independent trials, and the interval covers both other
    samples and other seeds. The method is the analysis of variance of readers and cases, with seeds as readers nested
    in a and in b (Hillis 2014, "A marginal-mean ANOVA approach for analyzing multireader multicase radiological imaging
    data", Statistics in Medicine 33(2)). The variance is that of the samples' differences, averaged over seeds, divided
    by n; plus, for a and for b, the variance of the seeds' accuracies beyond the chance in the samples, divided by the
    number of seeds. Student's t has Satterthwaite's degrees of freedom. One difference of +1 and one of -1 are added to
    those of the samples; so with one seed each, which says nothing about other seeds, the result is exactly
    `paired_drop`. Raises ValueError unless both have samples, and equally many.
    """
    first, second = _by_seed(a), _by_seed(b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"expected answers to the same samples, found {first.shape[1]} and {second.shape[1]}")
    n = first.shape[1]
    differences = first.mean(axis=0) - second.mean(axis=0)
    padded = np.append(differences, (1.0, -1.0))
    centre, samples_part = float(padded.mean()), float(padded.var()) / (n + 2)
    extra = [_seeds_variance(answers) for answers in (first, second)]
    variance = samples_part + sum(part for part, _ in extra)
    freedom = _satterthwaite(variance, extra)
    error = sqrt(variance)
    half = _t(confidence, freedom) * error
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    p = min(1.0, 2 * _t_tail(abs(centre) / error, freedom))
    return Difference(float(differences.mean()), low, high, p, freedom, 1 - samples_part / variance)


def seeds_accuracy(
    accuracies: Sequence[float], n: int, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:  # fmt: skip
    """Return (mean, low, high) of the accuracy of a training method that was run with some seeds on n samples.

    This is Wilson's interval at the effective sample size p·(1 - p) / variance (as for surveys: Franco, Little, Louis
    and Slud 2019, "Comparative study of confidence intervals for proportions in complex sample surveys", J. Survey
    Statistics and Methodology 7(3)), with Student's t. The variance is p·(1 - p) / n, as if all seeds gave the same
    answers (they nearly do), plus the variance of the accuracies over their number. With one seed it is Wilson's
    interval.
    """
    values = np.asarray(accuracies, dtype=np.float64)
    if values.size < 1 or n < 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected shares and n ≥ 1, found {values.size} and n = {n}")
    mean = float(values.mean())
    spread = float(values.var(ddof=1)) / values.size if values.size > 1 else 0.0
    variance = mean * (1 - mean) / n + spread
    freedom = _satterthwaite(variance, [(spread, values.size - 1)]) if variance else float("inf")
    effective = mean * (1 - mean) / variance if variance else float(n)
    z2 = _t(confidence, freedom) ** 2
    centre = (mean + z2 / (2 * effective)) / (1 + z2 / effective)
    half = sqrt(z2) / (1 + z2 / effective) * sqrt(mean * (1 - mean) / effective + z2 / (4 * effective**2))
    return mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


class Drawn(NamedTuple):
    """A metric of models that were trained with some seeds.

    `values` (seeds,) are those on the samples, `draws` (seeds, draws) on bootstrap draws of them, the same for each.
    """

    values: NDArray[np.float64]
    draws: NDArray[np.float64]


def drawn_difference(a: Drawn, b: Drawn, confidence: float = CONFIDENCE) -> Difference:
    """Return a's metric minus b's, each the mean over its seeds, for metrics that are no mean over samples.

    The variance is that of `seeds_difference`, with what chance in the samples contributes taken from draws that both
    share: of the difference of the means, and, of each method, of how its seeds differ within a draw. (So Obuchowski
    and Rockette 1995, "Hypothesis testing of the diagnostic accuracy for multiple diagnostic tests: an ANOVA approach
    with dependent observations", Communications in Statistics 24(2), of any figure.) Student's t has Satterthwaite's
    degrees of freedom. Draws without a value are left out; where none is left the interval is NaN, and p is 1.
    """
    difference = float(a.values.mean() - b.values.mean())
    drawn = a.draws.mean(axis=0) - b.draws.mean(axis=0)
    return Difference(difference, *_with_seeds(difference, drawn, (a, b), confidence))


def drawn_mean(a: Drawn, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return (mean, low, high) of a metric over seeds, by the variance of `drawn_difference`."""
    mean = float(a.values.mean())
    low, high, *_ = _with_seeds(mean, a.draws.mean(axis=0), (a,), confidence)
    return mean, low, high


def _with_seeds(
    centre: float, drawn: NDArray[np.float64], of: Sequence[Drawn], confidence: float
) -> tuple[float, float, float, float, float]:
    """Return low, high, p, degrees of freedom and the seeds' share of the variance, from a mean's draws (draws,)."""
    known = np.isfinite(drawn)
    if known.sum() < 2:
        return float("nan"), float("nan"), 1.0, float("inf"), 0.0
    samples_part = float(drawn[known].var(ddof=1))
    extra = [_drawn_seeds_variance(one.values, one.draws[:, known]) for one in of]
    variance = samples_part + sum(part for part, _ in extra)
    if not variance:
        return centre, centre, float(centre == 0), float("inf"), 0.0
    freedom, error = _satterthwaite(variance, extra), sqrt(variance)
    half = _t(confidence, freedom) * error
    p = min(1.0, 2 * _t_tail(abs(centre) / error, freedom))
    return centre - half, centre + half, p, freedom, 1 - samples_part / variance


def _drawn_seeds_variance(values: NDArray[np.float64], draws: NDArray[np.float64]) -> tuple[float, int]:
    """Return what `_seeds_variance` is, of a metric's `values` (seeds,) and `draws` (seeds, draws)."""
    seeds = len(values)
    if seeds < 2:
        return 0.0, 0
    chance = float((draws - values[:, None]).var(axis=0, ddof=1).mean())
    return max(0.0, (float(values.var(ddof=1)) - chance) / seeds), seeds - 1


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values of several tests, adjusted for the number of tests (family-wise error rate).

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian J. of Statistics 6(2): the
    smallest is multiplied by their number, the next by one less, and none may be smaller than the one before.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _by_seed(answers: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(answers, dtype=bool)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected (seeds, samples) of whether each was answered correctly, found shape {array.shape}")
    return array.astype(np.float64)


def _seeds_variance(answers: NDArray[np.float64]) -> tuple[float, int]:
    """Return the seeds' part of the variance of the mean of (seeds, n) answers, at least 0, and its degrees of freedom.

    The mean square of the seeds minus that of the residuals is n times the variance of the seeds' effects.
    """
    seeds, n = answers.shape
    if seeds < 2 or n < 2:
        return 0.0, 0
    rows, columns = answers.mean(axis=1), answers.mean(axis=0)
    between = float(rows.var(ddof=1)) / seeds
    residuals = answers - rows[:, None] - columns[None, :] + answers.mean()
    chance = float((residuals**2).sum()) / ((seeds - 1) * (n - 1)) / (seeds * n)
    return max(0.0, between - chance), seeds - 1


def _satterthwaite(variance: float, parts: Sequence[tuple[float, int]]) -> float:
    """Return the degrees of freedom of a sum of variances: `parts` have theirs, the samples' part counts as exact."""
    uncertainty = sum(part**2 / freedom for part, freedom in parts if freedom)
    return variance**2 / uncertainty if uncertainty else float("inf")


def _t(confidence: float, freedom: float) -> float:
    """Return the two-sided quantile of Student's t (of the normal distribution for infinite degrees of freedom)."""
    if np.isinf(freedom):
        return NormalDist().inv_cdf((1 + confidence) / 2)
    return float(_student().ppf((1 + confidence) / 2, freedom))


def _t_tail(value: float, freedom: float) -> float:
    if np.isinf(freedom):
        return 1 - NormalDist().cdf(value)
    return float(_student().sf(value, freedom))


def _student() -> Any:
    EXTRAS["train"].require("intervals over several seeds need", "scipy")
    from scipy.stats import t

    return t


def samples_needed_of_means(drop: float, low: float, high: float, n: int, allowed: float) -> int | None:
    """Return about how many samples would show that a drop of a mean is at most `allowed`, to two digits, or None.

    As `samples_needed`, for figures that are no shares: the interval narrows with the root of the number of samples.
    """
    if drop >= allowed:
        return None
    needed = n * ((high - drop) / (allowed - drop)) ** 2
    if not needed <= 1e9:
        return None
    digit = int(10 ** max(0, int(log10(max(needed, 1))) - 1))
    return ceil(needed / digit) * digit


def difference_interval(
    a: tuple[float, float, float], b: tuple[float, float, float], most: float = 1.0
) -> tuple[float, float, float]:
    """Return (b - a, low, high) for two shares from separate samples, each given as (share, low, high) by Wilson.

    Of other figures and intervals likewise; `most` is the largest difference that there can be.

    Newcombe's hybrid score interval (1998, "Interval estimation for the difference between independent
    proportions", Statistics in Medicine 17, method 10).
    """
    (p_a, low_a, high_a), (p_b, low_b, high_b) = a, b
    below = sqrt((p_b - low_b) ** 2 + (high_a - p_a) ** 2)
    above = sqrt((high_b - p_b) ** 2 + (p_a - low_a) ** 2)
    return p_b - p_a, max(-most, p_b - p_a - below), min(most, p_b - p_a + above)


def wider(value: float, low: float, high: float, confidence: float) -> tuple[float, float]:
    """Return the ends of a 95 % interval for another `confidence`: each as much farther from `value` as a normal's."""
    factor = NormalDist().inv_cdf((1 + confidence) / 2) / NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return value - (value - low) * factor, value + (high - value) * factor


def median_interval(
    process_medians: Sequence[float] | NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float, float, float]:
    """Return (median, low, high, coverage) from order statistics, without assumptions about the distribution.

    The interval is the innermost pair (k-th smallest, k-th largest) whose exact coverage of the true median,
    1 - 2·P(Bin(n, ½) < k), is at least `confidence`. With fewer than six values no pair reaches 95 %: the interval is
    then (smallest, largest) with its coverage, e.g. .9375 for five, 0 for one. (David and Nagaraja, Order Statistics,
    3rd ed., section 7.1.) Raises ValueError when there are no values, or when one is not finite.
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


def _finite(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values sorted, (n,) float64, n ≥ 1."""
    array = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"expected at least one value and only finite ones, found {array.size}")
    return array


def _binomial_half_cdf(k: int, n: int) -> float:
    """Return P(Bin(n, ½) ≤ k), summed in integers: exact up to the final division."""
    term, total = 1, 1
    for i in range(1, k + 1):
        term = term * (n - i + 1) // i
        total += term
    return float(total / 2**n)
