"""A sustained run: one file runs without a pause for minutes, to see what is left of its latency once a chip is warm.

Phones and boards without a fan are fast for a minute and throttle then; short bursts do not see that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.measurement import Measurement
from ..core.progress import Listener
from ..core.runner import Outcome, Runner

# Of one burst: short enough that a minute ends on time, long enough that the pauses between bursts let nothing cool.
BURST_SECONDS = 2.0
MINUTE = 60.0


def fastest(rows: Sequence[Measurement]) -> Measurement | None:
    """Return the row of the fastest file that ran and was timed at batch 1; None if there is none."""
    timed = [row for row in rows if row.status == "ok" and row.latency_ms and row.latency_ms.batch == 1]
    shipped = [row for row in timed if row.runtime != "tensorflow"] or timed
    return min(
        shipped, key=lambda row: (row.latency_ms.median, row.artifact) if row.latency_ms else (0.0, ""), default=None
    )


def sustained(
    runner: Runner,
    inputs: Path,
    minutes: float,
    *,
    threads: int,
    listener: Listener,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Run a file for some minutes; return a row of results.json's ``sustained``.

    It holds ``artifact``, ``target``, ``kind``, ``threads``, ``status``, ``reason``, and ``by_minute``: for each minute
    ``runs``, ``median_ms``, ``p95_ms``, and ``celsius`` and ``mhz`` at its end where they are known. A device that
    disappears leaves the minutes that it ran.
    """
    row: dict[str, Any] = {
        "artifact": runner.artifact.id, "target": str(runner.target), "kind": runner.kind, "threads": threads,
        "status": "ok", "reason": "", "by_minute": [],
    }  # fmt: skip

    def failed(outcome: Outcome) -> dict[str, Any]:
        return {**row, "status": outcome.status, "reason": outcome.reason}

    server = runner.serve(inputs, threads=threads)
    if isinstance(server, Outcome):
        return failed(server)
    try:
        for outcome in (server.ready(), server.ask({"do": "open"}), warm := server.ask({"do": "warm", "seconds": 0.2})):
            if not outcome.ok:
                return failed(outcome)
        count = max(1, round(1000 * BURST_SECONDS / max(float(np.median(warm.data["warmup_ms"])), 1e-3)))
        began, runs = clock(), list[float]()
        while clock() < began + minutes * MINUTE:
            burst = server.ask({"do": "burst", "runs": count, "sample": len(row["by_minute"])})
            if not burst.ok:
                return failed(burst)
            runs += burst.data["runs_ms"]
            count = max(1, round(1000 * BURST_SECONDS / max(float(np.median(burst.data["runs_ms"])), 1e-3)))
            done = len(row["by_minute"]) + 1
            if clock() >= began + min(done, minutes) * MINUTE:
                row["by_minute"].append(_minute(runs, server.ask({"do": "state"})))
                listener.progress("sustained", min(done, minutes), minutes, f"{runner.artifact.id} on {runner.target}")
                runs = []
    finally:
        server.close()
    return row


def _minute(runs: Sequence[float], state: Outcome) -> dict[str, Any]:
    conditions = state.data["conditions"] if state.ok else {}
    facts = {"runs": len(runs), "median_ms": float(np.median(runs)), "p95_ms": float(np.percentile(runs, 95))}
    return {**facts, "celsius": conditions.get("celsius"), "mhz": conditions.get("mhz")}
