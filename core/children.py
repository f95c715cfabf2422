"""The supervisor of child processes: starts them, limits their memory and time, kills them, and reports how they ended.

An untrusted file may make a library do anything. So a process that opens one cannot take all of the machine's memory,
and it is killed if it does not end, or writes nothing for too long.

Linux itself enforces a memory limit for each process. Where it cannot (with a GPU driver, which reserves more addresses
than there is memory, and on other systems), a thread watches the total memory of the process and its children, and
kills them.
"""

from __future__ import annotations

import itertools
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .files import open_log
from .sanitize import shorten

# Share of the machine's memory that one process may use, so that it does not endanger others.
SHARE = 0.9
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))
# Seconds between two checks of a watched process. Its children are looked up only at every _EVERY-th check, since this
# lists all processes of the machine.
_INTERVAL, _EVERY = 0.25, 8
SHORT_OF_MEMORY = "it was probably out of memory: close other programs or use a smaller model"
_TAIL = 4000  # bytes at the end of a log that are searched for the cause
_NO_CAUSE = ("INFO:", "→")  # starts of lines without a cause: logs of frameworks, and our remedies


def memory_limit() -> int:
    """Return the memory limit, in bytes, of a process that opens untrusted files."""
    return int(psutil.virtual_memory().total * SHARE)


def system_enforces_limit() -> bool:
    """Return whether the operating system enforces the limit. If not, processes are watched."""
    import resource  # POSIX only, like the runs themselves

    return hasattr(resource, "prlimit") and not any(driver.exists() for driver in _DRIVERS)


def limit_memory(process: subprocess.Popen[Any]) -> None:
    """Limit the memory of a process that has just been started, and of its children.

    Beyond the limit, allocations fail if the system enforces it; a watched process is killed.
    """
    import resource

    limit = memory_limit()
    if system_enforces_limit():
        with suppress(ProcessLookupError, PermissionError, ValueError):  # it has ended; or a lower limit is set already
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
        return
    with suppress(psutil.NoSuchProcess):
        watched = psutil.Process(process.pid)
        threading.Thread(target=_watch_memory, args=(watched, limit), daemon=True).start()


def _watch_memory(process: psutil.Process, limit: int) -> None:
    """Kill a process and its children when they use more than `limit` bytes. Returns when the process has ended."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # it has ended
        for check in itertools.count():
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            if check % _EVERY == 0:
                children = process.children(recursive=True)
            if _private_memory(process) + sum(map(_private_memory, children)) > limit:
                for member in (process, *process.children(recursive=True)):
                    with suppress(psutil.NoSuchProcess):
                        member.kill()
                return
            time.sleep(_INTERVAL)


def _private_memory(process: psutil.Process) -> int:
    """Return the private memory of a process in bytes. Mapped files do not count: the system can drop them."""
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
    def last_error_line(self) -> str:
        """The last line of its errors, shortened, or ``""``. Log lines of frameworks are skipped."""
        lines = (line.strip() for line in reversed(self.errors.splitlines()))
        return shorten(next((line for line in lines if line and not line.startswith(_NO_CAUSE)), ""), 300)

    @property
    def error_suffix(self) -> str:
        """The last line of its errors as the end of a sentence."""
        return f"; it said: {self.last_error_line}" if self.last_error_line else ""

    @property
    def out_of_memory(self) -> bool:
        """Whether it probably ran out of memory."""
        messages = ("bad_alloc", "MemoryError", "annot allocate memory")
        return self.status == -signal.SIGKILL or any(message in self.errors for message in messages)

    def remedy(self, otherwise: str) -> str:
        """Return the remedy for a lack of memory if that was the cause, else `otherwise`."""
        return SHORT_OF_MEMORY if self.out_of_memory else otherwise


def tail_of(log: Path) -> str:
    """Return the end of a log, or ``""`` if there is none."""
    with suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        return stream.read().decode("utf-8", "replace")
    return ""


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """As `subprocess.Popen`, with its own process group (see `kill_group`) and the memory limit."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    limit_memory(process)
    return process


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process returned by `start`, and its children."""
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
    """Run a process to its end, within limits of memory and time; return how it ended.

    Its output and errors are appended to `log`; without a log the output is returned. Its children are killed with it.
    Raises subprocess.TimeoutExpired after `timeout` seconds.
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
    """Run a process to its end, and call `hear` with each line of its output; its errors go to `log`.

    Its children are killed with it. Raises subprocess.TimeoutExpired when it writes nothing for `silence` seconds.
    """
    with log.open("wb") as errors:
        process = start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            with Watchdog(process, silence) as watchdog:
                for line in process.stdout or ():
                    watchdog.reset()
                    hear(line)
                process.wait()
        except BaseException:
            kill_group(process)
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
    if watchdog.expired:
        raise subprocess.TimeoutExpired(list(command), silence)
    return Ending(process.returncode, b"", tail_of(log))


class TooLongError(Exception):
    """A process wrote a longer line than it may; it was killed."""


class Conversation:
    """A process that answers each line of its standard input with one line of output. A context manager.

    Its memory is limited, and a line of more than `most_bytes` ends it. It is killed, with its children, at the end.
    """

    def __init__(self, command: Sequence[str], *, most_bytes: int | None = None) -> None:
        self._command, self._most_bytes = list(command), most_bytes
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0)
        self._buffer = b""

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self, line: str) -> None:
        """Send a line. A process that has ended is noticed by `hear`."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.write(line.encode() + b"\n")

    def send(self, parts: Iterable[bytes], *, silence: float) -> None:
        """Send bytes, however slowly they are taken. A process that has ended is noticed by `hear`.

        Raises subprocess.TimeoutExpired when none are taken for `silence` seconds.
        """
        if self._process.stdin is None:
            return
        descriptor = self._process.stdin.fileno()
        os.set_blocking(descriptor, False)
        try:
            for part in parts:
                left = memoryview(part)
                while left:
                    if not select.select([], [descriptor], [], silence)[1]:
                        raise subprocess.TimeoutExpired(self._command, silence)
                    left = left[os.write(descriptor, left[: 1 << 16]) :]
        except BrokenPipeError:
            return
        os.set_blocking(descriptor, True)

    def hear(self, timeout: float) -> bytes | None:
        """Return the next line, or None when the process has ended.

        Raises subprocess.TimeoutExpired, and TooLongError when the line is too long.
        """
        until = time.monotonic() + timeout
        parts = [self._buffer]
        size = len(self._buffer)
        while b"\n" not in parts[-1]:
            try:
                part = self._read(size, max(0.0, until - time.monotonic()), timeout)
            except subprocess.TimeoutExpired:
                self._buffer = b"".join(parts)
                raise
            if not part:
                self._buffer = b""
                return None
            parts.append(part)
            size += len(part)
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        return line

    def hear_all(self, silence: float) -> bytes:
        """Return all that the process writes until it ends; its standard input is closed.

        Raises subprocess.TimeoutExpired when it writes nothing for `silence` seconds, and TooLongError.
        """
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        parts = [self._buffer]
        size = len(self._buffer)
        self._buffer = b""
        while part := self._read(size, silence, silence):
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _read(self, size: int, seconds: float, asked: float) -> bytes:
        """Return the next bytes after the first `size`; none when the output has ended."""
        if self._process.stdout is None:
            return b""
        descriptor = self._process.stdout.fileno()
        if self._most_bytes is not None and size > self._most_bytes:
            self._kill()
            raise TooLongError
        if not select.select([descriptor], [], [], seconds)[0]:
            raise subprocess.TimeoutExpired(self._command, asked)
        return os.read(descriptor, 1 << 16)

    def ending(self) -> Ending:
        """Wait for the end of a process whose output has ended; return how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        self._kill()
        status = self._process.wait()
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL))
        return Ending(status, b"", self._errors.read().decode("utf-8", "replace"))

    def close(self) -> None:
        """Kill the process, unless it has ended, and close its pipes."""
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def _kill(self) -> None:
        if self._process.poll() is None:  # its number may be another process's once it has ended
            kill_group(self._process)


class Watchdog:
    """Kills a process that has written nothing for `seconds`. A context manager.

    Call `reset` whenever the process writes something. `expired` says whether it was killed.
    """

    def __init__(self, process: subprocess.Popen[Any], seconds: float) -> None:
        self._process, self._seconds = process, seconds
        self._reset, self._stopped = threading.Event(), False
        self.expired = False

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def reset(self) -> None:
        """Start the time again."""
        self._reset.set()

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._reset.set()

    def _watch(self) -> None:
        while self._reset.wait(self._seconds):
            if self._stopped:
                return
            self._reset.clear()
        self.expired = True
        self._process.kill()
