"""Estimate of the time left of a run: from the durations of its steps so far, and before that from usual ones.

A running step with progress is extrapolated at its own pace. A later step takes as long as others of its kind in this
run, or else the usual time on a small machine, scaled by the run's speed so far. Only the display depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..core.progress import Step

# Bounds of a machine's speed relative to the usual one.
_PACE = (0.2, 10.0)


@dataclass
class _Running:
    """A step that runs: since when, the part that has reported progress, since when that runs, and its share done."""

    step: Step
    began: float
    task: str = ""
    task_began: float = 0.0
    share: float = 0.0


class Estimate:
    """The steps of a run, in order, and their durations so far. One step runs at a time, or one of each queue."""

    def __init__(self, steps: Iterable[Step], clock: Callable[[], float] = time.monotonic) -> None:
        self.steps = list(steps)
        self._clock = clock
        self._running: dict[str, _Running] = {}

    def begin(self, kind: str, model: str = "") -> None:
        """Begin a step: those before it are done, or were skipped; of other queues' none is."""
        begun = next((s for s in self.steps if s.took is None and (s.kind, s.model) == (kind, model)), None)
        queue = begun.queue if begun else ""
        self.end() if not queue else self._end("", queue)
        if begun is None:
            return
        for step in self.steps[: self.steps.index(begun)]:
            if step.took is None and (not queue or step.queue in ("", queue)):
                step.took = 0.0
        self._running[queue] = _Running(begun, self._clock())

    def end(self) -> None:
        """End the running steps."""
        self._end(*self._running)

    def _end(self, *queues: str) -> None:
        for queue in queues:
            if running := self._running.pop(queue, None):
                running.step.took = self._clock() - running.began

    def progress(self, task: str, done: float, total: float) -> None:
        """Record the progress of a part of the running step; a part that is a step itself begins that step."""
        running = next((r for r in self._running.values() if r.step.kind == task), None)
        if running is None and (step := next((s for s in self.steps if s.kind == task and s.took is None), None)):
            self.begin(task, step.model)
            running = self._running[step.queue]
        if running is None and (running := self._running.get("")) is None:
            return
        if task != running.task:
            running.task, running.task_began = task, self._clock()
        running.share = done / total if total else 0.0

    def scale(self, kind: str, factor: float) -> None:
        """Scale the planned time of the remaining steps of a kind, on all devices, by `factor`."""
        for step in self.steps:
            if (step.kind == kind or (step.queue and step.kind.startswith(f"{kind} on "))) and step.took is None:
                step.usual *= factor

    def left(self) -> float | None:
        """Return the estimated seconds left of the whole run, of queues the longest one's; None without a plan."""
        if not self.steps:
            return None
        queues: dict[str, float] = {}
        for step in self.steps:
            if step.took is None:
                queues[step.queue] = queues.get(step.queue, 0.0) + self._expected(step)
        return queues.pop("", 0.0) + max(queues.values(), default=0.0)

    def _expected(self, step: Step) -> float:
        usual = self._usual(step)
        running = self._running.get(step.queue)
        if running is None or running.step is not step:
            return usual
        now = self._clock()
        rest = max(0.0, usual - (now - running.began))
        if 0 < running.share <= 1:
            drawn_out = (now - running.task_began) * (1 - running.share) / running.share
            # The other parts of the step are unknown; the usual time is a lower bound.
            return drawn_out if running.task == step.kind else max(drawn_out, rest)
        return rest

    def _usual(self, step: Step) -> float:
        alike = [s for s in self.steps if s.kind == step.kind and s.took]
        if alike:
            return step.usual * sum(s.took or 0.0 for s in alike) / max(1e-9, sum(s.usual for s in alike))
        done = [s for s in self.steps if s.took and not s.fixed]
        if step.fixed or not done:
            return step.usual
        pace = sum(s.took or 0.0 for s in done) / max(1e-9, sum(s.usual for s in done))
        return step.usual * min(max(pace, _PACE[0]), _PACE[1])


def about(seconds: float) -> str:
    """Return an estimated duration in words: ``10 s``, ``4 min``, ``1 h 20 min``."""
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    return f"{max(1, minutes)} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def clock_time(seconds: float) -> str:
    """Return a duration as a clock shows it: ``0:07``, ``1:02:03``."""
    total = int(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
