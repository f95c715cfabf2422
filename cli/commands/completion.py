"""``edgeproof completion``: the script that makes a shell complete edgeproof's commands, options and their values."""

from __future__ import annotations

import click


@click.command(short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL, e.g. eval "$(edgeproof completion bash)"."""
    from ..completing import script
    from ..terminal import echo

    echo(script(shell))
