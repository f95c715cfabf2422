"""Bursts: the raw record of a timed cell, and what two records say about the ratio of two latencies.

A record holds one entry for each process that timed the cell. Processes of the same block ran side by side: in each
round every cell ran one burst. So two cells are compared by the logarithm of the ratio of their bursts of the same
round, which the machine's changes of speed leave alone; by the median over a block's rounds; and by Student's interval
over blocks (`core.sequential`). A burst counts by its fastest run: of equal work that is what varies least, since
whatever else runs on the machine only adds time (Chen and Revels 2016, "Robust benchmarking in noisy environments").
The fastest of many runs is faster than that of a few, so of two bursts equally many runs count, the first ones.

Cells that were not timed side by side are compared through the anchor, whose bursts each record holds beside its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bounds import LONGEST_MS, SHORTEST_MS
from ..core.codec import read_json
from ..core.errors import InputError
from ..core.measurement import LatencyRatio, Measurement
from ..core.sequential import Interval, block_interval, difference_of_means
from ..core.statistics import CONFIDENCE
from .cells import raw_path

# The runs of each burst in milliseconds, by block and round.
Bursts = dict[str, dict[int, NDArray[np.float64]]]
Record = Mapping[str, Any]
# The logarithm of the widest ratio that is written, either way: of one block the interval is everything, and records
# hold figures up to 1e9.
_MOST = 20.0


def cell_name(artifact: str, target: str) -> str:
    """Return how a cell is written in a record."""
    return f"{artifact}@{target}"


def bursts_of(record: Record) -> Bursts:
    """Return a record's own bursts."""
    blocks: Bursts = {}
    for process in record["processes"]:
        ends = np.cumsum(process["bursts"])
        runs = np.split(np.asarray(process["runs_ms"], dtype=float), ends[:-1])
        blocks[process["block"]] = {int(n): burst for n, burst in zip(process["rounds"], runs, strict=True)}
    return blocks


def fastest_runs(bursts: Bursts) -> list[float]:
    """Return the fastest run of each burst, in their order."""
    return [float(burst.min()) for rounds in bursts.values() for burst in rounds.values()]


def anchor_blocks(own: Bursts, anchor: Bursts) -> list[dict[str, Any]]:
    """Return the anchor's part of a record: its fastest runs in the rounds of `own`, and of how many runs they are."""
    blocks = []
    for block, rounds in own.items():
        beside = anchor.get(block, {})
        common = {n: min(len(burst), len(beside[n])) for n, burst in rounds.items() if n in beside}
        if common:
            fastest = [float(beside[n][:runs].min()) for n, runs in common.items()]
            blocks.append(
                {"block": block, "rounds": list(common), "fastest_ms": fastest, "runs": list(common.values())}
            )
    return blocks


def _beside_anchor(record: Record) -> tuple[Bursts, Bursts]:
    """Return the fastest runs of the anchor and of a record's own cell in their common rounds; empty without an anchor.

    Records of older versions do not say how many runs were compared: all.
    """
    every = bursts_of(record)
    anchor: Bursts = {}
    own: Bursts = {}
    for one in record.get("anchor", {}).get("blocks", []):
        block, rounds = one["block"], [int(number) for number in one["rounds"]]
        counts = one.get("runs") or [None] * len(rounds)
        anchor[block] = {n: np.array([float(ms)]) for n, ms in zip(rounds, one["fastest_ms"], strict=True)}
        compared = [(n, runs) for n, runs in zip(rounds, counts, strict=True) if n in every.get(block, {})]
        own[block] = {n: every[block][n][:runs].min(keepdims=True) for n, runs in compared}
    return anchor, own


def log_ratios(a: Bursts, b: Bursts) -> list[float]:
    """Return log(b / a) for each block in which both took part: the median over their common rounds."""
    return [float(np.median(rounds)) for rounds in _by_round(a, b)]


def _by_round(a: Bursts, b: Bursts) -> list[NDArray[np.float64]]:
    """Return log(b / a) for each common round, block by block."""
    common = {block: sorted(rounds.keys() & b.get(block, {}).keys()) for block, rounds in a.items()}
    return [
        np.log([_ratio(a[block][number], b[block][number]) for number in rounds])
        for block, rounds in common.items()
        if rounds
    ]


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the ratio of the fastest runs of two bursts, of equally many runs."""
    runs = min(len(a), len(b))
    return float(b[:runs].min() / a[:runs].min())


def _floor(a: Bursts, b: Bursts) -> float:
    """Return the standard deviation that a block's value has for the spread of its rounds alone, pooled over blocks.

    That of a median of n values is 1.2533 / √n times theirs, which is 1.4826 times their median absolute deviation
    (both for the normal distribution; outliers leave it alone).
    """
    blocks = [rounds for rounds in _by_round(a, b) if len(rounds) > 2]
    if not blocks:
        return 0.0
    spread = np.concatenate([np.abs(rounds - np.median(rounds)) for rounds in blocks])
    return float(1.2533 * 1.4826 * np.median(spread) / np.sqrt(np.mean([len(rounds) for rounds in blocks])))


def between(a: Record, b: Record, error: float | None = None) -> Interval | None:
    """Return the interval of log(b / a) for two cells; None if nothing connects them.

    The interval misses the truth with probability `error`, by default what the records' own looks left for it.
    """
    miss = error if error is not None else min(a["error"], b["error"])
    first, second = bursts_of(a), bursts_of(b)
    if values := log_ratios(first, second):
        return block_interval(values, miss, _floor(first, second))
    return through_anchor(a, b, miss)


def through_anchor(a: Record, b: Record, error: float) -> Interval | None:
    """Return the interval of log(b / a) of cells that each ran beside the same anchor; None if that is not so."""
    if not same_anchor(a, b):
        return None
    pairs = [_beside_anchor(one) for one in (a, b)]
    first, second = (log_ratios(*pair) for pair in pairs)
    floors = (_floor(*pairs[0]), _floor(*pairs[1]))
    return difference_of_means(first, second, error, floors) if first and second else None


def same_anchor(a: Record, b: Record) -> bool:
    """Return whether two records were timed beside the same file on the same kind of target."""
    x, y = (one.get("anchor", {}) for one in (a, b))
    keys = ("sha256", "target", "runtime_version", "threads")
    return bool(x.get("sha256")) and all(x.get(key) == y.get(key) for key in keys)


def to_anchor(record: Record) -> LatencyRatio | None:
    """Return a cell's latency as a ratio of the anchor's; None where it has no anchor."""
    anchor, own = _beside_anchor(record)
    values = log_ratios(anchor, own)
    if not values:
        return None
    return ratio_of(block_interval(values, record["error"], _floor(anchor, own)), str(record["anchor"]["cell"]))


def ratio_of(interval: Interval, anchor: str) -> LatencyRatio:
    """Return an interval of a logarithm as a ratio with its verdict. A ratio of one block is never distinguishable."""
    estimate, low, high = (exp(min(max(value, -_MOST), _MOST)) for value in interval)
    verdict = "faster" if high < 1 else "slower" if low > 1 else "not distinguishable"
    return LatencyRatio(anchor, estimate, low, high, CONFIDENCE, verdict)  # type: ignore[arg-type]


def read_record(measurement: Measurement, folder: Path | None) -> Record | None:
    """Return the raw record of a measurement in a run's folder; None if there is none with bursts of possible times."""
    path = raw_path(measurement, folder)
    if path is None:
        return None
    try:
        record: Record = read_json(path)
        bursts, error = bursts_of(record), record["error"]
        times = fastest_runs(bursts) + fastest_runs(_beside_anchor(record)[0])
    except (InputError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    possible = any(bursts.values()) and min(times) >= SHORTEST_MS and max(times) <= LONGEST_MS
    return record if possible and isinstance(error, float) and 0 < error < 1 else None


class Ratios:
    """The latency ratios of a run's cells, from the raw records in its folder; each record is read once."""

    def __init__(self, folder: Path | None = None, records: Mapping[tuple[str, str], Record] | None = None) -> None:
        self._folder = folder
        self._records: dict[tuple[str, str], Record | None] = dict(records or {})

    def __call__(self, a: Measurement, b: Measurement) -> LatencyRatio | None:
        """Return b's latency as a ratio of a's.

        Without raw records the ratios to the anchor are combined, and without these the intervals of the medians; both
        are cautious. None where one has no latency, or they are not of the same kind, or of different devices.
        """
        if a.latency_ms is None or b.latency_ms is None or a.kind != b.kind or a.device != b.device:
            return None
        name = cell_name(a.artifact, a.target)
        first, second = self._record(a), self._record(b)
        if first and second and (interval := between(first, second)):
            return ratio_of(interval, name)
        return _from_ends(a, b, name)

    def _record(self, m: Measurement) -> Record | None:
        key = (m.artifact, m.target)
        if key not in self._records:
            self._records[key] = read_record(m, self._folder)
        return self._records[key]


def _from_ends(a: Measurement, b: Measurement, name: str) -> LatencyRatio:
    """Return the ratio of two cells without raw records: the ends of two intervals hold together (Bonferroni)."""
    x, y = a.latency_ratio, b.latency_ratio
    if x and y and x.anchor == y.anchor:
        confidence = max(0.0, x.confidence + y.confidence - 1)
        ratio, low, high = y.ratio / x.ratio, y.low / x.high, y.high / x.low
    else:
        first, second = a.latency_ms, b.latency_ms
        assert first is not None and second is not None  # noqa: S101 (the caller has checked)
        confidence = max(0.0, first.confidence + second.confidence - 1)
        ratio, low, high = second.median / first.median, second.low / first.high, second.high / first.low
    sure = confidence >= 0.8
    verdict = "faster" if sure and high < 1 else "slower" if sure and low > 1 else "not distinguishable"
    return LatencyRatio(name, ratio, low, high, confidence, verdict)  # type: ignore[arg-type]


def burst_summary(process: Mapping[str, Any], part: str) -> float | None:
    """Return the median of a part of each run in milliseconds over a process; None where runs have no such part."""
    values: Sequence[float] = process.get(part) or ()
    return float(np.median(values)) if values else None
