"""Latency figures of a timed cell, from its raw record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.measurement import Latency
from ..core.statistics import median_interval, percentiles
from .bursts import burst_summary


def summarize(record: Mapping[str, Any]) -> Latency:
    """Return the figures of a raw record with at least one process."""
    processes = [process["runs_ms"] for process in record["processes"]]
    runs = np.concatenate([np.asarray(runs, dtype=float) for runs in processes])
    median, low, high, confidence = median_interval([float(np.median(runs)) for runs in processes])
    tail = percentiles(runs)
    plan = record["plan"]
    copied = [_part(record, part) for part in ("set_ms", "get_ms")]
    return Latency(
        median, low, high, confidence, tail.p90, tail.p95, tail.p99, len(processes), len(runs), int(plan["threads"]),
        tokenize=_part(record, "tokenize_ms"), infer=_part(record, "infer_ms"), invoke=_part(record, "invoke_ms"),
        transfer=None if None in copied else sum(filter(None, copied)), batch=int(plan["batch"]),
        throughput=int(plan["batch"]) * 1000 / median,
        warmup_runs=int(np.median([_warmup_runs(process) for process in record["processes"]])),
        steady=all(process["steady"] for process in record["processes"]),
    )  # fmt: skip


def _warmup_runs(process: Mapping[str, Any]) -> int:
    """Return the length of a process's warm-up. Not every tool tells the time of each of its runs."""
    return int(process.get("warmup_runs", len(process["warmup_ms"])))


def _part(record: Mapping[str, Any], name: str) -> float | None:
    """Return the median of the processes' medians of a part of each run; None where runs have no such part."""
    parts = [burst_summary(process, name) for process in record["processes"]]
    return float(np.median([part for part in parts if part is not None])) if None not in parts else None
