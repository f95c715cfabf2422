"""A race: cells tie unless one is shown to be slower by more than the resolution; the smallest of them wins."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.measurement import Latency, LatencyRatio, Measurement
from edgeproof.evaluate.cells import Cell
from edgeproof.evaluate.race import Race


def cell(name: str, median: float, size: int) -> Cell:
    latency = Latency(median, 0, 0, 0.95, 0, 0, 0, 100, 6, 1)
    artifact = Artifact(name, "m", "tflite", "float32", None, bytes=size)
    return Cell(artifact, Measurement(name, "local/litert", "local", "litert", latency_ms=latency))


@pytest.mark.parametrize(
    ("ratio", "low", "high", "ties"),
    [
        (1.025, 1.015, 1.035, True),  # slower, and not shown to be so by 2 %
        (1.030, 1.021, 1.040, False),
        (1.010, 0.900, 1.200, True),
        (1.300, 1.200, 1.400, False),
    ],
)
def test_a_cell_ties_unless_it_is_shown_to_be_slower_by_more(ratio: float, low: float, high: float, ties: bool) -> None:
    fast, small = cell("fast", 10.0, 8000), cell("small", 10.0 * ratio, 4000)
    verdict: Any = "slower" if low > 1 else "not distinguishable"

    def ratios(_: Measurement, other: Measurement) -> LatencyRatio:
        return LatencyRatio("fast@local/litert", ratio, low, high, 0.95, verdict)

    race = Race(ratios, 0.02)  # type: ignore[arg-type]
    winner, tied = race.winner([fast, small])
    assert (winner, tied) == ((small, [fast, small]) if ties else (fast, [fast]))
    if ties and low > 1:
        assert race.tie_words(winner, [fast]) == "none is shown to be slower than the fastest by more than 2.0 %"
