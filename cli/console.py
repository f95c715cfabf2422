"""What a person sees while work goes on: progress bars on stderr, plain lines where there is no terminal, log.jsonl.

Nothing is silent for more than three seconds: between the steps that tell how far they are, a bar of the whole run, or
a line, says which model is at which step, and about how long the rest takes.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from ..core.documents import encode_json
from ..core.environment import now
from ..core.files import open_log
from ..core.sanitize import shorten
from . import terminal
from .estimate import Estimate, Step, about, clock_time

_UNBROKEN = 10_000
# Seconds after which a line is written where no bars are drawn; and how often bars are brought up to date.
SILENCE, TICK = 2.5, 0.5
# What a step is called while it goes on; others by their own name.
_STEPS = {
    "preflight": "looking at recipe, data and tools",
    "data": "reading the data",
    "train": "training",
    "export": "making the files",
    "measure": "measuring",
    "diagnose": "looking for lost accuracy",
    "report": "writing the report",
    "model": "opening the model",
    "bundle": "putting the bundle together",
    "build": "building the network",
    "features": "computing features",
    "head": "training the head",
    "fine_tune": "fine-tuning",
    "freeze": "freezing",
    "parity": "comparing tokenizers",
}
# What a task that is done has counted, by its name or the first word of it; others count parts of their own.
_COUNTED = {
    "data": "samples",
    "features": "samples",
    "train": "epochs",
    "train head": "epochs",
    "fine-tune": "epochs",
    "export": "files",
    "load": "cells",
    "accuracy": "answers",
    "latency": "processes",
    "diagnose": "samples",
    "compare": "texts",
    "measure": "samples",
}
# Those whose last note is about all of it, as the accuracy after the last epoch is, and not about its last part.
_TELLING = ("features", "train", "fine-tune")


def stderr_console() -> Console:
    """Return the console for progress and messages."""
    return terminal.console(stderr=True)


def stdout_console() -> Console:
    """Return the console for results. In a pipe or a file nothing is broken to a width, unless COLUMNS asks for one."""
    console = terminal.console()
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = _UNBROKEN
    return console


@dataclass
class _Task:
    """A task that tells how far it is; `bar` is the one that is drawn for it."""

    label: str
    bar: TaskID
    began: float
    done: float = 0.0
    total: float = 1.0
    note: str = ""
    updated: float = 0.0


class ConsoleListener:
    """A Listener (core.events) that draws and logs. A context manager; `log` may be None.

    `silence`: seconds without a line after which one is written where no bars can be drawn.
    """

    def __init__(
        self, log: Path | None, console: Console | None = None, quiet: bool = False, silence: float = SILENCE
    ) -> None:
        self.console = console or stderr_console()
        self._drawn = self.console.is_terminal and not self.console.is_dumb_terminal and not quiet
        self._bars = Progress(*_columns(self.console.width), console=self.console, disable=not self._drawn)
        self._quiet = quiet
        self._silence = silence
        self._tasks: dict[str, _Task] = {}
        self._whole: TaskID | None = None
        self._estimate = Estimate(())
        self._model, self._step, self._detail = "", "", ""
        self._began = self._step_began = self._heard = time.monotonic()
        self._log_path = log
        self._log: IO[str] | None = None
        self._lock = threading.RLock()
        self._over = threading.Event()
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> ConsoleListener:
        if self._log_path is not None:
            self._log = io.TextIOWrapper(open_log(self._log_path), encoding="utf-8")
        if self._drawn:
            self._whole = self._bars.add_task("starting", total=None, count="", time="", note="")
        self._bars.start()
        if not self._quiet:
            threading.Thread(target=self._tick, name="progress", daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            if self._whole is not None:
                self._bars.remove_task(self._whole)
                self._whole = None
            self._bars.stop()
            if error is not None:
                self._write("error", str(error))
            if self._log is not None:
                self._log.close()
                self._log = None

    def plan(self, steps: Iterable[Step]) -> None:
        """Say which steps are to come: from then on the rest of the run is estimated."""
        with self._lock:
            self._estimate = Estimate(steps)

    def scale(self, kind: str, factor: float) -> None:
        """Say that the steps of a kind are larger or smaller than was planned, by a factor."""
        with self._lock:
            self._estimate.scale(kind, factor)

    def begin(self, step: str, model: str = "") -> None:
        """Say that a step begins, of one model or of all; until it tells more, this is what is shown."""
        with self._lock:
            self._estimate.begin(step, model)
            while self._tasks:  # what ended early, such as a training that stopped in time
                self._bars.remove_task(self._tasks.popitem()[1].bar)
            self._model, self._step, self._detail = shorten(model, 30), step, ""
            self._step_began = time.monotonic()

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Move a task's bar; a task that is complete leaves one line behind."""
        with self._lock:
            self._estimate.progress(task, done, total)
            if (found := self._tasks.get(task)) is None:
                label = f"{self._model}: {task}" if self._model and self._model not in task else task
                bar = self._bars.add_task(escape(label), total=total, count="", time="", note="")
                found = self._tasks[task] = _Task(label, bar, time.monotonic())
            found.done, found.total, found.note, found.updated = done, total, shorten(note, 50), time.monotonic()
            if done >= total:
                seconds = time.monotonic() - found.began
                self._bars.remove_task(self._tasks.pop(task).bar)
                self.seconds[task] = self.seconds.get(task, 0.0) + seconds
                self._say(f"[green]✓[/] {escape(found.label)}: {escape(_finished(task, total, found.note, seconds))}")
                self._write("info", task, total=total, seconds=round(seconds, 3), note=note)
                self._detail = ""
            else:
                self._draw(found)

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Show a warning, with its remedy where it has one; log everything. A ``step`` is shown while it goes on."""
        with self._lock:
            if level == "step":
                self._detail = message
                self._step_began = time.monotonic()
            elif level != "info":
                remedy = f"\n  → {escape(str(facts['remedy']))}" if facts.get("remedy") else ""
                self._say(f"[yellow]![/] {escape(message)}{remedy}")
            self._write(level, message, **facts)

    def say(self, message: str) -> None:
        """Show a line (plain text) and log it."""
        with self._lock:
            self._say(escape(message))
            self._write("info", message)

    def _tick(self) -> None:
        """Bring the bars up to date, or write a line after some silence, until all is over."""
        while not self._over.wait(min(TICK, self._silence)):
            with self._lock:
                if self._over.is_set():
                    return
                if self._drawn:
                    self._draw_all()
                elif time.monotonic() - self._heard >= self._silence:
                    self._say(f"[dim]· {escape(self._now())}[/]")

    def _draw(self, task: _Task) -> None:
        if not self._drawn:
            return
        elapsed = time.monotonic() - task.began
        left = f", {clock_time(elapsed * (task.total - task.done) / task.done)} left" if task.done > 0 else ""
        narrow = self.console.width < _NARROW
        self._bars.update(
            task.bar,
            completed=task.done,
            total=task.total,
            count=_count(task.done, task.total),
            time=f"{task.done / task.total:.0%}" if narrow else clock_time(elapsed) + left,
            note=escape(task.note),
        )

    def _draw_all(self) -> None:
        """Bring all bars up to date, and that of the whole run, which names the step where no other bar does."""
        for task in self._tasks.values():
            self._draw(task)
        elapsed, left = time.monotonic() - self._began, self._estimate.left()
        narrow = self.console.width < _NARROW
        told = "" if left is None else f"~{about(left)}" if narrow else f", about {about(left)} left"
        if self._whole is None:
            return
        self._bars.update(
            self._whole,
            description=escape(self._where()),
            total=None if left is None else elapsed + left,
            completed=elapsed,
            time=told if narrow else clock_time(elapsed) + told,
            note="" if left is None else "whole run",
        )

    def _where(self) -> str:
        """Return which model is at which step."""
        step = self._detail or self._step
        words = _STEPS.get(step, step) or "starting"
        return f"{self._model}: {words}" if self._model else words

    def _now(self) -> str:
        """Return the line that breaks a silence: model, step, how far it is, how long, and what is left of it all."""
        now = time.monotonic()
        task = max(self._tasks.values(), key=lambda one: one.updated, default=None)
        if task is not None and task.updated >= self._step_began:
            note = f" ({task.note})" if task.note else ""
            words, began = f"{task.label} {_count(task.done, task.total)}{note}", task.began
        else:
            words, began = self._where(), self._step_began
        left = self._estimate.left()
        rest = "" if left is None else f"; about {about(left)} left of the whole run"
        return f"{words}, {clock_time(now - began)}{rest}"

    def _say(self, markup: str) -> None:
        self._heard = time.monotonic()
        if not self._quiet:
            text = Text.from_markup(markup)
            self._bars.console.print(terminal.fitted(text, self.console), soft_wrap=True)

    def _write(self, level: str, message: str, **facts: Any) -> None:
        if self._log is not None:
            record = {"time": now(), "level": level, "message": message, **facts}
            self._log.write(encode_json(record) + "\n")
            self._log.flush()


_NARROW, _WIDE = 64, 100


def _columns(width: int) -> Iterator[ProgressColumn]:
    """Yield the columns of the bars that a terminal has room for; the name comes first and is the last to be cut."""
    yield SpinnerColumn()
    yield TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    if width >= _NARROW:
        yield BarColumn(bar_width=28 if width >= _WIDE else 10)
    for field in ("count", "time") if width >= _NARROW else ("time",):
        yield TextColumn(f"{{task.fields[{field}]}}", table_column=Column(no_wrap=True))
    if width >= _WIDE:
        yield TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))


def _finished(task: str, total: float, note: str, seconds: float) -> str:
    """Return what a task that is done came to: ``4,500 samples in 3.1 s (litert)``."""
    first = task.partition(" ")[0]
    counted = "files" if task == "diagnose" else _COUNTED.get(task, _COUNTED.get(first, ""))
    counted = counted.removesuffix("s") if total == 1 and counted else counted
    told = f"{total:,.0f} {counted} in {seconds:.1f} s" if counted else f"done in {seconds:.1f} s"
    return f"{told} ({note})" if note and first in _TELLING else told


def _count(done: float, total: float) -> str:
    """Return ``12/4,500``; parts of an epoch count as none."""
    return f"{int(done):,}/{int(total):,}"
