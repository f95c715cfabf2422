"""How long the rest of a run takes: from what its steps took so far, and before that from what they usually take.

A step that is under way and tells how far it is, is drawn out at its own pace. One that is still to come takes what
others of its kind took in this run, or else what is usual on a small machine, slower or faster as the run was so far.
It is an estimate: nothing but the display depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..core.progress import Step

# How much slower or faster than usual a machine is believed to be.
_PACE = (0.2, 10.0)


class Estimate:
    """The steps of a run, in their order, and what is known of them by now."""

    def __init__(self, steps: Iterable[Step], clock: Callable[[], float] = time.monotonic) -> None:
        self.steps = list(steps)
        self._clock = clock
        self._current: Step | None = None
        self._began = clock()
        self._task, self._task_began, self._share = "", clock(), 0.0

    def begin(self, kind: str, model: str = "") -> None:
        """Say that a step begins: the one before it is done, and so are those that were passed over."""
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
        """Say that the step under way is done."""
        if self._current is not None:
            self._current.took = self._clock() - self._began
            self._current = None

    def progress(self, task: str, done: float, total: float) -> None:
        """Hear how far a part of the step under way is; a part that is a step of its own begins that step."""
        if (self._current is None or self._current.kind != task) and any(
            step.kind == task and step.took is None for step in self.steps
        ):
            self.begin(task, next(step.model for step in self.steps if step.kind == task and step.took is None))
        if task != self._task:
            self._task, self._task_began = task, self._clock()
        self._share = done / total if total else 0.0

    def scale(self, kind: str, factor: float) -> None:
        """Expect steps of a kind that are still to come to take `factor` times as long as was planned."""
        for step in self.steps:
            if step.kind == kind and step.took is None:
                step.usual *= factor

    def left(self) -> float | None:
        """Return the seconds that are left of the whole run; None where nothing is planned."""
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
            # Of a step with several parts the others are not known; the usual time bounds it from below.
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
    """Return a duration as an estimate is told: ``10 s``, ``4 min``, ``1 h 20 min``."""
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    return f"{max(1, minutes)} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def clock_time(seconds: float) -> str:
    """Return a duration as a clock shows it: ``0:07``, ``1:02:03``."""
    total = int(seconds)
    hours, minutes, rest = total // 3600, total // 60 % 60, total % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
