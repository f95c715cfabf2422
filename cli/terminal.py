"""All output of the commands goes through here, so that no untrusted name or text controls the terminal.

Characters that the terminal's encoding lacks are escaped as well, instead of ending the command.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from ..core.terminal import console, wrap_lines
from ..core.visible import visible

if TYPE_CHECKING:
    import click
    from rich.console import Console

_UNBROKEN = 10_000


def write_out_what_is_not_encodable() -> None:
    """Let stdout and stderr escape characters that their encoding lacks (ASCII lacks ✓)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def echo(message: str, *, err: bool = False, newline: bool = True, keep: str = "") -> None:
    """Print a text with control characters escaped; `keep` is one that stays as it is."""
    stream = sys.stderr if err else sys.stdout
    text = keep.join(map(visible, message.split(keep))) if keep else visible(message)
    stream.write(text + ("\n" if newline else ""))
    stream.flush()


def show_usage_error(error: click.ClickException) -> None:
    """Print one of click's own errors, which may quote the user's input."""
    text = io.StringIO()
    error.show(text)
    echo(text.getvalue(), err=True, newline=False)


def show_error(message: str) -> None:
    """Print a message on stderr, wrapped between words if that is a terminal."""
    if not sys.stderr.isatty():
        echo(message, err=True)
        return
    from rich.text import Text

    screen = console(stderr=True)
    screen.print(wrap_lines(Text(visible(message)), screen), soft_wrap=True)


def stdout_console() -> Console:
    """Return the console for results. In a pipe or a file lines are not wrapped, unless COLUMNS is set."""
    screen = console()
    if not screen.is_terminal and not os.environ.get("COLUMNS"):
        screen.width = _UNBROKEN
    return screen
