"""Student's t: what intervals over several seeds need of it, without SciPy, which is a third of a light installation.

The tail is the regularized incomplete beta function, computed from its continued fraction (NIST Digital Library of
Mathematical Functions, 8.17.22) by Lentz's method; the tests compare it with SciPy's.
"""

from __future__ import annotations

from math import exp, isinf, lgamma, log, log1p, pi
from statistics import NormalDist

# From so many degrees of freedom on t is the normal distribution, to eight digits; by then the sums below lose as many.
_NORMAL = 1e8
_STEPS, _ENOUGH, _TINY = 1_000_000, 1e-16, 1e-300


def tail(value: float, freedom: float) -> float:
    """Return the probability that t with `freedom` (> 0, also infinite) degrees of freedom exceeds `value`."""
    if freedom > _NORMAL:
        return 1 - NormalDist().cdf(value)
    if isinf(value):
        return 0.0 if value > 0 else 1.0
    square = value * value
    beyond = _beta(square / (freedom + square), freedom / (freedom + square), log1p(square / freedom), freedom / 2) / 2
    return beyond if value >= 0 else 1 - beyond


def quantile(confidence: float, freedom: float) -> float:
    """Return the value that t stays within, on both sides, with probability `confidence` (in (0, 1))."""
    if freedom > _NORMAL:
        return NormalDist().inv_cdf((1 + confidence) / 2)
    target, low, high = (1 - confidence) / 2, 0.0, 1.0
    while tail(high, freedom) > target:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if tail(middle, freedom) > target else (low, middle)
    return high


def _beta(y: float, x: float, minus_log_x: float, a: float) -> float:
    """Return I_x(a, ½), where y = 1 - x is given, too, since the difference would lose digits."""
    if y == 0:
        return 1.0
    front = exp(0.5 * log(y) - a * minus_log_x - _log_beta(a))
    if x < (a + 1) / (a + 2.5):
        return front * _fraction(a, 0.5, x) / a
    return 1 - front * _fraction(0.5, a, y) / 0.5


def _log_beta(a: float) -> float:
    """Return ln B(a, ½) = ln Γ(a) + ln Γ(½) - ln Γ(a + ½); for large `a` by the series of the difference."""
    if a < 50:
        return lgamma(a) + 0.5 * log(pi) - lgamma(a + 0.5)
    return 0.5 * log(pi / a) + 1 / (8 * a) - 1 / (192 * a**3) + 1 / (640 * a**5)


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function."""
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _nonzero(1 + factor * d)
            c = _nonzero(1 + factor / c)
            value *= c * d
        if abs(c * d - 1) < _ENOUGH:
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
