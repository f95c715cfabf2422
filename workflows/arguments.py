"""Converts and checks the API's arguments: files, budgets, classes, counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..core.artifact import Artifact
from ..core.errors import InputError
from ..core.recipe import Budget
from ..core.recipe_file import parse_table
from ..core.target import Target
from .files import Files
from .model_files import read_labels

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
    return Path(file)


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
        return read_labels(Path(labels)) if os.fspath(labels) else ()
    return tuple(map(str, labels))


def tuple_of_two(value: Sequence[float] | None) -> tuple[float, float] | None:
    """Return a range of values. Raises InputError unless it is two numbers."""
    if value is None:
        return None
    try:
        low, high = map(float, value)
    except (TypeError, ValueError) as error:
        raise InputError(f"the value range {value!r} is not two numbers", "e.g. (0, 1)") from error
    return low, high


def at_least_one(count: int, name: str, most: int | None = None) -> int:
    """Return `count`. Raises InputError unless it is a whole number from 1 to `most`."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or (most is not None and count > most):
        raise InputError(f"{name} is {count!r}", f"give a whole number from 1{f' to {most}' if most else ' on'}")
    return count
