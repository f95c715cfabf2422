"""Tables of texts whose right answers are no classes: tags (``sport|politics``) or numbers.

They are in the column that data.target or data.label_column names; data.target may name several, ``a,b``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.codec import sha256_file
from ..core.errors import InputError
from ..core.name_list import names_in
from ..core.recipe_data import Data
from ..core.sanitize import shorten
from ..tasks import TARGETED, inferred_task
from ..tasks.classification import Classification
from ..tasks.multilabel import Multilabel
from ..tasks.regression import Regression
from .decode_text import check_encoding
from .label_targets import TASKS
from .listing import TEST_SOURCE, Listing, with_test
from .packages import PackageSource
from .sources import open_source
from .tables import TextTable, has_labels
from .tags import SEPARATOR, are_tags
from .target_cells import Targets, read_targets


@dataclass(frozen=True)
class _Tables:
    """The table of texts of data.source and perhaps that of data.test_source."""

    source: TextTable
    test: TextTable | None

    @property
    def both(self) -> tuple[TextTable, ...]:
        """Those that there are."""
        return (self.source, self.test) if self.test else (self.source,)

    def listing(self, column: str) -> Listing:
        """The texts of both, with the cells of a column as labels, whatever they are."""
        parts = [
            replace(table, columns=table.columns._replace(label=column), tagged=True).listing() for table in self.both
        ]
        return with_test(*parts, any_labels=True) if self.test else parts[0]

    def place(self, name: str) -> str:
        """Where the sample called `name` stands."""
        row = name.removeprefix(TEST_SOURCE)
        table = self.test if self.test and row != name else self.source
        return f"{table.file}, {row}"


def mentions_tags(path: Path) -> bool:
    """Return whether a bar stands anywhere in a file. Without one it has no cell of several tags."""
    if not path.is_file():
        return False
    bar = SEPARATOR.encode()
    with path.open("rb") as content:  # block by block: a table may be larger than the memory
        return any(bar in block for block in iter(lambda: content.read(1 << 20), b""))


def without_targets(data: Data, task: str, folder: Path) -> Listing | None:
    """Return the texts of which `with_targets` reads the targets, and no target is read; None where they have classes.

    Raises InputError for a table that cannot be read.
    """
    tables = _open(data, folder)
    named = bool(task or data.target)
    if tables is None or task == Classification.name or not (named or _may_have_tags(tables)):
        return None
    listing = tables.listing(_columns(tables, data)[0])
    return listing if named or are_tags(listing.labels) else None


def with_targets(data: Data, task: str, folder: Path) -> Listing | None:
    """Return the texts of a recipe's data with `Listing.values`; None where they have classes.

    The task is `task`, or what the targets show: cells that `are_tags`, and in data.target numbers as `inferred_task`
    has them. Relative paths start from `folder`.

    Raises InputError for a source that cannot have such targets, and for cells that are none, with file and row.
    """
    check_encoding(data.encoding)
    if task == Classification.name:
        return None
    tables = _open(data, folder)
    if tables is None:
        if not task and not data.target:
            return None
        raise InputError(
            f"{shorten(data.source, 200)!r} is no table of texts, and task and target are for columns of one",
            "give csv:FILE, tsv:FILE or jsonl:FILE with a column of tags (cat|dog) or of numbers",
        )
    if not (task or data.target or _may_have_tags(tables)):
        return None
    columns = _columns(tables, data)
    listings = [tables.listing(name) for name in columns]
    first = listings[0]
    if not (task or data.target) and not are_tags(first.labels):
        return None
    if refused := [one for listing in listings for one in listing.refused]:
        raise InputError(f"{tables.place(refused[0].name)}: {refused[0].why}", "set data.encoding to the file's own")
    held = {name: [cell.strip() for cell in one.cells] for name, one in zip(columns, listings, strict=True)}
    read = read_targets(
        held,
        lambda row: tables.place(first.names[row]),
        tags=task == Multilabel.name,
        numbers=task == Regression.name,
    )
    found = task or (Multilabel.name if read.tags else inferred_task(read.values))
    return None if found == Classification.name and len(columns) == 1 else _targeted(first, read, found, data)


def identity(data: Data, folder: Path) -> dict[str, str]:
    """Return what the texts and targets depend on: hashes of the files."""
    tables = _open(data, folder)
    names = ("source", "test_source")
    return {name: sha256_file(table.file) for name, table in zip(names, tables.both if tables else (), strict=False)}


def check_learnable(listing: Listing) -> None:
    """Raise InputError where all samples have the same tags or numbers."""
    if listing.values is not None and (listing.values == listing.values[0]).all():
        raise InputError(
            f"{listing.source}: all rows have the same target, {listing.right(0) or 'no tag'}",
            "give rows of other targets too: there is nothing to learn",
        )


def _may_have_tags(tables: _Tables) -> bool:
    return any(mentions_tags(table.file) for table in tables.both)


def _columns(tables: _Tables, data: Data) -> list[str]:
    """Return the names of the columns of targets: one with commas in its name is several, unless the table has it."""
    column = data.target or data.label_column
    table = tables.source
    if has_labels(replace(table, columns=table.columns._replace(label=column))):
        return [column]
    return list(names_in(column)) or [column]


def _open(data: Data, folder: Path) -> _Tables | None:
    opened = []
    for text in (data.source, *([data.test_source] if data.test_source else [])):
        source = open_source(text, data, folder, "text")
        table = source.opened() if isinstance(source, PackageSource) else source
        if not isinstance(table, TextTable):
            return None
        opened.append(table)
    return _Tables(opened[0], opened[1] if len(opened) > 1 else None)


def _targeted(listing: Listing, read: Targets, task: str, data: Data) -> Listing:
    """Return a listing with the targets that were read. Raises InputError for those of another task."""
    column = shorten(data.target or data.label_column, 80)
    if task not in TASKS:
        raise InputError(
            f"{listing.source}: the column {column!r} has targets of {task}, for which no model of texts is trained",
            "name one column of classes, a column of tags (cat|dog), or columns of numbers",
        )
    try:
        values = TARGETED[task].check(read.values, ())
    except InputError as error:
        raise InputError(f"{listing.source}, column {column!r}: {error.message}", error.remedy) from error
    nothing = np.zeros(len(listing), np.int64)
    return replace(listing, labels=read.names, targets=nothing, values=values, task=task, by_name=read.tags)
