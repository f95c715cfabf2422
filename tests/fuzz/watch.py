"""Runs the command line in this process and looks at everything that it must not do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.cli.main import status

# Seconds of processor time, and of waiting, for one input; mebibytes that it may take beyond what was there.
CPU_SECONDS, WALL_SECONDS, MEMORY_MIB = 20.0, 120, 1024
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "os.chown",
    "shutil.rmtree", "shutil.move", "shutil.copytree", "shutil.copyfile",
}  # fmt: skip
_IN_FOLDERS = {"os.remove", "os.rmdir", "os.mkdir"}
_STARTING = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.bind"}


# Where matplotlib keeps its list of fonts.
_CACHES = tuple(os.path.expanduser(f"~/{folder}/matplotlib") for folder in (".cache", ".config"))  # noqa: PTH111


class TooLong(BaseException):
    """An input took more than its time. No handler of the program's own catches it."""


@dataclass(frozen=True)
class Ended:
    """How the command line ended, and what was wrong with that: nothing, if all is well."""

    code: int
    out: str
    err: str
    seconds: float
    wrong: tuple[str, ...]


class _Audit:
    """Hears of every file that Python opens, makes or removes, and of every process it starts."""

    def __init__(self) -> None:
        self.roots: tuple[str, ...] = ()
        self.events: list[str] = []
        self.on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _STARTING and arguments[0] != "uname":  # how Python learns of the processor
            self.events.append(f"{event}: {str(arguments)[:200]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            self._wrote(event, arguments[0])
        elif event in _CHANGING:
            # A name in a folder that is open comes with that folder's number, which is -1 for any other path.
            folders = [one for one in arguments[1:] if isinstance(one, int)][-1:] if event != "os.rename" else []
            for path in arguments[:2]:
                self._wrote(event, path, *folders)

    def _wrote(self, event: str, path: Any, folder: int = -1) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            self.on = False  # what follows must not be heard
            opened = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 and event in _IN_FOLDERS else ""  # noqa: PTH115
            place = os.path.realpath(os.path.join(opened, os.fsdecode(path)))  # noqa: PTH118
            if not place.startswith(self.roots) and "__pycache__" not in place and place != os.devnull:
                self.events.append(f"{event}: {place}")
            self.on = True


_AUDIT: list[_Audit] = []


def run(
    arguments: Sequence[str],
    box: Path,
    out: Path,
    entry: Callable[[list[str]], int] = status,
    *,
    starts: bool = False,
) -> Ended:
    """Run the command line in the folder `box`, of which it may write to `out` alone, and judge how it ends.

    It may start processes if it `starts` them.
    """
    if not _AUDIT:
        _AUDIT.append(_Audit())
    audit = _AUDIT[0]
    temporary = box.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    audit.roots, audit.events = (os.path.realpath(out), os.path.realpath(temporary), *_CACHES), []
    before = _listing(box, out)
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", "strict") for _ in range(2))
    wrong: list[str] = []
    peak = _reset_peak()
    start = time.process_time()
    code = -1
    with _inside(box, temporary), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), _limit():
        audit.on = True
        try:
            code = entry(list(arguments))
        except TooLong as error:
            wrong.append(str(error))
        except BaseException as error:
            wrong.append(f"escaped: {type(error).__name__}: {error}"[:500])
        finally:
            audit.on = False
    seconds = time.process_time() - start
    texts = []
    for stream in (stdout, stderr):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
    wrong += judged(code, *texts, as_json="--json" in arguments)
    allowed = "subprocess.Popen: " if starts else "\0"
    wrong += [f"wrote or started: {event}" for event in audit.events if not event.startswith(allowed)]
    wrong += [f"changed: {name}" for name in _listing(box, out) ^ before]
    if left := [path.name for path in temporary.iterdir()]:
        wrong.append(f"left in the folder for temporary files: {left[:3]}")
    if (grown := _peak() - peak) > MEMORY_MIB:
        wrong.append(f"took {grown} MiB")
    return Ended(code, texts[0], texts[1], seconds, tuple(wrong))


def judged(code: int, out: str, err: str, *, as_json: bool) -> Iterator[str]:
    """Yield what is wrong with how a command ended."""
    if code not in (0, 1, 2, 3):
        yield f"exit status {code}"
    if "Traceback" in err + out or "bug in edgeproof" in err:
        yield f"not explained: {err[-500:]}"
    if code and not err.strip() and not out.strip():
        yield "no message"
    if unprintable := {c for c in out + err if not c.isprintable() and c not in "\n\t\u200b\u200c\u200d\xad\xa0\u3000"}:
        yield f"characters that steer a terminal: {sorted(map(ord, unprintable))[:5]}"
    if as_json and code in (0, 1, 3) and out:
        try:
            json.loads(out, parse_constant=_no_constant)
        except ValueError as error:
            yield f"stdout is not strict JSON: {error}"


def _no_constant(name: str) -> None:
    raise ValueError(name)


@contextlib.contextmanager
def _inside(box: Path, temporary: Path) -> Iterator[None]:
    here, folder = Path.cwd(), tempfile.tempdir
    os.chdir(box)
    tempfile.tempdir = str(temporary)
    try:
        yield
    finally:
        os.chdir(here)
        tempfile.tempdir = folder


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    def stop(number: int, _frame: Any) -> None:
        raise TooLong(f"no end after {CPU_SECONDS:g} s of work" if number == signal.SIGPROF else "waits without end")

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS, 1)
    signal.alarm(WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _listing(box: Path, out: Path) -> set[tuple[str, int, int]]:
    """Return what stands in the folder beside `out`: names, sizes and times."""
    entries = set()
    for here, folders, names in os.walk(box):
        folders[:] = [folder for folder in folders if Path(here, folder) != out]
        for name in names:
            status = Path(here, name).lstat()
            entries.add((os.path.join(here, name), status.st_size, status.st_mtime_ns))  # noqa: PTH118
        entries |= {(os.path.join(here, folder), 0, 0) for folder in folders}  # noqa: PTH118
    return entries


def _reset_peak() -> int:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Return the largest resident size so far, in MiB; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024
    return 0
