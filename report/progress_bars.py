"""Progress display: bars on stderr or in a notebook, plain lines where bars cannot be drawn.

It is never silent for more than three seconds: between steps with progress of their own, a bar of the whole run, or a
line, shows the model, the step, and the estimated time left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from ..core.progress import Step
from ..core.sanitize import shorten
from ..core.terminal import console as safe_console
from ..core.terminal import wrap_lines
from .estimate import Estimate, about, clock_time

# Seconds after which a line is written where no bars are drawn; and the interval of updates.
SILENCE, TICK = 2.5, 0.5
# Names of running steps; other steps have their own names.
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
# What a finished task has counted, by its name or first word.
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
    "profile": "profiles",
    "diagnose": "samples",
    "compare": "texts",
    "measure": "samples",
}
# The task that scores answers, whatever the metric is called.
_ACCURACY = "accuracy"
# Tasks whose last note is about the whole task, such as the accuracy after the last epoch, not about its last part.
_TELLING = ("features", "train", "fine-tune")


@dataclass
class _Task:
    """A task with progress; `bar` is its bar."""

    label: str
    bar: TaskID
    began: float
    done: float = 0.0
    total: float = 1.0
    note: str = ""
    updated: float = 0.0


class ProgressBars:
    """A Listener (`core.progress`) that draws. A reusable context manager.

    `console` is where (default: stderr, or the notebook). `silence`: seconds without a line after which one is written
    where no bars can be drawn.
    """

    def __init__(self, console: Console | None = None, silence: float = SILENCE) -> None:
        self.console = console or safe_console(stderr=True)
        self._drawn = _can_draw(self.console)
        self._silence = silence
        self._lock = threading.RLock()
        self._start()

    def _start(self) -> None:
        """Reset the state."""
        self._bars = Progress(*_columns(self.console.width), console=self.console, disable=not self._drawn)
        self._tasks: dict[str, _Task] = {}
        self._run_bar: TaskID | None = None
        self._estimate = Estimate(())
        self._model, self._step, self._detail, self._metric = "", "", "", ""
        self._began = self._step_began = self._heard = time.monotonic()
        self._over = threading.Event()

    def __enter__(self) -> ProgressBars:
        self._start()
        if self._drawn:
            self._run_bar = self._bars.add_task("starting", total=None, count="", time="", note="")
        self._bars.start()
        threading.Thread(target=self._tick, args=(self._over,), name="progress", daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            if self._run_bar is not None:
                self._bars.remove_task(self._run_bar)
                self._run_bar = None
            self._bars.stop()

    def plan(self, steps: Iterable[Step]) -> None:
        """Set the steps to come: from then on the time left is estimated."""
        with self._lock:
            self._estimate = Estimate(steps)

    def scale(self, kind: str, factor: float) -> None:
        """Scale the planned time of the steps of a kind by a factor."""
        with self._lock:
            self._estimate.scale(kind, factor)

    def begin(self, step: str, model: str = "") -> None:
        """Begin a step, of one model or of all; it is shown until it reports progress."""
        with self._lock:
            self._estimate.begin(step, model)
            while self._tasks:  # tasks that ended early, such as a training that stopped early
                self._bars.remove_task(self._tasks.popitem()[1].bar)
            self._model, self._step, self._detail = shorten(model, 30), step, ""
            self._step_began = time.monotonic()

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Move a task's bar; a complete task leaves one line."""
        with self._lock:
            self._estimate.progress(task, done, total)
            if (row := self._tasks.get(task)) is None:
                label = f"{self._metric}{task.removeprefix(_ACCURACY)}" if self._is_of_metric(task) else task
                label = f"{self._model}: {label}" if self._model and self._model not in task else label
                bar = self._bars.add_task(escape(label), total=total, count="", time="", note="")
                row = self._tasks[task] = _Task(label, bar, time.monotonic())
            row.done, row.total, row.note, row.updated = done, total, shorten(note, 50), time.monotonic()
            if done >= total:
                seconds = time.monotonic() - row.began
                self._bars.remove_task(self._tasks.pop(task).bar)
                self._say(f"[green]✓[/] {escape(row.label)}: {escape(_finished(task, total, row.note, seconds))}")
                self._detail = ""
            else:
                self._draw(row)

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Show a warning, with its remedy if it has one. A ``step`` is shown while it runs."""
        with self._lock:
            self._metric = str(facts.get("metric") or self._metric)
            if level == "step":
                self._detail = message
                self._step_began = time.monotonic()
            elif level != "info":
                remedy = f"\n  → {escape(str(facts['remedy']))}" if facts.get("remedy") else ""
                self._say(f"[yellow]![/] {escape(message)}{remedy}")

    def _is_of_metric(self, task: str) -> bool:
        """Whether a task scores answers by a metric that the task of the data has in place of accuracy."""
        return bool(self._metric) and task.startswith(_ACCURACY)

    def _tick(self, over: threading.Event) -> None:
        """Update the bars, or write a line after some silence, until `over` is set."""
        while not over.wait(min(TICK, self._silence)):
            with self._lock:
                if over.is_set():
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
        """Update all bars and that of the whole run, which names the step if no other bar does."""
        for task in self._tasks.values():
            self._draw(task)
        elapsed, left = time.monotonic() - self._began, self._estimate.left()
        narrow = self.console.width < _NARROW
        remaining = "" if left is None else f"~{about(left)}" if narrow else f", about {about(left)} left"
        if self._run_bar is None:
            return
        self._bars.update(
            self._run_bar,
            description=escape(self._where()),
            total=None if left is None else elapsed + left,
            completed=elapsed,
            time=remaining if narrow else clock_time(elapsed) + remaining,
            note="" if left is None else "whole run",
        )

    def _where(self) -> str:
        """Return the current step and its model."""
        step = self._detail or self._step
        words = _STEPS.get(step, step) or "starting"
        words = words.replace(_ACCURACY, self._metric or _ACCURACY)
        return f"{self._model}: {words}" if self._model else words

    def _now(self) -> str:
        """Return the line after a silence: model, step, progress, elapsed time and time left."""
        now = time.monotonic()
        # Several devices at once: a task each.
        tasks = [task for task in self._tasks.values() if task.updated >= self._step_began]
        words = "; ".join(
            f"{task.label} {_count(task.done, task.total)}{f' ({task.note})' if task.note else ''}, "
            f"{clock_time(now - task.began)}"
            for task in tasks
        )
        left = self._estimate.left()
        rest = "" if left is None else f"; about {about(left)} left of the whole run"
        return f"{words or f'{self._where()}, {clock_time(now - self._step_began)}'}{rest}"

    def _say(self, markup: str) -> None:
        self._heard = time.monotonic()
        text = Text.from_markup(markup)
        self._bars.console.print(wrap_lines(text, self.console), soft_wrap=True)


def _can_draw(console: Console) -> bool:
    """Whether bars can be drawn: on a terminal that supports it, or in a notebook with ipywidgets."""
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal and not console.is_dumb_terminal


_NARROW, _WIDE = 64, 100


def _columns(width: int) -> Iterator[ProgressColumn]:
    """Yield the columns of the bars that fit the terminal; the name comes first and is the last to be cut."""
    yield SpinnerColumn()
    yield TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    if width >= _NARROW:
        yield BarColumn(bar_width=28 if width >= _WIDE else 10)
    for field in ("count", "time") if width >= _NARROW else ("time",):
        yield TextColumn(f"{{task.fields[{field}]}}", table_column=Column(no_wrap=True))
    if width >= _WIDE:
        yield TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))


def _finished(task: str, total: float, note: str, seconds: float) -> str:
    """Return the summary of a finished task: ``4,500 samples in 3.1 s (litert)``."""
    first = task.partition(" ")[0]
    counted = "files" if task == "diagnose" else _COUNTED.get(task, _COUNTED.get(first, ""))
    if total == 1:
        counted = counted.removesuffix("es" if counted == "processes" else "s")
    summary = f"{total:,.0f} {counted} in {seconds:.1f} s" if counted else f"done in {seconds:.1f} s"
    return f"{summary} ({note})" if note and first in _TELLING else summary


def _count(done: float, total: float) -> str:
    """Return ``12/4,500``; parts of an epoch count as none."""
    return f"{int(done):,}/{int(total):,}"
