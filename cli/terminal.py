"""What reaches the terminal: through here, and nowhere else, so that no name or text from outside steers it.

Characters that the terminal's encoding lacks are written out as well, instead of ending the command.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from ..core.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# What lines begin with, such that what follows of them stands under their words.
_HEADS = re.compile(r"\s*(?:[✓!·→-]|error:)?\s*")


def write_out_what_is_not_encodable() -> None:
    """Let stdout and stderr write what their encoding lacks (as ASCII lacks ✓) as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def echo(message: str, *, err: bool = False, newline: bool = True) -> None:
    """Print a text, with what steers a terminal written out."""
    stream = sys.stderr if err else sys.stdout
    stream.write(visible(message) + ("\n" if newline else ""))
    stream.flush()


def show_usage_error(error: click.ClickException) -> None:
    """Print an error of click's own, which may quote what was typed."""
    text = io.StringIO()
    error.show(text)
    echo(text.getvalue(), err=True, newline=False)


def show_error(message: str) -> None:
    """Print a message on stderr, broken between words where that is a terminal."""
    if not sys.stderr.isatty():
        echo(message, err=True)
        return
    from rich.text import Text

    screen = console(stderr=True)
    screen.print(fitted(Text(visible(message)), screen), soft_wrap=True)


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

    found, column = [], indent
    for word in re.compile(r"\S+\s*").finditer(line, indent):
        if column > indent and column + cell_len(word[0].rstrip()) > width:
            found.append(word.start())
            column = indent
        column += cell_len(word[0])
    return found


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
