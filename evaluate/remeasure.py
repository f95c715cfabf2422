"""Two runs' files timed together now: both files of each cell in the same rounds, whatever the runs measured before.

The comparison of latencies that one should trust: what the machine did in between, and even which machine it was, is
the same for both. Each group has whole cells, so that the two files of a cell always share their rounds; its anchor is
the first cell's file of run a. Blocks go on until each pair is told apart, or differs by less than the resolution, and
until the gate's limit on latency is decided, or time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path
from typing import Any

from ..core.progress import Listener
from ..core.recipe import LatencyTable
from ..core.runner import Outcome, Runner
from .bench import Bench, Timed, plan_record
from .bursts import Record, between, cell_name, ratio_of
from .certainty import is_settled
from .compare import BY_ROUNDS, Together, change_of
from .latency import summarize
from .timing import MEMORY_SHARE, USUAL_BYTES, plan_of, summary_of

CellKey = tuple[str, str, str]


@dataclass(frozen=True)
class Side:
    """One file of a pair: its runner, the samples that it is fed (`core.runner.Runner.serve`), its process's memory."""

    runner: Runner
    inputs: Path
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Pair:
    """The two files of a cell, with the number of threads and the batch of both."""

    key: CellKey
    a: Side
    b: Side
    threads: int = 1
    batch: int = 1

    @property
    def memory_bytes(self) -> int:
        """What the two processes take together."""
        return sum(side.memory_bytes or USUAL_BYTES for side in (self.a, self.b))


def time_pairs(
    pairs: Sequence[Pair],
    *,
    table: LatencyTable,
    limit: float | None,
    seed: int,
    cores: int,
    folder: Path,
    listener: Listener,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[dict[CellKey, Together], list[dict[str, Any]]]:
    """Time each pair; return what it came to by cell, and what the bench learnt about the machine in each group.

    `limit` is the gate's largest allowed increase of latency as a share; None: there is none. `folder` is a temporary
    one for the records.
    """
    found: dict[CellKey, Together] = {}
    benches = []
    deadline = clock() + table.max_seconds
    for number, group in enumerate(groups_of(pairs, int(pairs[0].a.runner.free_bytes() * MEMORY_SHARE))):
        timed, summary = _time(
            group, folder / str(number), table=table, limit=limit, seed=seed, cores=cores, listener=listener,
            deadline=deadline, clock=clock,
        )  # fmt: skip
        found |= timed
        benches.append(summary)
    return found, benches


def groups_of(pairs: Sequence[Pair], memory_bytes: int) -> list[list[Pair]]:
    """Return groups of pairs that fit into the memory beside a second process of the group's first file."""
    groups: list[list[Pair]] = []
    left = 0
    for pair in pairs:
        if not groups or pair.memory_bytes > left:
            groups.append([])
            left = memory_bytes - (pair.a.memory_bytes or USUAL_BYTES)
        groups[-1].append(pair)
        left -= pair.memory_bytes
    return groups


def _time(
    group: Sequence[Pair],
    folder: Path,
    *,
    table: LatencyTable,
    limit: float | None,
    seed: int,
    cores: int,
    listener: Listener,
    deadline: float,
    clock: Callable[[], float],
) -> tuple[dict[CellKey, Together], dict[str, Any]]:
    """Time the pairs of one group: cell 2i is the file of run a of pair i, and 2i + 1 that of run b."""
    folder.mkdir(parents=True)
    plan = plan_of(table)

    def timed(pair: Pair, side: Side, name: str) -> Timed:
        raw = folder / f"{name}.json"
        memory = side.memory_bytes or USUAL_BYTES
        return Timed(side.runner, raw, name, memory, pair.threads, pair.batch, side.inputs)

    cells = [
        timed(pair, side, f"{number}{run}")
        for number, pair in enumerate(group)
        for run, side in (("a", pair.a), ("b", pair.b))
    ]
    ended: dict[int, tuple[Outcome, dict[str, Any]]] = {}

    def done(index: int, outcome: Outcome, record: dict[str, Any]) -> None:
        pair = group[index // 2]
        record["plan"] = plan_record(plan, pair.threads, pair.batch)
        ended[index] = (outcome, record)

    finding = Bench(
        cells,
        group[0].a.inputs,
        anchor=0,
        copy=timed(group[0], group[0].a, "copy"),
        plan=plan,
        question=lambda records, error: _open(records, error, table.resolution, limit),
        deadline=deadline,
        seed=seed,
        starts=cores,
        listener=listener,
        clock=clock,
    ).run(done)
    came_to = {pair.key: _came_to(pair, ended[2 * i], ended[2 * i + 1]) for i, pair in enumerate(group)}
    anchor = cell_name(group[0].a.runner.artifact.id, group[0].key[1])
    return came_to, summary_of(finding, anchor, table.resolution, max(pair.threads for pair in group))


def _open(records: Mapping[int, Record], error: float, resolution: float, limit: float | None) -> set[int]:
    """Return the cells of pairs that are not told apart yet, or of which the limit is not decided."""
    unsettled: set[int] = set()
    for first in (index for index in records if index % 2 == 0 and index + 1 in records):
        interval = between(records[first], records[first + 1], error)
        if interval is None:
            continue
        decided = limit is None or interval.low > log1p(limit) or interval.high <= log1p(limit)
        if not (decided and is_settled(interval, resolution)):
            unsettled |= {first, first + 1}
    return unsettled


def _came_to(pair: Pair, a: tuple[Outcome, dict[str, Any]], b: tuple[Outcome, dict[str, Any]]) -> Together:
    ends = (("a", a[0]), ("b", b[0]))
    if failed := [f"{run}: {end.status}, {end.reason}" for run, end in ends if not end.ok]:
        return Together(f"it could not be timed now ({'; '.join(failed)})")
    interval = between(a[1], b[1])
    if interval is None:
        return Together("its two files have no round in common")
    change = change_of(ratio_of(interval, ""), BY_ROUNDS)
    return Together("", pair.b.runner.kind, summarize(a[1]), summarize(b[1]), change)
