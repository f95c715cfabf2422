"""Runs an artifact on a device at the other end of a connection."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.children import Conversation, Ending, TooLongError
from ...core.files import move
from ...core.quiet import working
from ...core.runner import Outcome
from ..agent_runner import TOO_LONG, TOO_LONG_REMEDY, AgentRunner
from ..feeds import feed_identity
from .device import NOT_OURS, SLOW, Away, RemoteDevice
from .replies import ReplyError, answers_of, read_reply


@dataclass(frozen=True, kw_only=True)
class RemoteRunner(AgentRunner):
    """One artifact on one runtime of a `RemoteDevice`."""

    device: RemoteDevice

    def identity(self) -> dict[str, Any]:
        """What a figure taken there depends on, beside the artifact."""
        about = self.device.last_known()
        return {
            "target": str(self.target),
            "runtime_version": self.version(),
            "cpu": about.cpu if about else "",
            "cores": about.cores if about else 0,
            "model": about.model if about else "",
            **feed_identity(self.artifact),
        }

    def free_bytes(self) -> int:
        """Return the device's available memory."""
        about = self.device.last_known()
        return about.available_bytes if about else 0

    def rest(self) -> None:
        """Let the device cool down."""
        self.device.cool_down()

    def missing(self) -> Outcome | None:
        """Return why the device cannot be reached, or has no such runtime."""
        about = self.device.about()
        if isinstance(about, Away):
            return Outcome("skipped", about.reason, about.remedy)
        missing = self.device.missing_runtime(self.target)
        return Outcome("unsupported", *missing) if missing else None

    def version(self) -> str:
        """Return the runtime's version there."""
        about = self.device.last_known()
        return about.packages.get(self.target.engine.distribution, "") if about else ""

    def _job(self, verb: str, inputs: Path, **more: Any) -> dict[str, Any] | Outcome:
        """Return the agent's job; the file's graph is read for it."""
        if self.target.reads(self.artifact.format) and (missing := self.missing()):  # it may ask the device
            return missing
        with working():
            return super()._job(verb, inputs, **more)

    def run(self, job: dict[str, Any]) -> Outcome:
        """Put the files there, run the agent on a job, and write what it answers."""
        outcome = self._run(job)
        if outcome.reason == _GONE:
            self.device.forget_files()
            outcome = self._run(job)
        return outcome

    def _run(self, job: dict[str, Any]) -> Outcome:
        staged = self.device.stage(job)
        if isinstance(staged, Outcome):
            return staged
        try:
            with self.device.slots:
                answer = self.device.exchange(staged, seconds=self.timeout_seconds)
        except subprocess.TimeoutExpired:
            return self.late(job["verb"], self.timeout_seconds)
        except TooLongError:
            return Outcome("failed", TOO_LONG, TOO_LONG_REMEDY)
        if isinstance(answer, Ending):
            return self.ended(answer)
        with working():
            outcome = self.replied(answer, job)
            return self._written(outcome, job) if outcome.ok and job["verb"] == "infer" else outcome

    def _written(self, outcome: Outcome, job: dict[str, Any]) -> Outcome:
        """Write the answers of a reply where the job says."""
        try:
            answers = answers_of(outcome.data, job["stop"] - job["start"])
        except ReplyError as error:
            return Outcome("failed", f"{self.device.link.place}: {error}", NOT_OURS)
        outputs = Path(job["outputs"])
        part = outputs.with_name(f"{outputs.name}.part")
        with part.open("wb") as stream:
            np.save(stream, answers)
        move(part, outputs, root=outputs.parent)
        return Outcome("ok", data={key: value for key, value in outcome.data.items() if key not in _ANSWERS})

    def start(self, job: dict[str, Any]) -> Conversation | Outcome:
        """Put the files there, and start the agent."""
        staged = self.device.stage(job)
        if isinstance(staged, Outcome):
            return staged
        try:
            return self.device.start(staged)
        except subprocess.TimeoutExpired:
            return Outcome("crashed", f"{self.device.link.place} takes no data", SLOW)

    def replied(self, answer: bytes, request: dict[str, Any]) -> Outcome:
        """Return the outcome that a checked reply describes."""
        try:
            status, reason, data = read_reply(answer, request)
        except ReplyError as error:
            return Outcome("failed", f"{self.device.link.place}: {error}", NOT_OURS)
        if status == "ok":
            return Outcome("ok", data=data)
        words, remedy = self.device.explain(reason)
        return Outcome(status, words, remedy) if remedy or reason == _GONE else self.failed(status, reason)

    def ended(self, ending: Ending) -> Outcome:
        """Return the outcome of a connection, or of a process there, that ended without an answer."""
        return self.device.lost(ending) or super().ended(ending)


_GONE = "Gone"  # the agent's word for files that are not there any more
_ANSWERS = ("shape", "answers")
