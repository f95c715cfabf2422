"""Phase three of a measurement: latency, with nothing else running; figures, ratios and what the machine could tell
apart.

All cells, with every number of threads and batch, are timed by `bench.Bench`, in groups that fit into the memory. What
is timed once is stored with its anchor's bursts, so that a cell which a changed recipe adds is timed alone, beside the
anchor, and still compares with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.codec import read_json, to_json, write_json
from ..core.measurement import Measurement
from ..core.progress import Listener
from ..core.quiet import clock, working
from ..core.recipe import Evaluate, LatencyTable
from ..core.runner import Outcome, Runner
from ..core.store import Store, copy_out
from ..core.target import OPTIONS, base_target
from .bench import Bench, Finding, Plan, Timed, groups_of, plan_record
from .bursts import Record, bursts_of, cell_name, to_anchor
from .cells import raw_name
from .certainty import Asks, open_cells
from .disturbances import change_of_speed, disturbances
from .latency import summarize

# Share of the free memory that the processes of a group may take together.
MEMORY_SHARE = 0.7
# A cell without a measured peak is taken for this large.
USUAL_BYTES = 300 << 20
# Of the records in the store: raised when what they hold changes.
_FORM = 2
# Ends the place of an anchor's bursts if its own were timed earlier.
_AGAIN = ".again"


@dataclass
class TimedCell:
    """A cell that answers, with its row so far and what its figures depend on."""

    runner: Runner
    row: Measurement
    key: dict[str, Any]


@dataclass(frozen=True)
class _Entry:
    """A cell with one number of threads and one batch: its place in the store, and its target as rows name it."""

    cell: TimedCell
    key: str
    threads: int
    batch: int
    target: str

    @property
    def place(self) -> tuple[str, str]:
        return self.cell.row.artifact, self.target


def time_cells(
    cells: Sequence[TimedCell],
    inputs: Path,
    *,
    settings: Evaluate,
    seed: int,
    cores: int,
    store: Store,
    raw_folder: Path,
    listener: Listener,
    asks: Asks,
    on_row: Callable[[Measurement], None],
    on_bench: Callable[[dict[str, Any]], None],
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Time every cell, for each number of threads and batch of `settings`; call `on_row` with each grown row.

    `on_bench` receives a row of results.json's ``bench`` for each group that is or was timed. Each block is timed in
    ``alone()``.
    """
    _Timing(
        cells, inputs, table=settings.latency, seed=seed, cores=cores, store=store, raw_folder=raw_folder,
        listener=listener, asks=asks, on_row=on_row, on_bench=on_bench, alone=alone,
    ).run()  # fmt: skip


def plan_of(table: LatencyTable) -> Plan:
    """Return the bench's plan for a recipe's [evaluate.latency]."""
    return Plan(
        table.warmup_seconds, table.run_seconds, table.min_runs, table.processes, table.resolution, table.max_seconds
    )


def summary_of(finding: Finding, anchor: str, resolution: float, threads: int) -> dict[str, Any]:
    """Return what a group's measurement says about the machine, as results.json has it.

    `anchor` is its cell's name; `threads` is the largest number that a cell of the group had.
    """
    same = to_anchor(finding.copy) if finding.copy else None
    told_apart = max(same.high - 1, 1 - same.low) if same and finding.blocks > 1 else None
    return {
        "anchor": anchor,
        "copy": to_json(same) if same else None,
        "told_apart": told_apart,
        "resolution": resolution,
        "seconds": round(finding.seconds, 1),
        "blocks": finding.blocks,
        "certain": finding.certain,
        "disturbances": disturbances(finding.conditions, threads)
        + (change_of_speed(bursts_of(finding.copy)) if finding.copy else []),
    }


def anchor_of(cells: Sequence[TimedCell]) -> int:
    """Return the cell that all others are compared with: a float32 file on a runtime of devices, else the first."""
    real = [index for index, cell in enumerate(cells) if cell.row.kind == "measured"] or list(range(len(cells)))
    for index in real:
        artifact = cells[index].runner.artifact
        if artifact.format != "savedmodel" and artifact.scheme == "float32":
            return index
    return real[0]


def _suffix(table: LatencyTable, threads: int, batch: int) -> str:
    """Return what a target's name ends in for other numbers than the first."""
    first = table.options[0]
    differ = [("threads", threads, first[0]), ("batch", batch, first[1])]
    named = ",".join(f"{name}={number}" for name, number, usual in differ if number != usual)
    return f"{OPTIONS}{named}" if named else ""


class _Timing:
    """The cells with every number of threads and batch: all of them are timed side by side."""

    def __init__(
        self,
        cells: Sequence[TimedCell],
        inputs: Path,
        *,
        table: LatencyTable,
        seed: int,
        cores: int,
        store: Store,
        raw_folder: Path,
        listener: Listener,
        asks: Asks,
        on_row: Callable[[Measurement], None],
        on_bench: Callable[[dict[str, Any]], None],
        alone: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._inputs, self._seed, self._cores = inputs, seed, cores
        self._store, self._raw_folder = store, raw_folder
        self._listener, self._on_row, self._on_bench, self._alone = listener, on_row, on_bench, alone
        self._plan = plan = plan_of(table)
        self._deadline = clock() + plan.max_seconds
        anchor = cells[anchor_of(cells)]

        def entry(cell: TimedCell, threads: int, batch: int, role: str = "") -> _Entry:
            facts = {
                "plan": plan_record(plan, threads, batch),
                "anchor": anchor.key,
                "role": role,
                "form": _FORM,
                **cell.key,
            }
            target = f"{cell.row.target}{_suffix(table, threads, batch)}"
            return _Entry(cell, store.key("latency", facts), threads, batch, target)

        self._entries = [entry(cell, *options) for options in table.options for cell in cells]
        self._anchor = self._entries[anchor_of(cells)]
        self._copy = entry(anchor, *table.options[0], "copy of the anchor")
        self._records: dict[tuple[str, str], Record] = {}
        # Latencies of different batches are no race.
        self._asked = asks([self._base(e) for e in self._entries if e.batch == table.options[0][1]])
        self._told: set[str] = set()

    def run(self) -> None:
        """Take from the store what was timed, time the rest, and report every row."""
        todo = []
        for entry in self._entries:
            if found := self._store.get(entry.key):
                self._row(entry, read_json(found / "raw.json"), found)
            else:
                todo.append(entry)
        if not todo:
            return
        # The anchor runs beside every group. If it was timed earlier, its new bursts are only in the others' records.
        timed = [*(todo if self._anchor in todo else [self._anchor, *todo])]
        cells = [self._timed(entry, keep=entry in todo) for entry in timed]
        position = timed.index(self._anchor)
        free = int(self._anchor.cell.runner.free_bytes() * MEMORY_SHARE)
        for group in groups_of(cells, position, free):
            self._time([position, *group], timed, cells, todo)

    def _time(
        self, group: Sequence[int], timed: Sequence[_Entry], cells: Sequence[Timed], todo: Sequence[_Entry]
    ) -> None:
        entries = [timed[i] for i in group]
        self._anchor.cell.runner.rest()
        finished: list[tuple[_Entry, Outcome]] = []

        def done(index: int, outcome: Outcome, record: dict[str, Any]) -> None:
            entry = entries[index]
            record["plan"] = plan_record(self._plan, entry.threads, entry.batch)
            if entry in todo:
                self._records[entry.place] = record
            write_json(cells[group[index]].raw, record)
            finished.append((entry, outcome))

        finding = Bench(
            [cells[i] for i in group],
            self._inputs,
            anchor=0,
            copy=self._timed(self._copy, keep=True),
            plan=self._plan,
            question=lambda records, error: self._open(records, error, entries),
            deadline=self._deadline,
            seed=self._seed,
            starts=self._cores,
            listener=self._listener,
            clock=clock,
            alone=self._alone,
        ).run(done)
        threads = max(entry.threads for entry in entries)
        summary = summary_of(finding, cell_name(*self._anchor.place), self._plan.resolution, threads)
        for entry, outcome in finished:
            if entry not in todo:
                continue
            if not outcome.ok:
                self._on_row(replace(
                    self._base(entry), status=outcome.status, reason=outcome.reason, remedy=outcome.remedy,
                ))  # fmt: skip
                continue
            write_json(self._store.partial(entry.key) / "bench.json", summary)
            found = self._store.finish(entry.key)
            self._row(entry, read_json(found / "raw.json"), found)
        for used in (self._copy.key, f"{self._anchor.key}{_AGAIN}"):
            self._store.discard(used)

    def _open(self, records: Mapping[int, Record], error: float, entries: Sequence[_Entry]) -> set[int]:
        """Return the cells of a group about which the question is open."""
        with working():
            return self._unsettled(records, error, entries)

    def _unsettled(self, records: Mapping[int, Record], error: float, entries: Sequence[_Entry]) -> set[int]:
        by_place = {**self._records, **{entries[i].place: record for i, record in records.items()}}
        unsettled = open_cells(self._asked, by_place, error, self._plan.resolution)
        return {i for i in records if entries[i].place in unsettled}

    def _timed(self, entry: _Entry, *, keep: bool) -> Timed:
        folder = self._store.partial(entry.key if keep else f"{entry.key}{_AGAIN}")
        folder.mkdir(parents=True, exist_ok=True)
        row = entry.cell.row
        return Timed(
            entry.cell.runner, folder / "raw.json", cell_name(*entry.place),
            row.peak_memory_bytes or USUAL_BYTES, entry.threads, entry.batch,
        )  # fmt: skip

    def _base(self, entry: _Entry) -> Measurement:
        """Return the row of a cell without its latency; further rows of a cell repeat the rest."""
        return replace(entry.cell.row, target=entry.target)

    def _row(self, entry: _Entry, record: Record, found: Path) -> None:
        name = raw_name(*entry.place, ".json")
        copy_out(found / "raw.json", self._raw_folder / name, root=self._raw_folder.parent)
        self._records[entry.place] = record
        processes = record["processes"]
        peak = int(np.median([p["peak_memory_bytes"] for p in processes]))
        own = int(np.median([max(0, p["peak_memory_bytes"] - p["import_memory_bytes"]) for p in processes]))
        self._on_row(
            replace(
                self._base(entry),
                latency_ms=summarize(record),
                latency_ratio=to_anchor(record),
                load_ms=float(np.median([p["load_ms"] for p in processes])),
                first_ms=float(np.median([p["first_ms"] for p in processes])),
                peak_memory_bytes=peak,
                file_memory_bytes=own,
                raw=f"{self._raw_folder.name}/{name}",
            )
        )
        summary = read_json(found / "bench.json")
        if (text := str(summary)) not in self._told:
            self._told.add(text)
            self._on_bench(summary)


def follow_base(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return the rows of further numbers of threads or batches that must follow a change of the row they belong to.

    Their answers were not taken again, so a file that was failed for its answers is failed there, too.
    """
    base = {(row.artifact, row.target): row for row in rows if row.target == base_target(row.target)}
    changed = []
    for row in rows:
        own = base.get((row.artifact, base_target(row.target))) if row.target != base_target(row.target) else None
        if own is not None and row.status == "ok":
            follows = replace(row, status=own.status, reason=own.reason, remedy=own.remedy, pooled_drop=own.pooled_drop)
            changed += [follows] if follows != row else []
    return changed
