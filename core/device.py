"""The interface of a device, on which runtimes run. `core/target.DEVICES` lists the devices and their modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .artifact import Artifact
from .runner import Runner
from .target import Target


@dataclass(frozen=True)
class Located:
    """The location of a runtime: its version, and its folder if it is not the installed one."""

    runtime: str
    version: str
    folder: Path | None = None


class Device(Protocol):
    """A machine, a board, a browser or an estimator that runs artifacts."""

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> Runner:
        """Return the runner for an artifact on a target of this device. Starts nothing."""
        ...

    def runtimes(self) -> dict[str, str]:
        """Return each runtime's version, or ``""`` if it is not installed. Imports nothing."""
        ...

    def other_versions(self) -> list[Located]:
        """Return the versions of runtimes that are available besides the installed ones."""
        ...

    def locate(self, target: Target) -> Located | None:
        """Return the location of a target's runtime, or None if it is missing."""
        ...

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return (reason, remedy) if a target's runtime is missing, else None."""
        ...

    def environment(self) -> dict[str, Any]:
        """Return a description of the device, with the keys of `environment` in results.json."""
        ...
