"""What all runners share that run the agent: the verbs, its job for each, and what its endings mean."""

from __future__ import annotations

import json
import subprocess
from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.children import Conversation, Ending, TooLongError
from ..core.measurement import Kind
from ..core.runner import Outcome, Server
from ..core.runtime import readers
from ..core.sanitize import shorten
from ..core.target import Target
from ..tflite.micro_operators import resolver_method
from .feeds import FeedError, feed
from .graph_facts import graph_facts
from .reference_kernels import compared
from .remedies import explain

# What a request of `agent.server.Server` asks for, in words.
DOING = {"open": "loading", "warm": "the warm-up", "burst": "a burst of runs", "state": "a question about the process"}


def _no_times(target: Target) -> tuple[str, str]:
    return (
        f"{target.engine.title} is run on a processor that it is not made for: its times say nothing about a device",
        "time the file on the device itself",
    )


@dataclass(frozen=True)
class JobRunner:
    """One artifact on one runtime, which runs by jobs. See `core.runner.Runner` for what the verbs promise."""

    artifact: Artifact
    target: Target
    timeout_seconds: float = 600.0

    @property
    def kind(self) -> Kind:
        """Real runs on a real machine, unless the runtime stands for another one."""
        return self.target.engine.kind

    @property
    def answers(self) -> bool:
        """Files are run."""
        return True

    @property
    def timed(self) -> bool:
        """The latencies of a real machine count."""
        return self.kind == "measured"

    def load(self, inputs: Path) -> Outcome:
        """Load the file and run it on the first input."""
        outcome = self._ask("load", inputs)
        if outcome.ok and self.target.engine.reference:
            # What the process takes here is not what the file takes there: that is the arena.
            told = {name: value for name, value in outcome.data.items() if name != "peak_memory_bytes"}
            return replace(outcome, data={**told, "reference": compared(self, inputs)})
        return outcome

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int, *, kernels: str = "") -> Outcome:
        """Write the outputs for samples [start, stop); with `kernels` ``reference`` those of the slow, plain ones."""
        more = {"kernels": kernels} if kernels else {}
        return self._ask("infer", inputs, outputs=str(outputs), start=start, stop=stop, **more)

    def _ask(self, verb: str, inputs: Path, **more: Any) -> Outcome:
        job = self._job(verb, inputs, **more)
        return job if isinstance(job, Outcome) else self.run(job)

    def _job(self, verb: str, inputs: Path, **more: Any) -> dict[str, Any] | Outcome:
        """Return the job (of the agent), or why this pair cannot run."""
        runtime = self.target.runtime
        if not self.target.reads(self.artifact.format):
            return Outcome(
                "unsupported",
                f"{runtime} does not read {self.artifact.format} files",
                f"a {self.artifact.format} file runs on "
                + " or ".join(reader.name for reader in readers(self.artifact.format)),
            )
        if missing := self.missing():
            return missing
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
        if self.artifact.boxes is not None:
            job["answers"] = [
                list(one) for one in zip(self.artifact.boxes.outputs, self.artifact.boxes.values, strict=True)
            ]
        if not self.target.engine.reads_signatures:
            job["graph"] = graph_facts(self.artifact, operators=verb == "load")
        return job

    @abstractmethod
    def missing(self) -> Outcome | None:
        """Return why the runtime cannot be run there; None if it can."""

    @abstractmethod
    def version(self) -> str:
        """Return the runtime's version there, or an empty text."""

    @abstractmethod
    def run(self, job: dict[str, Any]) -> Outcome:
        """Do a job, and return its outcome."""

    def late(self, what: str, seconds: float) -> Outcome:
        """Return the outcome of a verb or request that did not end in time."""
        return Outcome(
            "timeout",
            f"{what} did not end within {seconds:g} s",
            "raise evaluate.timeout_seconds, or leave this target out for this file",
        )

    def ended(self, ending: Ending) -> Outcome:
        """Return the outcome of a process that ended without an answer."""
        return Outcome(
            "crashed",
            f"the process of {self.target.runtime} {ending.how}{ending.error_suffix}",
            ending.remedy("this runtime cannot run this file; do not ship the pair"),
        )

    def failed(self, status: Any, reason: str) -> Outcome:
        """Return the outcome of a failure that the agent reports, in words."""
        words, remedy = explain(reason, self.target.runtime, self.version(), self.artifact.origin)
        if self.target.runtime == "tflite-micro" and status == "unsupported":
            # It stops at the first operator that it does not have.
            names = dict.fromkeys(shorten(op.name, 60) for op in self.artifact.ops if not resolver_method(op.name))
            if others := [name for name in names if name not in words]:
                words = f"{words}; no resolver has {', '.join(others)}"
        return Outcome(status, words, remedy)


@dataclass(frozen=True)
class AgentRunner(JobRunner):
    """One artifact on one runtime that the agent runs. A device says how it is started, and what an answer is worth."""

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Start a process that runs bursts of inferences on request."""
        if not self.timed:
            return Outcome("unsupported", *_no_times(self.target))
        job = self._job("serve", inputs, threads=threads, batch=batch)
        return job if isinstance(job, Outcome) else AgentServer(self, job)

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Time each operator in a fresh process."""
        if not self.timed:
            return Outcome("unsupported", *_no_times(self.target))
        return self._ask("profile", inputs, runs=runs, threads=threads)

    @abstractmethod
    def start(self, job: dict[str, Any]) -> Conversation | Outcome:
        """Start a process of the agent on a job."""

    @abstractmethod
    def replied(self, answer: bytes, request: dict[str, Any]) -> Outcome:
        """Return the outcome that an answer of the agent to a job or a request describes."""


class AgentServer:
    """A process of the agent that runs bursts on request. See `core.runner.Server`."""

    def __init__(self, runner: AgentRunner, job: dict[str, Any]) -> None:
        self._runner = runner
        self._process = runner.start(job)

    def ready(self) -> Outcome:
        """Wait until the runtime is imported."""
        return self._answer("the import of the runtime", {"do": "import"}, self._runner.timeout_seconds)

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        """Send a request and return the outcome."""
        if isinstance(self._process, Conversation):
            self._process.tell(json.dumps(request))
        return self._answer(DOING[request["do"]], request, seconds or self._runner.timeout_seconds)

    def _answer(self, what: str, request: dict[str, Any], seconds: float) -> Outcome:
        if isinstance(self._process, Outcome):
            return self._process
        try:
            answer = self._process.hear(seconds)
        except subprocess.TimeoutExpired:
            self._process.close()
            return self._runner.late(what, seconds)
        except TooLongError:
            return Outcome("failed", TOO_LONG, TOO_LONG_REMEDY)
        if answer is None:
            return self._runner.ended(self._process.ending())
        return self._runner.replied(answer, request)

    def close(self) -> None:
        """End the process."""
        if isinstance(self._process, Conversation):
            self._process.close()


TOO_LONG = "the reply is longer than any can be: it was cut off"
TOO_LONG_REMEDY = "see what runs in place of Python on the device"
