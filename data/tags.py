"""Samples of several tags each, in one cell: ``cat|dog``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import SPLITS
from ..core.errors import InputError
from ..core.sanitize import shorten
from .listing import TEST, TRAIN, Remark, quoted
from .rows import BAR

SEPARATOR = BAR
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


def tags_by_split(labels: Sequence[str], held: NDArray[Any]) -> dict[str, dict[str, int]]:
    """Return by tag how many samples of each split have it; `held` (splits, tags) are those numbers."""
    return {
        label: dict(zip(SPLITS, counts, strict=True)) for label, counts in zip(labels, held.T.tolist(), strict=True)
    }


def missing_tags(labels: Sequence[str], held: NDArray[Any], source: str, noun: str) -> list[Remark]:
    """Return warnings of tags that no test sample has, or no training sample; `held` as in `tags_by_split`.

    Raises InputError where no sample of one of the two has any tag. `noun` is what samples are called.
    """
    remarks = []
    for code, consequence in ((TEST, "mAP is that of the other tags"), (TRAIN, "it cannot be learned")):
        missing = [label for label, count in zip(labels, held[code].tolist(), strict=True) if not count]
        what = "training" if code == TRAIN else "test"
        if len(missing) == len(labels):
            raise InputError(
                f"{source}: no {what} {noun} has any tag", f"give more {noun}s, or a {what} split with tags"
            )
        if missing:
            remarks.append(
                Remark(f"no {what} {noun} has {quoted(missing)}: {consequence}", f"give more {noun}s with these tags")
            )
    return remarks
