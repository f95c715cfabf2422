"""Runs an artifact on a device at a worker of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...core.artifact import Artifact
from ...core.codec import from_json
from ...core.errors import InputError
from ...core.measurement import Kind
from ...core.quiet import working
from ...core.runner import Outcome
from ...core.sanitize import shorten
from ...core.target import Target
from ..feeds import FeedError, feed
from .connection import SAME, write_answers

if TYPE_CHECKING:
    from .device import ClusterDevice, Lease


def outcome_of(answer: Any) -> Outcome:
    """Return the outcome in a worker's answer, checked."""
    if isinstance(answer, Outcome):
        return answer
    try:
        return from_json(Outcome, answer, "a worker's reply")
    except InputError as error:
        return Outcome("failed", shorten(error.message, 300), SAME)


@dataclass(frozen=True)
class ClusterRunner:
    """See `core.runner.Runner`. Bursts are timed beside the device: only requests and figures travel."""

    artifact: Artifact
    target: Target
    timeout_seconds: float
    device: ClusterDevice

    @property
    def kind(self) -> Kind:
        """What the worker's device says."""
        return cast(Kind, self.device.facts(self)["kind"])

    @property
    def answers(self) -> bool:
        """What the worker's device says."""
        return bool(self.device.facts(self)["answers"])

    @property
    def timed(self) -> bool:
        """What the worker's device says."""
        return bool(self.device.facts(self)["timed"])

    def identity(self) -> dict[str, Any]:
        """What a figure taken there depends on, beside the artifact."""
        return dict(self.device.facts(self)["identity"])

    def free_bytes(self) -> int:
        """Return the device's memory, as it was when it was first asked."""
        return int(self.device.facts(self)["free_bytes"])

    def rest(self) -> None:
        """Let the device cool down."""
        self._run("rest", None)

    def load(self, inputs: Path) -> Outcome:
        """Load the file there."""
        return outcome_of(self._run("load", inputs))

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Time each operator there."""
        return outcome_of(self._run("profile", inputs, runs=runs, threads=threads))

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        """Answer samples there, and write the answers here."""
        answer = self._ask({"do": "run", "verb": "infer", "start": start, "stop": stop}, inputs)
        if isinstance(answer, Outcome):
            return answer
        outcome = outcome_of(answer["outcome"])
        if outcome.ok:
            try:
                with working():
                    write_answers(answer["answers"], outputs, stop - start)
            except ValueError as error:
                return Outcome("failed", shorten(str(error), 300), SAME)
        return outcome

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> ClusterServer | Outcome:
        """Start a process there."""
        lease = self._lease(inputs)
        if isinstance(lease, Outcome):
            return lease
        job, files = self.device.job(self, inputs)
        if failed := self.device.put(lease, files):
            return failed
        answer = self.device.ask_lease(lease, {"do": "serve", "job": job, "threads": threads, "batch": batch})
        if isinstance(answer, Outcome):
            return answer
        return (
            outcome_of(answer["outcome"])
            if "outcome" in answer
            else ClusterServer(self.device, lease, answer["server"])
        )

    def _lease(self, inputs: Path | None) -> Lease | Outcome:
        """Return the lease of the device, unless there is nothing that could be sent there."""
        if inputs is not None and self.target.reads(self.artifact.format):
            try:
                feed(self.artifact, inputs)
            except FeedError as error:
                return Outcome("unsupported", error.reason, error.remedy)
        return self.device.lease()

    def _run(self, verb: str, inputs: Path | None, **more: Any) -> Any:
        answer = self._ask({"do": "run", "verb": verb, **more}, inputs)
        return answer if isinstance(answer, Outcome) else answer["outcome"]

    def _ask(self, request: dict[str, Any], inputs: Path | None) -> Any:
        lease = self._lease(inputs)
        if isinstance(lease, Outcome):
            return lease
        job, files = self.device.job(self, inputs)
        return self.device.ask({**request, "job": job}, files)


class ClusterServer:
    """A process beside the device that runs bursts on request. See `core.runner.Server`."""

    def __init__(self, device: ClusterDevice, lease: Lease, name: str) -> None:
        self._device, self._lease, self._name = device, lease, name

    def ready(self) -> Outcome:
        """Wait until the runtime is imported."""
        return self._ask({}, None)

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        """Send a request and return the outcome."""
        return self._ask(request, seconds)

    def _ask(self, request: dict[str, Any] | None, seconds: float | None) -> Outcome:
        asked = {"do": "server", "server": self._name, "request": request, "seconds": seconds}
        return outcome_of(self._device.ask_lease(self._lease, asked))

    def close(self) -> None:
        """End the process."""
        self._device.ask_lease(self._lease, {"do": "server", "server": self._name, "request": None, "seconds": None})
