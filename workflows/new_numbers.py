"""What `init` writes for tables of numbers and for arrays: which columns are features, and which one is right."""

from __future__ import annotations

import csv
from pathlib import Path

from ..core.errors import InputError
from ..core.recipe_data import Data
from ..core.sanitize import shorten
from ..data.rows import open_table, rows_of_cells
from ..data.sources import resolve_path
from ..data.target_cells import is_number

_ARRAYS = ("npz", "npy", "parquet")
_NO_FEATURES = ("split", "time", "timestamp", "date", "index", "id")
_TARGETS = ("target", "label", "class", "y", "tags")


def as_numbers(data: Data, folder: Path) -> Data | None:
    """Return data of numbers with what a recipe must say of them; None for other data.

    A ``csv:`` holds numbers where it has neither a column of paths nor one of texts, and at least half of its first
    row are numbers. The target is the column that is said or called so, else the only one of texts, else the last.
    Features are the other columns of numbers, but for those called like a time or a number of the row.
    Raises InputError for a target that there is not.
    """
    scheme, _, rest = data.source.partition(":")
    if scheme in _ARRAYS:
        return data
    rows = _beginning(resolve_path(rest, folder), data.encoding) if scheme == "csv" else []
    if len(rows) < 2 or {"path", data.text_column.casefold()} & {name.casefold() for name in rows[0]}:
        return None
    header, numeric = rows[0], [is_number(cell) for cell in rows[1]]
    if 2 * sum(numeric) < len(numeric):
        return None
    apart = [name for name, number in zip(header, numeric, strict=True) if not number and name != data.group]
    known = next((name for wanted in _TARGETS for name in header if name.casefold() == wanted), "")
    target = data.target or known or (apart[0] if len(apart) == 1 else header[-1])
    named = [target] if target in header else [name.strip() for name in target.split(",")]
    if missing := [name for name in named if name not in header]:
        raise InputError(
            f"{data.source} has no column {shorten(missing[0])!r}; it has {shorten(', '.join(header), 200)}",
            "name the column of the right answers: --target NAME",
        )
    others = {*named, data.group}
    features = data.features or tuple(
        name
        for name, number in zip(header, numeric, strict=True)
        if number and name not in others and name.casefold() not in _NO_FEATURES
    )
    return data.model_copy(update={"target": target, "features": features})


def _beginning(path: Path, encoding: str) -> list[list[str]]:
    """Return the header and the first row of a table; fewer where it cannot be read, which opening it then tells."""
    try:
        with open_table(path, encoding) as (content, inner):
            rows = rows_of_cells(content, inner, path, ",")
            return [cells for _, cells in zip(range(2), (row for _, row in rows), strict=False)]
    except (InputError, OSError, ValueError, csv.Error):
        return []
