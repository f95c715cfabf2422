"""``edgeproof init``: a recipe to start from."""

from __future__ import annotations

from pathlib import Path

import click

from ..completing import packed_recipes
from ..options import labelled_data, sample_columns


@click.command(short_help="Write a recipe to start from.")
@click.argument("path", type=click.Path(path_type=Path), default=Path("recipe.toml"))
@click.option("--data", "source", help="The data source.  [default: builtin:fashion-mnist-mini]")
@click.option(
    "--backbone",
    help="Where the model starts.  [default: package:mobilenet_v2, for texts scratch:average-embedding, for numbers "
    "scratch:dense, for windows and sounds scratch:conv1d]",
)
@click.option(
    "--task",
    metavar="TASK",
    default="",
    help="What a right answer is, where labels are tags (multilabel) or numbers (regression).  [default: what the data "
    "show]",
)
@click.option(
    "--from",
    "origin",
    metavar="NAME",
    shell_complete=packed_recipes,
    help="Copy a recipe that comes with edgeproof, with its comments and data, e.g. quickstart, qat or sentiment.",
)
@sample_columns
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(
    path: Path,
    source: str | None,
    backbone: str | None,
    task: str,
    origin: str | None,
    force: bool,
    **columns: str | None,
) -> None:
    """Write a commented recipe to PATH, for images, texts, numbers or sounds, as the data source has them.

    The data are checked first: if they cannot be trained on, an error says why, and nothing is written.

    A relative path of the data starts from the recipe's folder, or else from where you are.

    Examples: edgeproof init --data folder:photos    edgeproof init --from quickstart
    """
    from ...workflows.init import DEFAULT_SOURCE, init
    from ..terminal import echo

    has_options = any(value is not None for value in (source, *columns.values()))
    data = labelled_data(DEFAULT_SOURCE if source is None else source, columns) if has_options else None
    recipe = init(path, data=data, backbone=backbone, task=task, copy=origin, force=force)
    if origin is not None:
        for written in recipe.written:
            echo(f"wrote {written}")
    for what in recipe.missing:
        echo(f"not here yet: {what}", err=True)
    for note in recipe.notes:
        echo(f"note: {note}")
    start = f"start it with: edgeproof run {path}"
    echo(start if origin is not None else f"wrote {path}; {start}")
