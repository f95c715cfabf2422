"""The device ``local``: this machine. Each verb starts a fresh process that runs the agent."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import children
from ..core.artifact import Artifact
from ..core.device import Check, Located
from ..core.device_tables import DeviceTable
from ..core.environment import cpu_name, environment, usable_cores
from ..core.measurement import Kind
from ..core.runner import Outcome
from ..core.runtime import RUNTIMES, readers
from ..core.target import Target
from .accelerators import accelerator_identity
from .feeds import FeedError, feed, feed_identity
from .graph_facts import graph_facts
from .remedies import explain
from .runtimes import installed_versions, locate, missing_runtime, side_installations

AGENT = Path(__file__).with_name("agent.py")
PROFILER = Path(__file__).with_name("profiler.py")


@dataclass(frozen=True)
class LocalRunner:
    """One artifact on one runtime of this machine. See `core.runner.Runner` for what the verbs promise."""

    artifact: Artifact
    target: Target
    timeout_seconds: float = 600.0
    python: str = sys.executable

    @property
    def kind(self) -> Kind:
        """Real runs on the real machine."""
        return "measured"

    @property
    def timed(self) -> bool:
        """This machine's latencies count."""
        return True

    def identity(self) -> dict[str, Any]:
        """What a figure taken here depends on, beside the artifact."""
        return {
            "target": str(self.target),
            "runtime_version": self._version(),
            "cpu": cpu_name(),
            "cores": usable_cores(),
            **feed_identity(self.artifact),
            **accelerator_identity(self.target.engine),
        }

    def load(self, inputs: Path) -> Outcome:
        """Load the file and run it on the first input."""
        return self._ask("load", inputs)

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        """Write the outputs for samples [start, stop)."""
        return self._ask("infer", inputs, outputs=str(outputs), start=start, stop=stop)

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> LocalServer | Outcome:
        """Start a process that runs bursts of inferences on request."""
        job = self._job("serve", inputs, threads=threads, batch=batch)
        return job if isinstance(job, Outcome) else LocalServer(self, job)

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Time each operator in a fresh process."""
        return self._ask("profile", inputs, runs=runs, threads=threads, profiler=str(PROFILER))

    def _ask(self, verb: str, inputs: Path, **more: Any) -> Outcome:
        job = self._job(verb, inputs, **more)
        return job if isinstance(job, Outcome) else self._run(job)

    def _job(self, verb: str, inputs: Path, **more: Any) -> dict[str, Any] | Outcome:
        """Return the agent's job, or why this pair cannot run."""
        runtime = self.target.runtime
        if not self.target.reads(self.artifact.format):
            return Outcome(
                "unsupported",
                f"{runtime} does not read {self.artifact.format} files",
                f"a {self.artifact.format} file runs on "
                + " or ".join(reader.name for reader in readers(self.artifact.format)),
            )
        if missing := missing_runtime(self.target):
            return Outcome("unsupported", *missing)
        if self.artifact.path is None:
            return Outcome("skipped", f"there is no file: {self.artifact.reason}", self.artifact.remedy)
        try:
            fed = feed(self.artifact, inputs)
        except FeedError as error:
            return Outcome("unsupported", error.reason, error.remedy)
        job = {
            "verb": verb,
            **self.target.engine.job(),
            "artifact": str(self.artifact.path),
            "inputs": str(inputs),
            "feed": fed,
            "answer": self.artifact.answer,
            "threads": 1,
            **more,
        }
        if not self.target.engine.reads_signatures:
            job["graph"] = graph_facts(self.artifact, operators=verb == "load")
        located = locate(self.target)
        return job | ({"path": str(located.folder)} if located and located.folder else {})

    def _version(self) -> str:
        located = locate(self.target)
        return located.version if located else ""

    @property
    def command(self) -> list[str]:
        """The command that runs the agent on a job in its first line of input."""
        # -I: nothing from the current folder or PYTHON* variables gets between the agent and the runtime.
        return [self.python, "-I", str(AGENT), "-"]

    def _run(self, job: dict[str, Any]) -> Outcome:
        try:
            ending = children.run(self.command, timeout=self.timeout_seconds, input=json.dumps(job).encode())
        except subprocess.TimeoutExpired:
            return self.late(job["verb"], self.timeout_seconds)
        return self.replied(ending.output) if ending.output and not ending.status else self.ended(ending)

    def late(self, what: str, seconds: float) -> Outcome:
        """Return the outcome of a verb or request that did not end in time."""
        return Outcome(
            "timeout",
            f"{what} did not end within {seconds:g} s",
            "raise evaluate.timeout_seconds, or leave this target out for this file",
        )

    def ended(self, ending: children.Ending) -> Outcome:
        """Return the outcome of a process that ended without an answer."""
        return Outcome(
            "crashed",
            f"the process of {self.target.runtime} {ending.how}{ending.error_suffix}",
            ending.remedy("this runtime cannot run this file; do not ship the pair"),
        )

    def replied(self, answer: bytes) -> Outcome:
        """Return the outcome that an answer of the agent describes."""
        reply = json.loads(answer)
        if reply["status"] != "ok":
            reason, remedy = explain(reply["reason"], self.target.runtime, self._version(), self.artifact.origin)
            return Outcome(reply["status"], reason, remedy)
        return Outcome("ok", data=reply["data"])


class LocalServer:
    """A process of the agent that runs bursts on request. See `core.runner.Server`."""

    def __init__(self, runner: LocalRunner, job: dict[str, Any]) -> None:
        self._runner = runner
        self._process = children.Conversation(runner.command)
        self._process.tell(json.dumps(job))

    def ready(self) -> Outcome:
        """Wait until the runtime is imported."""
        return self._answer("the import of the runtime", self._runner.timeout_seconds)

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        """Send a request and return the outcome."""
        self._process.tell(json.dumps(request))
        return self._answer(_DOING[request["do"]], seconds or self._runner.timeout_seconds)

    def _answer(self, what: str, seconds: float) -> Outcome:
        try:
            answer = self._process.hear(seconds)
        except subprocess.TimeoutExpired:
            self._process.close()
            return self._runner.late(what, seconds)
        return self._runner.ended(self._process.ending()) if answer is None else self._runner.replied(answer)

    def close(self) -> None:
        """End the process."""
        self._process.close()


_DOING = {"open": "loading", "warm": "the warm-up", "burst": "a burst of runs", "state": "a question about the process"}


class Local:
    """This machine, under any name: see `core.device.Device`."""

    def __init__(self, name: str = "local") -> None:
        self.name = name

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
        for runtime in RUNTIMES:
            target = Target(self.name, runtime)
            missing = missing_runtime(target)
            found = Check(str(target), "ok", installed_versions()[runtime])
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
