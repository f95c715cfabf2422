"""``edgeproof report``: write a run's report again, from its results.json."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a run's report again from its results.json.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--mlflow", metavar="URI", default="", help="Also log the run to this MLflow tracking server.")
@click.option(
    "--tensorboard",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Also write the run into this folder of TensorBoard's logs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print results.json on stdout, and nothing else there.")
def command(run: Path, mlflow: str, tensorboard: Path | None, as_json: bool) -> None:
    """Write report.html and report.md of the folder RUN again, and show its table.

    With --mlflow or --tensorboard each file on each target becomes a run there, with the figures of results.csv
    (extras mlflow and tensorboard).
    """
    from ...workflows.finished import report
    from ..output import show

    show(report(run, mlflow=mlflow, tensorboard=tensorboard), as_json=as_json)
