"""Rows of tables, one at a time, with the place in the file where each stands.

Tables come from outside: a quotation mark that nobody closes does not fill the memory, a cell may be of any length,
and what is wrong with a row is said, not raised, so that several wrong rows can be named at once.
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
from ..core.sanitize import shorten
from .decode_text import check_mark, to_text
from .listing import UnreadableError, count, quoted

# A row beyond this is taken for a quotation mark that nobody closed.
MOST_ROW_BYTES = 64 << 20
# Files in encodings that are read whole.
MOST_WHOLE_BYTES = 512 << 20
# Python 3.10's csv refuses NUL; while rows are parsed, a code point that no decoder gives stands for it.
_NUL, _FOR_NUL = "\0", "\udc00"


class Row(NamedTuple):
    """Where a row stands (line, first byte, byte after the last), and its cells. Undecodable bytes are surrogates.

    `split` is in lower case, empty where there is none.
    """

    line: int
    start: int
    end: int
    text: str
    label: str
    split: str


class WrongRow(NamedTuple):
    """A row that is none, and why."""

    line: int
    why: str


class Columns(NamedTuple):
    """Names of the columns of text (or an image's path) and label; a label called ``""`` is not looked for."""

    text: str
    label: str


class Rows(Protocol):
    """The rows of an open file, after its header."""

    def __iter__(self) -> Iterator[Row | WrongRow]: ...

    def text(self, row: str) -> str:
        """Return the text in a row that was good before. Raises UnreadableError when it is not any more."""
        ...


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[tuple[BinaryIO, str]]:
    """Give a file whose lines end in the bytes of ASCII, and the encoding that it is in.

    That is the file itself; or, for UTF-16 and the like, its content in UTF-8. Raises InputError.
    """
    try:
        with open_input(path) as stream:
            ready = _ready(stream, path, encoding)
            yield ready, (encoding if ready is stream else "utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "mend its permissions") from error


def _ready(stream: BinaryIO, path: Path, encoding: str) -> BinaryIO:
    try:
        check_mark(stream.read(4), encoding)
        stream.seek(0)
        if "\r\n".encode(encoding) == b"\r\n":
            return stream
        if path.stat().st_size > MOST_WHOLE_BYTES:
            raise UnreadableError(f"larger than {MOST_WHOLE_BYTES >> 20} MiB and in {encoding}")
        return io.BytesIO(to_text(stream.read(), encoding).encode())
    except (UnreadableError, UnicodeEncodeError) as error:
        raise InputError(f"{path}: {error}", "save it as utf-8, or set data.encoding to what it is in") from error


def split_columns(path: Path, encoding: str, delimiter: str = ",") -> list[str]:
    """Return the cells of a table's header. Raises InputError, or csv.Error when it cannot be one."""
    if not path.is_file():
        raise InputError(f"there is no file {path}", "check the path: a table is wanted there")
    with opened(path, encoding) as (content, inner):
        return _next(_reader(_Lines(content, inner), delimiter)) or []


class DelimitedRows:
    """Rows of cells: with commas and quotation marks, or with tabs (and then a quotation mark is a letter)."""

    def __init__(self, content: BinaryIO, encoding: str, path: Path, columns: Columns, delimiter: str) -> None:
        self._delimiter, self._path = delimiter, path
        self._lines = _Lines(content, encoding)
        self._cells = _reader(self._lines, delimiter)
        try:
            header = _next(self._cells) or []
        except csv.Error as error:
            raise InputError(f"{path}, line 1: {error}", "mend the header") from error
        self._width = len(header)
        places = self._find(header, [name for name in columns if name])
        self._text, self._label = places[0], places[1] if columns.label else None
        lower = [cell.strip().lower() for cell in header]
        self._split = lower.index("split") if "split" in lower else None

    def _find(self, header: list[str], columns: list[str]) -> list[int]:
        """Return the places of the columns: those of that name, or else those that differ in case only."""
        loose = [cell.strip().casefold() for cell in header]
        places = []
        for name in columns:
            same = [place for place, cell in enumerate(header) if cell == name]
            places.append(same or [place for place, cell in enumerate(loose) if cell == name.strip().casefold()])
        missing = [name for name, found in zip(columns, places, strict=True) if not found]
        if missing:
            separated = "commas" if self._delimiter == "," else "tabs"
            raise InputError(
                f"{self._path}: the header lacks {' and '.join(map(repr, missing))}; found {quoted(header)}",
                f"the first line must name the columns, separated by {separated}. Images need the columns path and "
                "label, texts the ones that data.text_column and data.label_column name",
            )
        for name, found in zip(columns, places, strict=True):
            if len(found) > 1:
                raise InputError(f"{self._path}: {len(found)} columns are called {name!r}", "rename all but one")
        return [found[0] for found in places]

    def __iter__(self) -> Iterator[Row | WrongRow]:
        while True:
            start, line = self._lines.begin_row()
            try:
                cells = _next(self._cells)
            except csv.Error as error:
                hint = ": a quotation mark that is not closed, or not doubled within a cell?"
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
        cells = _next(_reader(io.StringIO(row.replace(_NUL, _FOR_NUL), newline=""), self._delimiter)) or []
        if len(cells) != self._width:
            raise UnreadableError("the file changed while it was read")
        return cells[self._text]


class JsonRows:
    """JSON Lines: one object a line, with the columns as keys."""

    def __init__(self, content: BinaryIO, encoding: str, columns: Columns) -> None:
        self._content, self._encoding, self._columns = content, encoding, columns

    def __iter__(self) -> Iterator[Row | WrongRow]:
        number = end = 0
        while block := self._content.readline(MOST_ROW_BYTES + 1):
            number, start, end = number + 1, end, end + len(block)
            if len(block) > MOST_ROW_BYTES:
                yield WrongRow(number, f"longer than {MOST_ROW_BYTES >> 20} MiB")
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
            found: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise UnreadableError(f"not JSON: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:
            raise UnreadableError(f"not JSON that can be read: {type(error).__name__}") from error
        if not isinstance(found, dict):
            raise UnreadableError(f"{_named(found)}, not an object with keys")
        missing = [name for name in self._columns if name and name not in found]
        if missing:
            raise UnreadableError(f"no key {' and no key '.join(map(repr, missing))}; found {quoted(list(found))}")
        text, label = found[self._columns.text], found[self._columns.label] if self._columns.label else ""
        if not isinstance(text, str):
            raise UnreadableError(f"{shorten(self._columns.text)!r} is {_named(text)}, not a string")
        if isinstance(label, bool):
            label = "true" if label else "false"
        if not isinstance(label, str | int):
            raise UnreadableError(
                f"{shorten(self._columns.label)!r} is {_named(label)}, not a string, a whole number, true or false"
            )
        split = found.get("split")
        if split is not None and not isinstance(split, str):
            raise UnreadableError(f"'split' is {_named(split)}, not a string")
        return text, str(label), (split or "").strip().lower()


class _TooLongError(csv.Error):
    """A row that is longer than a row can be."""


class _Lines:
    """The lines of a file as text for csv.reader, which takes them as it needs them; knows what was given."""

    def __init__(self, content: BinaryIO, encoding: str) -> None:
        self._content, self._encoding = content, encoding
        self.position = self._number = self._start = 0

    def begin_row(self) -> tuple[int, int]:
        """Return where the next row begins: byte and line."""
        self._start = self.position
        return self._start, self._number + 1

    def __iter__(self) -> Iterator[str]:
        while block := self._content.readline(MOST_ROW_BYTES + 1):
            for line in block.splitlines(keepends=True):  # at \n, \r and \r\n
                self.position += len(line)
                self._number += 1
                if self.position - self._start > MOST_ROW_BYTES:
                    raise _TooLongError(f"longer than {MOST_ROW_BYTES >> 20} MiB")
                text = line.decode(self._encoding, "surrogateescape").replace(_NUL, _FOR_NUL)
                yield text.removeprefix("\ufeff") if self._number == 1 else text


def _reader(lines: Any, delimiter: str) -> Any:
    if delimiter == "\t":
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _next(reader: Any) -> list[str] | None:
    """Return the next row's cells, of any length; None at the end. The limit on cells is a setting of the process."""
    before = csv.field_size_limit(MOST_ROW_BYTES)
    try:
        cells: list[str] | None = next(reader, None)
    finally:
        csv.field_size_limit(before)
    return cells if cells is None else [cell.replace(_FOR_NUL, _NUL) for cell in cells]


def _named(value: Any) -> str:
    """Return what a JSON value is called."""
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
