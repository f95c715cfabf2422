"""A race: which of some cells is the fastest, and which cannot be told from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.formatting import percent
from ..core.measurement import LatencyRatio
from .bursts import Ratios
from .cells import Cell


@dataclass(frozen=True)
class Race:
    """Compares the latencies of cells. One ties with the fastest unless it is shown to be slower by `resolution`.

    That is a share, and shown is what the whole interval of the ratio lies beyond: two runs of the same files then name
    the same ones, though the estimates differ.
    """

    ratios: Ratios
    resolution: float = 0.0

    def winner(self, cells: Sequence[Cell]) -> tuple[Cell, list[Cell]]:
        """Return the smallest of the fastest cells, and all of the fastest, the fastest first."""
        ranked = sorted(cells, key=by_latency)
        anchors = {cell.measurement.latency_ratio.anchor for cell in cells if cell.measurement.latency_ratio}
        if len(anchors) == 1 and all(cell.measurement.latency_ratio for cell in cells):
            ranked.sort(key=lambda cell: cell.measurement.latency_ratio.ratio)  # type: ignore[union-attr]
        tied = [cell for cell in ranked if self.ties(ranked[0], cell)]
        return min(tied, key=lambda cell: (cell.artifact.bytes, *by_latency(cell))), tied

    def ties(self, fastest: Cell, cell: Cell) -> bool:
        """Return whether a cell is not shown to be slower than the fastest one by more than the resolution."""
        return cell is fastest or self.ratio(fastest, cell).low <= 1 + self.resolution

    def ratio(self, a: Cell, b: Cell) -> LatencyRatio:
        """Return b's latency as a ratio of a's. Raises ValueError if one has no latency."""
        ratio = self.ratios(a.measurement, b.measurement)
        if ratio is None:
            raise ValueError(f"the latencies of {a.artifact.id} and {b.artifact.id} cannot be compared")
        return ratio

    def tie_words(self, winner: Cell, others: Sequence[Cell]) -> str:
        """Return why cells tie with the winner."""
        known = [self.ratio(winner, cell) for cell in others]
        if all(ratio.verdict == "not distinguishable" for ratio in known):
            return "the ratios of their latencies are not distinguishable from 1"
        return f"none is shown to be slower than the fastest by more than {percent(self.resolution)}"


def by_latency(cell: Cell) -> tuple[float, int, str, str]:
    """Sort key: the faster first, by the median; cells without a latency last."""
    m = cell.measurement
    median = m.latency_ms.median if m.latency_ms is not None else float("inf")
    return median, cell.artifact.bytes, m.artifact, m.target
