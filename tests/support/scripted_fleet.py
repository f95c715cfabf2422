"""Devices whose verbs are scripted, and a log of what they did in which order; no test of it waits for a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.artifact import Artifact
from edgeproof.core.dataset import PreparedData
from edgeproof.core.measurement import Measurement
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate, LatencyTable
from edgeproof.core.runner import Outcome
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.evaluate.measure import Answered, measure

PATIENCE = 30.0
SAMPLES, CLASSES = 40, 4
TRUTH = np.arange(SAMPLES) % CLASSES


@dataclass
class Log:
    """What happened, in order. `hooks` are called in the place of an event before it is written down."""

    events: list[str] = field(default_factory=list)
    hooks: dict[str, Callable[[], Any]] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, event: str) -> None:
        if hook := self.hooks.get(event):
            hook()
        with self.changed:
            self.events.append(event)
            self.changed.notify_all()

    def await_(self, event: str) -> bool:
        """Wait until an event has happened."""
        with self.changed:
            return self.changed.wait_for(lambda: event in self.events, PATIENCE)

    def after(self, event: str) -> Callable[[], bool]:
        """Return a hook that waits for an event."""

        def wait() -> bool:
            assert self.await_(event), f"{event} has not happened: {self.events}"
            return True

        return wait

    def index(self, event: str) -> int:
        return self.events.index(event)


@dataclass
class Scripted:
    """A file on a device. Its event names are ``DEVICE FILE VERB``."""

    log: Log
    device: str
    file: str = "int8"
    ms: float = 1.0
    wrong: int = 0
    away: Outcome | None = None
    runtime: str = "litert"
    kind: Any = "measured"
    timed: bool = True
    answers: bool = True

    @property
    def artifact(self) -> Artifact:
        scheme = "float32" if self.file == "float" else self.file
        return Artifact(f"m--tflite-{scheme}", "m", "tflite", scheme, None, sha256=self.file[:1] * 64)

    @property
    def target(self) -> Target:
        return Target(self.device, self.runtime)

    def free_bytes(self) -> int:
        return 1 << 40

    def rest(self) -> None:
        """It is never hot."""

    def identity(self) -> dict[str, Any]:
        return {"target": str(self.target), "runtime_version": "2.1", "wrong": self.wrong}

    def event(self, verb: str) -> None:
        self.log.add(f"{self.device} {self.file} {verb}")

    def load(self, inputs: Path) -> Outcome:
        self.event("load")
        facts = {"import_ms": 1.0, "load_ms": 1.0, "first_ms": 1.0, "run_ms": 1.0, "finite": True, "kernels": ""}
        return self.away or Outcome("ok", data={**facts, "peak_memory_bytes": 1})

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        self.event("infer")
        values = np.eye(CLASSES, dtype=np.float32)[(TRUTH + (np.arange(SAMPLES) < self.wrong)) % CLASSES]
        np.save(outputs, values[start:stop])
        return Outcome("ok")

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Scripted:
        self.event("serve")
        return self

    def ready(self) -> Outcome:
        return Outcome("ok", data={"import_ms": 1.0})

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        self.event(request["do"])
        runs = [self.ms] * 30
        facts = {"load_ms": 1.0, "first_ms": 1.0, "peak_memory_bytes": 1, "import_memory_bytes": 1}
        more: dict[str, dict[str, Any]] = {
            "burst": {"runs_ms": [self.ms] * request.get("runs", 1)},
            "warm": {"warmup_ms": runs, "steady": True},
            "state": {**facts, "conditions": {}},
        }
        return Outcome("ok", data=more.get(request["do"], facts))

    def close(self) -> None:
        self.event("close")

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        return Outcome("unsupported", "it is scripted")


@dataclass
class Fleet:
    """A measurement of scripted files; `rows` are the latest by (artifact, target)."""

    folder: Path
    log: Log
    rows: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    bench: list[dict[str, Any]] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)

    def measure(
        self,
        runners: Sequence[Scripted],
        places: Mapping[str, str] | None = None,
        interrupt: Callable[[], None] = lambda: None,
        **latency: Any,
    ) -> dict[tuple[str, str], Answered]:
        self.folder.mkdir(exist_ok=True)
        data = PreparedData(self.folder, "d", tuple("abcd"), 0, 0, "", {"test": SAMPLES}, "1" * 64, kind="tensor")
        np.save(data.inputs("test"), np.zeros((SAMPLES, 1), np.float32))
        np.save(data.targets("test"), TRUTH)
        short = LatencyTable(**{"processes": 2, "run_seconds": 0.06, "max_seconds": 0, **latency})

        def on_row(row: Measurement) -> None:
            name, state = row.artifact.removeprefix("m--tflite-"), "timed" if row.latency_ms else row.status
            self.log.add(f"row {row.target} {name} {state}")
            self.rows[row.artifact, row.target] = row

        return measure(
            runners,
            data,
            references={"m": "m--tflite-float32"},
            settings=Evaluate(latency=short),
            seed=1,
            cores=2,
            store=Store(self.folder / "store"),
            raw_folder=self.folder / "raw",
            listener=_Progress(self.progress),
            on_row=on_row,
            on_bench=self.bench.append,
            places=places,
            interrupt=interrupt,
        )


class _Progress(Silent):
    def __init__(self, tasks: list[str]) -> None:
        self._tasks = tasks

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        if done >= total:
            self._tasks.append(task)
