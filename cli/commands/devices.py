"""``edgeproof devices``: the targets that can be named here, and which would work; versions of runtimes beside them."""

from __future__ import annotations

from typing import Any

import click


@click.command(short_help="List the targets that can be named, and which are ready; install versions of runtimes.")
@click.option(
    "--install",
    "wanted",
    multiple=True,
    metavar="NAME==VERSION",
    help="Put a version of a runtime beside this environment, e.g. litert==1.0.1; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(wanted: tuple[str, ...], as_json: bool) -> None:
    """List the targets that can be named here, with the runtime's version, or what is missing.

    A version that is not the installed one is put into a cache folder (EDGEPROOF_RUNTIMES names another) with
    --install, and is then a target of its own: local/litert==1.0.1.
    """
    from ...core.target import parse_runtime
    from ...devices import install
    from ..console import stdout_console
    from ..output import show_json
    from ..terminal import echo

    targets = [parse_runtime(text) for text in wanted]
    for target in targets:
        found = install(target)
        where = found.folder or "this environment"
        echo(f"{found.runtime} {found.version} is ready in {where}", err=True)
    rows = _rows()
    if as_json:
        show_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("target", "version", "reads", "state")
    for row in rows:
        state = "ready" if row["ready"] else f"{row['reason']} → {row['remedy']}"
        cells = (row["target"], row["version"] or "–", ", ".join(row["reads"]), state)
        table.add_row(*map(Text, cells))  # plain text: markup would eat the extra of edgeproof[litert]
    stdout_console().print(table)


def _rows() -> list[dict[str, Any]]:
    """Return one row per target: the installed runtimes, and then what lies beside them."""
    from ...core.runtime import RUNTIMES
    from ...devices import local_runtimes, side_installations

    rows: list[dict[str, Any]] = []
    for runtime, version in local_runtimes().items():
        reason, remedy = ("", "") if version else RUNTIMES[runtime].not_installed()
        rows.append(_row(f"local/{runtime}", version, runtime, reason=reason, remedy=remedy))
    for beside in side_installations():
        target = f"local/{beside.runtime}=={beside.version}"
        rows.append(_row(target, beside.version, beside.runtime, folder=str(beside.folder)))
    return rows


def _row(
    target: str, version: str, runtime: str, reason: str = "", remedy: str = "", folder: str = ""
) -> dict[str, Any]:
    from ...core.runtime import RUNTIMES

    return {
        "target": target,
        "version": version,
        "ready": bool(version),
        "reads": sorted(RUNTIMES[runtime].formats),
        "reason": reason,
        "remedy": remedy,
        "folder": folder,
    }
