"""What a person sees while work goes on: progress bars on stderr, plain lines where there is no terminal, log.jsonl."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..core.files import open_log
from ..core.machine import now
from ..core.names import shorten

_UNBROKEN = 10_000


def stderr_console() -> Console:
    """Return the console for progress and messages. Rich itself honours NO_COLOR and TERM."""
    return Console(stderr=True, highlight=False)


def stdout_console() -> Console:
    """Return the console for results. In a pipe or a file nothing is broken to a width, unless COLUMNS asks for one."""
    console = Console(highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _UNBROKEN
    return console


class ConsoleListener:
    """A Listener (core.events) that draws and logs. A context manager; `log` may be None."""

    def __init__(self, log: Path | None, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or stderr_console()
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._quiet = quiet
        self._tasks: dict[str, Any] = {}
        self._started: dict[str, float] = {}
        self._log_path = log
        self._log: IO[str] | None = None
        self._lock = threading.Lock()
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> ConsoleListener:
        if self._log_path is not None:
            self._log = io.TextIOWrapper(open_log(self._log_path), encoding="utf-8")
        self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._bars.stop()
        if error is not None:
            self._write("error", str(error))
        if self._log is not None:
            self._log.close()
            self._log = None

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Move a task's bar; a task that is complete leaves one line behind."""
        with self._lock:
            if task not in self._tasks:
                self._started[task] = time.monotonic()
                self._tasks[task] = self._bars.add_task(escape(task), total=total, note="")
            shown = escape(shorten(note, 50))
            self._bars.update(self._tasks[task], completed=int(done), total=int(total), note=shown)
            if done >= total:
                seconds = time.monotonic() - self._started.pop(task)
                self._bars.remove_task(self._tasks.pop(task))
                self.seconds[task] = self.seconds.get(task, 0.0) + seconds
                self._say(f"[green]✓[/] {escape(task)} [dim]{total:g} in {seconds:.1f} s  {shown}[/]")
                self._write("info", task, total=total, seconds=round(seconds, 3), note=note)

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Show a warning, with its remedy where it has one; log everything."""
        with self._lock:
            if level != "info":
                remedy = f"\n  → {escape(str(facts['remedy']))}" if facts.get("remedy") else ""
                self._say(f"[yellow]![/] {escape(message)}{remedy}")
            self._write(level, message, **facts)

    def say(self, message: str) -> None:
        """Show a line (plain text) and log it."""
        with self._lock:
            self._say(escape(message))
            self._write("info", message)

    def _say(self, markup: str) -> None:
        if not self._quiet:
            self._bars.console.print(markup, soft_wrap=True)

    def _write(self, level: str, message: str, **facts: Any) -> None:
        if self._log is not None:
            record = {"time": now(), "level": level, "message": message, **facts}
            self._log.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
            self._log.flush()
