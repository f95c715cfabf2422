"""How long work tells the outside how far it is. Stages call a Listener; the command line draws or logs it."""

from __future__ import annotations

from typing import Any, Protocol


class Listener(Protocol):
    """Receives progress and notes. Must be cheap, and safe to call from any thread."""

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Say that `done` of `total` units of `task` are finished."""
        ...

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Say something worth keeping: `level` is ``info`` or ``warning``; `facts` go to the log as they are.

        With ``step`` the message names what begins now, as one word: it is shown until something else is told.
        """
        ...


class Silent:
    """A Listener that drops everything."""

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Drop it."""

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Drop it."""
