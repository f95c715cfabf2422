"""The labels of tables of recordings and pictures as targets: classes, tags, or numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sanitize import shorten
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from .listing import Listing
from .tags import tags_of

TASKS = (Multilabel.name, Regression.name)
"""Those whose targets are no classes."""


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
