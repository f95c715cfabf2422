"""Intervals from blocks and repeated looks: the quantiles, the level that is spent, and false alarms by simulation."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit

from edgeproof.core.sequential import block_interval, difference_of_means, level, looks, student_quantile


@given(st.integers(1, 300), st.floats(0.55, 0.99995))
def test_student_s_quantiles_are_scipy_s(freedom, probability):
    assert student_quantile(probability, freedom) == pytest.approx(stdtrit(freedom, probability), rel=1e-6)


@pytest.mark.parametrize("first", [1, 2, 5, 6, 100])
def test_looks_grow_by_half_and_never_stand_still(first):
    counts = looks(first)
    assert counts[0] == first and all(b > a for a, b in pairwise(counts))
    assert counts[-1] >= 1000


def test_all_looks_together_spend_no_more_than_the_level():
    assert sum(level(look) for look in range(100)) <= 0.05 + 1e-12
    assert level(0, last=True) == pytest.approx(0.05)
    assert sum(level(look) for look in range(3)) + level(3, last=True) == pytest.approx(0.05)


def test_one_block_says_nothing():
    assert block_interval([0.3], 0.05) == (0.3, -np.inf, np.inf)
    assert difference_of_means([0.1], [0.2, 0.3], 0.05)[1:] == (-np.inf, np.inf)
    assert difference_of_means([0.0, 0.0], [0.0, 0.0], 0.05) == (0, 0, 0), "the anchor against itself"


def test_blocks_that_agree_by_chance_have_no_narrower_interval_than_their_rounds_allow():
    narrow, wide = block_interval([0.1, 0.1, 0.1], 0.05), block_interval([0.1, 0.1, 0.1], 0.05, floor=0.03)
    assert narrow.high - narrow.low < 1e-9 and wide.low < 0.05 and wide.high > 0.15
    assert block_interval([0.0, 0.1, 0.3], 0.05, floor=0.001) == block_interval([0.0, 0.1, 0.3], 0.05)
    low, high = difference_of_means([0.0, 0.0], [0.1, 0.1], 0.05, (0.01, 0.02))[1:]
    assert low < 0.09 and high > 0.11


def _stops_at(values, resolution):
    """Look again and again at growing data until the pair is settled; return whether it was called different."""
    for look, count in enumerate(looks(6)):
        interval = block_interval(values[:count], level(look))
        if interval.low > 0 or interval.high < 0:
            return True
        if count >= len(values) or (interval.low > -resolution and interval.high < resolution):
            return False
    raise AssertionError("not reached")


@pytest.mark.parametrize("resolution", [0.0, 0.02], ids=["never settled", "settled early"])
def test_looking_again_and_again_raises_no_more_false_alarms_than_the_level(resolution):
    rng = np.random.default_rng(3)
    alarms = sum(_stops_at(rng.standard_t(4, 48) * 0.01, resolution) for _ in range(2000))
    assert alarms / 2000 <= 0.05


def test_looking_again_at_intervals_that_spend_nothing_would_raise_more():
    rng = np.random.default_rng(3)

    def naive(values):
        for count in looks(6):
            if count > len(values):
                return False
            interval = block_interval(values[:count], 0.05)
            if interval.low > 0 or interval.high < 0:
                return True
        return False

    assert sum(naive(rng.normal(0, 0.01, 48)) for _ in range(1000)) / 1000 > 0.10


@pytest.mark.parametrize("more", [0.01, 0.03])
def test_a_real_difference_is_found(more):
    rng = np.random.default_rng(5)
    found = sum(_stops_at(rng.normal(more, 0.007, 48), 0.0) for _ in range(300))
    assert found / 300 >= 0.95


@pytest.mark.parametrize(("processes", "rounds"), [(0.0, 0.01), (0.006, 0.01), (0.01, 0.003)])
def test_student_s_interval_over_blocks_holds_the_level_whatever_varies_more(processes, rounds):
    rng = np.random.default_rng(11)
    missed = 0
    for _ in range(2000):
        blocks = rng.normal(0, rounds, (6, 8)) + rng.normal(0, processes, (6, 1))
        interval = block_interval(list(np.median(blocks, axis=1)), 0.05)
        missed += not interval.low <= 0 <= interval.high
    assert 0.035 < missed / 2000 < 0.065


def test_welch_s_interval_covers_the_truth():
    rng, inside = np.random.default_rng(7), 0
    for _ in range(2000):
        interval = difference_of_means(rng.normal(0, 0.01, 6), rng.normal(0.02, 0.03, 9), 0.05)
        inside += interval.low <= 0.02 <= interval.high
    assert inside / 2000 >= 0.94
