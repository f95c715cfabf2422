"""Runners whose processes are scripted: a machine whose speed changes, and outcomes in the place of bursts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.artifact import Artifact
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target


@dataclass
class Machine:
    """A machine whose speed changes from burst to burst; `clock` counts the seconds that runs take."""

    drift: float = 0.2
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    now: float = 0.0
    alive: int = 0
    most_alive: int = 0
    log: list[str] = field(default_factory=list)

    def speed(self, turn: int) -> float:
        """The same for all bursts of a round: it changes by up to `drift` between rounds."""
        return 1 + self.drift * float(np.sin(12.9898 * turn + 0.1 * self.now))


@dataclass
class Runner:
    """A file whose inference takes `ms`. `script` maps (process, burst) to an outcome that comes in its place."""

    machine: Machine
    name: str
    ms: float
    script: dict[tuple[int, int], Outcome] = field(default_factory=dict)
    kind: Any = "measured"
    started: int = 0

    @property
    def artifact(self) -> Artifact:
        return Artifact(self.name, "m", "tflite", "float32", Path("f"), sha256=self.name[:1] * 64)

    @property
    def target(self) -> Target:
        return Target("local", "litert")

    def free_bytes(self) -> int:
        return 1 << 40

    def rest(self) -> None:
        """It is never hot."""

    def identity(self) -> dict[str, Any]:
        return {"runtime_version": "2.1"}

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Any:
        self.started += 1
        return Process(self, self.started)


class Process:
    def __init__(self, runner: Runner, number: int) -> None:
        self.runner, self.number, self.bursts, self.open = runner, number, 0, True
        self.bias = 1 + 0.002 * float(runner.machine.rng.standard_normal())
        runner.machine.alive += 1
        runner.machine.most_alive = max(runner.machine.most_alive, runner.machine.alive)

    def ready(self) -> Outcome:
        return self.runner.script.get((self.number, -1), Outcome("ok", data={"import_ms": 1.0}))

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        machine, runner = self.runner.machine, self.runner
        if request["do"] == "open":
            return Outcome("ok", data={"load_ms": 1.0, "first_ms": 1.0, "import_memory_bytes": 1, "cores": None})
        if request["do"] == "warm":
            return Outcome("ok", data={"warmup_ms": [runner.ms] * 20, "steady": True})
        if request["do"] == "state":
            return Outcome("ok", data={"peak_memory_bytes": 2, "conditions": {"at": machine.now, "load": 1.0}})
        self.bursts += 1
        machine.log.append(runner.name)
        if outcome := runner.script.get((self.number, self.bursts)):
            return outcome
        noise = 1 + 0.002 * np.abs(machine.rng.standard_normal(request["runs"]))
        runs = runner.ms * self.bias * machine.speed(request["sample"]) * noise
        machine.now += float(runs.sum()) / 1000
        return Outcome("ok", data={"runs_ms": runs.tolist(), "invoke_ms": runs.tolist()})

    def close(self) -> None:
        self.runner.machine.alive -= self.open
        self.open = False
