"""Precisions of two classifiers on the same samples: their difference with its interval, and a test."""

from __future__ import annotations

from math import erfc, sqrt
from statistics import NormalDist
from typing import NamedTuple

from .statistics import CONFIDENCE


class Given(NamedTuple):
    """Samples that were given a class: by both classifiers, by the reference alone, by the other alone.

    Of each, those that are of the class (``right``) and those that are not.
    """

    both_right: float
    both_wrong: float
    reference_right: float
    reference_wrong: float
    other_right: float
    other_wrong: float

    @property
    def totals(self) -> tuple[float, float]:
        """How many samples the reference gave the class, and how many the other did."""
        both = self.both_right + self.both_wrong
        return both + self.reference_right + self.reference_wrong, both + self.other_right + self.other_wrong

    @property
    def precisions(self) -> tuple[float, float]:
        """The precision of the reference and of the other. Raises ZeroDivisionError where one gave it to none."""
        reference, other = self.totals
        return (self.both_right + self.reference_right) / reference, (self.both_right + self.other_right) / other


def paired_precision(given: Given, confidence: float = CONFIDENCE) -> tuple[float, float, float, float]:
    """Return (drop, low, high, p): the reference's precision minus the other's, its interval, and p of no difference.

    The two precisions are ratios over different samples that overlap. The interval is the delta method's for two
    ratios on the same samples (the variance of their influence functions), with a half added to each count on which
    the two differ, as for paired shares: so it has a width above zero where the two give the class to the same samples.
    p is that of the weighted generalized score statistic (Kosinski 2013, "A weighted generalized score statistic for
    comparison of predictive values of diagnostic tests", Statistics in Medicine 32(6)). Both are checked by simulation
    in the tests. Raises ValueError where one of the two gave the class to no sample.
    """
    if not all(given.totals):
        raise ValueError("a precision needs samples that were given the class")
    first, second = given.precisions
    low, high = _interval(
        given._replace(
            reference_right=given.reference_right + 0.5,
            reference_wrong=given.reference_wrong + 0.5,
            other_right=given.other_right + 0.5,
            other_wrong=given.other_wrong + 0.5,
        ),
        confidence,
    )
    return first - second, low, high, _score_test(given)


def _interval(given: Given, confidence: float) -> tuple[float, float]:
    (m, n), (p, q) = given.totals, given.precisions
    influences = (
        (1 - p) / m - (1 - q) / n, q / n - p / m,
        (1 - p) / m, -p / m,
        -(1 - q) / n, q / n,
    )  # fmt: skip
    error = sqrt(sum(count * one * one for count, one in zip(given, influences, strict=True)))
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return max(-1.0, p - q - half), min(1.0, p - q + half)


def _score_test(given: Given) -> float:
    (m, n), (p, q) = given.totals, given.precisions
    if p == q:
        return 1.0
    pooled = (m * p + n * q) / (m + n)
    # Kosinski's variance; what both classifiers share cancels out, and the samples on which they differ remain.
    right, wrong = given.reference_right + given.other_right, given.reference_wrong + given.other_wrong
    variance = (right * (1 - pooled) ** 2 + wrong * pooled**2) / (m + n) * (1 / m + 1 / n)
    return erfc(sqrt((p - q) ** 2 / variance / 2))
