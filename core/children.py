"""Limits of the child processes that open files from outside: of memory, and of time.

What a file makes a library do is not known before. So a process that opens one cannot take the machine's memory, and
one that does not end, or says nothing for too long, is ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

# The part of the machine's memory that one process may hold; beyond that it would take others down with it.
SHARE = 0.9
# A driver for graphics cards reserves more addresses than there is memory, and these would count.
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))


def limit_memory(process: subprocess.Popen[Any]) -> None:
    """Bound the memory of a process that has just been started, and of those that it starts; on Linux only."""
    import resource  # POSIX only, like the runs themselves

    if not hasattr(resource, "prlimit") or any(driver.exists() for driver in _DRIVERS):
        return
    most = int(psutil.virtual_memory().total * SHARE)
    with suppress(ProcessLookupError, PermissionError, ValueError):  # it has ended; or a lower limit is set already
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (most, most))


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
