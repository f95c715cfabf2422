"""Converts and checks the API's arguments: files, budgets, classes, counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..core.artifact import Artifact
from ..core.errors import InputError
from ..core.pixels import Channels
from ..core.recipe_budget import Budget
from ..core.recipe_file import parse_table
from ..core.target import Target
from .files import Files

FROM_FOLDERS: Literal["from-folders"] = "from-folders"

# A file by its path, or as the artifact that `export` returned.
FileLike: TypeAlias = str | os.PathLike[str] | Artifact
FilesLike: TypeAlias = FileLike | Files | Mapping[str, Artifact] | Iterable[FileLike]


def file_path(file: FileLike, where: str = "the file") -> Path:
    """Return the path of a file. Raises InputError for an artifact that could not be made, and for anything else."""
    if isinstance(file, Artifact):
        if file.path is None or file.status != "ok":
            raise InputError(f"{file.id} was not made: {file.reason}", file.remedy)
        return file.path
    if not isinstance(file, str | os.PathLike):
        raise InputError(f"{where} is a {type(file).__name__}", "give a path, or an artifact that export returned")
    return path_of(file, where)


def path_of(value: str | os.PathLike[str], name: str) -> Path:
    """Return a path. Raises InputError, which begins with `name`, for what no path can be."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InputError(f"{name} is a {type(value).__name__}", "give a path")
    if "\0" in os.fspath(value):
        raise InputError(f"{name}: the path holds a zero byte", "give the path of a file or folder")
    return Path(value)


def text_of(value: str, name: str) -> str:
    """Return a text. Raises InputError, which begins with `name`, for anything else."""
    if not isinstance(value, str):
        raise InputError(f"{name} is a {type(value).__name__}", "give a text")
    return value


def one_or_more(value: Any, kind: Any, name: str, example: str) -> tuple[Any, ...]:
    """Return what is given alone or in a sequence. Raises InputError where something is not of `kind`."""
    if isinstance(value, kind):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise InputError(f"{name} is a {type(value).__name__}", f"give one or more, {example}")
    listed = tuple(value)
    if wrong := [one for one in listed if not isinstance(one, kind)]:
        raise InputError(f"{name} has a {type(wrong[0]).__name__} in it", f"give one or more, {example}")
    return listed


def opened_files(files: FilesLike, targets: Sequence[str]) -> list[Path | Artifact]:
    """Return paths, and the artifacts that could not be made; add the float model's folder if a target runs it."""
    if isinstance(files, str | os.PathLike | Artifact):
        files = (files,)
    listed: list[Path | Artifact] = []
    runs_models = any(Target.parse(target).reads("savedmodel") for target in targets)
    if isinstance(files, Files) and files.model is not None and runs_models:
        listed.append(files.model)
    try:
        each = list(files.values()) if isinstance(files, Mapping) else list(files)
    except TypeError as error:
        raise InputError(f"the files are a {type(files).__name__}", "give paths, or what export returned") from error
    for file in each:
        failed = isinstance(file, Artifact) and (file.path is None or file.status != "ok")
        listed.append(file if isinstance(file, Artifact) and failed else file_path(file))
    if not listed:
        raise InputError("there are no files to measure", "give one or more")
    return listed


def budget_of(budget: Budget | Mapping[str, Any] | None) -> Budget | None:
    """Return a budget. Raises InputError with all errors."""
    return budget if budget is None or isinstance(budget, Budget) else parse_table(Budget, budget, "budget")


def labels_or_order(labels: Sequence[str] | str | os.PathLike[str]) -> tuple[str, ...] | Literal["from-folders"]:
    """Return class names, or ``from-folders`` for the data's own order. Raises InputError."""
    return FROM_FOLDERS if isinstance(labels, str) and labels == FROM_FOLDERS else labels_of(labels)


def labels_of(labels: Sequence[str] | str | os.PathLike[str]) -> tuple[str, ...]:
    """Return class names, read from a file if a path is given. Raises InputError."""
    if isinstance(labels, str | os.PathLike):
        from .model_files import read_labels  # late: it imports what opens models

        return read_labels(path_of(labels, "labels")) if os.fspath(labels) else ()
    if not isinstance(labels, Iterable):
        raise InputError(f"labels is a {type(labels).__name__}", "give the classes in the order of the output")
    return tuple(map(str, labels))


def tuple_of_two(value: Sequence[float] | None) -> tuple[float, float] | None:
    """Return a range of values. Raises InputError unless it is two numbers."""
    if value is None:
        return None
    try:
        low, high = map(float, value)
    except (TypeError, ValueError) as error:
        raise InputError(f"the value range {value!r} is not two numbers", "e.g. (0, 1)") from error
    if not (isfinite(low) and isfinite(high)):
        raise InputError(f"the value range {low:g},{high:g} is none", "e.g. --value-range 0,1")
    return low, high


def channels_of(order: str, mean: Sequence[float], std: Sequence[float]) -> Channels:
    """Return what is said of a model's channels. Raises InputError for what are no numbers, or no order."""
    try:
        numbers = [tuple(float(one) for one in given) for given in (mean, std)]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"mean {mean!r:.80} and std {std!r:.80} are not numbers", "e.g. (0.485, 0.456, 0.406)"
        ) from error
    return Channels(order, *numbers)


def at_least_one(count: int, name: str, most: int | None = None) -> int:
    """Return `count`. Raises InputError unless it is a whole number from 1 to `most`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or (most is not None and count > most):
        raise InputError(f"{name} is {count!r}", f"give a whole number from 1{f' to {most}' if most else ' on'}")
    return count
