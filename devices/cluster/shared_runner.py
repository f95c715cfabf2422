"""A runner of this machine whose answers any like worker of a cluster gives, too. All else is done here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.artifact import Artifact
from ...core.measurement import Kind
from ...core.runner import Outcome, Runner, Server
from ...core.target import Target
from .connection import Cluster


@dataclass(frozen=True)
class SharedRunner:
    """See `core.runner.Runner`."""

    here: Runner
    cluster: Cluster
    timeout_seconds: float

    @property
    def artifact(self) -> Artifact:
        """The file that runs."""
        return self.here.artifact

    @property
    def target(self) -> Target:
        """The device and runtime that run it."""
        return self.here.target

    @property
    def kind(self) -> Kind:
        """Whether the figures are measured, emulated or estimated."""
        return self.here.kind

    @property
    def answers(self) -> bool:
        """Whether it answers samples."""
        return self.here.answers

    @property
    def timed(self) -> bool:
        """Whether its times count: they are always this machine's."""
        return self.here.timed

    def free_bytes(self) -> int:
        """Return this machine's memory."""
        return self.here.free_bytes()

    def rest(self) -> None:
        """Wait as this machine does."""
        self.here.rest()

    def identity(self) -> dict[str, Any]:
        """Return what figures depend on: workers that differ in it are not asked."""
        return self.here.identity()

    def load(self, inputs: Path) -> Outcome:
        """Load the file here."""
        return self.here.load(inputs)

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Serve bursts here."""
        return self.here.serve(inputs, threads=threads, batch=batch)

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Time operators here."""
        return self.here.profile(inputs, runs=runs, threads=threads)

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        """Answer samples where there is room: here, else on a worker, which may take some more or less time."""
        return self.cluster.room.do(
            lambda: self.here.infer(inputs, outputs, start, stop),
            lambda: self.cluster.answer(self.here, inputs, outputs, start, stop, seconds=self.timeout_seconds),
        )
