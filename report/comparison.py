"""Two runs side by side on the terminal: a table where it fits, otherwise a few lines for each cell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..core.formatting import by_design_words, ms, number, signed_points, size, times
from ..core.sanitize import shorten
from ..evaluate.compare import CellComparison, Comparison
from ..tasks.agreement import counts_samples
from ..tasks.quality import AgreementShare, Likeness
from .widths import filled, first_that_fits

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# Cells of only one run that are named; the JSON document has all.
NAMED = 8


def comparison_table(comparison: Comparison, width: int | None = None) -> RenderableType:
    """Return the comparison for the terminal, `width` characters wide (default: what rich finds).

    A table where it fits; otherwise a few lines for each cell.
    """
    from rich.console import Console, Group

    width = Console().width if width is None else width
    tables = [_table(comparison, 2), _table(comparison, 1)]
    return Group(first_that_fits(tables, width, Group(*_lines(comparison, width))), *_foot(comparison))


def _shown(comparison: Comparison) -> list[CellComparison]:
    """Return the cells that can have figures: not those whose runtime does not read the format."""
    return [c for c in comparison.cells if not c.by_design]


def _table(comparison: Comparison, padding: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(_title(comparison)), title_justify="left", box=None, pad_edge=False, padding=(0, padding, 0, 0)
    )
    for heading in ("variant", "target"):
        table.add_column(heading, no_wrap=True)
    for heading in ("accuracy", "points", "median latency", "ratio", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for cell in _shown(comparison):
        table.add_row(*(Text(text) for text in (_name(comparison, cell), cell.target, *_columns(cell))))
    return table


def _lines(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Yield the cells as lines: what it is, and below it a line for each figure."""
    from rich.padding import Padding
    from rich.text import Text

    yield Text(_title(comparison), style="italic")
    for cell in _shown(comparison):
        right, points, latency, ratio, size_, kind = _columns(cell)
        if (cell.status_a, cell.status_b) != ("ok", "ok"):
            yield Text(f"{_name(comparison, cell)} on {cell.target}: {right}", style="bold")
            continue
        yield Text(f"{_name(comparison, cell)} on {cell.target}", style="bold")
        for figures in (
            (f"accuracy {right}", points and f"{points} points"),
            (f"latency {latency}" if kind else "", ratio),
            (f"size {size_}", kind),
        ):
            if figures_line := filled(filter(None, figures), width - 2):
                yield Padding(Text(figures_line), (0, 0, 0, 2), expand=False)


def _foot(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield what the figures are, and what is not among them."""
    from rich.text import Text

    yield Text("a → b; in brackets the interval of the change; =: not distinguishable from none", style="dim")
    if hidden := len(comparison.cells) - len(_shown(comparison)):
        yield Text(by_design_words(hidden), style="dim")
    for run, names in (("a", comparison.only_a), ("b", comparison.only_b)):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            yield Text(f"only in {run}: {', '.join(map(shorten, names[:NAMED]))}{more}", style="dim")
    for warning in comparison.warnings:
        yield Text(f"warning: {warning}", style="yellow")


def _title(comparison: Comparison) -> str:
    return f"a: {shorten(comparison.run_a)}, b: {shorten(comparison.run_b)}"


def _name(comparison: Comparison, cell: CellComparison) -> str:
    several = len({c.model for c in comparison.cells}) > 1
    return shorten(f"{cell.variant} of {cell.model}" if several else cell.variant)


def _columns(cell: CellComparison) -> tuple[str, str, str, str, str, str]:
    """Return the cells of a table row after variant and target."""
    if (cell.status_a, cell.status_b) != ("ok", "ok"):
        status = cell.status_b if cell.status_a == cell.status_b else f"{cell.status_a} → {cell.status_b}"
        return status, "", "", "", _both(cell.bytes_a, cell.bytes_b, size), ""
    accuracy = latency = ""
    if cell.accuracy:
        change = cell.accuracy
        accuracy = f"{signed_points(change.estimate)} [{signed_points(change.low)}, {signed_points(change.high)}]"
        accuracy = f"= {accuracy}" if change.verdict == "not distinguishable" else accuracy
    if cell.latency:
        ratio = cell.latency
        latency = f"{times(ratio.estimate)} [{number(ratio.low)}, {number(ratio.high)}]"
        latency = f"= {latency}" if ratio.verdict == "not distinguishable" else latency
    first, second = cell.qualities
    right = _both(first, second, lambda figure: figure.text)
    if isinstance(first or second, Likeness):
        right += f" {AgreementShare.suffix}{_of_elements(cell)}"
    return (
        right,
        accuracy,
        _both(cell.latency_ms_a, cell.latency_ms_b, ms),
        latency,
        _both(cell.bytes_a, cell.bytes_b, size),
        cell.kind_b if cell.kind_a == cell.kind_b else f"{cell.kind_a} → {cell.kind_b}",
    )


def _of_elements(cell: CellComparison) -> str:
    """Return what agreements are shares of, where it is not whole samples in both."""
    kinds = ["samples" if counts_samples(by) else "elements" for by in (cell.agreement_by_a, cell.agreement_by_b)]
    return "" if kinds == ["samples"] * 2 else f", of {kinds[0] if kinds[0] == kinds[1] else ' → '.join(kinds)}"


def _both(a: Any, b: Any, words: Any) -> str:
    """Return ``a → b`` with their units, or the value alone when both read the same."""
    first, second = ("–" if v is None else words(v) for v in (a, b))
    return first if first == second else f"{first} → {second}"
