"""Tables of images (``csv:``) and of texts (``csv:`` and others): per row a sample, a label and perhaps a split.

Tables are untrusted: paths out of the base folder are refused, and wrong rows are named.
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
from ..core.sample_files import Payload, SampleFile, UnreadableError
from ..core.sanitize import shorten
from .decode_text import to_text
from .files import SPLIT_NAMES, listing_of_files, stat_identity
from .listing import TRAIN, UNASSIGNED, Indices, Listing, Probe, Refusal, Remark, SampleKind, count, existing_folder
from .rows import Columns, DelimitedRows, JsonRows, Row, Rows, WrongRow, open_table, split_columns

Format = Literal["csv", "tsv", "jsonl"]
# Formats by file name suffix.
FORMATS: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
IMAGE_COLUMNS = Columns("path", "label")
MAX_LABEL_LENGTH = 1000
# Wrong rows that a message names, and the number of wrong rows after which reading stops.
NAMED = 5
MAX_WRONG_ROWS = 1000
# With more labels than this that occur once, and when most rows have such a label, the column is probably wrong.
MIN_UNIQUE_LABELS = 20


@dataclass(frozen=True)
class ImageTable:
    """A CSV file (UTF-8, commas, a header) with columns ``path``, ``label`` and perhaps ``split``.

    Paths start from `root`, by default the CSV file's folder, and must stay in it. Other columns are ignored. With the
    label column ``""`` the images have no classes. Where labels are `tagged`, they may be empty.
    """

    source: str
    file: Path
    root: Path | None
    columns: Columns = IMAGE_COLUMNS
    tagged: bool = False

    def probe(self) -> Probe:
        """Return the CSV file's hash and a hash over the images' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, SampleFile))
        facts = {"csv": sha256_file(self.file), **stat_identity(zip(listing.names, paths, strict=True))}
        return Probe(facts, listing)

    def listing(self) -> Listing:
        """Read the rows. Raises InputError that names the first wrong rows."""
        _check_file(self.file, self.source)
        base = self.root or self.file.parent
        root = str(existing_folder(base, self.source))
        unresolved = os.path.abspath(base)  # noqa: PTH100 - resolve() would follow links; rows may use either path

        def locate(path: str) -> str:
            # Lexical on purpose: the result must not depend on existing links. The decoder checks links.
            location = os.path.normpath(os.path.join(root, path))  # noqa: PTH118
            if os.path.commonpath([unresolved, location]) == unresolved:
                location = os.path.normpath(os.path.join(root, os.path.relpath(location, unresolved)))  # noqa: PTH118
            return location

        def problem(row: Row) -> str:
            if not row.text:
                return "the path is empty"
            if not _is_unicode(row.text) or not _is_unicode(row.label):
                return "not UTF-8"
            location = locate(row.text)
            if os.path.commonpath([root, location]) != root or location == root:
                return f"the path {shorten(row.text)!r} leads out of {root}"
            return _row_problem(row, labelled=bool(self.columns.label) and not self.tagged)

        remedy = (
            f"paths start from {root} (data.root sets another folder) and must stay inside it; a value with a comma "
            'needs quotation marks: "a, b"'
        )
        if self.columns.label and not self.tagged:
            remedy += "; of tags, where a row may have none: --task multilabel (task in a recipe)"
        with open_table(self.file, "utf-8") as (content, encoding):
            rows = DelimitedRows(content, encoding, self.file, self.columns, ",")
            files = [
                (os.path.relpath(location := locate(row.text), root), row.label, _split_code(row), location)
                for row in _valid_rows(rows, self.file, "row", problem, remedy)
            ]
        if not files:
            raise InputError(f"{self.file} has a header and no rows", "write one row per image: path,label")
        _check_splits(self.file, {code for _, _, code, _ in files}, "image")
        labels = sorted({label for _, label, _, _ in files}) if self.columns.label else []
        return listing_of_files(self.source, root, labels, rows=sorted(files), refused=[], remarks=[])


@dataclass(frozen=True)
class TextTable:
    """A table of texts: CSV, TSV or JSON Lines.

    A CSV file has a header, commas, and quotation marks according to RFC 4180. A TSV file has a header and tabs;
    quotation marks are ordinary characters in it (text/tab-separated-values). A JSON Lines file has one object per
    line, whose label is a string, a whole number, true or false. Columns are found by their exact names, or else
    regardless of case. A row is named by the number of its first line. With the label column ``""`` the texts have no
    classes. Where labels are `tagged`, they may be empty, and each may be another; with `any_labels` the latter alone.

    The file is read twice: once to list its rows (first and last byte, label and split), and once to read the texts.
    It is never in memory as a whole.
    """

    source: str
    file: Path
    format: Format
    columns: Columns
    encoding: str
    tagged: bool = False
    any_labels: bool = False

    def probe(self) -> Probe:
        """Return the file's hash."""
        listing = self.listing()
        return Probe({"format": self.format, "sha256": sha256_file(self.file)}, listing)

    def listing(self) -> Listing:
        """Read the rows. Raises InputError that names the first wrong rows."""
        if self.columns.text == self.columns.label:
            raise InputError(
                f"data.text_column and data.label_column are both {shorten(self.columns.text)!r}", "name two columns"
            )
        _check_file(self.file, self.source)
        noun = "line" if self.format == "jsonl" else "row"
        remedy = {
            "csv": 'put quotation marks around a cell that contains a comma: "a, b"',
            "tsv": "remove tabs and line breaks from the cells, or save the table as CSV",
            "jsonl": f'write one object per line: {{"{self.columns.text}": …, "{self.columns.label}": …}}',
        }[self.format]
        lines, starts, ends, codes = array("q"), array("q"), array("q"), array("b")
        labels: list[str] = []
        interned: dict[str, str] = {}  # one string object per label, however many rows have it
        refused = []
        quotes = 0
        with open_table(self.file, self.encoding) as (content, encoding):
            labelled = bool(self.columns.label) and not self.tagged
            for row in _valid_rows(
                self._rows(content, encoding), self.file, noun, lambda row: _row_problem(row, labelled=labelled), remedy
            ):
                if not _is_unicode(row.label):
                    refused.append(Refusal(f"{noun} {row.line}", f"its label is not {self.encoding}"))
                    continue
                lines.append(row.line)
                starts.append(row.start)
                ends.append(row.end)
                codes.append(_split_code(row))
                labels.append(interned.setdefault(row.label, row.label))
                quotes += len(row.text) > 1 and row.text[0] == row.text[-1] == '"'
        if not labels:
            raise InputError(f"{self.file} has no rows with a text and a label", "write one row per text")
        _check_splits(self.file, set(codes), "text")
        if labelled and not self.any_labels:
            self._check_labels(labels)
        names = sorted(interned) if self.columns.label else []
        targets = {label: target for target, label in enumerate(names)}
        spans = np.stack([np.asarray(starts), np.asarray(ends)], axis=1)

        def stream(indices: Indices) -> Iterator[Payload]:
            with open_table(self.file, self.encoding) as (content, encoding):
                rows = self._rows(content, encoding)
                for start, end in spans[indices].tolist():
                    content.seek(start)
                    try:
                        yield rows.text(to_text(content.read(end - start), encoding, start))
                    except UnreadableError as error:
                        yield error

        return Listing(
            self.source,
            tuple(names),
            [f"{noun} {line}" for line in lines],
            np.array([targets.get(label, 0) for label in labels], np.int64),
            np.array(codes, np.int8),
            stream,
            tuple(refused),
            self._remarks(quotes, len(labels)),
            kind="text",
        )

    def _rows(self, content: BinaryIO, encoding: str) -> Rows:
        if self.format == "jsonl":
            return JsonRows(content, encoding, self.columns, tagged=self.tagged)
        return DelimitedRows(content, encoding, self.file, self.columns, "," if self.format == "csv" else "\t")

    def _check_labels(self, labels: list[str]) -> None:
        single = sum(number == 1 for number in Counter(labels).values())
        if single > MIN_UNIQUE_LABELS and 2 * single > len(labels):
            raise InputError(
                f"{self.file}: {single:,} of {len(labels):,} rows have a label that no other row has, such as "
                f"{shorten(labels[0])!r}",
                f"data.label_column = {shorten(self.columns.label)!r} must name the column of classes; "
                'of numbers set task = "regression", of tags (cat|dog) task = "multilabel"',
            )

    def _remarks(self, quotes: int, rows: int) -> tuple[Remark, ...]:
        if self.format != "tsv" or not quotes:
            return ()
        return (
            Remark(
                f"{count(quotes, 'text')} of {rows:,} in quotation marks, which are part of a text in a TSV file",
                "save the table as CSV if they only enclose the text",
            ),
        )


def _check_file(file: Path, source: str) -> None:
    check_plain(file)
    if not file.is_file():
        raise InputError(
            f"data source {shorten(source, 200)!r}: there is no file {file}",
            "check the path; relative paths start from the recipe's folder",
        )


def _valid_rows(rows: Rows, file: Path, noun: str, problem: Callable[[Row], str], remedy: str) -> Iterator[Row]:
    """Yield the rows for which `problem` returns ``""``. Raises InputError at the end, naming the others."""
    problems = []
    for row in rows:
        why = row.why if isinstance(row, WrongRow) else problem(row)
        if why:
            problems.append(f"{noun} {row.line}: {why}")
            if len(problems) == MAX_WRONG_ROWS:
                break
        elif isinstance(row, Row):
            yield row
    if problems:
        number = f"{count(len(problems), noun)}{' or more' if len(problems) == MAX_WRONG_ROWS else ''}"
        further = f"\n  - and {len(problems) - NAMED:,} more" if len(problems) > NAMED else ""
        raise InputError(f"{file}: {number} wrong\n  - " + "\n  - ".join(problems[:NAMED]) + further, remedy)


def has_labels(table: ImageTable | TextTable) -> bool:
    """Return whether a table has its label column (in JSON Lines: in the first line), or cannot be read."""
    label = table.columns.label.strip().casefold()
    encoding = table.encoding if isinstance(table, TextTable) else "utf-8"
    format_ = table.format if isinstance(table, TextTable) else "csv"
    try:
        if format_ != "jsonl":
            cells = split_columns(table.file, encoding, "," if format_ == "csv" else "\t")
            return label in [cell.strip().casefold() for cell in cells]
        with open_table(table.file, encoding) as (content, inner):
            first = json.loads(next((line for line in content if line.strip()), b"{}").decode(inner))
        return not isinstance(first, dict) or table.columns.label in first
    except (InputError, ValueError, LookupError, csv.Error):
        return True  # reading the table reports the problem


def _row_problem(row: Row, *, labelled: bool) -> str:
    """Return the problem with a row's label or split, or ``""``."""
    if labelled and not row.label.strip():
        return "the label is empty"
    if len(row.label) > MAX_LABEL_LENGTH:
        return f"a label of {len(row.label):,} characters"
    if row.split and row.split not in SPLIT_NAMES:
        return f"unknown split {shorten(row.split)!r}; known: {', '.join(SPLIT_NAMES)}, or empty"
    return ""


def _split_code(row: Row) -> int:
    return SPLIT_NAMES.get(row.split, UNASSIGNED)


def _check_splits(file: Path, codes: set[int], kind: SampleKind) -> None:
    """Raise InputError when only some rows have a split, or none has the split train."""
    if UNASSIGNED in codes and len(codes) > 1:
        raise InputError(
            f"{file}: some rows have a split and some do not", "fill in the column for all rows, or for none"
        )
    if UNASSIGNED not in codes and TRAIN not in codes:
        raise InputError(f"{file}: no row has the split train", f"give the training {kind}s this split")


def _is_unicode(text: str) -> bool:
    """Return whether a text has neither undecodable bytes nor halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
