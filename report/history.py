"""The history of runs on the terminal: for each cell a line for each run, with what changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.sanitize import shorten
from ..evaluate.history import History
from ..tasks.quality import heading
from .history_words import Entry, date, entries, name
from .widths import filled, first_that_fits

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# So many of the latest runs are shown; the page and the JSON document have all.
LATEST = 10


def history_table(history: History, width: int | None = None) -> Iterator[RenderableType]:
    """Yield the parts of the history for the terminal, `width` characters wide (default: what rich finds)."""
    from rich.console import Console, Group
    from rich.text import Text

    width = Console().width if width is None else width
    if len(history.runs) > LATEST:
        yield Text(f"the latest {LATEST} of {len(history.runs)} runs; the page and --json have all", style="dim")
    for number, run in list(enumerate(history.runs, 1))[-LATEST:]:
        yield Text(f"{number}: {date(run)} {shorten(run.name, 40)} {shorten(run.folder, 80)}".rstrip(), style="italic")
    first = len(history.runs) - LATEST
    for series in history.series:
        shown = [entry for entry in entries(history, series) if entry.number > first]
        if not shown:
            continue
        metric = heading(point.quality for point in series.points)
        yield Text()
        yield Text(name(series), style="bold")
        yield first_that_fits(
            [_table(shown, metric, True), _table(shown, metric, False)], width, Group(*_lines(shown, width))
        )
    kinds = sorted({point.kind for series in history.series for point in series.points if point.status == "ok"})
    yield Text()
    if kinds:
        yield Text(f"all figures are {' or '.join(kinds)}; changes are from the run before, beyond chance", style="dim")
    for warning in history.warnings:
        yield Text(f"warning: {warning}", style="yellow")


def _table(shown: list[Entry], metric: str, intervals: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=True)
    for column in ("run", "started", metric, "median latency", "size"):
        table.add_column(column, no_wrap=True)
    for entry in shown:
        table.add_row(
            *(Text(text) for text in (str(entry.number), entry.date, *_figures(entry, intervals)))
        )  # fmt: skip
    return table


def _figures(entry: Entry, intervals: bool) -> tuple[str, str, str]:
    if entry.status:
        return entry.status, "", entry.size
    accuracy = (
        f"{entry.accuracy} [{entry.accuracy_interval}]" if intervals and entry.accuracy_interval else entry.accuracy
    )
    latency = f"{entry.latency} [{entry.latency_interval}]" if intervals and entry.latency_interval else entry.latency
    return (
        ", ".join(filter(None, (accuracy, entry.accuracy_change))),
        ", ".join(filter(None, (latency, entry.latency_change))),
        entry.size,
    )


def _lines(shown: list[Entry], width: int) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    for entry in shown:
        yield Text(f"{entry.number}: {entry.date}")
        yield Padding(Text(filled(filter(None, _figures(entry, False)), width - 2)), (0, 0, 0, 2), expand=False)
