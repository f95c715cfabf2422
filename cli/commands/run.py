"""``edgeproof run``: everything a recipe says, from data to report."""

from __future__ import annotations

from pathlib import Path

import click

from ..completing import recipes


@click.command(short_help="Do everything a recipe says: data, models, files, proof, report.")
@click.argument("recipe", type=click.Path(path_type=Path), shell_complete=recipes)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/NAME]")
@click.option("--set", "overrides", metavar="a.b=value", multiple=True, help="Change a recipe's key; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json on stdout, and nothing else there.")
def command(recipe: Path, out: Path | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Do everything RECIPE says, and write the report.

    The same command goes on where a killed run stopped; a changed recipe redoes only what the change concerns.

    Examples: edgeproof run recipes/quickstart.toml --set train.epochs=3
    """
    from ...core.recipe import load_recipe
    from ..console import ConsoleListener
    from ..output import show
    from ..pipeline import run
    from ..preflight import check_writable

    parsed = load_recipe(recipe, overrides)
    folder = out or Path("runs") / parsed.name
    check_writable(folder)
    with ConsoleListener(folder / "log.jsonl") as listener:
        finished = run(parsed, folder, listener)
    show(finished.results, folder, finished.report, as_json=as_json)
    if finished.failures:
        return 3
    return 0 if finished.budget_met or "budget" not in parsed.model_fields_set else 1
