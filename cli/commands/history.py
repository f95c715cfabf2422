"""``edgeproof history``: the figures of each file over several runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Draw the task's metric, latency and size over several runs.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("history.html"), show_default=True, help="The HTML page."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and write a page only with --out.")
def command(runs: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Show how the metric, latency and size of each file went over RUNS (folders or results.json), oldest first.

    A change is named where it is distinguishable from the run before; the page draws all runs.

    Examples: edgeproof history runs/*
    """
    from ...workflows.history import history
    from ..output import show_json, show_parts
    from ..terminal import echo, stdout_console

    given = click.get_current_context().get_parameter_source("out") is not click.core.ParameterSource.DEFAULT
    result = history(runs, out=out if given or not as_json else None)
    if as_json:
        show_json(result.to_dict())
        return
    from ...report.history import history_table

    show_parts(history_table(result, stdout_console().width))
    echo(f"page: {result.page}")
