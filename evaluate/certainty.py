"""Certainty: which cells must be timed longer because the answer that a run is asked for may still change.

Asked is which of some files is the fastest, for each target, and, with a limit on latency, which files keep it. Where
the whole order counts, a pair is settled when the interval of its ratio excludes 1, or lies within the resolution: the
two then differ by less than anybody asked to know. Where only the fastest counts, a cell is settled when it is shown to
be slower than that by more than the resolution, or not to be: by this a race (`race.Race`) leaves it out or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, log1p

import numpy as np

from ..core.measurement import Measurement
from ..core.recipe_budget import Budget
from ..core.results import Results
from ..core.sequential import Interval, block_interval
from .budget import Limits
from .bursts import Record, between
from .cells import Cell

Key = tuple[str, str]


@dataclass(frozen=True)
class Asked:
    """What is asked of the latencies: `races` are sets of cells (artifact, target) of which the order counts.

    With `winner_only` it counts which cell of a race is the fastest, otherwise the whole order does. `limit_ms` is the
    budget's limit on the 95th percentile.
    """

    races: tuple[tuple[Key, ...], ...]
    winner_only: bool = False
    limit_ms: float | None = None


Asks = Callable[[Sequence[Measurement]], Asked]


def everything(rows: Sequence[Measurement]) -> Asked:
    """Ask for the whole order of the cells of each target."""
    targets = dict.fromkeys(row.target for row in rows)
    return Asked(tuple(tuple(_key(row) for row in rows if row.target == target) for target in targets))


def asked_by(results: Results, budget: Budget | None) -> Asks:
    """Return what a budget asks of the cells of `results`: among files that keep its other limits, the fastest.

    Without a budget the whole order of each target's exported files counts.
    """

    def asks(rows: Sequence[Measurement]) -> Asked:
        artifacts = {artifact.id: artifact for artifact in results.artifacts}
        shown = [Cell(artifacts[row.artifact], row) for row in rows]
        shown = [cell for cell in shown if not cell.is_reference]
        if budget is None:
            return everything([c.measurement for c in shown])
        free = budget.model_copy(update={"max_latency_ms": None, "max_memory_bytes": None})
        limits = Limits.of(results, free)
        fit = [
            _key(c.measurement)
            for c in shown
            if all(v.not_shown or v.about_latency for v in limits.violations(c))
            and budget.target in ("", c.measurement.target)
        ]
        targets = dict.fromkeys(target for _, target in fit)
        races = [tuple(key for key in fit if key[1] == target) for target in targets]
        return Asked((*races, *([tuple(fit)] if len(races) > 1 else [])), True, budget.max_latency_ms)

    return asks


def open_cells(asked: Asked, records: Mapping[Key, Record], error: float, resolution: float) -> set[Key]:
    """Return the cells of unsettled pairs among `records`, and those whose tail is too near the limit to tell.

    `error` is the probability with which an interval may miss the truth.
    """
    unsettled: set[Key] = set()
    for race in asked.races:
        runners = [key for key in race if key in records]
        runners.sort(key=lambda key: median_ms(records[key]))
        against_first = [(runners[0], other) for other in runners[1:]]
        for first, other in against_first if asked.winner_only else pairwise(runners):
            interval = between(records[first], records[other], error)
            settled = is_placed if asked.winner_only else is_settled
            if interval is not None and not settled(interval, resolution):
                unsettled |= {first, other}
    if asked.limit_ms is not None:
        for key in {key for race in asked.races for key in race} & records.keys():
            interval = tail_interval(records[key], error)
            beyond = interval.low > log(asked.limit_ms) or interval.high < log(asked.limit_ms)
            if not beyond and interval.high - interval.low > 2 * log1p(resolution):
                unsettled.add(key)
    return unsettled


def is_settled(interval: Interval, resolution: float) -> bool:
    """Return whether an interval of the logarithm of a ratio excludes 1, or lies within the resolution."""
    excludes = interval.low > 0 or interval.high < 0
    return excludes or (interval.low > -log1p(resolution) and interval.high < log1p(resolution))


def is_placed(interval: Interval, resolution: float) -> bool:
    """Return whether an interval of the logarithm of a ratio to the fastest is on one side of the resolution."""
    return interval.low > log1p(resolution) or interval.high <= log1p(resolution)


def median_ms(record: Record) -> float:
    """Return the median of the processes' medians in milliseconds."""
    return float(np.median([np.median(process["runs_ms"]) for process in record["processes"]]))


def tail_interval(record: Record, error: float) -> Interval:
    """Return the interval of the logarithm of the 95th percentile, over processes."""
    return block_interval([log(np.percentile(process["runs_ms"], 95)) for process in record["processes"]], error)


def _key(row: Measurement) -> Key:
    return row.artifact, row.target
