"""A terminal console that shows control characters of untrusted texts, and wrapping of lines to its width."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# The start of a line; its further lines are indented by the same width.
_HEADS = re.compile(r"\s*(?:[✓!·→-]|error:)?\s*")


def console(*, stderr: bool = False) -> Console:
    """Return the console for tables, bars and coloured lines. Rich itself respects NO_COLOR and TERM."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Visible(Console):
        """A console that escapes control characters in texts, but not its own control codes."""

        def render_str(self, text: str, **options: Any) -> Text:
            # Escaped here, before the width of a cell is measured.
            return super().render_str(visible(text), **options)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                shown = segment.text if segment.control else visible(segment.text)
                yield segment if shown == segment.text else Segment(shown, segment.style)

    return Visible(stderr=stderr, highlight=False)


def wrap_lines(text: Text, screen: Console) -> Text:
    """Return `text` with lines wrapped between words to the terminal's width; unchanged in a pipe or a file.

    Words longer than a line, such as paths, are left to the terminal, so that they can be copied.
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
    """Return the positions at which to break a line so that its parts, all but the first indented, fit `width`."""
    from rich.cells import cell_len

    breaks, column = [], indent
    for word in re.compile(r"\S+\s*").finditer(line, indent):
        if column > indent and column + cell_len(word[0].rstrip()) > width:
            breaks.append(word.start())
            column = indent
        column += cell_len(word[0])
    return breaks
