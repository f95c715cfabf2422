"""``edgeproof completion``: the script that makes a shell complete edgeproof's commands and options."""

from __future__ import annotations

import click


@click.command(short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script for SHELL, e.g. eval "$(edgeproof completion bash)"."""
    from click.shell_completion import get_completion_class

    from ..main import edgeproof

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(edgeproof, {}, "edgeproof", "_EDGEPROOF_COMPLETE").source())
