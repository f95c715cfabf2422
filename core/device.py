"""The interface of a device, on which runtimes run. `core/device_tables.py` lists the kinds and their modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from .artifact import Artifact
from .runner import Runner
from .target import Target

THIS_MACHINE = "this machine"


@dataclass(frozen=True)
class Located:
    """The location of a runtime: its version, and its folder if it is not the installed one."""

    runtime: str
    version: str
    folder: Path | None = None


@dataclass(frozen=True)
class Check:
    """The result of one check: ``missing`` prevents the main job, ``note`` does not."""

    what: str
    state: Literal["ok", "missing", "note"]
    found: str
    remedy: str = ""


class Device(Protocol):
    """A machine, a board, a browser or an estimator that runs artifacts.

    A device that cannot be reached raises nothing: it says so in the outcomes of its runners, in `missing_runtime`, in
    its environment (key ``unreachable``) and in its checks.
    """

    @property
    def name(self) -> str:
        """The name that targets give it."""
        ...

    @property
    def place(self) -> str:
        """The machine that does the work: `THIS_MACHINE`, or what tells another machine from all others.

        Devices of one place share its processor, so they are never measured at the same time.
        """
        ...

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

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check what the device needs to run artifacts; with `fix` do first what can be done about it."""
        ...

    def clean(self) -> str:
        """Remove what was put on the device; return in words what that was."""
        ...

    def close(self) -> None:
        """Give up the connection to the device, if there is one."""
        ...
