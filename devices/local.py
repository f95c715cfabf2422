"""The device ``local``: this machine. Each verb starts a fresh process that runs the agent."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import psutil

from ..core import children
from ..core.artifact import Artifact
from ..core.device import THIS_MACHINE, Check, Located
from ..core.device_tables import DeviceTable
from ..core.environment import cpu_name, environment, usable_cores
from ..core.runner import Outcome
from ..core.target import Target
from .accelerators import accelerator_identity
from .agent_program import AGENT
from .agent_runner import AgentRunner
from .feeds import feed_identity
from .runtimes import installed_versions, locate, missing_runtime, side_installations


@dataclass(frozen=True)
class LocalRunner(AgentRunner):
    """One artifact on one runtime of this machine."""

    python: str = sys.executable

    def identity(self) -> dict[str, Any]:
        """What a figure taken here depends on, beside the artifact."""
        return {
            "target": str(self.target),
            "runtime_version": self.version(),
            "cpu": cpu_name(),
            "cores": usable_cores(),
            **feed_identity(self.artifact),
            **accelerator_identity(self.target.engine),
        }

    def free_bytes(self) -> int:
        """Return this machine's available memory."""
        return int(psutil.virtual_memory().available)

    def rest(self) -> None:
        """Do not wait: a machine that people work at is never idle."""

    def missing(self) -> Outcome | None:
        """Return why the runtime, or the hardware for it, is not here."""
        missing = missing_runtime(self.target)
        return Outcome("unsupported", *missing) if missing else None

    def version(self) -> str:
        """Return the runtime's version."""
        located = locate(self.target)
        return located.version if located else ""

    @property
    def command(self) -> list[str]:
        """The command that runs the agent on a job in its first line of input."""
        # -I: nothing from the current folder or PYTHON* variables gets between the agent and the runtime.
        return [self.python, "-I", str(AGENT), "-"]

    def run(self, job: dict[str, Any]) -> Outcome:
        """Run the agent on a job."""
        text = json.dumps(self._located(job)).encode()
        try:
            ending = children.run(self.command, timeout=self.timeout_seconds, input=text)
        except subprocess.TimeoutExpired:
            return self.late(job["verb"], self.timeout_seconds)
        return self.replied(ending.output, job) if ending.output and not ending.status else self.ended(ending)

    def start(self, job: dict[str, Any]) -> children.Conversation:
        """Start a process of the agent."""
        process = children.Conversation(self.command)
        process.tell(json.dumps(self._located(job)))
        return process

    def replied(self, answer: bytes, request: dict[str, Any]) -> Outcome:
        """Return the outcome that an answer of the agent describes. It is this installation's."""
        reply = json.loads(answer)
        if reply["status"] != "ok":
            return self.failed(reply["status"], reply["reason"])
        return Outcome("ok", data=reply["data"])

    def _located(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a job with the folder of a side installation."""
        located = locate(self.target)
        return job | ({"path": str(located.folder)} if located and located.folder else {})


class Local:
    """This machine, under any name: see `core.device.Device`."""

    def __init__(self, name: str = "local") -> None:
        self.name = name

    @property
    def place(self) -> str:
        """Its work is done here."""
        return THIS_MACHINE

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> LocalRunner:
        """Return the runner for an artifact on a target of this machine."""
        return LocalRunner(artifact, target, timeout_seconds)

    def runtimes(self) -> dict[str, str]:
        """Return the versions in this Python."""
        return installed_versions()

    def other_versions(self) -> list[Located]:
        """Return the side installations."""
        return side_installations()

    def locate(self, target: Target) -> Located | None:
        """Return the installed runtime, or the side installation that a target names."""
        return locate(target)

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return why a target cannot be run here, and what to install."""
        return missing_runtime(target)

    def environment(self) -> dict[str, Any]:
        """Return this machine and the packages of this Python."""
        return environment()

    def checks(self, *, fix: bool = False) -> list[Check]:
        """Check each runtime. Nothing is fixed: what is missing is installed by the commands that it names."""
        checks = []
        for runtime, version in installed_versions().items():
            target = Target(self.name, runtime)
            missing = missing_runtime(target)
            found = Check(str(target), "ok", version)
            checks.append(Check(str(target), "note", *missing) if missing else found)
        return checks

    def clean(self) -> str:
        """Return that there is nothing to remove."""
        return "nothing was put there: files are run where they are"

    def close(self) -> None:
        """Do nothing: there is no connection."""


def open_device(name: str, table: DeviceTable) -> Local:
    """Return this machine under a name."""
    return Local(name)
