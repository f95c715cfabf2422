"""What TFLite metadata say of a file: names, normalization, labels; and the files that are appended to it as a ZIP.

The metadata are a flatbuffer of their own (identifier ``M001``; slots as in ``metadata_schema.fbs`` of MediaPipe 1.2.2,
``mediapipe/tasks/metadata/``), in the buffer called ``TFLITE_METADATA``. Reading them needs no package. All of it is
from outside: what is read is limited, and appended files are listed, never unpacked.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

ENTRY = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_MOST, _LONGEST = 1000, 10_000

_FILE_TYPES = (
    "unknown",
    "descriptions",
    "axis labels",
    "value labels",
    "axis score calibration",
    "vocabulary",
    "scann index",
)
_CONTENT = ("", "feature", "image", "bounding box", "audio")
_COLOURS = ("unknown", "rgb", "grayscale")
_UNITS = (
    "",
    "normalization",
    "score calibration",
    "score thresholding",
    "bert tokenizer",
    "sentencepiece tokenizer",
    "regex tokenizer",
)


class _Table:
    """A table of a flatbuffer; slots are numbered in the order of the schema."""

    def __init__(self, content: bytes, position: int) -> None:
        # struct reads negative positions from the end; in a flatbuffer there are none.
        if not 0 <= position < len(content):
            raise ValueError("a table lies outside of the metadata")
        self.content = content
        self.position = position

    def number(self, kind: str, position: int) -> Any:
        return struct.unpack_from(f"<{kind}", self.content, position)[0]

    def slot(self, slot: int) -> int:
        """Return where a field stands; 0 where it is left out."""
        vtable = self.position - self.number("i", self.position)
        if not 0 <= vtable < len(self.content) or 4 + 2 * slot >= self.number("H", vtable):
            return 0
        offset = self.number("H", vtable + 4 + 2 * slot)
        return self.position + offset if offset else 0

    def byte(self, slot: int) -> int:
        place = self.slot(slot)
        return int(self.number("B", place)) if place else 0

    def integer(self, slot: int) -> int:
        place = self.slot(slot)
        return int(self.number("i", place)) if place else 0

    def indirect(self, place: int) -> int:
        return place + int(self.number("I", place))

    def text(self, slot: int) -> str:
        place = self.slot(slot)
        if not place:
            return ""
        start = self.indirect(place)
        found = self.content[start + 4 : start + 4 + min(self.number("I", start), _LONGEST)].decode("utf-8", "replace")
        return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in found)

    def table(self, slot: int) -> _Table | None:
        place = self.slot(slot)
        return _Table(self.content, self.indirect(place)) if place else None

    def tables(self, slot: int) -> list[_Table]:
        start, count = self.vector(slot)
        return [_Table(self.content, self.indirect(start + 4 * i)) for i in range(count)]

    def floats(self, slot: int) -> list[float]:
        start, count = self.vector(slot)
        return [float(self.number("f", start + 4 * i)) for i in range(count)]

    def vector(self, slot: int) -> tuple[int, int]:
        place = self.slot(slot)
        if not place:
            return 0, 0
        start = self.indirect(place)
        count = int(self.number("I", start))
        if count > _MOST:
            raise ValueError(f"a list of {count} entries")
        return start + 4, count


def read_metadata(content: bytes) -> dict[str, Any]:
    """Return what a ``TFLITE_METADATA`` buffer says; keys without content are left out.

    ``name``, ``description``, ``version``, ``author``, ``license``, ``min_parser_version``; ``inputs`` and ``outputs``
    (by tensor: ``name``, ``description``, ``content``, ``colour``, ``normalization`` {``mean``, ``std``}, ``range``
    [low, high], ``units``, ``files`` [{``name``, ``type``}]); ``problem`` where it cannot be read.
    """
    try:
        if content[4:8] != _IDENTIFIER:
            return {"problem": "its TFLite metadata are not: the identifier M001 is missing"}
        root = _Table(content, struct.unpack_from("<I", content, 0)[0])
        told = {
            "name": root.text(0),
            "description": root.text(1),
            "version": root.text(2),
            "author": root.text(4),
            "license": root.text(5),
            "min_parser_version": root.text(7),
            "files": _files(root.tables(6)),
        }
        subgraphs = root.tables(3)
        if subgraphs:
            told["inputs"] = [_tensor(t) for t in subgraphs[0].tables(2)]
            told["outputs"] = [_tensor(t) for t in subgraphs[0].tables(3)]
            told["units"] = [_UNITS[u.byte(0)] for part in (5, 6) for u in subgraphs[0].tables(part)]
        return {key: value for key, value in told.items() if value}
    except (struct.error, ValueError, IndexError) as error:
        return {"problem": f"its TFLite metadata are damaged: {error}"}


def _tensor(table: _Table) -> dict[str, Any]:
    told: dict[str, Any] = {"name": table.text(0), "description": table.text(1), "files": _files(table.tables(6))}
    if content := table.table(3):
        kind = content.byte(0)
        told["content"] = _CONTENT[kind]
        properties = content.table(1)
        if kind == _CONTENT.index("image") and properties:
            told["colour"] = _COLOURS[properties.byte(0)]
    for unit in table.tables(4):
        kind, options = unit.byte(0), unit.table(1)
        if kind == _UNITS.index("normalization") and options:
            told["normalization"] = {"mean": options.floats(0), "std": options.floats(1)}
        else:
            told.setdefault("units", []).append(_UNITS[kind])
    if stats := table.table(5):
        told["range"] = [stats.floats(1), stats.floats(0)]
    return {key: value for key, value in told.items() if value}


def _files(tables: list[_Table]) -> list[dict[str, str]]:
    return [{"name": table.text(0), "type": _FILE_TYPES[table.byte(2)]} for table in tables]


def appended_files(path: Path) -> list[dict[str, Any]] | str:
    """Return name and size of each file that is appended to a model as a ZIP; a text says why they cannot be listed.

    Names are cut and free of control characters. Nothing is unpacked: a name may lead anywhere, a size may be a lie.
    """
    if not zipfile.is_zipfile(path):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.infolist()[:_MOST]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        return f"a ZIP is appended that cannot be read: {error}"
    return [
        {"name": "".join(c if c.isprintable() else "_" for c in entry.filename[:200]), "bytes": entry.file_size}
        for entry in found
    ]
