"""The figures of a history in words, the same on the terminal and on the page. Each output escapes them itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..core.formatting import ms, number, size
from ..core.sanitize import shorten
from ..evaluate.compare import Change
from ..evaluate.history import History, HistoryPoint, HistoryRun, Series
from ..tasks.quality import SEVERAL, heading


@dataclass(frozen=True)
class Entry:
    """One cell in one run: the number of the run (from 1), its date, and figures in words with what changed."""

    number: int
    date: str
    status: str
    accuracy: str
    accuracy_interval: str
    accuracy_change: str
    latency: str
    latency_interval: str
    latency_change: str
    size: str
    kind: str


def name(series: Series) -> str:
    """Return what a series is of: ``tflite:int8 on local/litert``, with its model where there are several."""
    of = f" of {series.model}" if series.model else ""
    return shorten(f"{series.variant}{of} on {series.target}", 120)


def date(run: HistoryRun) -> str:
    """Return when a run was started, to the minute."""
    return shorten(run.started[:16].replace("T", " "), 20)


def entries(history: History, series: Series) -> Iterator[Entry]:
    """Yield each run of a series in words."""
    before: HistoryPoint | None = None
    mixed = heading(point.quality for point in series.points) == SEVERAL
    for point in series.points:
        yield _entry(history, point, before, named=mixed)
        before = point


def _entry(history: History, point: HistoryPoint, before: HistoryPoint | None, *, named: bool) -> Entry:
    """Return one run of a series in words; its metric is `named` where runs have several."""
    quality = point.quality
    timed = point.latency_low is not None and point.latency_high is not None
    same_size = before is not None and before.bytes == point.bytes
    return Entry(
        number=point.run + 1,
        date=date(history.runs[point.run]),
        status="" if point.status == "ok" else shorten(point.status, 20),
        accuracy=(f"{quality.name} {quality.short}" if named else quality.short) if quality.better else "–",
        accuracy_interval=quality.interval,
        accuracy_change=_word(point.accuracy_change, "higher", "lower"),
        latency="–" if point.latency_ms is None else ms(point.latency_ms),
        latency_interval=f"{number(point.latency_low or 0)} to {number(point.latency_high or 0)}" if timed else "",
        latency_change=_word(point.latency_change, "slower", "faster"),
        size="–" if point.bytes is None else size(point.bytes) + ("" if same_size or before is None else ", other"),
        kind=point.kind,
    )


def _word(change: Change | None, higher: str, lower: str) -> str:
    """Return what is distinguishable from the run before; empty where nothing is."""
    return "" if change is None else {"higher": higher, "lower": lower}.get(change.verdict, "")
