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
    from ...core.results import load_results
    from ...evaluate import compare
    from ..output import show_json

    folders = [run if run.is_dir() else run.parent for run in (run_a, run_b)]
    comparison = compare.compare(
        load_results(run_a), load_results(run_b), folder_a=folders[0], folder_b=folders[1], force=force
    )
    if as_json:
        show_json(comparison.to_dict())
        return
    from ..console import stdout_console

    console = stdout_console()
    console.print(comparison.table(console.width))
