"""``edgeproof devices``: the targets of this machine and whether they work; installs further runtime versions."""

from __future__ import annotations

from typing import Any

import click


@click.command(short_help="List the targets that can be named, and which are ready; install versions of runtimes.")
@click.option(
    "--install",
    multiple=True,
    metavar="NAME==VERSION",
    help="Put a version of a runtime beside this environment, e.g. litert==1.0.1; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(install: tuple[str, ...], as_json: bool) -> None:
    """List the targets that can be named here, with the runtime's version, or what is missing.

    A version that is not the installed one is put into a cache folder (EDGEPROOF_RUNTIMES names another) with
    --install, and is then a target of its own: local/litert==1.0.1.
    """
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
