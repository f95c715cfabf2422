"""Two runs side by side on the terminal: one line for each cell, three lines in a narrow table, or lines alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.formatting import by_design_words
from ..core.sanitize import shorten
from ..evaluate.compare import Comparison
from .comparison_words import Figure, Row, gate_lines, legend, metric_heading, only_in, rows, status_changes
from .widths import filled, first_that_fits

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

_STYLES = {"better": "green", "worse": "red", "": ""}
_VERDICTS = {"met": "green", "not met": "bold red", "not shown": "yellow"}


def comparison_table(comparison: Comparison, width: int | None = None) -> RenderableType:
    """Return the comparison for the terminal, `width` characters wide (default: what rich finds).

    Where a table with a line for each cell does not fit, its figures stand below each other, as they do at 80
    characters; where that does not fit either, each cell becomes a few lines.
    """
    from rich.console import Console, Group
    from rich.text import Text

    width = Console().width if width is None else width
    cells = rows(comparison)
    metric = metric_heading(comparison)
    tables = [_table(cells, metric, 2), _table(cells, metric, 1), _stacked(cells, metric)]
    names = (("a", comparison.run_a), ("b", comparison.run_b))
    return Group(
        *(Text(f"{run}: {shorten(name)}", style="italic") for run, name in names),
        Text(),
        first_that_fits(tables, width, Group(*_lines(cells, metric, width))),
        *_foot(comparison, cells),
    )


def _table(cells: list[Row], metric: str, padding: int) -> Table:
    """Return a table with one line for each cell."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, padding, 0, 0))
    for heading in ("variant", "target"):
        table.add_column(heading, no_wrap=True)
    for heading in (metric, "change", "median latency", "ratio", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for row in cells:
        table.add_row(
            Text(row.name), Text(row.target), Text(row.status or row.accuracy.values), _change(row.accuracy, " "),
            Text(row.latency.values), _change(row.latency, " "), Text(row.size.values), Text(row.kind),
        )  # fmt: skip
    return table


def _stacked(cells: list[Row], metric: str) -> Table:
    """Return a table in which each cell's figures stand below each other, with a free line after each cell."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for heading in ("file", metric, "median latency", "size"):
        table.add_column(heading, no_wrap=True)
    for row in cells:
        where = [row.variant, *([f"of {row.model}"] if row.model else []), f"on {row.target}"]
        size = Figure(row.size.change, "", row.size.values.replace(" → ", "\n→ "), row.size.tone)
        accuracy = Text(row.status, style="yellow") if row.status else _below(row.accuracy)
        table.add_row(Text("\n".join(where), style="bold"), accuracy, _below(row.latency), _below(size))
    return table


def _below(figure: Figure) -> Text:
    """Return a figure's parts below each other."""
    from rich.text import Text

    return Text("\n").join([t for t in (_change(figure, "\n"), Text(figure.values, style="dim")) if t])


def _change(figure: Figure, between: str) -> Text:
    from rich.text import Text

    parts = (Text(figure.change, style=_STYLES[figure.tone]), Text(figure.interval))
    return Text(between).join([part for part in parts if part])


def _lines(cells: list[Row], metric: str, width: int) -> Iterator[RenderableType]:
    """Yield the cells as lines: what it is, and below it a line for each figure."""
    from rich.padding import Padding
    from rich.text import Text

    for row in cells:
        yield Text(f"{row.name} on {row.target}" + (f": {row.status}" if row.status else ""), style="bold")
        named = ((metric, row.accuracy), ("latency", row.latency), ("size", row.size))
        for name, figure in () if row.status else named:
            parts = (f"{name} {figure.values}", f"{figure.change} {figure.interval}".strip())
            if figure.values != "–":
                yield Padding(Text(filled(filter(None, parts), width - 2)), (0, 0, 0, 2), expand=False)
        yield Text()


def _foot(comparison: Comparison, cells: list[Row]) -> Iterator[RenderableType]:
    """Yield what the figures are, what is not among them, and what the limits came to."""
    from rich.text import Text

    kinds = sorted({row.kind for row in cells if row.kind})
    if len(kinds) == 1:
        yield Text(f"all figures are {kinds[0]}", style="dim")
    for kind in kinds if len(kinds) > 1 else ():
        names = [f"{row.name} on {row.target}" for row in cells if row.kind == kind]
        yield Text(f"{kind}: {', '.join(names)}", style="dim")
    for line in legend(comparison):
        yield Text(line, style="dim")
    if hidden := len(comparison.cells) - len(cells):
        yield Text(by_design_words(hidden), style="dim")
    for line in only_in(comparison):
        yield Text(line, style="dim")
    for what, reason in status_changes(comparison):
        yield Text(f"{what}{reason and f': {reason}'}", style="yellow")
    for warning in comparison.warnings:
        yield Text(f"warning: {warning}", style="yellow")
    for verdict, line in gate_lines(comparison):
        yield Text(line, style=_VERDICTS[verdict])
