"""Certainty: which cells are timed longer, for what a budget or a Pareto front asks."""

from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import pytest

from edgeproof.core.recipe import Budget
from edgeproof.core.sequential import Interval
from edgeproof.evaluate.certainty import Asked, asked_by, everything, is_placed, is_settled, open_cells

from ..support.records import record
from .test_select import TYPICAL, results

A, B, C = (("a", "local/litert"), ("b", "local/litert"), ("c", "local/litert"))


def medians(level: float, spread: float) -> list[float]:
    return [level * (1 + spread * step) for step in (-1.2, 0.9, -0.4, 1.1, 0.2, -0.6)]


RECORDS: dict[Any, Any] = {
    A: record(medians(10.0, 0.001)), B: record(list(reversed(medians(10.15, 0.03)))), C: record(medians(20.0, 0.001)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "settled"),
    [((0.1, 0.05, 0.2), True), ((-0.1, -0.2, -0.05), True), ((0.0, -0.01, 0.01), True), ((0.0, -0.03, 0.01), False),
     ((0.02, -0.001, 0.04), False)],
)  # fmt: skip
def test_a_pair_is_settled_by_a_difference_or_by_the_resolution(interval: Any, settled: bool) -> None:
    assert is_settled(Interval(*interval), 0.02) is settled


@pytest.mark.parametrize(
    ("interval", "placed"),
    [((0.1, 0.05, 0.2), True), ((0.0, -0.01, 0.01), True), ((0.015, 0.01, 0.018), True), ((0.02, 0.01, 0.03), False),
     ((0.0, -0.03, 0.03), False), ((-0.1, -0.2, -0.05), True)],
)  # fmt: skip
def test_a_cell_is_placed_on_one_side_of_the_resolution(interval: Any, placed: bool) -> None:
    assert is_placed(Interval(*interval), 0.02) is placed


def test_only_cells_of_unsettled_pairs_stay_open() -> None:
    asked = Asked(((A, B, C),))
    assert open_cells(asked, RECORDS, 0.05, 0.02) == {A, B}
    assert open_cells(asked, RECORDS, 0.05, 0.2) == set(), "nobody asked for more than 20 %"


def test_with_a_budget_only_the_winner_s_race_counts() -> None:
    noisy = {**RECORDS, C: record(medians(10.1, 0.03))}
    assert open_cells(Asked(((B, C, A),), winner_only=True), noisy, 0.05, 0.001) == {A, B, C}
    apart = {A: record(medians(5.0, 0.001)), B: RECORDS[B], C: noisy[C]}
    assert open_cells(Asked(((A, B, C),), winner_only=True), apart, 0.05, 0.001) == set()
    assert open_cells(Asked(((A, B, C),)), apart, 0.05, 0.001) == {B, C}


def test_a_race_goes_on_until_cells_are_slower_by_more_than_the_resolution_or_not() -> None:
    near = {A: record(medians(10.0, 0.001)), B: record(medians(10.2, 0.0005)), C: record(medians(10.1, 0.0005))}
    race = Asked(((A, B, C),), winner_only=True)
    assert open_cells(race, near, 0.05, 0.02) == {A, B}, "B is slower, and not shown to be so by less than 2 %"
    assert open_cells(race, near, 0.05, 0.04) == set()
    assert open_cells(Asked(((A, B, C),)), near, 0.05, 0.02) == set(), "in which order they are is known"


def test_a_tail_near_the_limit_stays_open() -> None:
    asked = Asked(((B,),), True, limit_ms=10.2)
    assert open_cells(asked, RECORDS, 0.05, 0.02) == {B}
    assert open_cells(replace(asked, limit_ms=100.0), RECORDS, 0.05, 0.02) == set()


def test_a_budget_asks_only_for_files_that_keep_its_other_limits() -> None:
    typical = results(*TYPICAL)
    rows = typical.measurements
    asked = asked_by(typical, Budget(max_latency_ms=3.0))(rows)
    named = {key for race in asked.races for key in race}
    assert ("m--tflite-dynamic", "local/litert") not in named, "it loses 40 points"
    assert ("m--savedmodel-float32", "local/tensorflow") not in named, "it is the reference"
    assert asked.winner_only and asked.limit_ms == 3.0
    assert len(asked.races) == 3, "each target, and all of them"
    without = asked_by(typical, None)(rows)
    assert ("m--tflite-dynamic", "local/litert") in without.races[0] and not without.winner_only
    assert len(everything(rows).races) == 3


def test_logarithms_are_of_ratios() -> None:
    assert is_settled(Interval(log(1.05), log(1.04), log(1.06)), 0.02)
