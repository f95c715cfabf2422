"""``edgeproof compare``: two runs side by side."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Compare two runs, cell by cell.")
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Compare latencies although the machines differ.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(run_a: Path, run_b: Path, force: bool, as_json: bool) -> None:
    """Compare RUN_A and RUN_B (folders or results.json): accuracy, latency and size of the cells that both have."""
    from ...workflows.compare import compare
    from ..output import show_json, show_parts
    from ..terminal import stdout_console

    comparison = compare(run_a, run_b, force=force)
    if as_json:
        show_json(comparison.to_dict())
        return
    from ...report.comparison import comparison_table

    show_parts([comparison_table(comparison, stdout_console().width)])
