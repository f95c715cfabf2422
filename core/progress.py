"""How long work tells the outside how far it is. Stages and workflows call a Listener, which draws or logs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass
class Step:
    """A step of the plan. `usual` are seconds; those of `fixed` steps follow from the recipe, on any machine."""

    kind: str
    usual: float
    model: str = ""
    fixed: bool = False
    took: float | None = None


class Listener(Protocol):
    """Receives progress and notes. Must be cheap, and safe to call from any thread.

    Derive from `Silent` to implement a part of it. A listener that is a context manager is entered by the workflow that
    it is handed to, for as long as that works.
    """

    def plan(self, steps: Iterable[Step]) -> None:
        """Say which steps are to come, in their order."""
        ...

    def scale(self, kind: str, factor: float) -> None:
        """Say that the steps of a kind are larger or smaller than was planned, by a factor."""
        ...

    def begin(self, step: str, model: str = "") -> None:
        """Say that a step begins, of one model or of all."""
        ...

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Say that `done` of `total` units of `task` are finished."""
        ...

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Say something worth keeping: `level` is ``info``, ``warning`` or ``error``; `facts` are for the log.

        With ``step`` the message names what begins now, as one word. The fact ``remedy`` says what a user can do.
        """
        ...


class Silent:
    """A Listener that drops everything, and the base of listeners that hear a part."""

    def plan(self, steps: Iterable[Step]) -> None:
        """Drop it."""

    def scale(self, kind: str, factor: float) -> None:
        """Drop it."""

    def begin(self, step: str, model: str = "") -> None:
        """Drop it."""

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Drop it."""

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Drop it."""
