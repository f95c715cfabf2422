"""``init``: a recipe to start from, written for a data source or copied from edgeproof's own recipes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..core.codec import write_atomic
from ..core.documents import parse_toml
from ..core.errors import InputError, explain_os_errors
from ..core.recipe import TrainedTask
from ..core.recipe_data import Data
from ..core.recipe_file import load_recipe, parse_recipe
from ..core.sanitize import shorten, slug
from ..data import kind_of
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from .arguments import path_of, text_of
from .new_labels import HINTS, likely_task
from .new_numbers import as_numbers
from .new_recipe_check import check_new
from .shipped import copy_recipe

DEFAULT_SOURCE = "builtin:fashion-mnist-mini"
_FOR_IMAGES, _FOR_TEXTS, _FOR_SOUNDS = "package:mobilenet_v2", "scratch:average-embedding", "scratch:conv1d"
_FOR_NUMBERS, _FOR_WINDOWS = "scratch:dense", "scratch:conv1d"
_TEMPLATES = Path(__file__).parent / "templates"
TASKS = tuple(filter(None, get_args(TrainedTask)))
_PLACES = (
    "folder", "images", "textfolder", "csv", "tsv", "jsonl", "parquet", "npz", "npy", "idx", "wav", "masks", "coco",
    "file", "hub",
)  # fmt: skip
_BY_POINTS = "max_accuracy_drop = 0.01   # at most one point below the float model"
_BY_PART = 'max_drop = "5 %"        # of the float model\'s metric; require = ["MAE <= 0.5"] says what is enough'
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
    notes: tuple[str, ...] = ()
    """What else it could say of the data."""


@explain_os_errors
def init(
    path: str | os.PathLike[str] = "recipe.toml",
    *,
    data: str | Data | None = None,
    backbone: str | None = None,
    task: str = "",
    copy: str | None = None,
    force: bool = False,
) -> NewRecipe:
    """Write a commented recipe, for images (with masks, too), texts, numbers or sounds, as the data source has them.

    Args:
        path: the file to write.
        data: the data source, such as ``folder:photos``; a `Data` also says which columns of a table hold what. The
            samples are looked at first. A relative path is one of the recipe's folder, or else of the working
            directory. Default: ``builtin:fashion-mnist-mini``.
        backbone: where the model starts. Default: ``package:mobilenet_v2``, for texts ``scratch:average-embedding``,
            for sounds and for windows of numbers ``scratch:conv1d``, for other numbers ``scratch:dense``.
        task: what a right answer is, ``multilabel`` or ``regression`` where labels of tables are tags or numbers;
            default: what the data show.
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
            has_options=data is not None or backbone is not None or bool(task),
            force=force,
        )
    if target.exists() and not force:
        raise InputError(f"{target} exists already", "give another path, or --force to overwrite it")
    source = data if isinstance(data, Data) else Data(source=DEFAULT_SOURCE if data is None else data)
    folder = target.resolve().parent
    if task and task not in TASKS:
        raise InputError(f"there is no task {shorten(task)!r} to train for", f"known: {', '.join(TASKS)}")
    source = source.model_copy(update={"source": _from_here(source.source, folder)})
    kind: str = "sound" if source.source.startswith("wav:") else kind_of(source, folder)
    if kind != "sound" and (numbers := as_numbers(source, folder)):
        source, kind = numbers, "numbers"
    if backbone is None:
        small = _FOR_NUMBERS if source.window is None else _FOR_WINDOWS
        backbone = {"text": _FOR_TEXTS, "sound": _FOR_SOUNDS, "numbers": small}.get(kind, _FOR_IMAGES)
    text = _filled(target, source, _from_here(text_of(backbone, "the backbone"), folder), kind, task)
    looks = "" if task or kind == "numbers" else likely_task(source, folder, kind)
    try:
        missing = check_new(parse_recipe(parse_toml(text, f"recipe {target}"), folder, where=str(target)))
    except InputError as error:
        raise InputError(error.message, f"{HINTS[looks]}; or {error.remedy}" if looks else error.remedy) from error
    write_atomic(target, text)
    found = looks == Multilabel.name and kind == "text"  # a run finds them by itself
    return NewRecipe(target, (target,), tuple(missing), () if found or not looks else (HINTS[looks],))


def _from_here(source: str, folder: Path) -> str:
    """Return a source or backbone whose relative paths, which start from `folder`, may start from here instead.

    They do where nothing is there below `folder`: what is typed at the prompt is from where one stands.
    """
    scheme, colon, rest = source.partition(":")
    if not colon or scheme not in _PLACES:
        return source
    parts = rest.split(",") if scheme == "npy" else [rest]

    def moved(part: str) -> str:
        own, here = folder / part, Path(part)
        if not part or part.startswith("~") or "\0" in part or here.is_absolute() or own.exists() or not here.exists():
            return part
        return Path(os.path.relpath(here.absolute(), folder)).as_posix()

    return f"{scheme}:{','.join(map(moved, parts))}"


def _filled(target: Path, source: Data, backbone: str, kind: str, task: str) -> str:
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
    text = text.replace("@TASK@\n", f"task = {_toml(task)}\n" if task else "")
    if task == Regression.name:
        text = text.replace(_BY_POINTS, _BY_PART)
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
            "leave out --data, --backbone and --task; change data.source and model.backbone in the file, or with run "
            "--set",
        )
    written = copy_recipe(name, target, force=force)
    try:
        missing = check_new(load_recipe(target))
    except InputError as error:  # the recipe is right; a package that holds its data is not installed
        missing = [f"{error.message}: {error.remedy}"]
    return NewRecipe(target, tuple(written), tuple(missing))
