"""``edgeproof init``: a recipe to start from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a recipe to start from.")
@click.argument("path", type=click.Path(path_type=Path), default=Path("recipe.toml"))
@click.option("--data", "source", default="builtin:fashion-mnist-mini", show_default=True, help="The data source.")
@click.option("--backbone", default="package:mobilenet_v2", show_default=True, help="Where the model starts.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(path: Path, source: str, backbone: str, force: bool) -> None:
    """Write a commented recipe to PATH."""
    from ...core.codec import write_atomic
    from ...core.errors import InputError
    from ...core.names import slug
    from ...core.recipe import load_recipe

    if path.exists() and not force:
        raise InputError(f"{path} exists already", "give another path, or --force to overwrite it")
    text = (Path(__file__).parents[1] / "templates" / "recipe.toml").read_text(encoding="utf-8")
    for mark, value in (
        ("@NAME@", slug(path.stem)),
        ("@SOURCE@", source),
        ("@BACKBONE@", backbone),
        ("@MODEL@", slug(backbone.rpartition(":")[2])),
    ):
        text = text.replace(mark, value.replace("\\", "\\\\").replace('"', '\\"'))
    write_atomic(path, text)
    load_recipe(path)
    click.echo(f"wrote {path}; start it with: edgeproof run {path}")
