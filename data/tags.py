"""Samples of several tags each, in one cell: ``cat|dog``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sanitize import shorten

SEPARATOR = "|"
# A bound on samples × tags, in bytes: a column of texts is no column of tags.
MOST_CELLS = 1 << 30


def are_tags(cells: Sequence[str]) -> bool:
    """Return whether any cell has several tags.

    A class may be called ``a|b``: these are tags where one of them stands in another cell, is empty or stands there
    twice, or where a cell is empty, which no class is.
    """
    parts = {cell: [part.strip() for part in cell.split(SEPARATOR)] for cell in set(cells)}
    cells_of = Counter(part for found in parts.values() for part in set(found))
    several = [found for found in parts.values() if len(found) > 1]
    odd = any(len(set(found)) < len(found) or cells_of[part] > 1 or not part for found in several for part in found)
    return bool(several) and (odd or not all(cell.strip() for cell in parts))


def tags_of(cells: Sequence[str], place: Callable[[int], str]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return which tags each sample has (N, tags), 0 or 1, and their names, sorted. An empty cell has none.

    Raises InputError for a tag that is empty, or twice in a cell, at its `place`.
    """
    rows = [[tag.strip() for tag in cell.split(SEPARATOR)] if cell.strip() else [] for cell in cells]
    for row, tags in enumerate(rows):
        if "" in tags or len(set(tags)) < len(tags):
            what = "an empty tag" if "" in tags else "a tag twice"
            raise InputError(
                f"{place(row)}: {shorten(cells[row], 80)!r} has {what}", f"write tags as cat{SEPARATOR}dog, each once"
            )
    names = sorted({tag for tags in rows for tag in tags})
    if not names:
        raise InputError(f"{place(0)} and all others: no tag", f"write tags as cat{SEPARATOR}dog")
    if len(names) * len(rows) > MOST_CELLS:
        raise InputError(
            f"{place(0)} and others: {len(names):,} different tags of {len(rows):,} samples",
            "name the column of the tags, of which there are few",
        )
    numbers = {name: number for number, name in enumerate(names)}
    found = np.zeros((len(rows), len(names)), np.uint8)
    for row, tags in enumerate(rows):
        found[row, [numbers[tag] for tag in tags]] = 1
    return found, tuple(names)
