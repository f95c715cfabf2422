"""What reaches the terminal: through here, and nowhere else, so that no name or text from outside steers it.

Characters that the terminal's encoding lacks are written out as well, instead of ending the command.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from ..core.visible import visible

if TYPE_CHECKING:
    from rich.console import Console


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


def console(*, stderr: bool = False) -> Console:
    """Return the console for tables, bars and coloured lines. Rich itself honours NO_COLOR and TERM."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

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
