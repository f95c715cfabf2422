"""Reads the rows of a table one by one, with their positions in the file.

Tables are untrusted: an unclosed quotation mark does not fill the memory, and a cell may have any length. A wrong row
is returned, not raised, so that several can be named at once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from ..core.errors import InputError
from ..core.inputs import open_input
from ..core.sample_files import UnreadableError
from ..core.sanitize import shorten
from .decode_text import check_encoding, check_mark, to_text
from .listing import count, quoted

# A longer row is taken for an unclosed quotation mark.
MAX_ROW_BYTES = 64 << 20
# Limit for files in encodings that are converted in memory.
MAX_TRANSCODED_BYTES = 512 << 20
# The csv module of Python 3.10 refuses NUL. While rows are parsed, a code point that no decoder produces replaces it.
_NUL, _NUL_SUBSTITUTE = "\0", "\udc00"
# Between the tags of one cell.
BAR = "|"


class Row(NamedTuple):
    """A row's position (line, first byte, byte after the last) and cells. Undecodable bytes are surrogates.

    `split` is in lower case, and empty without a split.
    """

    line: int
    start: int
    end: int
    text: str
    label: str
    split: str


class WrongRow(NamedTuple):
    """A row that cannot be read, and why."""

    line: int
    why: str


class Columns(NamedTuple):
    """Names of the columns of text (or image path) and label. The label ``""`` means that there is no such column."""

    text: str
    label: str


class Rows(Protocol):
    """The rows of an open file, after its header."""

    def __iter__(self) -> Iterator[Row | WrongRow]: ...

    def text(self, row: str) -> str:
        """Return the text in a row that was valid before. Raises UnreadableError when it has become invalid."""
        ...


@contextmanager
def open_table(path: Path, encoding: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open a file whose lines end in ASCII bytes; yields it and its encoding.

    That is the file itself or, for UTF-16 and similar encodings, its content in UTF-8. Raises InputError.
    """
    check_encoding(encoding)
    try:
        with open_input(path) as stream:
            content = _as_ascii_lines(stream, path, encoding)
            yield content, (encoding if content is stream else "utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "fix its permissions") from error


def _as_ascii_lines(stream: BinaryIO, path: Path, encoding: str) -> BinaryIO:
    try:
        check_mark(stream.read(4), encoding)
        stream.seek(0)
        if "\r\n".encode(encoding) == b"\r\n":
            return stream
        if path.stat().st_size > MAX_TRANSCODED_BYTES:
            raise UnreadableError(f"larger than {MAX_TRANSCODED_BYTES >> 20} MiB and in {encoding}")
        return io.BytesIO(to_text(stream.read(), encoding).encode())
    except (UnreadableError, UnicodeEncodeError) as error:
        raise InputError(f"{path}: {error}", "save it as utf-8, or set data.encoding to its encoding") from error


def split_columns(path: Path, encoding: str, delimiter: str = ",") -> list[str]:
    """Return the cells of a table's header. Raises InputError, or csv.Error when it is malformed."""
    if not path.is_file():
        raise InputError(f"there is no file {path}", "check the path: it must name a table")
    with open_table(path, encoding) as (content, inner):
        return _next_row(_reader(_Lines(content, inner), delimiter)) or []


def rows_of_cells(content: BinaryIO, encoding: str, path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the cells of each row that is not blank, the header first.

    Raises InputError for a row that cannot be read, or has not as many cells as the header.
    """
    lines = _Lines(content, encoding)
    cells, width = _reader(lines, delimiter), 0
    while True:
        _, line = lines.begin_row()
        try:
            row = _next_row(cells)
        except csv.Error as error:
            raise InputError(f"{path}, line {line}: {error}", "check its quotation marks") from error
        if row is None:
            return
        if not row:
            continue
        width = width or len(row)
        if len(row) != width:
            raise InputError(
                f"{path}, line {line}: {count(len(row), 'cell')}, and the header has {width}",
                "a value with a comma needs quotation marks",
            )
        yield line, row


class DelimitedRows:
    """Rows of cells, separated by commas (with quotation marks) or by tabs (a quotation mark is then ordinary)."""

    def __init__(self, content: BinaryIO, encoding: str, path: Path, columns: Columns, delimiter: str) -> None:
        self._delimiter, self._path = delimiter, path
        self._lines = _Lines(content, encoding)
        self._cells = _reader(self._lines, delimiter)
        try:
            header = _next_row(self._cells) or []
        except csv.Error as error:
            raise InputError(f"{path}, line 1: {error}", "fix the header") from error
        self._width = len(header)
        indices = self._column_indices(header, [name for name in columns if name])
        self._text, self._label = indices[0], indices[1] if columns.label else None
        lower = [cell.strip().lower() for cell in header]
        self._split = lower.index("split") if "split" in lower else None

    def _column_indices(self, header: list[str], columns: list[str]) -> list[int]:
        """Return the indices of the columns: those with the exact name, or else those that differ in case only."""
        folded = [cell.strip().casefold() for cell in header]
        matches = []
        for name in columns:
            exact = [index for index, cell in enumerate(header) if cell == name]
            matches.append(exact or [index for index, cell in enumerate(folded) if cell == name.strip().casefold()])
        missing = [name for name, indices in zip(columns, matches, strict=True) if not indices]
        if missing:
            separated = "commas" if self._delimiter == "," else "tabs"
            raise InputError(
                f"{self._path}: the header lacks {' and '.join(map(repr, missing))}; found {quoted(header)}",
                f"the first line must name the columns, separated by {separated}. Images need the columns path and "
                "label, texts the ones that data.text_column and data.label_column name",
            )
        for name, indices in zip(columns, matches, strict=True):
            if len(indices) > 1:
                raise InputError(f"{self._path}: {len(indices)} columns are called {name!r}", "rename all but one")
        return [indices[0] for indices in matches]

    def __iter__(self) -> Iterator[Row | WrongRow]:
        while True:
            start, line = self._lines.begin_row()
            try:
                cells = _next_row(self._cells)
            except csv.Error as error:
                hint = ": an unclosed quotation mark, or one that is not doubled within a cell?"
                yield WrongRow(line, f"{error}{hint if self._delimiter == ',' else ''}")
                return
            if cells is None:
                return
            if not cells:
                continue
            if len(cells) != self._width:
                yield WrongRow(line, f"{count(len(cells), 'cell')}, and the header has {self._width}")
                continue
            split = cells[self._split].strip().lower() if self._split is not None else ""
            label = cells[self._label] if self._label is not None else ""
            yield Row(line, start, self._lines.position, cells[self._text], label, split)

    def text(self, row: str) -> str:
        """Return the text cell of one row."""
        cells = _next_row(_reader(io.StringIO(row.replace(_NUL, _NUL_SUBSTITUTE), newline=""), self._delimiter)) or []
        if len(cells) != self._width:
            raise UnreadableError("the file changed while it was read")
        return cells[self._text]


class JsonRows:
    """JSON Lines: one object per line, with the columns as keys.

    Where labels are `tagged`, they may also be numbers with a fraction, null, and lists of tags.
    """

    def __init__(self, content: BinaryIO, encoding: str, columns: Columns, *, tagged: bool = False) -> None:
        self._content, self._encoding, self._columns, self._tagged = content, encoding, columns, tagged

    def __iter__(self) -> Iterator[Row | WrongRow]:
        number = end = 0
        while block := self._content.readline(MAX_ROW_BYTES + 1):
            number, start, end = number + 1, end, end + len(block)
            if len(block) > MAX_ROW_BYTES:
                yield WrongRow(number, f"longer than {MAX_ROW_BYTES >> 20} MiB")
                return
            line = block.decode(self._encoding, "surrogateescape")
            if number == 1:
                line = line.removeprefix("\ufeff")
            if not line.strip():
                continue
            try:
                cells = self._cells(line)
            except UnreadableError as error:
                yield WrongRow(number, str(error))
            else:
                yield Row(number, start, end, *cells)

    def text(self, row: str) -> str:
        """Return the text in one line."""
        return self._cells(row)[0]

    def _cells(self, line: str) -> tuple[str, str, str]:
        """Return text, label and split. Raises UnreadableError."""
        try:
            entry: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise UnreadableError(f"not JSON: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"not JSON that can be read: {type(error).__name__}") from error
        if not isinstance(entry, dict):
            raise UnreadableError(f"{_json_type(entry)}, not an object with keys")
        missing = [name for name in self._columns if name and name not in entry]
        if missing:
            raise UnreadableError(f"no key {' and no key '.join(map(repr, missing))}; found {quoted(list(entry))}")
        text, label = entry[self._columns.text], entry[self._columns.label] if self._columns.label else ""
        if not isinstance(text, str):
            raise UnreadableError(f"{shorten(self._columns.text)!r} is {_json_type(text)}, not a string")
        if self._tagged:
            label = _as_cell(label)
        if isinstance(label, bool):
            label = "true" if label else "false"
        if not isinstance(label, str | int):
            raise UnreadableError(
                f"{shorten(self._columns.label)!r} is {_json_type(label)}, not a string, a whole number, true or false"
            )
        split = entry.get("split")
        if split is not None and not isinstance(split, str):
            raise UnreadableError(f"'split' is {_json_type(split)}, not a string")
        return text, str(label), (split or "").strip().lower()


def _as_cell(value: Any) -> Any:
    """Return a number, null or a list of tags as the cell of a table has it; other values as they are."""
    if value is None or isinstance(value, float):
        return "" if value is None else repr(value)
    if isinstance(value, list) and all(isinstance(tag, str) and BAR not in tag for tag in value):
        return BAR.join(value)
    return value


class _TooLongError(csv.Error):
    """A row longer than MAX_ROW_BYTES."""


class _Lines:
    """The lines of a file as text, for csv.reader; counts the lines and bytes that were read."""

    def __init__(self, content: BinaryIO, encoding: str) -> None:
        self._content, self._encoding = content, encoding
        self.position = self._number = self._start = 0

    def begin_row(self) -> tuple[int, int]:
        """Return the first byte and line of the next row."""
        self._start = self.position
        return self._start, self._number + 1

    def __iter__(self) -> Iterator[str]:
        while block := self._content.readline(MAX_ROW_BYTES + 1):
            for line in block.splitlines(keepends=True):  # at \n, \r and \r\n
                self.position += len(line)
                self._number += 1
                if self.position - self._start > MAX_ROW_BYTES:
                    raise _TooLongError(f"longer than {MAX_ROW_BYTES >> 20} MiB")
                text = line.decode(self._encoding, "surrogateescape").replace(_NUL, _NUL_SUBSTITUTE)
                yield text.removeprefix("\ufeff") if self._number == 1 else text


def _reader(lines: Any, delimiter: str) -> Any:
    if delimiter == "\t":
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _next_row(reader: Any) -> list[str] | None:
    """Return the cells of the next row, or None at the end. The csv module's limit on cells is lifted meanwhile."""
    previous = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        cells: list[str] | None = next(reader, None)
    finally:
        csv.field_size_limit(previous)
    return cells if cells is None else [cell.replace(_NUL_SUBSTITUTE, _NUL) for cell in cells]


def _json_type(value: Any) -> str:
    """Return the name of a JSON value's type, for a message."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
