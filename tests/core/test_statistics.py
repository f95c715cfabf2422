"""Statistics: bounds and order for anything, coverage by simulation, exact values against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeproof.core.statistics import (
    difference_interval,
    mcnemar,
    median_interval,
    paired_drop,
    percentiles,
    wilson,
)

TIMES = st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=40)
CORRECT = st.integers(1, 60).flatmap(lambda n: st.tuples(arrays(bool, n), arrays(bool, n)))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=50, deadline=None)
def test_wilson_lies_around_the_share_and_within_0_and_1(case):
    successes, n = case
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert low < high


def test_wilson_is_the_published_interval():
    # Newcombe 1998, table I: 81 of 263 gives .2553 to .3662.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_no_share(successes, n):
    with pytest.raises(ValueError, match="expected"):
        wilson(successes, n)


@given(CORRECT)
def test_drop_lies_in_its_interval_and_turns_its_sign_with_the_roles(case):
    reference, artifact = case
    drop, low, high = paired_drop(reference, artifact)
    assert -1 <= low <= drop <= high <= 1
    assert low < high
    assert drop == pytest.approx(reference.mean() - artifact.mean())
    assert paired_drop(artifact, reference) == pytest.approx((-drop, -high, -low))


def test_equal_answers_still_leave_room_for_a_difference():
    correct = np.ones(2000, bool)
    drop, low, high = paired_drop(correct, correct)
    assert drop == 0
    assert low == -high
    assert 0.0005 < high < 0.002


@pytest.mark.parametrize(("n", "lost", "gained"), [(2000, 0.015, 0.005), (200, 0.02, 0.02), (50, 0.1, 0.02)])
def test_drop_interval_covers_the_truth(n, lost, gained):
    rng = np.random.default_rng(7)
    covered, draws = 0, 2000
    for _ in range(draws):
        u = rng.random(n)
        reference = u < 0.8
        artifact = (reference & (u > lost)) | ((u > 0.8) & (u < 0.8 + gained))
        _, low, high = paired_drop(reference, artifact)
        covered += low <= lost - gained <= high
    assert covered / draws >= 0.94


def test_drop_refuses_arrays_that_do_not_pair():
    with pytest.raises(ValueError, match="equal length"):
        paired_drop([True], [True, False])


@given(CORRECT)
def test_mcnemar_is_a_probability_and_symmetric(case):
    reference, artifact = case
    p = mcnemar(reference, artifact)
    assert 0 < p <= 1
    assert p == mcnemar(artifact, reference)


def test_mcnemar_counts_coin_throws():
    # Eight samples differ, all one way: 2 × ½^8.
    assert mcnemar([True] * 8 + [False] * 3, [False] * 11) == pytest.approx(2 / 256)
    assert mcnemar([True, False], [True, False]) == 1


@given(TIMES)
def test_median_lies_in_its_interval(values):
    median, low, high, confidence = median_interval(values)
    assert min(values) <= low <= median <= high <= max(values)
    assert 0 <= confidence < 1


@pytest.mark.parametrize(
    ("n", "rank", "confidence"),
    [
        (1, 1, 0.0),
        (2, 1, 0.5),
        (5, 1, 0.9375),
        (6, 1, 0.96875),
        (8, 1, 0.9921875),
        (9, 2, 0.9609375),
        (30, 10, 0.95723),
    ],
)
def test_median_interval_takes_the_innermost_pair_that_covers(n, rank, confidence):
    _, low, high, coverage = median_interval([float(i) for i in range(1, n + 1)])
    assert (low, high) == (rank, n + 1 - rank)
    assert coverage == pytest.approx(confidence, abs=1e-5)


def test_median_interval_has_the_coverage_that_it_claims():
    rng = np.random.default_rng(3)
    for n in (5, 6, 9):
        inside, claimed = 0, 0.0
        for _ in range(4000):
            _, low, high, claimed = median_interval(rng.lognormal(size=n))
            inside += low <= 1 <= high  # the median of exp(N(0, 1))
        assert inside / 4000 == pytest.approx(claimed, abs=0.015)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_no_figure_comes_from_nothing(values):
    with pytest.raises(ValueError, match="finite"):
        median_interval(values)
    with pytest.raises(ValueError, match="finite"):
        percentiles(values)


@given(TIMES)
def test_percentiles_are_ordered_and_within_the_runs(runs):
    p90, p95, p99 = percentiles(runs)
    assert min(runs) <= p90 <= p95 <= p99 <= max(runs)
    assert p90 >= np.median(runs)


def test_difference_interval_is_newcombe_s():
    # Newcombe 1998, table II, contrast (a): 56/70 - 48/80 gives .0524 to .3339.
    interval = difference_interval((48 / 80, *wilson(48, 80)), (56 / 70, *wilson(56, 70)))
    assert interval == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize("n", [1, 2, 7, 50, 1000, 1_000_000])
def test_wilsons_interval_is_scipys(n: int) -> None:
    from scipy.stats import binomtest

    for k in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        expected = binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k, n) == pytest.approx(tuple(expected), abs=1e-14)
    assert wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0
