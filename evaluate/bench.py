"""The bench: times cells side by side, in bursts and rounds, until the question asked of them is answered.

The processes of all cells of a group stay alive for a block. In each round every cell runs one burst of 15 to 60 ms,
in an order drawn anew, so that what the machine does in the meantime is shared out evenly. The next block has fresh
processes, since medians of processes differ for the same file (memory layout, caches). Idle processes cost memory
only: groups are formed so that a group's processes fit, and each has the anchor in it, through which cells of
different groups compare.

The anchor runs twice in each block. Whatever the bench says of the two copies is its own error: it is reported.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.codec import read_json, write_json
from ..core.progress import Listener
from ..core.runner import Outcome, Runner, Server
from ..core.sequential import level, looks
from .bursts import Record, anchor_blocks, bursts_of

# The shorter the bursts of a round, the nearer they are in time, and the less a change of the machine's speed comes
# between them. But a burst must take this many times as long as asking for one does, which a network makes slow.
SHORTEST_BURST, LONGEST_BURST, TIMES_ASKING = 0.015, 0.06, 30
# The first run of a burst finds caches filled by other cells and is dropped, unless runs are too long for that to
# matter.
LONG_RUN_MS = 200.0
# A burst that takes this many times as long as it should is taken for a hang, after at least _PATIENCE seconds.
_HANGS, _PATIENCE = 100.0, 20.0


@dataclass(frozen=True)
class Plan:
    """How latency is measured; the keys of a recipe's [evaluate.latency], for one number of threads and one batch."""

    warmup_seconds: float = 0.2
    run_seconds: float = 0.5
    min_runs: int = 5
    processes: int = 6
    resolution: float = 0.02
    max_seconds: float = 90.0


@dataclass(frozen=True)
class Timed:
    """A cell to time. `raw` is the JSON file of its record, from which an interrupted run resumes.

    `memory_bytes` is what its process takes; `name` how it is written in records and notes; `inputs` its own samples
    in place of the bench's.
    """

    runner: Runner
    raw: Path
    name: str
    memory_bytes: int = 0
    threads: int = 1
    batch: int = 1
    inputs: Path | None = None


# Given the records by index, and the error that an interval may have: the cells about which the question is open.
Question = Callable[[Mapping[int, Record], float], set[int]]


@dataclass
class Finding:
    """What the bench learnt about the machine while it timed a group."""

    seconds: float
    blocks: int
    certain: bool
    copy: Record | None
    conditions: list[dict[str, Any]] = field(default_factory=list)


def groups_of(cells: Sequence[Timed], anchor: int, memory_bytes: int) -> list[list[int]]:
    """Return groups of indices that fit into the memory together with two processes of the anchor, in order.

    A cell that does not fit at all has a group of its own.
    """
    groups: list[list[int]] = [[]]
    left = free = memory_bytes - 2 * cells[anchor].memory_bytes
    for index, cell in enumerate(cells):
        if index == anchor:
            continue
        if cell.memory_bytes > left and groups[-1]:
            groups.append([])
            left = free
        groups[-1].append(index)
        left -= cell.memory_bytes
    return groups


class Bench:
    """Times one group of cells: `cells[anchor]` is compared with all others; `copy` is a second cell of its file."""

    def __init__(
        self,
        cells: Sequence[Timed],
        inputs: Path,
        *,
        anchor: int,
        copy: Timed,
        plan: Plan,
        question: Question,
        deadline: float,
        seed: int,
        starts: int,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Each block runs in ``alone()``."""
        self._cells = [*cells, copy]
        self._inputs = inputs
        self._anchor, self._copy = anchor, len(cells)
        self._plan, self._question, self._deadline = plan, question, deadline
        self._seed, self._starts, self._listener, self._clock, self._alone = seed, starts, listener, clock, alone
        self._records = [_read(cell.raw) for cell in self._cells]
        self._failures: dict[int, Outcome] = {}
        self._conditions: list[dict[str, Any]] = []

    def run(self, done: Callable[[int, Outcome, dict[str, Any]], None]) -> Finding:
        """Time the group; call ``done(index, outcome, record)`` for each of its cells but the copy."""
        began = self._clock()
        active, certain = set(range(len(self._cells))), False
        fixed = not self._plan.max_seconds
        for look, blocks in enumerate(looks(self._plan.processes)):
            while (missing := self._missing(active, blocks)) and (look == 0 or self._clock() < self._deadline):
                self._block(missing, blocks)
            # The clock ends the looks, whatever the data say: the last one may spend all the error that is left.
            late = self._clock() >= self._deadline
            error = level(look, last=fixed or late)
            for index in active:
                self._records[index]["error"] = error
            open_cells = self._question(self._alive(), error)
            certain = not open_cells
            if certain or fixed or late:
                break
            active = open_cells | {self._anchor, self._copy}
        for index, cell in enumerate(self._cells):
            record = self._records[index]
            if index != self._copy:
                self._attach_anchor(index)
            write_json(cell.raw, record)
            if index != self._copy:
                done(index, self._failures.get(index, Outcome("ok")), record)
        copy = self._records[self._copy]
        self._attach_anchor(self._copy)
        blocks = len(copy["processes"])
        return Finding(self._clock() - began, blocks, certain, copy if blocks else None, copy.get("conditions", []))

    def _alive(self) -> dict[int, Record]:
        """Return the records that can be compared."""
        return {
            index: record
            for index, record in enumerate(self._records)
            if record["processes"] and index not in self._failures and index != self._copy
        }

    def _missing(self, active: set[int], blocks: int) -> list[int]:
        """Return the active cells that have fewer blocks than asked; the anchor and its copy run in every block."""
        short = {i for i in active - self._failures.keys() if len(self._records[i]["processes"]) < blocks}
        if not short:
            return []
        return sorted((short | {self._anchor, self._copy}) - self._failures.keys())

    def _attach_anchor(self, index: int) -> None:
        """Write the anchor's bursts of the same rounds into a cell's record."""
        own, anchor = bursts_of(self._records[index]), bursts_of(self._records[self._anchor])
        cell = self._cells[self._anchor]
        if blocks := anchor_blocks(own, anchor):
            self._records[index]["anchor"] = {
                "cell": cell.name,
                "sha256": cell.runner.artifact.sha256,
                "target": str(cell.runner.target),
                "threads": cell.threads,
                "runtime_version": cell.runner.identity().get("runtime_version", ""),
                "blocks": blocks,
            }

    def _block(self, members: Sequence[int], blocks: int) -> None:
        """Run one block: start the processes, load and warm up one after the other, then the rounds."""
        block = uuid.uuid4().hex[:12]
        number = max(len(self._records[i]["processes"]) for i in members) + 1
        # Which process starts and loads first decides where its memory lies: no cell may be the first in every block.
        members = list(members)
        random.Random(f"{self._seed}-{number}").shuffle(members)  # noqa: S311 (not a secret)
        with self._alone(), ExitStack() as stack:
            servers = self._start(members, stack)
            processes: dict[int, dict[str, Any]] = {}
            for index in list(servers):
                facts = self._open(index, servers)
                if facts is not None:
                    processes[index] = {**facts, "block": block, "rounds": [], "bursts": [], "runs_ms": []}
            asked = self._clock()
            before = self._state(servers)
            burst = burst_seconds(processes.values(), self._clock() - asked)
            self._rounds(servers, processes, burst, number, blocks)
            for index in list(servers):
                state = servers[index].ask({"do": "state"})
                if state.ok:
                    processes[index]["peak_memory_bytes"] = state.data["peak_memory_bytes"]
            after = self._state(servers)
        for index, process in processes.items():
            if process["bursts"] and index not in self._failures:
                record = self._records[index]
                record["processes"].append(process)
                if index == self._copy and before and after:
                    record.setdefault("conditions", []).append({"before": before, "after": after})
                write_json(self._cells[index].raw, record)

    def _start(self, members: Sequence[int], stack: ExitStack) -> dict[int, Server]:
        """Start the processes, some at a time: importing a runtime takes a core, and nothing is timed yet."""
        servers: dict[int, Server] = {}
        importing: dict[Future[Outcome], int] = {}

        def collect() -> None:
            for future in wait(importing, return_when=FIRST_COMPLETED).done:
                self._keeps(importing.pop(future), future.result(), servers)

        pool = ThreadPoolExecutor(self._starts)
        try:
            for index in members:
                while len(importing) >= self._starts:
                    collect()
                cell = self._cells[index]
                # A process on Linux ends with the thread that started it: the pool only waits.
                server = cell.runner.serve(cell.inputs or self._inputs, threads=cell.threads, batch=cell.batch)
                if isinstance(server, Outcome):
                    self._failures[index] = server
                else:
                    stack.callback(server.close)
                    servers[index] = server
                    importing[pool.submit(server.ready)] = index
            while importing:
                collect()
        finally:
            pool.shutdown(wait=False)  # an interrupt closes the processes, and waits for none
        return servers

    def _open(self, index: int, servers: dict[int, Server]) -> dict[str, Any] | None:
        """Load a cell's file and warm it up; return the figures, or None if it failed."""
        opened = servers[index].ask({"do": "open"})
        if not self._keeps(index, opened, servers):
            return None
        warm = servers[index].ask({"do": "warm", "seconds": self._plan.warmup_seconds})
        return {**opened.data, **warm.data} if self._keeps(index, warm, servers) else None

    def _state(self, servers: Mapping[int, Server]) -> dict[str, Any]:
        """Return what one of the processes says of the machine's state."""
        for server in servers.values():
            answer = server.ask({"do": "state"})
            if answer.ok:
                return dict(answer.data["conditions"])
        return {}

    def _rounds(
        self,
        servers: dict[int, Server],
        processes: Mapping[int, dict[str, Any]],
        burst: float,
        number: int,
        blocks: int,
    ) -> None:
        needed = {i: burst_of(process, self._plan, burst) for i, process in processes.items()}
        rounds = max((count for _, _, count in needed.values()), default=0)
        for turn in range(rounds):
            order = [i for i in sorted(servers) if turn < needed[i][2]]
            random.Random(f"{self._seed}-{number}-{turn}").shuffle(order)  # noqa: S311 (not a secret)
            for index in order:
                runs, dropped, _ = needed[index]
                usual = (runs + dropped) * float(np.median(processes[index]["warmup_ms"])) / 1000
                answer = servers[index].ask(
                    {"do": "burst", "runs": runs + dropped, "sample": turn}, seconds=max(_PATIENCE, _HANGS * usual)
                )
                if self._keeps(index, answer, servers):
                    keep_burst(processes[index], turn, answer.data, dropped)
            note = f"{self._cells[self._anchor].runner.target.device}: block {number}, round {turn + 1}"
            self._listener.progress("latency", number - 1 + (turn + 1) / rounds, max(blocks, number), note)

    def _keeps(self, index: int, outcome: Outcome, servers: dict[int, Server]) -> bool:
        """Return whether an outcome is fine. A cell that failed leaves the bench; the others go on."""
        if not outcome.ok:
            self._failures[index] = outcome
            if index in servers:
                servers.pop(index).close()
        return outcome.ok


def burst_seconds(processes: Iterable[Mapping[str, Any]], asking: float) -> float:
    """Return how long a block's bursts are to be where asking a process for anything takes `asking` seconds.

    A tool that starts and warms up for each burst (``runs_each``) has long ones, that is, few.
    """
    if any(process.get("runs_each") for process in processes):
        return LONGEST_BURST
    return min(max(SHORTEST_BURST, TIMES_ASKING * asking), LONGEST_BURST)


def burst_of(process: Mapping[str, Any], plan: Plan, burst: float) -> tuple[int, int, int]:
    """Return a cell's runs per burst, how many runs before them are dropped, and its number of rounds.

    A server that warms up before each burst says how many runs it tells (``runs_each``).
    """
    if each := process.get("runs_each"):
        return int(each), 0, max(1, round(plan.run_seconds / burst), -(-plan.min_runs // int(each)))
    run_ms = max(float(np.median(process["warmup_ms"])), 1e-4)
    runs = max(1, round(1000 * min(burst, plan.run_seconds) / run_ms))
    dropped = int(run_ms < LONG_RUN_MS)
    rounds = round(1000 * plan.run_seconds / ((runs + dropped) * run_ms))
    return runs, dropped, max(1, rounds, -(-plan.min_runs // runs))


def keep_burst(process: dict[str, Any], turn: int, data: Mapping[str, list[float]], dropped: int) -> None:
    """Add a burst to a process's record: every run, and the median of each of its parts."""
    runs = data["runs_ms"][dropped:]
    process["rounds"].append(turn)
    process["bursts"].append(len(runs))
    process["runs_ms"].extend(runs)
    for part, values in data.items():
        if part != "runs_ms":
            process.setdefault(part, []).append(round(float(np.median(values[dropped:])), 5))


def plan_record(plan: Plan, threads: int, batch: int) -> dict[str, Any]:
    """Return a plan as a record holds it."""
    return {**asdict(plan), "threads": threads, "batch": batch}


def _read(raw: Path) -> dict[str, Any]:
    return dict(read_json(raw)) if raw.exists() else {"processes": []}
