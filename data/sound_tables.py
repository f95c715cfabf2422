"""Recordings in folders of classes, or in a table (``wav:TABLE.csv``) of the columns ``path``, ``label``, ``split``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sanitize import shorten
from ..tasks import TARGETED
from ..tasks.classification import Classification
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from .files import FolderSource
from .listing import Listing
from .tables import ImageTable
from .tags import tags_of

ARRAYS = "give waveforms with their targets as arrays: npz:FILE with x and y"


def of_classes(task: str) -> bool:
    """Return whether the targets of a task (empty: not said) are classes, as folders have them."""
    return task in ("", Classification.name) or (task in TARGETED and TARGETED[task].of_classes)


def is_table(path: Path) -> bool:
    """Return whether a source of recordings or pictures is a table, by its name's ending."""
    return path.suffix.lower() == ".csv"


def recordings(path: Path, source: str, task: str = "") -> FolderSource | ImageTable:
    """Return the folder of recordings at `path`, or a table of them, whose paths start from its folder and stay in it.

    Raises InputError for a `task` whose targets the source cannot have.
    """
    if not is_table(path):
        if not of_classes(task):
            raise InputError(
                f"{source} has no targets of the task {shorten(task)}: its folders are classes",
                "give a table with columns path and label: wav:TABLE.csv, a label being tags, cat|dog, or a number; "
                f"or {ARRAYS}",
            )
        return FolderSource(source, path)
    if not of_classes(task) and task not in (Multilabel.name, Regression.name):
        raise InputError(f"{source} has no targets of the task {shorten(task)}", ARRAYS)
    return ImageTable(source, path, None, tagged=not of_classes(task))


def targets_of(listing: Listing, task: str, where: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the target of each sample of a table or of folders as `task` has it, and the names of tags.

    Of ``multilabel`` a label is tags, ``cat|dog`` (N, tags) uint8; of ``regression`` a number (N,) float32; of all
    others the name of a class. Raises InputError that names the sample in `where`.
    """
    cells = [listing.labels[number] for number in listing.targets.tolist()]

    def place(row: int) -> str:
        return str(where / shorten(listing.names[row], 200))

    if task == Multilabel.name:
        return tags_of(cells, place)
    if task == Regression.name:
        return np.array([_number(cell, place(row)) for row, cell in enumerate(cells)], np.float32), ()
    return np.array(cells), ()


def _number(cell: str, place: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > float(np.finfo(np.float32).max):
        raise InputError(
            f"{place}: its label {shorten(cell, 80)!r} is no number, and the task is regression",
            "write a number with a decimal point into the column label, or leave the row out",
        )
    return value
