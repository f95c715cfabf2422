"""``edgeproof init``: a recipe to start from."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..completing import packed_recipes
from ..options import labelled_data, text_columns

_FOR_TEXTS = ("scratch:average-embedding", "package:use_multilingual_v3")


@click.command(short_help="Write a recipe to start from.")
@click.argument("path", type=click.Path(path_type=Path), default=Path("recipe.toml"))
@click.option("--data", "source", help="The data source.  [default: builtin:fashion-mnist-mini]")
@click.option(
    "--backbone",
    help="Where the model starts.  [default: package:mobilenet_v2, for texts scratch:average-embedding]",
)
@click.option(
    "--from",
    "origin",
    metavar="NAME",
    shell_complete=packed_recipes,
    help="Copy a recipe that comes with edgeproof, with its comments and data, e.g. quickstart, qat or sentiment.",
)
@text_columns
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(
    path: Path, source: str | None, backbone: str | None, origin: str | None, force: bool, **columns: str | None
) -> None:
    """Write a commented recipe to PATH, for images or for texts, as the data source has them.

    The data are looked at first: what cannot be trained on is told, and nothing is written.

    Examples: edgeproof init --data folder:photos    edgeproof init --from quickstart
    """
    from ...core.codec import write_atomic
    from ...core.documents import parse_toml
    from ...core.errors import InputError
    from ...core.recipe_file import parse_recipe
    from ...core.sanitize import shorten, slug
    from ...data import kind_of
    from ...workflows.preflight import check_new
    from ..terminal import echo

    if origin is not None:
        _copy(origin, path, given=any(one is not None for one in (source, backbone, *columns.values())), force=force)
        return
    source = "builtin:fashion-mnist-mini" if source is None else source
    if path.exists() and not force:
        raise InputError(f"{path} exists already", "give another path, or --force to overwrite it")
    data, folder = labelled_data(source, columns), path.resolve().parent
    is_text = kind_of(data, folder) == "text"
    if backbone is None:
        backbone = _FOR_TEXTS[0] if is_text else "package:mobilenet_v2"
    text = (Path(__file__).parents[1] / "templates" / "recipe.toml").read_text(encoding="utf-8")
    for mark, value in (
        ("@NAME@", slug(path.stem)),
        ("@SOURCE@", source),
        ("@BACKBONE@", backbone),
        ("@MODEL@", slug(backbone.rpartition(":")[2])),
    ):
        if any("\ud800" <= character <= "\udfff" for character in value):  # bytes that were no UTF-8
            raise InputError(f"{shorten(value)!r} is not Unicode text", "give names that are")
        text = text.replace(mark, _toml(value)[1:-1])
    text = text.replace("@SIZE@", "max_tokens = 64         # longer texts are cut" if is_text else "image_size = 96")
    told = [f"{key} = {_toml(value)}\n" for key, value in columns.items() if value is not None]
    text = text.replace("@COLUMNS@\n", "".join(told)).replace("@EPOCHS@", "30" if is_text else "10")
    missing = check_new(parse_recipe(parse_toml(text, f"recipe {path}"), folder, where=str(path)))
    write_atomic(path, text)
    for what in missing:
        echo(f"not here yet: {what}", err=True)
    echo(f"wrote {path}; start it with: edgeproof run {path}")


def _toml(value: str) -> str:
    """Return a string as TOML has it: JSON's escapes are TOML's, too, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _copy(origin: str, path: Path, *, given: bool, force: bool) -> None:
    """Write a recipe that comes with edgeproof, with its data, and say what is missing here to run it."""
    from ...core.errors import InputError
    from ...core.recipe_file import load_recipe
    from ...workflows.preflight import check_new
    from ..packed import copy_recipe
    from ..terminal import echo

    if given:
        raise InputError(
            "--from brings a recipe with its own data and backbone",
            "leave out --data and --backbone; change data.source and model.backbone in the file, or with run --set",
        )
    for written in copy_recipe(origin, path, force=force):
        echo(f"wrote {written}")
    try:
        missing = check_new(load_recipe(path))
    except InputError as error:  # the recipe is right; a package that holds its data is not installed
        missing = [f"{error.message}: {error.remedy}"]
    for what in missing:
        echo(f"not here yet: {what}", err=True)
    echo(f"start it with: edgeproof run {path}")
