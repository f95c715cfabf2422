"""Latencies that are measured in a moment, where their figures are not the point."""

from __future__ import annotations

from typing import Any


def as_options(latency: dict[str, Any]) -> tuple[str, ...]:
    """The options of `edgeproof evaluate` for it."""
    return tuple(f"--latency={key}={value}" for key, value in latency.items())


QUICK = {"processes": 2, "warmup_seconds": 0.01, "run_seconds": 0.02}
OPTIONS = as_options(QUICK)
ONCE = {**QUICK, "processes": 1}  # no interval
