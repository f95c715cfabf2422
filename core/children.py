"""Limits of the child processes that open files from outside: of memory, and of time.

What a file makes a library do is not known before. So a process that opens one cannot take the machine's memory, and
one that does not end, or says nothing for too long, is ended.

Linux keeps the limit of memory itself, of each process alone. Where it cannot (beside a driver for graphics cards,
which reserves more addresses than there is memory, and on other systems) a thread looks at what a process and those
that it started hold together, and ends them.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

# The part of the machine's memory that one process may hold; beyond that it would take others down with it.
SHARE = 0.9
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
# Seconds between two looks at a process that is watched. What it started is looked for at every _EVERY-th of them only:
# that means to go through all processes of the machine.
_INTERVAL, _EVERY = 0.25, 8


def most_memory() -> int:
    """Return how many bytes a process may hold that opens a file from outside."""
    return int(psutil.virtual_memory().total * SHARE)


def system_limits() -> bool:
    """Whether the system keeps that limit; where it does not, processes are watched."""
    import resource  # POSIX only, like the runs themselves

    return hasattr(resource, "prlimit") and not any(driver.exists() for driver in _DRIVERS)


def limit_memory(process: subprocess.Popen[Any]) -> None:
    """Bound the memory of a process that has just been started, and of those that it starts.

    What asks the system for more fails there; what is watched is killed.
    """
    import resource

    most = most_memory()
    if system_limits():
        with suppress(ProcessLookupError, PermissionError, ValueError):  # it has ended; or a lower limit is set already
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (most, most))
        return
    with suppress(psutil.NoSuchProcess):
        watched = psutil.Process(process.pid)
        threading.Thread(target=_watch_memory, args=(watched, most), daemon=True).start()


def _watch_memory(process: psutil.Process, most: int) -> None:
    """Kill a process, and those that it started, when they hold more than `most` bytes; return when it has ended."""
    started: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # it has ended
        for look in itertools.count():
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            if look % _EVERY == 0:
                started = process.children(recursive=True)
            if _held(process) + sum(map(_held, started)) > most:
                for one in (process, *process.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
                return
            time.sleep(_INTERVAL)


def _held(process: psutil.Process) -> int:
    """Return the bytes that a process alone holds: files that are mapped do not count, the system takes them back."""
    try:
        memory = process.memory_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(memory.rss) - int(getattr(memory, "shared", 0))


def out_of_memory(code: int, said: str) -> bool:
    """Whether a process that ended with `code`, and whose last words are `said`, probably had too little memory."""
    words = ("bad_alloc", "MemoryError", "annot allocate memory")
    return code == -signal.SIGKILL or any(word in said for word in words)


def kill_group(process: subprocess.Popen[Any]) -> None:
    """End a process that was started with ``start_new_session``, and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(
    command: Sequence[str], *, timeout: float, input: bytes | str | None = None, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`, with the limit of memory; what the process started is ended with it.

    Raises subprocess.TimeoutExpired after `timeout` seconds.
    """
    if input is not None:
        options["stdin"] = subprocess.PIPE
    process = subprocess.Popen(command, start_new_session=True, **options)
    limit_memory(process)
    try:
        out, errors = process.communicate(input, timeout=timeout)
    except BaseException:
        kill_group(process)
        process.communicate()  # closes its pipes
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, errors)


class Watchdog:
    """Ends a process that has said nothing for `seconds`. A context manager; `heard` is for each word of its."""

    def __init__(self, process: subprocess.Popen[Any], seconds: float) -> None:
        self._process, self._seconds = process, seconds
        self._heard, self._over = threading.Event(), False
        self.bit = False

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def heard(self) -> None:
        """Note that the process said something."""
        self._heard.set()

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._heard.set()

    def _watch(self) -> None:
        while self._heard.wait(self._seconds):
            if self._over:
                return
            self._heard.clear()
        self.bit = True
        self._process.kill()
