"""Tables of numbers (``csv:`` and ``parquet:``): columns of features, and one of targets.

Files are untrusted: a row is bounded, and what is no number is named with its line.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.extras import EXTRAS
from ..core.sanitize import shorten
from ..core.unpacking import max_unpacked_size
from .decode_text import check_encoding
from .listing import quoted
from .rows import open_table, rows_of_cells

_FILL = "fill such cells as the app will, or leave those rows out"


@dataclass(frozen=True)
class NumberTable:
    """A table of numbers: `values` (N, F) float64, the `names` of its F columns, and the target of each row.

    `target` (N,) is int64 where all are whole numbers, float64 where they are numbers, else texts; None: not asked for.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    target: NDArray[Any] | None


def read_numbers(path: Path, features: Sequence[str], target: str, *, encoding: str = "utf-8") -> NumberTable:
    """Read a CSV or Parquet file (by its name's ending).

    `features` are the columns in the order in which the model takes them; without any all columns of numbers but the
    target. A CSV column is one of numbers if its first cell is. Raises InputError when a column is missing, a cell is
    empty, no number, or not finite, naming its line; NotInstalledError where Parquet needs PyArrow.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}", "check the path: it must name a table")
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path, features, target)
    check_encoding(encoding)
    with open_table(path, encoding) as (content, inner):
        return _read_csv(path, rows_of_cells(content, inner, path, ","), features, target)


def _read_csv(path: Path, rows: Iterator[tuple[int, list[str]]], features: Sequence[str], target: str) -> NumberTable:
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    _check_columns(path, header, features, target)
    line, first = next(rows, (0, []))
    if not first:
        raise InputError(f"{path} has a header and no rows", "write one row a sample")
    names = tuple(features) or tuple(n for n, c in zip(header, first, strict=True) if n != target and _is_number(c))
    _need_columns(path, names, header)
    at = [header.index(name) for name in names]
    values, answers, lines = array("d"), [], []
    while first:
        for index in at:
            values.append(_number(path, line, header[index], first[index]))
        if target:
            answers.append(first[header.index(target)].strip())
            lines.append(line)
        line, first = next(rows, (0, []))
    numbers = np.frombuffer(values, np.float64).reshape(-1, len(names))
    return NumberTable(names, numbers, _targets(path, target, answers, lines) if target else None)


def _check_columns(path: Path, header: Sequence[str], features: Sequence[str], target: str) -> None:
    """Raise InputError unless the named columns are there, each once."""
    named = [*features, *([target] if target else [])]
    if missing := [name for name in named if name not in header]:
        raise InputError(
            f"{path} has no column {' and no column '.join(map(repr, missing))}; it has {quoted(list(header))}",
            "name columns of its first line with --features a,b,c and --target NAME",
        )
    if twice := sorted({name for name in header if header.count(name) > 1 and (name in named or not features)}):
        raise InputError(f"{path} has two columns called {shorten(twice[0])!r}", "rename all but one")
    if target and target in features:
        raise InputError(f"{target!r} is both a feature and the target", "leave it out of the features")
    if len(set(features)) < len(features):
        raise InputError("a column is named twice among the features", "name each once")


def _need_columns(path: Path, names: Sequence[str], header: Sequence[str]) -> None:
    if not names:
        raise InputError(
            f"{path} has no column of numbers; it has {quoted(list(header))}",
            "expected a header and numbers with a decimal point: a,b,target",
        )


def _is_number(cell: str) -> bool:
    with suppress(ValueError):
        float(cell)
        return True
    return False


def _number(path: Path, line: int, column: str, cell: str) -> float:
    where = f"{path}, line {line}, column {shorten(column, 80)!r}"
    if not cell.strip():
        raise InputError(f"{where}: empty, and a number is expected", _FILL)
    try:
        number = float(cell)
    except ValueError:
        raise InputError(
            f"{where}: {shorten(cell, 80)!r} is no number",
            "correct it, or name the columns that are numbers: --features a,b,c",
        ) from None
    if not math.isfinite(number):
        raise InputError(f"{where}: {shorten(cell, 80)!r} is not finite", _FILL)
    return number


def _targets(path: Path, column: str, cells: list[str], lines: Sequence[int]) -> NDArray[Any]:
    """Return the targets as numbers if all are, else as texts; numbers and names together are a mistake in a row."""
    if empty := [line for cell, line in zip(cells, lines, strict=True) if not cell]:
        raise InputError(f"{path}, line {empty[0]}, column {shorten(column, 80)!r}: no target", _FILL)
    numbers = [_is_number(cell) for cell in cells]
    if not any(numbers):
        return np.array(cells)
    if not all(numbers):
        odd = numbers.index(sum(numbers) * 2 < len(numbers))
        raise InputError(
            f"{path}, line {lines[odd]}, column {shorten(column, 80)!r}: {shorten(cells[odd], 80)!r} is "
            f"{'a number among names' if numbers[odd] else 'no number, and others are'}",
            "write numbers in each row, or the names of classes in each",
        )
    values = np.array([_number(path, line, column, cell) for cell, line in zip(cells, lines, strict=True)])
    return _whole(values)


def _whole(values: NDArray[np.float64]) -> NDArray[Any]:
    whole = not (values % 1).any() and float(np.abs(values).max()) < 2**53
    return values.astype(np.int64) if whole else values


def _read_parquet(path: Path, features: Sequence[str], target: str) -> NumberTable:
    EXTRAS["parquet"].require("reading Parquet files needs")
    try:
        import pyarrow
        from pyarrow import parquet, types
    except ImportError as error:  # it is there, and does not fit another package
        raise InputError(f"PyArrow cannot be imported: {shorten(str(error), 200)}", EXTRAS["parquet"].remedy) from error
    try:
        file = parquet.ParquetFile(path)
        declared = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
        if declared > max_unpacked_size(path.stat().st_size):
            raise InputError(f"{path} would unpack to {declared:,} bytes", "do not use this file")
        schema = file.schema_arrow
        _check_columns(path, schema.names, features, target)
        names = tuple(features) or tuple(
            field.name for field in schema
            if field.name != target and (types.is_integer(field.type) or types.is_floating(field.type))
        )  # fmt: skip
        _need_columns(path, names, schema.names)
        table = file.read(columns=[*names, *([target] if target else [])])
        columns = {name: _column(path, name, table.column(name)) for name in table.column_names}
    except (pyarrow.ArrowException, OSError, MemoryError, OverflowError) as error:
        raise InputError(
            f"{path} cannot be read: {shorten(str(error), 200)}", "expected a Parquet file of plain columns"
        ) from error
    if not table.num_rows:
        raise InputError(f"{path} has no rows", "write one row a sample")
    for name in names:
        if columns[name].dtype.kind not in "biuf":
            raise InputError(f"{path}: the column {name!r} is no number", "leave it out of --features a,b,c")
    values = np.stack([columns[name].astype(np.float64) for name in names], axis=1)
    return NumberTable(names, values, columns[target] if target else None)


def _column(path: Path, name: str, column: Any) -> NDArray[Any]:
    """Return a column's values as numbers or texts. Raises InputError that names the first row without one."""
    if column.null_count:
        row = int(np.flatnonzero(np.array(column.is_null()))[0])
        raise InputError(f"{path}, row {row} (from 0), column {shorten(name, 80)!r}: empty", _FILL)
    values = np.asarray(column.to_numpy())
    if values.dtype.kind == "O" and all(isinstance(one, str) for one in values):
        return values.astype(str)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"{path}, row {row} (from 0), column {shorten(name, 80)!r}: not finite", _FILL)
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: the column {shorten(name, 80)!r} is {shorten(str(column.type), 80)}",
            "expected numbers, or the names of classes in the target",
        )
    return values
