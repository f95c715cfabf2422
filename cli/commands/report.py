"""``edgeproof report``: write a run's report again, from its results.json."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a run's report again from its results.json.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print results.json on stdout, and nothing else there.")
def command(run: Path, as_json: bool) -> None:
    """Write report.html and report.md of the folder RUN again, and show its table."""
    from ...workflows.finished import report
    from ..output import show

    show(report(run), as_json=as_json)
