"""Reads TFLite metadata: names, normalization, labels; and lists the files that are appended as a ZIP.

Reading needs no package. The content is untrusted: its size is limited, and appended files are listed, never unpacked.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

from .metadata_schema import (
    COLOURS,
    CONTENTS,
    FILE_TYPES,
    IDENTIFIER,
    UNITS,
    File,
    Root,
    Stats,
    Subgraph,
    Tensor,
    Union,
)
from .tables import Table

_MOST, _LONGEST = 1000, 10_000


def read_metadata(content: bytes) -> dict[str, Any]:
    """Return the contents of a ``TFLITE_METADATA`` buffer; keys without content are left out.

    ``name``, ``description``, ``version``, ``author``, ``license``, ``min_parser_version``; ``inputs`` and ``outputs``
    (by tensor: ``name``, ``description``, ``content``, ``colour``, ``normalization`` {``mean``, ``std``}, ``range``
    [low, high], ``units``, ``files`` [{``name``, ``type``}]); ``problem`` where it cannot be read.
    """
    try:
        if content[4:8] != IDENTIFIER:
            return {"problem": "its TFLite metadata are not: the identifier M001 is missing"}
        root = Table.root(content)
        record: dict[str, Any] = {
            "name": _text(root, Root.NAME),
            "description": _text(root, Root.DESCRIPTION),
            "version": _text(root, Root.VERSION),
            "author": _text(root, Root.AUTHOR),
            "license": _text(root, Root.LICENCE),
            "min_parser_version": _text(root, Root.PARSER),
            "files": _files(_tables(root, Root.FILES)),
        }
        for graph in _tables(root, Root.SUBGRAPHS)[:1]:
            record["inputs"] = [_tensor(tensor) for tensor in _tables(graph, Subgraph.INPUTS)]
            record["outputs"] = [_tensor(tensor) for tensor in _tables(graph, Subgraph.OUTPUTS)]
            units = [*_tables(graph, Subgraph.INPUT_UNITS), *_tables(graph, Subgraph.OUTPUT_UNITS)]
            record["units"] = [UNITS[unit.value(Union.KIND, "B")] for unit in units]
        return {key: value for key, value in record.items() if value}
    except (ValueError, IndexError) as error:
        return {"problem": f"its TFLite metadata are damaged: {error}"}


def _tensor(table: Table) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": _text(table, Tensor.NAME),
        "description": _text(table, Tensor.DESCRIPTION),
        "files": _files(_tables(table, Tensor.FILES)),
    }
    if content := table.table(Tensor.CONTENT):
        record["content"] = CONTENTS[content.value(Union.KIND, "B")]
        properties = content.table(Union.TABLE)
        if record["content"] == "image" and properties:
            record["colour"] = COLOURS[properties.value(0, "B")]
    for unit in _tables(table, Tensor.UNITS):
        kind, options = UNITS[unit.value(Union.KIND, "B")], unit.table(Union.TABLE)
        if kind == "normalization" and options:
            record["normalization"] = {"mean": _floats(options, 0), "std": _floats(options, 1)}
        else:
            record.setdefault("units", []).append(kind)
    if stats := table.table(Tensor.STATS):
        record["range"] = [_floats(stats, Stats.LOW), _floats(stats, Stats.HIGH)]
    return {key: value for key, value in record.items() if value}


def _files(tables: list[Table]) -> list[dict[str, str]]:
    return [{"name": _text(table, File.NAME), "type": FILE_TYPES[table.value(File.TYPE, "B")]} for table in tables]


def _text(table: Table, slot: int) -> str:
    text = table.raw(slot, _LONGEST).decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _tables(table: Table, slot: int) -> list[Table]:
    _check_count(table, slot)
    return list(table.tables(slot))


def _floats(table: Table, slot: int) -> list[float]:
    _check_count(table, slot)
    return table.floats(slot)


def _check_count(table: Table, slot: int) -> None:
    if (count := table.vector(slot)[1]) > _MOST:
        raise ValueError(f"a list of {count} entries")


def appended_files(path: Path) -> list[dict[str, Any]] | str:
    """Return name and size of each file that is appended to a model as a ZIP; a text says why they cannot be listed.

    Names are cut and free of control characters. Nothing is unpacked: names and sizes are untrusted.
    """
    if not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()[:_MOST]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        return f"a ZIP is appended that cannot be read: {error}"
    return [
        {"name": "".join(c if c.isprintable() else "_" for c in entry.filename[:200]), "bytes": entry.file_size}
        for entry in entries
    ]
