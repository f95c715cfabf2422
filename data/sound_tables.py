"""Recordings in folders of classes, or in a table (``wav:TABLE.csv``) of the columns ``path``, ``label``, ``split``."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from ..core.sanitize import shorten
from ..tasks import TARGETED
from ..tasks.classification import Classification
from .files import RECORDING, FolderSource
from .label_targets import TASKS
from .tables import ImageTable

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
        return FolderSource(source, path, noun=RECORDING)
    if not of_classes(task) and task not in TASKS:
        raise InputError(f"{source} has no targets of the task {shorten(task)}", ARRAYS)
    return ImageTable(source, path, None, tagged=not of_classes(task))
