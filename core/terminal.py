"""A terminal on which no name or text from outside steers anything, and lines that fit it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# What lines begin with, such that what follows of them stands under their words.
_HEADS = re.compile(r"\s*(?:[✓!·→-]|error:)?\s*")


def console(*, stderr: bool = False) -> Console:
    """Return the console for tables, bars and coloured lines. Rich itself honours NO_COLOR and TERM."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Visible(Console):
        """A console whose texts, but not its own colours and movements, are written out."""

        def render_str(self, text: str, **options: Any) -> Text:
            # Before the width of a cell is measured.
            return super().render_str(visible(text), **options)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                shown = segment.text if segment.control else visible(segment.text)
                yield segment if shown == segment.text else Segment(shown, segment.style)

    return Visible(stderr=stderr, highlight=False)


def fitted(text: Text, screen: Console) -> Text:
    """Return lines that fit a terminal, broken between words; in a pipe or a file they stay as they are.

    What is longer than a line by itself, as paths are, is left to the terminal, so that it can be copied.
    """
    from rich.text import Text

    if not screen.is_terminal:
        return text
    lines = []
    for line in text.split("\n", allow_blank=True):
        head = _HEADS.match(line.plain)
        indent = head.end() if head else 0
        first, *more = line.divide(_breaks(line.plain, indent, screen.width))
        lines += [first, *(Text(" " * indent).append_text(part) for part in more)]
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def _breaks(line: str, indent: int, width: int) -> list[int]:
    """Return where a line is broken so that its parts, all but the first indented, fit `width` columns."""
    from rich.cells import cell_len

    breaks, column = [], indent
    for word in re.compile(r"\S+\s*").finditer(line, indent):
        if column > indent and column + cell_len(word[0].rstrip()) > width:
            breaks.append(word.start())
            column = indent
        column += cell_len(word[0])
    return breaks
