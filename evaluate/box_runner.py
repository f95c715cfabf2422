"""A runner of a detector: its answers are the boxes that are read from the file's outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.artifact import Artifact
from ..core.boxes import BoxReading
from ..core.codec import to_json
from ..core.errors import InputError
from ..core.files import move
from ..core.measurement import Kind
from ..core.runner import Outcome, Runner, Server
from ..core.target import Target
from ..tasks.boxes import FORMATS, read

_OTHERWISE = f"say how its outputs are read: --boxes with {FORMATS}"


@dataclass(frozen=True)
class BoxRunner:
    """Another runner, whose outputs are read as `reading` says. See `core.runner.Runner` for what the verbs promise.

    An error in its place says why they cannot be read, and is the outcome of every verb.
    """

    runner: Runner
    reading: BoxReading | InputError

    @property
    def artifact(self) -> Artifact:
        """The file that runs."""
        return self.runner.artifact

    @property
    def target(self) -> Target:
        """The device and runtime that run it."""
        return self.runner.target

    @property
    def kind(self) -> Kind:
        """As of the other runner."""
        return self.runner.kind

    @property
    def answers(self) -> bool:
        """As of the other runner."""
        return self.runner.answers

    @property
    def timed(self) -> bool:
        """As of the other runner."""
        return self.runner.timed

    def free_bytes(self) -> int:
        """As of the other runner."""
        return self.runner.free_bytes()

    def rest(self) -> None:
        """As of the other runner."""
        self.runner.rest()

    def identity(self) -> dict[str, Any]:
        """Return what figures depend on, with how boxes are read."""
        if isinstance(self.reading, InputError):
            return {**self.runner.identity(), "boxes": self.reading.message}
        read_as = to_json(self.reading)
        if self.reading.decoding is None:
            del read_as["decoding"]
        return {**self.runner.identity(), "boxes": read_as}

    def load(self, inputs: Path) -> Outcome:
        """Load the file and run it on the first input."""
        return self._unread() or self.runner.load(inputs)

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        """Write the boxes (stop - start, rows × 6) of samples [start, stop)."""
        if isinstance(self.reading, InputError):
            return Outcome("failed", self.reading.message, self.reading.remedy)
        raw = outputs.with_suffix(".raw.npy")
        outcome = self.runner.infer(inputs, raw, start, stop)
        if not outcome.ok:
            return outcome
        answers = np.load(raw, allow_pickle=False)
        raw.unlink()
        wrong = int((~np.isfinite(answers).all(axis=1)).sum())
        if wrong:
            reason = f"it answers with NaN or infinity on {wrong} of {len(answers)} samples"
            return Outcome("failed", reason, "do not ship this pair; try another scheme")
        if answers.shape[1] != sum(self.reading.values) and len(self.reading.outputs) > 1:
            return Outcome(
                "unsupported",
                f"{self.target} returns one output, and the boxes are in {len(self.reading.outputs)}",
                "evaluate detectors with their suppression in the file on another runtime, e.g. local/litert",
            )
        try:
            boxes = read(answers, self.reading)
        except ValueError as error:
            return Outcome("failed", f"its answers cannot be read as boxes: {error}", _OTHERWISE)
        read_ones = outputs.with_suffix(".read.npy")
        np.save(read_ones, boxes)
        move(read_ones, outputs, root=outputs.parent)
        return replace(outcome, data=dict(outcome.data))

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Server | Outcome:
        """Start a process that runs bursts of inferences on request: the file's own time, without reading boxes."""
        return self._unread() or self.runner.serve(inputs, threads=threads, batch=batch)

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        """Time each operator."""
        return self._unread() or self.runner.profile(inputs, runs=runs, threads=threads)

    def _unread(self) -> Outcome | None:
        if isinstance(self.reading, InputError):
            return Outcome("failed", self.reading.message, self.reading.remedy)
        return None
