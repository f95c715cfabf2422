"""Samples in objects of other libraries, as arrays: frames of columns (pandas, polars) and ``tf.data.Dataset``.

Neither library is imported: whoever has such an object has done so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sanitize import shorten

# What a data set may hold in memory.
MAX_BYTES = 16 << 30
INFINITE = -1  # tf.data.INFINITE_CARDINALITY
_FRAME = "leave the column out, or make numbers of it: frame[['a', 'b']].astype(float)"
_FILL = "fill such values as the app will, or leave those rows out"
_DATASET = "give a data set of x or (x, y): x an array or a dictionary of arrays by input, y the target"


class DatasetLike(Protocol):
    """What is used of a ``tf.data.Dataset``."""

    element_spec: Any

    def as_numpy_iterator(self) -> Iterator[Any]:
        """Yield the elements as arrays."""
        ...

    def cardinality(self) -> Any:
        """Return the number of elements, or a negative number."""
        ...


def is_dataset(value: Any) -> bool:
    """Return whether a value is a ``tf.data.Dataset``."""
    return hasattr(value, "as_numpy_iterator") and hasattr(value, "element_spec")


def is_frame(value: Any) -> bool:
    """Return whether a value is a frame of columns."""
    return hasattr(value, "columns") and hasattr(value, "to_numpy") and not isinstance(value, np.ndarray)


def column_names(value: Any) -> tuple[str, ...]:
    """Return the names of a frame's columns; none of anything else."""
    return tuple(map(str, value.columns)) if is_frame(value) else ()


def frame_values(frame: Any, name: str) -> NDArray[Any]:
    """Return the columns of a frame (rows, columns) of numbers; of one column of texts (rows,).

    Raises InputError that names a column that holds neither, and its first such row.
    """
    names = column_names(frame)
    if not names or not len(frame):
        raise InputError(
            f"{name} is a frame of {len(names)} columns and {len(frame)} rows", "give at least one of each"
        )
    if len(set(names)) < len(names):
        raise InputError(f"{name} has two columns of one name", "rename all but one")
    columns = [np.asarray(frame[key]) for key in frame.columns]
    if len(columns) == 1 and columns[0].dtype.kind in "OUT" and all(isinstance(one, str) for one in columns[0]):
        return columns[0].astype(str)
    numbers = [
        _numbers(column, f"{name}, column {shorten(key, 80)!r}") for key, column in zip(names, columns, strict=True)
    ]
    return np.stack(numbers, axis=1)


def _numbers(column: NDArray[Any], where: str) -> NDArray[Any]:
    if column.dtype.kind not in "biufO":  # dates
        raise InputError(f"{where} holds {column.dtype}", _FRAME)
    if column.dtype.kind == "O":  # columns that may lack values are objects
        for row, one in enumerate(column.tolist()):
            if isinstance(one, str) or not isinstance(one, int | float | np.number):
                raise InputError(f"{where}, row {row} (from 0): {shorten(str(one), 80)!r} is no number", _FRAME)
        column = column.astype(np.float64)
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        row = int(np.flatnonzero(~np.isfinite(column))[0])
        raise InputError(f"{where}, row {row} (from 0): {column[row]} is no number", _FILL)
    return column


def dataset_values(data: DatasetLike) -> tuple[Any, ...]:
    """Return what a data set of x, or of (x, y), holds: (x,) or (x, y), with x a dictionary where there are several.

    Elements are batches where their first dimension is open (``Dataset.batch``), else samples. Raises InputError for
    other elements, and for a data set that does not end or fit into memory.
    """
    if int(data.cardinality()) == INFINITE:
        raise InputError("the data set has no end", "take a part of it: dataset.take(1000)")
    spec = data.element_spec
    parts = list(spec) if isinstance(spec, tuple) else [spec]
    if len(parts) not in (1, 2):
        raise InputError(f"the elements of the data set have {len(parts)} parts", _DATASET)
    batched = _is_batched(parts[0])
    taken: list[dict[str, list[NDArray[Any]]]] = [{} for _ in parts]
    held = 0
    try:
        for element in data.as_numpy_iterator():
            values = element if isinstance(spec, tuple) else (element,)
            for into, part in zip(taken, values, strict=True):
                for name, value in part.items() if isinstance(part, Mapping) else [("", part)]:
                    array = _plain(np.asarray(value))
                    held += array.nbytes
                    into.setdefault(str(name), []).append(array)
            if held > MAX_BYTES:
                raise InputError(f"the data set holds more than {MAX_BYTES >> 30} GiB", "take a part of it")
    except InputError:
        raise
    except Exception as error:  # what the user's own functions raise
        raise InputError(f"the data set fails: {type(error).__name__}: {shorten(str(error), 200)}", _DATASET) from error
    if not all(taken):
        raise InputError("the data set holds no sample", "give at least one")
    joined = [{name: _joined(arrays, name, batched=batched) for name, arrays in part.items()} for part in taken]
    if len(joined) == 2 and list(joined[1]) != [""]:
        raise InputError("the targets of the data set are a dictionary", _DATASET)
    x = joined[0][""] if list(joined[0]) == [""] else joined[0]
    return (x,) if len(joined) == 1 else (x, joined[1][""])


def _is_batched(spec: Any) -> bool:
    first = next(iter(spec.values())) if isinstance(spec, Mapping) else spec
    shape = getattr(first, "shape", None)
    if shape is None or shape.rank is None:
        raise InputError("the elements of the data set have no known shape", _DATASET)
    return bool(shape.rank) and shape[0] is None


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array; of strings, which are bytes there, as texts."""
    if array.dtype.kind not in "OS":
        return array
    try:
        texts = [one.decode() if isinstance(one, bytes) else str(one) for one in array.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InputError("the data set has strings that are not UTF-8", "give texts in UTF-8") from error
    return np.array(texts).reshape(array.shape)


def _joined(arrays: list[NDArray[Any]], name: str, *, batched: bool) -> NDArray[Any]:
    try:
        return np.concatenate(arrays) if batched else np.stack(arrays)
    except ValueError as error:
        shapes = sorted({array.shape for array in arrays})[:3]
        raise InputError(
            f"the elements of the data set{f' for {name!r}' if name else ''} have different shapes: "
            f"{', '.join(map(str, shapes))}",
            "bring all to one shape: dataset.map(…)",
        ) from error
