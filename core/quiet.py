"""Keeps this machine quiet while it times files, although devices that are machines of their own work at the same time.

Three kinds of work:

- A latency measurement of this machine holds `quiet`.
- What costs this machine's processor something for a device elsewhere (hashing and sending files, reading answers,
  judging them) is done in `working`: it waits while the machine is to be quiet, and is waited for.
- Waiting for a device, and the lines that start a process there or ask it for a burst, are neither. They cost some
  milliseconds of a processor, and nobody waits for a device that is slow or away.

There is one machine, so this is one state of the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Quiet:
    """The state of one machine. `quiet` and `working` exclude each other; `clock` is time without waiting for that."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._quiet, self._working = False, 0
        self._waiting = 0  # workers
        self._turns = 0  # of them, those who have a turn before the machine is quiet again
        self._mine = threading.local()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Hold the machine quiet. Workers end first, and those who have waited have one turn before."""
        with self._changed:
            self._wait(lambda: not self._quiet and not self._turns)
            self._quiet = self._mine.quiet = True
            self._wait(lambda: not self._working)
        try:
            yield
        finally:
            with self._changed:
                self._quiet = self._mine.quiet = False
                self._turns = self._waiting
                self._changed.notify_all()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Use the processor, when the machine need not be quiet. Who holds one of the two already goes on."""
        if getattr(self._mine, "quiet", False) or getattr(self._mine, "working", False):
            yield
            return
        with self._changed:
            self._waiting += 1
            try:
                self._wait(lambda: not self._quiet)
            finally:
                self._waiting -= 1
                self._turns = max(0, self._turns - 1)
                self._changed.notify_all()
            self._working += 1
        self._mine.working = True
        try:
            yield
        finally:
            self._mine.working = False
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def pause(self) -> None:
        """Wait while the machine is to be quiet: before another process does such work, which cannot be held."""
        with self.working():
            pass

    def clock(self) -> float:
        """Return monotonic seconds, without those that this thread has waited here."""
        return self._monotonic() - getattr(self._mine, "waited", 0.0)

    def _wait(self, until: Callable[[], bool]) -> None:
        began = self._monotonic()
        self._changed.wait_for(until)
        self._mine.waited = getattr(self._mine, "waited", 0.0) + self._monotonic() - began


THIS = Quiet()
quiet, working, pause, clock = THIS.quiet, THIS.working, THIS.pause, THIS.clock
