"""Bursts of `benchmark_model`: each is a process of the tool, which warms up and then runs three times.

The tool tells the time of each of three runs, and of more a summary alone (`benchmark_model.RUNS`). So a burst that is
asked for more runs has the others before those three, as a part of its warm-up. The device is claimed meanwhile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ...core.runner import Outcome
from .benchmark_model import RUNS, Report

if TYPE_CHECKING:
    from .benchmark_runner import BenchmarkRunner, Staged

# A warm-up has settled unless the runs after it are faster than its last by more than this share.
_STEADY = 0.02


class BenchmarkServer:
    """See `core.runner.Server`. What has failed once is not asked again."""

    def __init__(self, runner: BenchmarkRunner, job: dict[str, Any]) -> None:
        self._runner, self._job = runner, job
        self._claim = runner.device.claim(self)
        self._failure: Outcome | None = None
        self._seconds, self._peak = 0.0, 0

    def ready(self) -> Outcome:
        """Wait until the device is this machine's. There is no import."""
        held = self._claim.held()
        if not held.ok:
            self._failure = held
            return held
        return Outcome("ok", data={"import_ms": 0.0, "import_memory_bytes": 0})

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        """Do what `devices/agent/server.Server` does at a request; of a burst the last three runs are told."""
        if self._failure is None and self._claim.ended:
            self._failure = self._claim.lost()
        if self._failure is not None:
            return self._failure
        if request["do"] == "state":
            conditions = {"at": time.monotonic(), **self._runner.device.state()}
            return Outcome("ok", data={"peak_memory_bytes": self._peak, "conditions": conditions})
        doing = {"open": self._open, "warm": self._warm, "burst": self._burst}[request["do"]]
        outcome = self._runner.on_device(self._job, lambda staged: doing(staged, request, seconds))
        if not outcome.ok:
            self._failure = outcome
        return outcome

    def _open(self, staged: Staged, request: dict[str, Any], seconds: float | None) -> Outcome:
        facts = self._runner.figures(staged)
        if isinstance(facts, Outcome):
            return facts
        self._peak = int(facts["peak_memory_bytes"])
        cores = self._runner.device.cores(staged.threads)
        pinned = {} if self._runner.target.engine.device or not cores else {"cores": cores}
        return Outcome("ok", data={**facts, "finite": True, **pinned})

    def _warm(self, staged: Staged, request: dict[str, Any], seconds: float | None) -> Outcome:
        self._seconds = float(request["seconds"])
        report = self._runner.measure(staged, seconds=self._seconds, patience=seconds)
        if isinstance(report, Outcome):
            return report
        warmup = [micros / 1000 for micros in report.warmup.times] or [_middle(report)]
        return Outcome(
            "ok",
            data={
                "warmup_ms": [max(ms, 1e-3) for ms in warmup],
                "warmup_runs": max(report.warmup.count, 1),
                "steady": _middle(report) >= warmup[-1] * (1 - _STEADY),
                "runs_each": RUNS,
            },
        )

    def _burst(self, staged: Staged, request: dict[str, Any], seconds: float | None) -> Outcome:
        report = self._runner.measure(
            staged, sample=int(request["sample"]), warmup_runs=max(1, int(request["runs"]) - RUNS),
            seconds=self._seconds, patience=seconds,
        )  # fmt: skip
        if isinstance(report, Outcome):
            return report
        # The tool's clock counts whole microseconds.
        return Outcome("ok", data={"runs_ms": [max(micros, 0.5) / 1000 for micros in report.runs.times]})

    def close(self) -> None:
        """Leave the device to others."""
        self._claim.close(self)


def _middle(report: Report) -> float:
    """Return the median of the runs in milliseconds."""
    return sorted(report.runs.times)[len(report.runs.times) // 2] / 1000
