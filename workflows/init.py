"""``init``: a recipe to start from, written for a data source or copied from edgeproof's own recipes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.codec import write_atomic
from ..core.documents import parse_toml
from ..core.errors import InputError, explain_os_errors
from ..core.recipe_data import Data
from ..core.recipe_file import load_recipe, parse_recipe
from ..core.sanitize import shorten, slug
from ..data import kind_of
from .arguments import path_of, text_of
from .new_numbers import as_numbers
from .new_recipe_check import check_new
from .shipped import copy_recipe

DEFAULT_SOURCE = "builtin:fashion-mnist-mini"
_FOR_IMAGES, _FOR_TEXTS, _FOR_SOUNDS = "package:mobilenet_v2", "scratch:average-embedding", "scratch:conv1d"
_FOR_NUMBERS, _FOR_WINDOWS = "scratch:dense", "scratch:conv1d"
_TEMPLATES = Path(__file__).parent / "templates"
_COLUMNS = (
    "text_column", "label_column", "encoding", "features", "target", "window", "stride", "group", "sample_rate",
    "window_seconds",
)  # fmt: skip
_SIZES = {
    "image": "image_size = 96",
    "text": "max_tokens = 64         # longer texts are cut",
    "sound": "units = [16, 24, 32, 32]\nkernel = 9\npool = 4                # steps that become one",
    "module": "# output = '…'          # which of several outputs is learnt on",
}


@dataclass(frozen=True)
class NewRecipe:
    """A recipe that was written: its `path`, all files `written`, and what is `missing` on this machine to run it."""

    path: Path
    written: tuple[Path, ...]
    missing: tuple[str, ...]


@explain_os_errors
def init(
    path: str | os.PathLike[str] = "recipe.toml",
    *,
    data: str | Data | None = None,
    backbone: str | None = None,
    copy: str | None = None,
    force: bool = False,
) -> NewRecipe:
    """Write a commented recipe, for images (with masks, too), texts, numbers or sounds, as the data source has them.

    Args:
        path: the file to write.
        data: the data source, such as ``folder:photos``; a `Data` also says which columns of a table hold what. The
            samples are looked at first. Default: ``builtin:fashion-mnist-mini``.
        backbone: where the model starts. Default: ``package:mobilenet_v2``, for texts ``scratch:average-embedding``,
            for sounds and for windows of numbers ``scratch:conv1d``, for other numbers ``scratch:dense``.
        copy: instead of all that, the name of a recipe that comes with edgeproof, such as ``quickstart``. It is copied
            with its comments and the data that it names.
        force: overwrite what is there.

    Raises:
        InputError: a file is there already, the data cannot be trained on, or the backbone does not fit them. Nothing
            is written then.
    """
    target = path_of(path, "the recipe")
    if copy is not None:
        return _copied(
            text_of(copy, "the name of a recipe"),
            target,
            has_options=data is not None or backbone is not None,
            force=force,
        )
    if target.exists() and not force:
        raise InputError(f"{target} exists already", "give another path, or --force to overwrite it")
    source = data if isinstance(data, Data) else Data(source=DEFAULT_SOURCE if data is None else data)
    folder = target.resolve().parent
    kind: str = "sound" if source.source.startswith("wav:") else kind_of(source, folder)
    if kind != "sound" and (numbers := as_numbers(source, folder)):
        source, kind = numbers, "numbers"
    if backbone is None:
        small = _FOR_NUMBERS if source.window is None else _FOR_WINDOWS
        backbone = {"text": _FOR_TEXTS, "sound": _FOR_SOUNDS, "numbers": small}.get(kind, _FOR_IMAGES)
    text = _filled(target, source, text_of(backbone, "the backbone"), kind)
    missing = check_new(parse_recipe(parse_toml(text, f"recipe {target}"), folder, where=str(target)))
    write_atomic(target, text)
    return NewRecipe(target, (target,), tuple(missing))


def _filled(target: Path, source: Data, backbone: str, kind: str) -> str:
    """Return the template with its placeholders replaced."""
    text = (_TEMPLATES / ("numbers.toml" if kind == "numbers" else "recipe.toml")).read_text(encoding="utf-8")
    for mark, value in (
        ("@NAME@", slug(target.stem)),
        ("@SOURCE@", source.source),
        ("@BACKBONE@", backbone),
        ("@MODEL@", slug(backbone.rpartition(":")[2])),
    ):
        if any("\ud800" <= character <= "\udfff" for character in value):  # bytes that were no UTF-8
            raise InputError(f"{shorten(value)!r} is not Unicode text", "give names that are")
        text = text.replace(mark, _toml(value)[1:-1])
    size = _SIZES.get("module" if kind == "sound" and backbone != _FOR_SOUNDS else kind, "")
    values = {key: getattr(source, key) for key in _COLUMNS if key in source.model_fields_set}
    columns = [f"{key} = {_toml(one)}\n" for key, one in values.items() if one not in (None, "", ())]
    text = text.replace("@SIZE@", size).replace("@COLUMNS@\n", "".join(columns))
    return text.replace("@EPOCHS@", "10" if kind == "image" else "30")


def _toml(value: Any) -> str:
    """Return a TOML value: JSON's texts, numbers and lists are valid in TOML, except for one character of texts."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _copied(name: str, target: Path, *, has_options: bool, force: bool) -> NewRecipe:
    """Write one of edgeproof's own recipes, with its data, and list what is missing here to run it."""
    if has_options:
        raise InputError(
            "--from copies a recipe with its own data and backbone",
            "leave out --data and --backbone; change data.source and model.backbone in the file, or with run --set",
        )
    written = copy_recipe(name, target, force=force)
    try:
        missing = check_new(load_recipe(target))
    except InputError as error:  # the recipe is right; a package that holds its data is not installed
        missing = [f"{error.message}: {error.remedy}"]
    return NewRecipe(target, tuple(written), tuple(missing))
