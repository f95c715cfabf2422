"""``edgeproof devices``: the targets and whether they work; installs further runtime versions; clears devices."""

from __future__ import annotations

from typing import Any

import click


@click.group(
    short_help="List the targets that can be named, and which are ready; install versions of runtimes.",
    invoke_without_command=True,
)
@click.option(
    "--install",
    multiple=True,
    metavar="NAME==VERSION",
    help="Put a version of a runtime beside this environment, e.g. litert==1.0.1; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(context: click.Context, install: tuple[str, ...], as_json: bool) -> None:
    """List the targets that can be named, with the runtime's version, or what is missing.

    Devices are this machine and those that a devices.toml declares. A version that is not the installed one is put into
    a cache folder (EDGEPROOF_RUNTIMES names another) with --install, and is then a target of its own:
    local/litert==1.0.1.
    """
    if context.invoked_subcommand:
        return
    from ...core.progress import Silent
    from ...workflows.devices import devices
    from ..output import show_json, show_parts
    from ..terminal import echo

    class Installed(Silent):
        """Prints the folder of each version."""

        def note(self, level: str, message: str, **facts: Any) -> None:
            echo(message, err=True)

    rows = devices(install, progress=Installed())
    if as_json:
        show_json([row.__dict__ for row in rows])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("target", "version", "reads", "state")
    for row in rows:
        state = "ready" if row.ready else f"{row.reason} → {row.remedy}"
        cells = (row.target, row.version or "–", ", ".join(row.reads), state)
        table.add_row(*map(Text, cells))  # plain text: markup would eat the extra of edgeproof[litert]
    show_parts([table])


@command.command("clean", short_help="Remove what was put on devices.")
@click.argument("names", metavar="[DEVICE]…", nargs=-1)
def clean(names: tuple[str, ...]) -> None:
    """Remove the files, the samples and the program that were put on each DEVICE (default: on all)."""
    from ...workflows.devices import clean_devices
    from ..terminal import echo

    for name, removed in clean_devices(names).items():
        echo(f"{name}: {removed}")
