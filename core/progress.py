"""Progress reporting: stages and workflows call a Listener, which draws or logs the events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass
class Step:
    """A step of the plan. `usual` is its usual duration in seconds; that of a `fixed` step follows from the recipe and
    does not depend on the machine. `took` is the actual duration. Steps of different queues run at the same time."""

    kind: str
    usual: float
    model: str = ""
    fixed: bool = False
    took: float | None = None
    queue: str = ""


class Listener(Protocol):
    """Receives progress and notes. Its methods must be fast, and safe to call from any thread.

    Derive from `Silent` to implement only some of them. A listener that is a context manager is entered by the workflow
    that receives it, until the workflow ends.
    """

    def plan(self, steps: Iterable[Step]) -> None:
        """Report the planned steps, in order."""
        ...

    def scale(self, kind: str, factor: float) -> None:
        """Report that the steps of a kind take longer or shorter than planned, by a factor."""
        ...

    def begin(self, step: str, model: str = "") -> None:
        """Report that a step begins, for one model or for all."""
        ...

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Report that `done` of `total` units of `task` are finished."""
        ...

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Report a message: `level` is ``info``, ``warning`` or ``error``; `facts` are for the log.

        With ``step`` the message names what begins now, in one word. The fact ``remedy`` says what a user can do.
        """
        ...


class Silent:
    """A Listener that ignores everything, and the base class of listeners that implement only some methods."""

    def plan(self, steps: Iterable[Step]) -> None:
        """Ignore it."""

    def scale(self, kind: str, factor: float) -> None:
        """Ignore it."""

    def begin(self, step: str, model: str = "") -> None:
        """Ignore it."""

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Ignore it."""

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Ignore it."""
