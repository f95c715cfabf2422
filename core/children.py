"""Child processes: started, limited in memory and time, ended with what they started, and asked what became of them.

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
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .files import open_log
from .sanitize import shorten

# The part of the machine's memory that one process may hold; beyond that it would take others down with it.
SHARE = 0.9
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
# Seconds between two looks at a process that is watched. What it started is looked for at every _EVERY-th of them only:
# that means to go through all processes of the machine.
_INTERVAL, _EVERY = 0.25, 8
SHORT_OF_MEMORY = "it was probably out of memory: close other programs or use a smaller model"
_TAIL = 4000  # bytes of a log in which the cause is looked for
_NOT_SAID = ("INFO:", "→")  # what frameworks log; a remedy of ours, which stands behind its cause


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


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit `status` (negative: the signal), its standard output, and the end of its errors."""

    status: int
    output: bytes = b""
    errors: str = ""

    @property
    def cause(self) -> str:
        """The signal or the status: ``SIGSEGV``, ``exit status 1``."""
        return signal.Signals(-self.status).name if self.status < 0 else f"exit status {self.status}"

    @property
    def how(self) -> str:
        """The same as a verb: ``was ended by SIGSEGV``, ``ended with exit status 1``."""
        return f"{'was ended by' if self.status < 0 else 'ended with'} {self.cause}"

    @property
    def last_words(self) -> str:
        """The last line of its errors, shortened; empty where it wrote none. What frameworks log is passed over."""
        lines = (line.strip() for line in reversed(self.errors.splitlines()))
        return shorten(next((line for line in lines if line and not line.startswith(_NOT_SAID)), ""), 300)

    @property
    def said(self) -> str:
        """Its last words as the end of a sentence."""
        return f"; it said: {self.last_words}" if self.last_words else ""

    @property
    def out_of_memory(self) -> bool:
        """Whether it probably had too little memory."""
        words = ("bad_alloc", "MemoryError", "annot allocate memory")
        return self.status == -signal.SIGKILL or any(word in self.errors for word in words)

    def remedy(self, otherwise: str) -> str:
        """Return what helps, if it was short of memory; else `otherwise`."""
        return SHORT_OF_MEMORY if self.out_of_memory else otherwise


def tail_of(log: Path) -> str:
    """Return the end of a log; empty where there is none."""
    with suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        return stream.read().decode("utf-8", "replace")
    return ""


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """As `subprocess.Popen`, in a group of its own (`kill_group`) and with the limit of memory."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    limit_memory(process)
    return process


def kill_group(process: subprocess.Popen[Any]) -> None:
    """End a process that `start` gave, and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(
    command: Sequence[str],
    *,
    timeout: float,
    input: bytes = b"",
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ending:
    """Run a process to its end, within limits of memory and of time; return how it ended.

    Its errors go to the end of `log`, and so does its output there; without a log the output is returned. What it
    started is ended with it. Raises subprocess.TimeoutExpired after `timeout` seconds.
    """
    with open_log(log) if log is not None else tempfile.TemporaryFile() as errors:
        out = errors if log is not None else subprocess.PIPE
        process = start(command, stdin=subprocess.PIPE, stdout=out, stderr=errors, env=env)
        try:
            output, _ = process.communicate(input, timeout=timeout)
        except BaseException:
            kill_group(process)
            process.communicate()  # closes its pipes
            raise
        if log is None:
            errors.seek(max(0, errors.tell() - _TAIL))
            return Ending(process.returncode, output, errors.read().decode("utf-8", "replace"))
    return Ending(process.returncode, b"", tail_of(log))


def stream(command: Sequence[str], *, silence: float, log: Path, hear: Callable[[str], None]) -> Ending:
    """Run a process to its end, and call `hear` with each line that it writes; its errors go to `log`.

    What it started is ended with it. Raises subprocess.TimeoutExpired when it writes nothing for `silence` seconds.
    """
    with log.open("wb") as errors:
        process = start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            with Watchdog(process, silence) as watchdog:
                for line in process.stdout or ():
                    watchdog.heard()
                    hear(line)
                process.wait()
        except BaseException:
            kill_group(process)
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
    if watchdog.bit:
        raise subprocess.TimeoutExpired(list(command), silence)
    return Ending(process.returncode, b"", tail_of(log))


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
