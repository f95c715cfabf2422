"""Windows of a time series that stands in a table, one row a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sanitize import shorten
from .number_tables import NumberTable

# Of windows of one series, clip or group.
NOT_INDEPENDENT = (
    "windows that overlap, and samples of one clip or group, are alike, and intervals of the metric take each for a "
    "sample of its own: they are too narrow"
)


def window_rows(path: Path, table: NumberTable, window: int, stride: int) -> NDArray[np.int64]:
    """Return the rows of each window (W, window) of a table, in the file's order within each series.

    A series is the chosen rows of one group; rows of another split between them end it, so that no window has a gap.
    Raises InputError when a series is shorter than a window.
    """
    found: list[NDArray[np.int64]] = []
    for series in _series(table):
        if len(series) < window:
            called = f" of the group {shorten(str(table.group[series[0]]), 80)!r}" if table.group else ""
            raise InputError(
                f"{path}, {table.place(series[0])}: the series{called} that begins here has {len(series)} rows, and a "
                f"window takes {window}",
                "leave short series out of the table, or give a model with a shorter window",
            )
        starts = np.arange(0, len(series) - window + 1, stride)
        found.append(np.array(series)[starts[:, None] + np.arange(window)])
    return np.concatenate(found)


def mixed_windows(target: NDArray[Any], rows: NDArray[np.int64]) -> int:
    """Return how many windows have rows of different targets."""
    each = target[rows]
    return int((each != each[:, -1:]).reshape(len(rows), -1).any(axis=1).sum())


def _series(table: NumberTable) -> list[list[int]]:
    """Return the chosen rows of each series."""
    found: list[list[int]] = []
    running: dict[Any, list[int]] = {}
    groups: Sequence[Any] = table.group or [""] * len(table.values)
    for row, (group, chosen) in enumerate(zip(groups, table.chosen.tolist(), strict=True)):
        if not chosen:
            running.pop(group, None)
        elif group in running:
            running[group].append(row)
        else:
            running[group] = [row]
            found.append(running[group])
    return found
