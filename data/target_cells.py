"""The cells of a table's columns of targets: names of classes, tags, or numbers.

Tables are untrusted: what is no number, and a tag that is written wrongly, is named with its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sanitize import shorten
from .tags import are_tags, tags_of

FILL = "fill such cells as the app will, or leave those rows out"
_WRITE = "write a number in each row"
# Where a row stands, in words: "FILE, line 3".
Place: TypeAlias = Callable[[int], str]


class Targets(NamedTuple):
    """The target of each row.

    `values` (N,) are int64 where all are whole numbers, float32 where they are numbers, else texts; (N, k) for several
    columns of numbers, which have the `names`. Tags are (N, tags) uint8, 0 or 1, and `tags` is true.
    """

    values: NDArray[Any]
    names: tuple[str, ...] = ()
    tags: bool = False


def read_targets(held: Mapping[str, Any], place: Place, *, tags: bool = False, numbers: bool = False) -> Targets:
    """Return the targets in the columns `held`, which are texts of a row each, or arrays.

    A column of texts holds tags where `are_tags` finds them, or with `tags`; with `numbers` it must hold numbers.
    Raises InputError with the `place` of the row for a cell that is empty, no number among numbers, or not finite.
    """
    if len(held) > 1:
        several = [_numbers(column, cells, place) for column, cells in held.items()]
        return Targets(_whole(np.stack(several, axis=1)), tuple(held))
    ((column, cells),) = held.items()
    if isinstance(cells, np.ndarray) and cells.dtype.kind != "U":
        return Targets(_whole(cells.astype(np.float64)))
    texts = [str(cell) for cell in cells]
    if numbers:
        return Targets(_whole(_numbers(column, texts, place)))
    if tags or are_tags(texts):
        found, names = tags_of(texts, lambda row: _where(place, row, column))
        return Targets(found, names, tags=True)
    if empty := [row for row, cell in enumerate(texts) if not cell]:
        raise InputError(f"{_where(place, empty[0], column)}: no target", FILL)
    are_numbers = [is_number(cell) for cell in texts]
    if not any(are_numbers) or isinstance(cells, np.ndarray):
        return Targets(np.array(texts))
    if not all(are_numbers):
        odd = are_numbers.index(sum(are_numbers) * 2 < len(are_numbers))
        raise InputError(
            f"{_where(place, odd, column)}: {shorten(texts[odd], 80)!r} is "
            f"{'a number among names' if are_numbers[odd] else 'no number, and others are'}",
            "write numbers in each row, or the names of classes in each",
        )
    return Targets(_whole(_numbers(column, texts, place)))


def is_number(cell: str) -> bool:
    """Return whether a cell is a number, NaN and infinity included."""
    with suppress(ValueError):
        float(cell)
        return True
    return False


def number_of(cell: str, where: Callable[[], str], remedy: str = _WRITE) -> float:
    """Return the number in a cell. Raises InputError, which begins with `where`, for any other cell."""
    if not cell.strip():
        raise InputError(f"{where()}: empty, and a number is expected", FILL)
    try:
        number = float(cell)
    except ValueError:
        raise InputError(f"{where()}: {shorten(cell, 80)!r} is no number", remedy) from None
    if not math.isfinite(number):
        raise InputError(f"{where()}: {shorten(cell, 80)!r} is not finite", FILL)
    return number


def _where(place: Place, row: int, column: str) -> str:
    return f"{place(row)}, column {shorten(column, 80)!r}"


def _numbers(column: str, cells: Any, place: Place) -> NDArray[np.float64]:
    """Return a column of targets (N,)."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind != "U":
        return cells.astype(np.float64)
    return np.array([number_of(str(cell), partial(_where, place, row, column)) for row, cell in enumerate(cells)])


def _whole(values: NDArray[np.float64]) -> NDArray[Any]:
    """Return targets as int64 where all are whole numbers, else as float32."""
    whole = not (values % 1).any() and float(np.abs(values).max()) < 2**53
    return values.astype(np.int64 if whole else np.float32)
