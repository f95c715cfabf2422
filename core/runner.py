"""The interface that runs an artifact on a target: verbs in fresh processes, each returning an Outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .artifact import Artifact, Status
from .measurement import Kind
from .target import Target


@dataclass(frozen=True)
class Outcome:
    """The result of a verb. With status ``ok``, `data` holds what the verb documents; otherwise there is a `reason`."""

    status: Status
    reason: str = ""
    remedy: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the verb succeeded."""
        return self.status == "ok"


class Server(Protocol):
    """A process in which an artifact is or will be loaded, and which runs bursts on request; see `Runner.serve`."""

    def ready(self) -> Outcome:
        """Wait until the runtime is imported. Data: ``import_ms``, ``import_memory_bytes``."""
        ...

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        """Send a request of `devices/agent/server.Server`, e.g. ``{"do": "burst", "runs": 6, "sample": 0}``.

        Data: those of the answer. A process that does not answer within `seconds` (by default the device's limit) is
        ended, and the outcome is a ``timeout``; one that ends by itself is ``crashed``.
        """
        ...

    def close(self) -> None:
        """End the process."""
        ...


class Runner(Protocol):
    """One artifact on one target. Verbs return the failures of an artifact or a runtime; they do not raise them."""

    @property
    def artifact(self) -> Artifact:
        """The file that runs."""
        ...

    @property
    def target(self) -> Target:
        """The device and runtime that run it."""
        ...

    @property
    def kind(self) -> Kind:
        """Whether the figures are measured, emulated or estimated."""
        ...

    @property
    def answers(self) -> bool:
        """Whether `infer` answers samples. An estimator runs nothing."""
        ...

    @property
    def timed(self) -> bool:
        """Whether `serve` times runs that say something about the device. Others have no latency."""
        ...

    def free_bytes(self) -> int:
        """Return the memory that processes can take where the artifact runs."""
        ...

    def rest(self) -> None:
        """Wait, within limits, until the device is as cool as it was before it had work."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what figures depend on besides the artifact: target, runtime version, processor. Cheap."""
        ...

    def load(self, inputs: Path) -> Outcome:
        """Load the file and run it on the first of `inputs` (as `core.dataset.PreparedData.inputs` names them).

        Data: ``runtime_version``, ``load_ms``, ``first_ms``, ``run_ms`` (a second run), ``peak_memory_bytes``,
        ``import_memory_bytes``, ``finite`` (no NaN or infinity in the output), ``kernels`` (that ran it).
        """
        ...

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        """Write the outputs for samples [start, stop) to `outputs` (``.npy``, (stop - start, classes) float32)."""
        ...

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Start a process that will run the artifact on `inputs`; return at once. An Outcome says why it cannot."""
        ...

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Time each operator in `runs` profiled runs, which are slower than timed ones; nothing is mixed with those.

        Data: those of `load`; ``operators``, in the order of execution: ``op``, ``name``, ``kernel``, ``node`` (its
        position in the file's graph or None), ``shapes``, and ``us``, its microseconds in each run; ``runs_ms``, the
        whole runs; and ``engine``, what was profiled, in words.
        """
        ...
