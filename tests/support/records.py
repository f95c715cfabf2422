"""Raw records of timed cells, made from medians by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ANCHOR = "m--tflite-float32@local/litert"


def record(
    medians: Sequence[float],
    *,
    anchor: Sequence[float] | None = None,
    sha256: str = "a" * 64,
    blocks: str = "b",
    rounds: int = 4,
    runs: int = 3,
    error: float = 0.05,
) -> dict[str, Any]:
    """Return a record with one block for each of `medians` in milliseconds, and the `anchor`'s of the same blocks.

    Blocks of two records with the same `blocks` were timed side by side.
    """
    steps = 1 + 0.001 * np.arange(runs)  # the first run of a burst is the fastest
    processes = [
        {
            "block": f"{blocks}{number}", "rounds": list(range(rounds)), "bursts": [runs] * rounds,
            "runs_ms": [float(median * step) for _ in range(rounds) for step in steps],
            "warmup_ms": [median], "steady": True,
        }
        for number, median in enumerate(medians)
    ]  # fmt: skip
    made: dict[str, Any] = {
        "plan": {"warmup_seconds": 0.2, "run_seconds": 0.5, "threads": 1, "batch": 1},
        "processes": processes,
        "error": error,
    }
    if anchor is not None:
        made["anchor"] = {
            "cell": ANCHOR, "sha256": sha256, "target": "local/litert", "runtime_version": "2.1", "threads": 1,
            "blocks": [
                {"block": f"{blocks}{n}", "rounds": list(range(rounds)), "fastest_ms": [ms] * rounds}
                for n, ms in enumerate(anchor)
            ],
        }  # fmt: skip
    return made
