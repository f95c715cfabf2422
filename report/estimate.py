"""Estimate of the time left of a run: from the durations of its steps so far, and before that from usual ones.

A running step with progress is extrapolated at its own pace. A later step takes as long as others of its kind in this
run, or else the usual time on a small machine, scaled by the run's speed so far. Only the display depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..core.progress import Step

# Bounds of a machine's speed relative to the usual one.
_PACE = (0.2, 10.0)


class Estimate:
    """The steps of a run, in order, and their durations so far."""

    def __init__(self, steps: Iterable[Step], clock: Callable[[], float] = time.monotonic) -> None:
        self.steps = list(steps)
        self._clock = clock
        self._current: Step | None = None
        self._began = clock()
        self._task, self._task_began, self._share = "", clock(), 0.0

    def begin(self, kind: str, model: str = "") -> None:
        """Begin a step: the one before it is done, and so are skipped ones."""
        self.end()
        begun = next((s for s in self.steps if s.took is None and (s.kind, s.model) == (kind, model)), None)
        if begun is None:
            return
        for step in self.steps[: self.steps.index(begun)]:
            if step.took is None:
                step.took = 0.0
        self._current, self._began = begun, self._clock()
        self._task, self._share = "", 0.0

    def end(self) -> None:
        """End the running step."""
        if self._current is not None:
            self._current.took = self._clock() - self._began
            self._current = None

    def progress(self, task: str, done: float, total: float) -> None:
        """Record the progress of a part of the running step; a part that is a step itself begins that step."""
        if (self._current is None or self._current.kind != task) and any(
            step.kind == task and step.took is None for step in self.steps
        ):
            self.begin(task, next(step.model for step in self.steps if step.kind == task and step.took is None))
        if task != self._task:
            self._task, self._task_began = task, self._clock()
        self._share = done / total if total else 0.0

    def scale(self, kind: str, factor: float) -> None:
        """Scale the planned time of the remaining steps of a kind by `factor`."""
        for step in self.steps:
            if step.kind == kind and step.took is None:
                step.usual *= factor

    def left(self) -> float | None:
        """Return the estimated seconds left of the whole run; None without a plan."""
        if not self.steps:
            return None
        return sum(self._expected(step) for step in self.steps if step.took is None)

    def _expected(self, step: Step) -> float:
        usual = self._usual(step)
        if step is not self._current:
            return usual
        now = self._clock()
        rest = max(0.0, usual - (now - self._began))
        if 0 < self._share <= 1:
            drawn_out = (now - self._task_began) * (1 - self._share) / self._share
            # The other parts of the step are unknown; the usual time is a lower bound.
            return drawn_out if self._task == step.kind else max(drawn_out, rest)
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
