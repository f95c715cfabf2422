"""log.jsonl: what a run told while it worked, one JSON object a line; and how long its tasks took."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .documents import encode_json
from .environment import now
from .files import open_log
from .progress import Listener, Silent, Step


class RunLog:
    """A Listener that writes a log and hands everything on to another one. A context manager.

    `path` is the log's (None: none is written). `listener` is entered and left with the log where it is a context
    manager. `seconds` are those that each finished task took.
    """

    def __init__(self, path: Path | None, listener: Listener | None = None) -> None:
        self._path = path
        self._listener: Listener = listener if listener is not None else Silent()
        self._log: IO[str] | None = None
        self._lock = threading.RLock()
        self._began: dict[str, float] = {}
        self._entered = ExitStack()
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> RunLog:
        if self._path is not None:
            self._log = io.TextIOWrapper(open_log(self._path), encoding="utf-8")
        if isinstance(self._listener, AbstractContextManager):
            try:
                self._entered.enter_context(self._listener)
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._entered.__exit__(kind, error, trace)
        finally:
            if error is not None:
                self._write("error", str(error))
            self._close()

    def plan(self, steps: Iterable[Step]) -> None:
        """Hand it on."""
        self._listener.plan(steps)

    def scale(self, kind: str, factor: float) -> None:
        """Hand it on."""
        self._listener.scale(kind, factor)

    def begin(self, step: str, model: str = "") -> None:
        """Hand it on. Tasks that are not finished by now ended early and are not counted."""
        with self._lock:
            self._began.clear()
        self._listener.begin(step, model)

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Hand it on; a task that is complete is written down with the seconds that it took."""
        with self._lock:
            began = self._began.setdefault(task, time.monotonic())
            if done >= total:
                seconds = time.monotonic() - began
                del self._began[task]
                self.seconds[task] = self.seconds.get(task, 0.0) + seconds
                self._write("info", task, total=total, seconds=round(seconds, 3), note=note)
        self._listener.progress(task, done, total, note)

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Write it down and hand it on."""
        self._write(level, message, **facts)
        self._listener.note(level, message, **facts)

    def _write(self, level: str, message: str, **facts: Any) -> None:
        with self._lock:
            if self._log is not None:
                record = {"time": now(), "level": level, "message": message, **facts}
                self._log.write(encode_json(record) + "\n")
                self._log.flush()

    def _close(self) -> None:
        with self._lock:
            if self._log is not None:
                self._log.close()
                self._log = None
