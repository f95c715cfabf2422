"""What a device is: where runtimes run. `core/target.DEVICES` names each one and its module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .artifact import Artifact
from .runner import Runner
from .target import Target


@dataclass(frozen=True)
class Located:
    """Where a runtime is: its version, and the folder that it lies in if it is not the installed one."""

    runtime: str
    version: str
    folder: Path | None = None


class Device(Protocol):
    """A machine, a board, a browser or an estimator that runs artifacts."""

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> Runner:
        """Return the runner for an artifact on a target of this device. Starts nothing."""
        ...

    def runtimes(self) -> dict[str, str]:
        """Return each runtime's version there; an empty text where it is not installed. Imports none."""
        ...

    def other_versions(self) -> list[Located]:
        """Return the versions of runtimes that lie there beside the installed ones."""
        ...

    def locate(self, target: Target) -> Located | None:
        """Return where the runtime that a target names is; None where it is not."""
        ...

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return (reason, remedy) when what a target names is not there; None when it is."""
        ...

    def environment(self) -> dict[str, Any]:
        """Return the machine that figures taken there belong to, with the keys of `environment` in results.json."""
        ...
