"""The kind ``emulated``: ARM kernels under qemu-user. Answers are real and labelled emulated; times say nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from ...core.artifact import Artifact
from ...core.device import THIS_MACHINE, Check, Located
from ...core.device_tables import DeviceTable, EmulatedTable
from ...core.environment import cpu_name, usable_cores
from ...core.errors import EdgeproofError
from ...core.measurement import Kind
from ...core.runner import Outcome
from ...core.runtime import RUNTIMES
from ...core.target import Target
from ..agent_program import AGENT
from ..agent_runner import AgentRunner, AgentServer
from ..feeds import feed_identity
from ..local import LocalRunner
from ..runtimes import only_version
from . import userland
from .userland import ARCHITECTURES, Userland

_NO_TIMES = "under emulation times say nothing about a device"


@dataclass(frozen=True, kw_only=True)
class EmulatedRunner(LocalRunner):
    """One artifact on one runtime of an emulated ARM machine."""

    device: Emulated

    @property
    def kind(self) -> Kind:
        """Real kernels, on an emulated processor."""
        return "emulated"

    @property
    def timed(self) -> bool:
        """Emulated times do not count."""
        return False

    def identity(self) -> dict[str, Any]:
        """What an answer depends on, beside the artifact."""
        facts = {"target": str(self.target), "runtime_version": self.version(), "cpu": self.device.cpu}
        return {**facts, "cores": usable_cores(), **feed_identity(self.artifact)}

    def missing(self) -> Outcome | None:
        """Return why the runtime is not in the userland; where there is none yet, a rerun goes on."""
        missing = self.device.missing_runtime(self.target)
        if missing is None:
            return None
        return Outcome("unsupported" if self.device.userland else "skipped", *missing)

    def version(self) -> str:
        """Return the runtime's version."""
        located = self.device.locate(self.target)
        return located.version if located else ""

    @property
    def command(self) -> list[str]:
        """The command that runs the agent under qemu."""
        ready = self.device.userland
        if ready is None:
            raise ValueError(f"{self.device.name} has not been made")
        return [*ready.command(ARCHITECTURES[self.device.architecture]), "-I", "-S", str(AGENT), "-"]

    def _located(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job with the folder of the userland's packages."""
        ready = self.device.userland
        return job | ({"path": str(ready.site)} if ready else {})

    def replied(self, answer: bytes, request: dict[str, Any]) -> Outcome:
        """Return the outcome that an answer describes, without what is of the emulator."""
        outcome = super().replied(answer, request)
        return replace(outcome, data={k: v for k, v in outcome.data.items() if k != "peak_memory_bytes"})

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> AgentServer | Outcome:
        """Refuse: see `timed`."""
        return Outcome("unsupported", _NO_TIMES, "time the file on a real device, over ssh")

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Refuse: see `timed`."""
        return Outcome("unsupported", _NO_TIMES, "profile the file on a real device, over ssh")


class Emulated:
    """An ARM machine under qemu-user: see `core.device.Device`."""

    def __init__(self, name: str, table: EmulatedTable) -> None:
        self.name, self.architecture, self._mirror = name, table.architecture, table.mirror
        self.userland: Userland | None = userland.load(table.architecture)

    @property
    def cpu(self) -> str:
        """The processor that qemu emulates."""
        version = self.userland.qemu_version if self.userland else ""
        return f"{ARCHITECTURES[self.architecture].cpu} (qemu {version})"

    @property
    def place(self) -> str:
        """Its work is done here."""
        return THIS_MACHINE

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> AgentRunner:
        """Return the runner for an artifact on a target of this machine."""
        return EmulatedRunner(artifact, target, timeout_seconds, device=self)

    def runtimes(self) -> dict[str, str]:
        """Return the versions in the userland, of the runtimes that have wheels for the architecture."""
        packages = self.userland.packages if self.userland else {}
        return {
            name: packages.get(RUNTIMES[name].distribution, "") for name in ARCHITECTURES[self.architecture].runtimes
        }

    def other_versions(self) -> list[Located]:
        """Return none."""
        return []

    def locate(self, target: Target) -> Located | None:
        """Return a target's runtime if it is there."""
        return only_version(target, self.runtimes())

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be run, and what to do."""
        if self.userland is None:
            return f"{self.name} has not been made here", f"edgeproof doctor {self.name} --fix"
        if self.locate(target) is not None:
            return None
        there = ", ".join(f"{name} {version}" for name, version in self.runtimes().items() if version)
        named = f"{target.runtime} {target.version}".strip()
        return f"{named} is not in {self.name}", f"it has {there}"

    def environment(self) -> dict[str, Any]:
        """Return the emulated machine and its packages."""
        ready = self.userland
        known = {"numpy", *(row.distribution for row in RUNTIMES.values())}
        return {
            "cpu": self.cpu,
            "architecture": ARCHITECTURES[self.architecture].machine,
            "cores": usable_cores(),
            "memory_bytes": int(psutil.virtual_memory().total),
            "os": f"Debian {userland.RELEASE} on {cpu_name()}",
            "python": userland.PYTHON,
            "packages": {name: version for name, version in (ready.packages if ready else {}).items() if name in known},
        }

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check the userland and its runtimes; with `fix` it is made first."""
        made = []
        if fix and self.userland is None:
            try:
                self.userland = userland.make(self.architecture, mirror=self._mirror)
            except EdgeproofError as error:
                made.append(Check("userland", "missing", error.message, error.remedy))
        if self.userland is None:
            reason, remedy = self.missing_runtime(Target(self.name, "litert")) or ("", "")
            return made or [Check("userland", "missing", reason, remedy)]
        checks = [
            Check("userland", "ok", f"{self.userland.folder}, Debian {userland.RELEASE} for {self.architecture}"),
            Check("processor", "ok", self.cpu),
        ]
        for name, version in self.runtimes().items():
            if version:
                checks.append(Check(f"{self.name}/{name}", "ok", version))
        return checks

    def clean(self) -> str:
        """Return that there is nothing to remove."""
        return "nothing was put there: files are run where they are"

    def close(self) -> None:
        """Do nothing: there is no connection."""


def open_device(name: str, table: DeviceTable) -> Emulated:
    """Return an emulated machine. Nothing is started."""
    assert isinstance(table, EmulatedTable)  # noqa: S101 (by its kind)
    return Emulated(name, table)
