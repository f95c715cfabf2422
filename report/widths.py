"""Tables that fit the terminal: columns are left out until one fits, and then each row becomes lines of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def first_that_fits(tables: Iterable[Table], width: int, otherwise: RenderableType) -> RenderableType:
    """Return the first of `tables` that needs at most `width` characters for all its text."""
    from rich.console import Console
    from rich.measure import Measurement

    endless = Console(width=10_000)
    for table in tables:
        if Measurement.get(endless, endless.options, table).maximum <= width:
            return table
    return otherwise


def filled(parts: Iterable[str], width: int, between: str = " · ") -> str:
    """Return `parts` on as few lines as `width` allows, each part whole on its line."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= width:
            lines[-1] += between + part
        else:
            lines.append(part)
    return "\n".join(lines)
