"""Tables with a sample and a label a row, and perhaps a split: of images (``csv:``), of texts (``csv:`` and others).

They come from outside: a path that leads out of its base folder is refused, and rows that are wrong are named.
"""

from __future__ import annotations

import csv
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ..core.codec import sha256_file
from ..core.errors import InputError
from ..core.inputs import check_plain
from ..core.sanitize import shorten
from .decode_text import to_text
from .files import SPLIT_NAMES, listing_of_files, stat_identity
from .listing import (
    TRAIN,
    UNASSIGNED,
    Indices,
    Listing,
    Look,
    Payload,
    Refusal,
    Remark,
    SampleFile,
    SampleKind,
    UnreadableError,
    count,
    existing_folder,
)
from .rows import Columns, DelimitedRows, JsonRows, Row, Rows, WrongRow, opened, split_columns

Format = Literal["csv", "tsv", "jsonl"]
# Formats by the endings of files.
FORMATS: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
IMAGE_COLUMNS = Columns("path", "label")
MOST_LABEL = 1000
# Wrong rows that are named, and wrong rows after which the rest is not looked at.
NAMED = 5
ENOUGH_WRONG = 1000
# From so many labels of one row on, and when these are most of the rows, the column is taken for the wrong one.
MANY_SINGLE = 20


@dataclass(frozen=True)
class ImageTable:
    """A CSV file (UTF-8, commas, a header) with columns ``path``, ``label`` and perhaps ``split``.

    Paths are meant from `root`, by default the CSV file's folder, and must stay in it. Other columns are ignored. A
    label's column called ``""`` is none: the images have no classes.
    """

    source: str
    file: Path
    root: Path | None
    columns: Columns = IMAGE_COLUMNS

    def look(self) -> Look:
        """Return the CSV file's hash and one over the images' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, SampleFile))
        facts = {"csv": sha256_file(self.file), **stat_identity(zip(listing.names, paths, strict=True))}
        return Look(facts, listing)

    def listing(self) -> Listing:
        """Read the rows. Raises InputError naming the first rows that are wrong."""
        _check_file(self.file, self.source)
        base = self.root or self.file.parent
        root = str(existing_folder(base, self.source))
        given = os.path.abspath(base)  # noqa: PTH100 - resolve() would follow links; rows may name the folder either way

        def place(path: str) -> str:
            # Lexical on purpose: a path must not depend on what links there happen to be. Links are the decoder's.
            where = os.path.normpath(os.path.join(root, path))  # noqa: PTH118
            if os.path.commonpath([given, where]) == given:
                where = os.path.normpath(os.path.join(root, os.path.relpath(where, given)))  # noqa: PTH118
            return where

        def wrong(row: Row) -> str:
            if not row.text:
                return "the path is empty"
            if not _is_unicode(row.text) or not _is_unicode(row.label):
                return "not UTF-8"
            where = place(row.text)
            if os.path.commonpath([root, where]) != root or where == root:
                return f"the path {shorten(row.text)!r} leads out of {root}"
            return _wrong(row, labelled=bool(self.columns.label))

        remedy = (
            f"paths are meant from {root} (data.root sets another folder) and must stay inside it; a value with a "
            'comma in it needs quotation marks: "a, b"'
        )
        with opened(self.file, "utf-8") as (content, encoding):
            rows = DelimitedRows(content, encoding, self.file, self.columns, ",")
            found = [
                (os.path.relpath(where := place(row.text), root), row.label, _code(row), where)
                for row in _good(rows, self.file, "row", wrong, remedy)
            ]
        if not found:
            raise InputError(f"{self.file} has a header and no rows", "give one row an image: path,label")
        _check_splits(self.file, {code for _, _, code, _ in found}, "image")
        labels = sorted({label for _, label, _, _ in found}) if self.columns.label else []
        return listing_of_files(self.source, root, labels, found=found, refused=[], remarks=[])


@dataclass(frozen=True)
class TextTable:
    """A table of texts. A CSV file has commas, a header, and quotation marks as RFC 4180 has them.

    A TSV file has tabs and a header, and quotation marks mean nothing in it (as text/tab-separated-values has it). A
    JSON Lines file has one object a line, whose label may be a string, a whole number, true or false. Columns are
    found by their names, exactly or else regardless of case. A row's name holds the number of the line it begins on.

    The file is read twice: to list its rows (where each begins and ends, its label and split), and to hand out the
    texts; it is not in memory as a whole. A label's column called ``""`` is none: the texts have no classes.
    """

    source: str
    file: Path
    format: Format
    columns: Columns
    encoding: str

    def look(self) -> Look:
        """Return the file's hash."""
        listing = self.listing()
        return Look({"format": self.format, "sha256": sha256_file(self.file)}, listing)

    def listing(self) -> Listing:
        """Read the rows. Raises InputError naming the first rows that are wrong."""
        if self.columns.text == self.columns.label:
            raise InputError(
                f"data.text_column and data.label_column are both {shorten(self.columns.text)!r}", "name two columns"
            )
        _check_file(self.file, self.source)
        noun = "line" if self.format == "jsonl" else "row"
        remedy = {
            "csv": 'put quotation marks around a cell with a comma in it: "a, b"',
            "tsv": "take tabs and line breaks out of the cells, or save the table as CSV",
            "jsonl": f'write one object a line: {{"{self.columns.text}": …, "{self.columns.label}": …}}',
        }[self.format]
        lines, starts, ends, codes = array("q"), array("q"), array("q"), array("b")
        labels: list[str] = []
        known: dict[str, str] = {}  # one object a label, however many rows
        refused = []
        quotes = 0
        with opened(self.file, self.encoding) as (content, encoding):
            labelled = bool(self.columns.label)
            for row in _good(
                self._rows(content, encoding), self.file, noun, lambda row: _wrong(row, labelled=labelled), remedy
            ):
                if not _is_unicode(row.label):
                    refused.append(Refusal(f"{noun} {row.line}", f"its label is not {self.encoding}"))
                    continue
                lines.append(row.line)
                starts.append(row.start)
                ends.append(row.end)
                codes.append(_code(row))
                labels.append(known.setdefault(row.label, row.label))
                quotes += len(row.text) > 1 and row.text[0] == row.text[-1] == '"'
        if not labels:
            raise InputError(f"{self.file} has no rows with a text and a label", "give one row a text")
        _check_splits(self.file, set(codes), "text")
        if labelled:
            self._check_labels(labels)
        names = sorted(known) if labelled else []
        numbers = {label: number for number, label in enumerate(names)}
        places = np.stack([np.asarray(starts), np.asarray(ends)], axis=1)

        def stream(indices: Indices) -> Iterator[Payload]:
            with opened(self.file, self.encoding) as (content, encoding):
                rows = self._rows(content, encoding)
                for start, end in places[indices].tolist():
                    content.seek(start)
                    try:
                        yield rows.text(to_text(content.read(end - start), encoding, start))
                    except UnreadableError as error:
                        yield error

        return Listing(
            self.source,
            tuple(names),
            [f"{noun} {line}" for line in lines],
            np.array([numbers.get(label, 0) for label in labels], np.int64),
            np.array(codes, np.int8),
            stream,
            tuple(refused),
            self._remarks(quotes, len(labels)),
            kind="text",
        )

    def _rows(self, content: BinaryIO, encoding: str) -> Rows:
        if self.format == "jsonl":
            return JsonRows(content, encoding, self.columns)
        return DelimitedRows(content, encoding, self.file, self.columns, "," if self.format == "csv" else "\t")

    def _check_labels(self, labels: list[str]) -> None:
        single = sum(number == 1 for number in Counter(labels).values())
        if single > MANY_SINGLE and 2 * single > len(labels):
            raise InputError(
                f"{self.file}: {single:,} of {len(labels):,} rows have a label that no other row has, such as "
                f"{shorten(labels[0])!r}",
                f"data.label_column = {shorten(self.columns.label)!r} must name the column of classes",
            )

    def _remarks(self, quotes: int, rows: int) -> tuple[Remark, ...]:
        if self.format != "tsv" or not quotes:
            return ()
        return (
            Remark(
                f"{count(quotes, 'text')} of {rows:,} in quotation marks, which are part of a text in a TSV file",
                "save the table as CSV if they only enclose it",
            ),
        )


def _check_file(file: Path, source: str) -> None:
    check_plain(file)
    if not file.is_file():
        raise InputError(
            f"data source {shorten(source, 200)!r}: there is no file {file}",
            "check the path; relative paths are meant from the recipe's folder",
        )


def _good(rows: Rows, file: Path, noun: str, wrong: Callable[[Row], str], remedy: str) -> Iterator[Row]:
    """Yield the rows of which `wrong` says nothing. Raises InputError, at the end, naming the first of the others."""
    problems = []
    for row in rows:
        why = row.why if isinstance(row, WrongRow) else wrong(row)
        if why:
            problems.append(f"{noun} {row.line}: {why}")
            if len(problems) == ENOUGH_WRONG:
                break
        elif isinstance(row, Row):
            yield row
    if problems:
        number = f"{count(len(problems), noun)}{' or more' if len(problems) == ENOUGH_WRONG else ''}"
        further = f"\n  - and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
        raise InputError(f"{file}: {number} wrong\n  - " + "\n  - ".join(problems[:NAMED]) + further, remedy)


def has_labels(table: ImageTable | TextTable) -> bool:
    """Whether a table has its column of labels (of JSON Lines: its first line), or cannot be read to see."""
    wanted = table.columns.label.strip().casefold()
    encoding = table.encoding if isinstance(table, TextTable) else "utf-8"
    format_ = table.format if isinstance(table, TextTable) else "csv"
    try:
        if format_ != "jsonl":
            cells = split_columns(table.file, encoding, "," if format_ == "csv" else "\t")
            return wanted in [cell.strip().casefold() for cell in cells]
        with opened(table.file, encoding) as (content, inner):
            first = json.loads(next((line for line in content if line.strip()), b"{}").decode(inner))
        return not isinstance(first, dict) or table.columns.label in first
    except (InputError, ValueError, LookupError, csv.Error):
        return True  # what reads it says what is wrong


def _wrong(row: Row, *, labelled: bool) -> str:
    """Return what is wrong with a row's label (where it must have one) or split, if anything is."""
    if labelled and not row.label.strip():
        return "the label is empty"
    if len(row.label) > MOST_LABEL:
        return f"a label of {len(row.label):,} characters"
    if row.split and row.split not in SPLIT_NAMES:
        return f"unknown split {shorten(row.split)!r}; known: {', '.join(SPLIT_NAMES)}, or empty"
    return ""


def _code(row: Row) -> int:
    return SPLIT_NAMES.get(row.split, UNASSIGNED)


def _check_splits(file: Path, codes: set[int], kind: SampleKind) -> None:
    """Raise InputError when a table's rows have splits here and none there, or none is for training."""
    if UNASSIGNED in codes and len(codes) > 1:
        raise InputError(
            f"{file}: some rows have a split and some do not", "fill the column in for all rows, or for none"
        )
    if UNASSIGNED not in codes and TRAIN not in codes:
        raise InputError(f"{file}: no row has the split train", f"mark the training {kind}s with it")


def _is_unicode(text: str) -> bool:
    """Whether a text holds neither bytes that could not be decoded nor halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
