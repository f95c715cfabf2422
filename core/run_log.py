"""log.jsonl: the events of a run, one JSON object per line; and the duration of its tasks."""

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
    """A Listener that writes a log and forwards everything to another one. A context manager.

    `path` is the log file (None: no log). If `listener` is a context manager, it is entered and exited with the log.
    `seconds` maps each finished task to its duration.
    """

    def __init__(self, path: Path | None, listener: Listener | None = None) -> None:
        self._path = path
        self._listener: Listener = listener if listener is not None else Silent()
        self._log: IO[str] | None = None
        self._lock = threading.RLock()
        self._started: dict[str, float] = {}
        self._contexts = ExitStack()
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> RunLog:
        if self._path is not None:
            self._log = io.TextIOWrapper(open_log(self._path), encoding="utf-8")
        if isinstance(self._listener, AbstractContextManager):
            try:
                self._contexts.enter_context(self._listener)
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._contexts.__exit__(kind, error, trace)
        finally:
            if error is not None:
                self._write("error", str(error))
            self._close()

    def plan(self, steps: Iterable[Step]) -> None:
        """Forward it."""
        self._listener.plan(steps)

    def scale(self, kind: str, factor: float) -> None:
        """Forward it."""
        self._listener.scale(kind, factor)

    def begin(self, step: str, model: str = "") -> None:
        """Forward it. Unfinished tasks of the previous step ended early and are not counted."""
        with self._lock:
            self._started.clear()
        self._listener.begin(step, model)

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Forward it; a completed task is logged with its duration."""
        with self._lock:
            started = self._started.setdefault(task, time.monotonic())
            if done >= total:
                seconds = time.monotonic() - started
                del self._started[task]
                self.seconds[task] = self.seconds.get(task, 0.0) + seconds
                self._write("info", task, total=total, seconds=round(seconds, 3), note=note)
        self._listener.progress(task, done, total, note)

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Log it and forward it."""
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
