"""Latencies that are measured in a moment, where their figures are not the point."""

from __future__ import annotations

QUICK = {"processes": 2, "warmup_seconds": 0.01, "run_seconds": 0.02}
OPTIONS = tuple(f"--latency={key}={value}" for key, value in QUICK.items())  # for `edgeproof evaluate`
