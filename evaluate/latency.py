"""Latency: fresh processes in interleaved order, nothing else running, every run recorded.

One process is not enough: medians of processes differ by a few percent for the same file (caches, memory layout, other
load). Each cell is timed in several processes. The cells take turns, in a new random order each round, so that a slow
minute of the machine affects all of them. The interval is over processes, not over runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.codec import read_json, write_json
from ..core.measurement import Latency
from ..core.progress import Listener
from ..core.runner import LatencyPlan, Outcome, Runner
from ..core.statistics import median_interval, percentiles


@dataclass(frozen=True)
class Timed:
    """A cell to time. `raw` is the JSON file with every process's runs, from which an interrupted run resumes."""

    runner: Runner
    raw: Path


def measure(
    cells: Sequence[Timed],
    inputs: Path,
    *,
    plan: LatencyPlan,
    processes: int,
    seed: int,
    listener: Listener,
    done: Callable[[int, Outcome, dict[str, Any]], None],
) -> None:
    """Time every cell in `processes` fresh processes; call ``done(cell index, outcome, raw record)`` for each.

    One process runs at a time. A cell whose process fails is not tried again; its record keeps what it had.
    """
    records = [_read(cell.raw) for cell in cells]
    failures: dict[int, Outcome] = {}
    total = sum(max(0, processes - len(record["processes"])) for record in records)
    finished = 0
    for turn in range(processes):
        order = [i for i, record in enumerate(records) if len(record["processes"]) <= turn and i not in failures]
        random.Random(f"{seed}-{turn}").shuffle(order)  # noqa: S311 (an order of measurement, not a secret)
        for index in order:
            cell, record = cells[index], records[index]
            outcome = cell.runner.time(inputs, plan)
            finished += 1
            note = f"{cell.runner.artifact.id} on {cell.runner.target}"
            listener.progress("latency", finished, total, f"round {turn + 1} of {processes}: {note}")
            if outcome.ok:
                record["processes"].append(outcome.data)
                record["plan"] = asdict(plan)
                write_json(cell.raw, record)
            else:
                failures[index] = outcome
    for index, record in enumerate(records):
        done(index, failures.get(index, Outcome("ok")), record)


def summarize(record: dict[str, Any]) -> Latency:
    """Return the figures of a raw record with at least one process."""
    processes = [process["runs_ms"] for process in record["processes"]]
    runs = np.concatenate([np.asarray(runs, dtype=float) for runs in processes])
    median, low, high, confidence = median_interval([float(np.median(runs)) for runs in processes])
    tail = percentiles(runs)
    threads = int(record["plan"]["threads"])
    return Latency(
        median, low, high, confidence, tail.p90, tail.p95, tail.p99, len(processes), len(runs), threads,
        tokenize=_part(record, "tokenize_ms"), infer=_part(record, "infer_ms"),
    )  # fmt: skip


def _part(record: dict[str, Any], name: str) -> float | None:
    """Return the median of the processes' medians of a part of each run; None where runs have no such part."""
    parts = [process.get(name) for process in record["processes"]]
    return float(np.median([np.median(part) for part in parts])) if all(parts) else None


def _read(raw: Path) -> dict[str, Any]:
    return dict(read_json(raw)) if raw.exists() else {"processes": []}
