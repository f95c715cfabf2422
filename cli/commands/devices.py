"""``edgeproof devices``: the targets that can be named here, and whether they would work."""

from __future__ import annotations

from typing import Any

import click


@click.command(short_help="List the targets that can be named, and which are ready.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_json: bool) -> None:
    """List the targets that can be named here, with the runtime's version, or what is missing."""
    from ...core.target import RUNTIMES
    from ...devices import local_runtimes
    from ...devices.remedies import not_installed
    from ..output import show_json

    rows: list[dict[str, Any]] = []
    for runtime, version in local_runtimes().items():
        reason, remedy = ("", "") if version else not_installed(runtime)
        rows.append(
            {
                "target": f"local/{runtime}",
                "version": version,
                "ready": bool(version),
                "reads": sorted(RUNTIMES[runtime][1]),
                "reason": reason,
                "remedy": remedy,
            }
        )
    if as_json:
        show_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("target", "version", "reads", "state")
    for row in rows:
        state = "ready" if row["ready"] else f"{row['reason']} → {row['remedy']}"
        table.add_row(row["target"], row["version"] or "–", ", ".join(row["reads"]), state)
    Console(highlight=False).print(table)
