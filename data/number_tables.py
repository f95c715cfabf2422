"""Tables of numbers (``csv:`` and ``parquet:``): columns of features, and one of targets.

Files are untrusted: a row is bounded, and what is no number is named with its line.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.extras import EXTRAS
from ..core.name_list import names_in
from ..core.sanitize import shorten
from ..core.unpacking import max_unpacked_size
from .files import SPLIT_NAMES
from .listing import quoted
from .rows import open_table, rows_of_cells
from .target_cells import FILL, Targets, is_number, number_of, read_targets

_NAME_FEATURES = "correct it, or name the columns that are numbers: --features a,b,c"


@dataclass(frozen=True)
class Columns:
    """The columns to read: `features` in the model's order (none: all of numbers), the `targets`' and the `group`'s.

    One of `targets` may be several names with commas between (`names_in`). `why` is what an error adds about a missing
    one.
    """

    features: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    group: str = ""
    why: str = ""

    @property
    def named(self) -> tuple[str, ...]:
        """All that are named."""
        return (*self.features, *self.targets, *([self.group] if self.group else []))

    def of(self, header: Sequence[str]) -> Columns:
        """Return the columns of a table with this header: a name with commas is several, unless a column has it."""
        apart = [(name,) if name in header else names_in(name) for name in self.targets]
        return replace(self, targets=tuple(name for names in apart for name in names))


@dataclass(frozen=True)
class NumberTable:
    """A table of numbers: `values` (N, F) float64, the `names` of its F columns, and the targets; None: not asked for.

    `group` is the group of each row, empty without groups. `chosen` (N,) says which rows are of the split that was
    asked for. `lines` are those of a CSV file, `splits` the split that each row says, empty without such a column.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    targets: Targets | None
    group: Sequence[Any]
    chosen: NDArray[np.bool_]
    lines: Sequence[int] = ()
    splits: Sequence[str] = ()

    def place(self, row: int) -> str:
        """Where a row stands in the file, in words."""
        return f"line {self.lines[row]}" if self.lines else f"row {row} (from 0)"


# A table, and the columns of its targets as they are stored.
_Read: TypeAlias = "tuple[NumberTable, dict[str, Any]]"


def read_numbers(
    path: Path,
    columns: Columns,
    *,
    encoding: str = "utf-8",
    split: str = "all",
    targets: bool = True,
    tags: bool = False,
    numbers: bool = False,
) -> NumberTable:
    """Read a CSV or Parquet file (by its name's ending).

    Without features all columns of numbers but the target, the group and ``split`` are taken; a CSV column is one of
    numbers if its first cell is. Where a column ``split`` has rows of `split`, those are chosen, else all. Without
    `targets` those columns are left out. A column of texts, of which one has a ``|``, holds tags; with `tags` any does,
    and with `numbers` one of texts is refused.

    Raises InputError when a column is missing, a cell is empty, no number, or not finite, naming its line;
    NotInstalledError where Parquet needs PyArrow.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}", "check the path: it must name a table")
    if path.suffix.lower() in (".parquet", ".pq"):
        table, held = _read_parquet(path, columns, split)
    else:
        with open_table(path, encoding) as (content, inner):
            table, held = _read_csv(path, rows_of_cells(content, inner, path, ","), columns, split)
    if not targets or not held:
        return table
    place = lambda row: f"{path}, {table.place(row)}"  # noqa: E731
    return replace(table, targets=read_targets(held, place, tags=tags, numbers=numbers))


def _read_csv(path: Path, rows: Iterator[tuple[int, list[str]]], columns: Columns, split: str) -> _Read:
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    columns = columns.of(header)
    _check_columns(path, header, columns)
    line, cells = next(rows, (0, []))
    if not cells:
        raise InputError(f"{path} has a header and no rows", "write one row a sample")
    split_column = _split_column(header, columns)
    others = (*columns.targets, columns.group, split_column)
    names = columns.features or tuple(
        name for name, cell in zip(header, cells, strict=True) if name not in others and is_number(cell)
    )
    _need_columns(path, names, header)
    at = [header.index(name) for name in names]
    aside = {name: header.index(name) for name in others if name}
    values, lines, texts = array("d"), array("q"), {name: list[str]() for name in aside}
    while cells:
        for index in at:
            where = partial(_where, path, line, header[index])
            values.append(number_of(cells[index], where, _NAME_FEATURES))
        for name, index in aside.items():
            texts[name].append(cells[index].strip())
        lines.append(line)
        line, cells = next(rows, (0, []))
    numbers = np.frombuffer(values, np.float64).reshape(-1, len(names))
    splits = _named_splits(path, texts.get(split_column, ()))
    chosen = _chosen(splits, split, len(lines))
    held = {name: texts[name] for name in columns.targets}
    return NumberTable(names, numbers, None, texts.get(columns.group, ()), chosen, lines, splits), held


def _where(path: Path, line: int, column: str) -> str:
    return f"{path}, line {line}, column {shorten(column, 80)!r}"


def _split_column(header: Sequence[str], columns: Columns) -> str:
    return next((name for name in header if name.strip().lower() == "split" and name not in columns.named), "")


def _named_splits(path: Path, cells: Sequence[Any]) -> list[str]:
    """Return the split of each row, as the table says it."""
    named = [str(one).strip().lower() for one in cells]
    if unknown := sorted(set(named) - {*SPLIT_NAMES, ""}):
        raise InputError(
            f"{path}: the column split has {shorten(unknown[0], 80)!r}",
            f"known: {', '.join(SPLIT_NAMES)}; or rename the column",
        )
    return named


def _chosen(named: Sequence[str], split: str, count: int) -> NDArray[np.bool_]:
    """Return which rows are of a split; all, if none is."""
    chosen = np.array([one == split for one in named], bool)
    return chosen if chosen.any() else np.ones(count, bool)


def _check_columns(path: Path, header: Sequence[str], columns: Columns) -> None:
    """Raise InputError unless the named columns are there, each once."""
    named, features = columns.named, columns.features
    if missing := [name for name in named if name not in header]:
        raise InputError(
            f"{path} has no column {' and no column '.join(map(repr, missing))}; it has {quoted(list(header))}"
            + columns.why,
            "name columns of its first line with --features a,b,c and --target NAME",
        )
    if twice := sorted({name for name in header if header.count(name) > 1 and (name in named or not features)}):
        raise InputError(f"{path} has two columns called {shorten(twice[0])!r}", "rename all but one")
    if both := [name for name in columns.targets if name in features]:
        raise InputError(f"{both[0]!r} is both a feature and the target", "leave it out of the features")
    if columns.group and columns.group in (*features, *columns.targets):
        raise InputError(f"{columns.group!r} is the group, and named as another column too", "name it once")
    for names, what in ((features, "features"), (columns.targets, "targets")):
        if len(set(names)) < len(names):
            raise InputError(f"a column is named twice among the {what}", "name each once")


def _need_columns(path: Path, names: Sequence[str], header: Sequence[str]) -> None:
    if not names:
        raise InputError(
            f"{path} has no column of numbers; it has {quoted(list(header))}",
            "expected a header and numbers with a decimal point: a,b,target",
        )


def _read_parquet(path: Path, columns: Columns, split: str) -> _Read:
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
        columns = columns.of(schema.names)
        _check_columns(path, schema.names, columns)
        split_column = _split_column(schema.names, columns)
        others = [name for name in (*columns.targets, columns.group, split_column) if name]
        names = columns.features or tuple(
            field.name for field in schema
            if field.name not in others and (types.is_integer(field.type) or types.is_floating(field.type))
        )  # fmt: skip
        _need_columns(path, names, schema.names)
        table = file.read(columns=[*names, *others])
        held = {name: _column(path, name, table.column(name)) for name in table.column_names}
    except (pyarrow.ArrowException, OSError, MemoryError, OverflowError) as error:
        raise InputError(
            f"{path} cannot be read: {shorten(str(error), 200)}", "expected a Parquet file of plain columns"
        ) from error
    if not table.num_rows:
        raise InputError(f"{path} has no rows", "write one row a sample")
    for name in names:
        if held[name].dtype.kind not in "biuf":
            raise InputError(f"{path}: the column {name!r} is no number", "leave it out of --features a,b,c")
    values = np.stack([held[name].astype(np.float64) for name in names], axis=1)
    group = held[columns.group].tolist() if columns.group else ()
    splits = _named_splits(path, held[split_column].tolist() if split_column else ())
    chosen = _chosen(splits, split, len(values))
    table = NumberTable(names, values, None, group, chosen, splits=splits)
    return table, {name: held[name] for name in columns.targets}


def _column(path: Path, name: str, column: Any) -> NDArray[Any]:
    """Return a column's values as numbers or texts. Raises InputError that names the first row without one."""
    if column.null_count:
        row = int(np.flatnonzero(np.array(column.is_null()))[0])
        raise InputError(f"{path}, row {row} (from 0), column {shorten(name, 80)!r}: empty", FILL)
    values = np.asarray(column.to_numpy())
    if values.dtype.kind == "O" and all(isinstance(one, str) for one in values):
        return values.astype(str)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"{path}, row {row} (from 0), column {shorten(name, 80)!r}: not finite", FILL)
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: the column {shorten(name, 80)!r} is {shorten(str(column.type), 80)}",
            "expected numbers, or the names of classes in the target",
        )
    return values
