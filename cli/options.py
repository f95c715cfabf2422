"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ..core.recipe_data import Data

Command = TypeVar("Command", bound=Callable[..., Any])


cluster_option = click.option(
    "--cluster",
    metavar="ADDRESS",
    default="",
    help="A Dask scheduler whose workers help, e.g. tcp://lab:8786.  [default: none]",
)


def channel_options(command: Command) -> Command:
    """Add the options that say how a model takes the channels of pictures."""
    for option in (
        click.option("--std", metavar="A,B,C", help="Of each channel, in the model's order.  [default: none]"),
        click.option(
            "--mean",
            metavar="A,B,C",
            help="Of each channel; the range is then 0,1 unless --value-range says another.  [default: none]",
        ),
        click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="Of the model.  [default: rgb]"),
    ):
        command = option(command)
    return command


def text_columns(command: Command) -> Command:
    """Add the options for reading a table of texts; the command takes them as ``**columns``."""
    for option in (
        click.option("--encoding", metavar="NAME", help="Of texts.  [default: utf-8]"),
        click.option("--label-column", metavar="NAME", help="Of a table of texts.  [default: label]"),
        click.option("--text-column", metavar="NAME", help="Of a table of texts.  [default: text]"),
    ):
        command = option(command)
    return command


def sample_columns(command: Command) -> Command:
    """Add the options of `text_columns`, and those for reading a table of numbers."""
    for option in (
        click.option("--window-seconds", type=float, metavar="S", help="Of wav: cuts clips into windows."),
        click.option("--sample-rate", type=click.IntRange(1), metavar="HZ", help="Of wav: what the model takes."),
        click.option("--group", metavar="NAME", help="Of a table of numbers: the column that no window crosses."),
        click.option("--stride", type=click.IntRange(min=1), help="Rows between windows.  [default: --window]"),
        click.option("--window", type=click.IntRange(min=1), help="Rows of a table of numbers that are one sample."),
        click.option("--target", metavar="NAME", help="Of a table of numbers or texts: the right answers, or A,B."),
        click.option("--features", metavar="A,B,…", help="Of a table of numbers.  [default: all but the target]"),
    ):
        command = option(command)
    return text_columns(command)


def labelled_data(source: str, columns: dict[str, Any]) -> Data:
    """Return a data source with the given options, as in a recipe's [data]. Raises InputError."""
    from ..core.name_list import names_in
    from ..workflows.samples import data_of

    named = columns.get("features")
    features = None if named is None else names_in(named)
    return data_of(source, {**columns, "features": features})
