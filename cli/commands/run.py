"""``edgeproof run``: all stages of a recipe, from data to report."""

from __future__ import annotations

from pathlib import Path

import click

from ..completing import recipes
from ..options import cluster_option


@click.command(short_help="Do everything a recipe says: data, models, files, proof, report.")
@click.argument("recipe", type=click.Path(path_type=Path), shell_complete=recipes)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/NAME]")
@click.option("--set", "overrides", metavar="a.b=value", multiple=True, help="Change a recipe's key; may be repeated.")
@cluster_option
@click.option("--strict", is_flag=True, help="Exit status 1 also when it is not shown that a file fits the budget.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json on stdout, and nothing else there.")
def command(
    recipe: Path, out: Path | None, overrides: tuple[str, ...], cluster: str, strict: bool, as_json: bool
) -> int:
    """Do everything RECIPE says, and write the report.

    With a [budget] the exit status is 1 when no file fits it. Where the test samples are too few to show that a file
    fits, the best one is recommended as such, with what would show it; the exit status is then 0. It is 3 when no file
    ran anywhere, or a model could not be made.

    The same command continues a killed run; a changed recipe redoes only what the change affects.

    Examples: edgeproof run recipes/quickstart.toml --set train.epochs=3
    """
    from ...report.progress_bars import ProgressBars
    from ...workflows.run import run
    from ..exit_status import exit_status
    from ..output import show

    finished = run(recipe, out, overrides=overrides, cluster=cluster, progress=ProgressBars())
    show(finished, as_json=as_json)
    return exit_status(finished.results, strict=strict, failures=len(finished.failures))
