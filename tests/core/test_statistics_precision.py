"""The paired difference of two precisions: exact cases, order, and coverage by simulation with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from edgeproof.core.statistics_precision import Given, paired_precision


def test_the_drop_is_the_difference_of_the_two_precisions() -> None:
    given = Given(40, 5, 3, 1, 2, 6)
    drop, low, high, p = paired_precision(given)
    assert drop == pytest.approx(43 / 49 - 42 / 53)
    assert low < drop < high
    assert 0 < p < 1


def test_its_sign_turns_with_the_roles() -> None:
    drop, low, high, p = paired_precision(Given(40, 5, 3, 1, 2, 6))
    assert paired_precision(Given(40, 5, 2, 6, 3, 1)) == pytest.approx((-drop, -high, -low, p))


def test_the_same_samples_leave_room_for_a_difference_and_no_evidence() -> None:
    drop, low, high, p = paired_precision(Given(40, 5, 0, 0, 0, 0))
    assert (drop, p) == (0, 1)
    assert low < 0 < high


def test_the_published_statistic() -> None:
    """Kosinski 2013, equation 3, written out."""
    given = Given(30, 10, 5, 2, 1, 9)
    m, n, tp, fp = 47, 50, 30, 10
    pooled = (35 + 31) / (m + n)
    c = (tp * (1 - pooled) ** 2 + fp * pooled**2) / (m + n)
    statistic = (35 / m - 31 / n) ** 2 / ((pooled * (1 - pooled) - 2 * c) * (1 / m + 1 / n))
    from scipy.stats import chi2

    assert paired_precision(given)[3] == pytest.approx(float(chi2.sf(statistic, 1)))


def test_a_class_that_was_never_given_has_no_precision() -> None:
    with pytest.raises(ValueError, match="given the class"):
        paired_precision(Given(0, 0, 3, 1, 0, 0))


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_intervals_cover_the_truth_and_false_alarms_keep_the_level(shift: float) -> None:
    """2,000 samples, a tenth of the class, recall .8; the two differ on 5 % of it and on .5 % of the others.

    With a `shift` one of the two gains wrong answers where the other gains right ones, so that the precisions differ.
    """
    rng = np.random.default_rng(7)
    shares = []  # both, the reference alone, the other alone, neither: of the class, and of the others
    for part, both, differ, sign in ((0.1, 0.8, 0.05, 1), (0.9, 0.02, 0.005, -1)):
        alone, other = differ * (1 + sign * shift), differ * (1 - sign * shift)
        shares += [part * one for one in (both - alone, alone, other, 1 - both - other)]
    first, second = ((shares[0] + shares[i]) / (shares[0] + shares[i] + shares[4] + shares[4 + i]) for i in (1, 2))
    covered = alarms = 0
    draws = rng.multinomial(2000, shares, size=1500).tolist()
    for right, alone, other, _, wrong, alone_wrong, other_wrong, _ in draws:
        _, low, high, p = paired_precision(Given(right, wrong, alone, alone_wrong, other, other_wrong))
        covered += low <= first - second <= high
        alarms += p < 0.05
    assert covered / len(draws) >= 0.94
    if shift == 0:
        assert alarms / len(draws) <= 0.06
    else:
        assert alarms / len(draws) >= 0.8, "a drop of six points is found"
