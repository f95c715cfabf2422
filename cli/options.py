"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def text_columns(command: Command) -> Command:
    """Add the options that say how a table of texts is read; the command takes them as ``**columns``."""
    for option in (
        click.option("--encoding", metavar="NAME", help="Of texts.  [default: utf-8]"),
        click.option("--label-column", metavar="NAME", help="Of a table of texts.  [default: label]"),
        click.option("--text-column", metavar="NAME", help="Of a table of texts.  [default: text]"),
    ):
        command = option(command)
    return command


def given(columns: dict[str, str | None]) -> dict[str, str]:
    """Return the options that were given, as keys of the recipe's data table."""
    return {name: value for name, value in columns.items() if value is not None}
