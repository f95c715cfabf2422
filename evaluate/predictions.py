"""Predictions: every artifact answers the whole test split on every target, in shards that keep all cores busy.

A cell is one artifact on one target. Cells differ a hundredfold in speed, so each is split into shards of about ten
seconds, and the longest shards start first: the cores then finish together. Shards are stored as they arrive; a run
that was killed continues with the missing ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import move
from ..core.progress import Listener
from ..core.runner import Outcome, Runner

# Each shard costs a process start (0.2 s) and two first runs; a killed run loses its unfinished shards.
SHARD_SECONDS = 10.0

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Cell:
    """One artifact on one target that is known to load: what one inference and one start of a process cost there."""

    runner: Runner
    folder: Path
    run_ms: float
    start_ms: float


@dataclass(frozen=True)
class _Shard:
    cell: int
    start: int
    stop: int
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.start}-{self.stop}.npy"


def cut(samples: int, run_ms: float, start_ms: float, shard_seconds: float = SHARD_SECONDS) -> list[tuple[int, int]]:
    """Return [start, stop) ranges that cover `samples` once, each about `shard_seconds` of work.

    Each shard costs another process start, so it never holds less than three starts' worth of inferences.
    """
    seconds = max(shard_seconds, 3 * start_ms / 1000)
    count = max(1, min(samples, round(samples * run_ms / 1000 / seconds)))
    bounds = np.linspace(0, samples, count + 1).round().astype(int)
    return [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]


def predict(
    cells: Sequence[Cell],
    inputs: Path,
    samples: int,
    *,
    workers: int,
    listener: Listener,
    done: Callable[[int, Outcome, Floats | None], None],
) -> None:
    """Run every cell over all `samples` of `inputs`; call ``done(cell index, outcome, outputs)`` as each is finished.

    `outputs` is (samples, classes) float32, or None when the outcome is not ok: the first shard that fails ends its
    cell. `done` is called from this thread.
    """
    shards = [
        _Shard(index, start, stop, (stop - start) * cell.run_ms / 1000 + cell.start_ms / 1000)
        for index, cell in enumerate(cells)
        for start, stop in _resumable(cell.folder, samples, cell.run_ms, cell.start_ms)
    ]
    total = sum(shard.stop - shard.start for shard in shards)
    missing = {index: sum(s.cell == index for s in shards) for index in range(len(cells))}
    failed: set[int] = set()
    finished = 0

    def work(shard: _Shard) -> Outcome:
        outputs = cells[shard.cell].folder / shard.name
        if outputs.exists():
            return Outcome("ok")
        if shard.cell in failed:
            return Outcome("skipped")
        return cells[shard.cell].runner.infer(inputs, outputs, shard.start, shard.stop)

    with ThreadPoolExecutor(workers) as pool:
        order = sorted(shards, key=lambda s: -s.seconds)
        pending: dict[Future[Outcome], _Shard] = {pool.submit(work, shard): shard for shard in order}
        try:
            while pending:
                ready, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in ready:
                    shard, outcome = pending.pop(future), future.result()
                    finished += shard.stop - shard.start
                    cell = cells[shard.cell]
                    listener.progress("accuracy", finished, total, f"{cell.runner.artifact.id} on {cell.runner.target}")
                    missing[shard.cell] -= 1
                    if not outcome.ok and shard.cell not in failed:
                        failed.add(shard.cell)
                        done(shard.cell, outcome, None)
                    elif missing[shard.cell] == 0 and shard.cell not in failed:
                        done(shard.cell, outcome, _gather(cell.folder))
        except BaseException:
            for future in pending:
                future.cancel()
            raise


def _resumable(folder: Path, samples: int, run_ms: float, start_ms: float) -> list[tuple[int, int]]:
    """Cut a cell into shards; where an interrupted run left some, cut as it did (run times vary)."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = folder / "shards.txt"
    if plan.exists():
        numbers = [int(n) for n in plan.read_text().split()]
        return list(pairwise(numbers))
    shards = cut(samples, run_ms, start_ms)
    temporary = plan.with_suffix(".new")
    temporary.write_text(" ".join(str(start) for start, _ in shards) + f" {samples}")
    move(temporary, plan, root=folder)
    return shards


def _gather(folder: Path) -> Floats:
    """Put a cell's shards together, in order."""
    numbers = [int(n) for n in (folder / "shards.txt").read_text().split()]
    names = [f"{start}-{stop}.npy" for start, stop in pairwise(numbers)]
    outputs: Floats = np.concatenate([np.load(folder / name, allow_pickle=False) for name in names])
    return outputs
