"""The samples that files answer badly, of tasks other than classification: drawn, with words and scores."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ...core.formatting import percent
from ...core.measurement import Example
from ...core.sanitize import shorten
from ...evaluate.cells import Cell
from ...evaluate.examples import TEXT, read_picture
from ..content import NAME_LIMIT, Content
from ..section import Section

_FILES = 8
_WORDS = 200


def _build(content: Content) -> dict[str, Any] | None:
    # A file has one entry: where it ships, or else where it ran first.
    ordered = sorted(content.cells, key=lambda cell: (cell.is_reference, cell is not content.ship))
    shown: dict[str, Cell] = {}
    for cell in ordered:
        if cell.measurement.examples and cell.measurement.status == "ok":
            shown.setdefault(cell.artifact.id, cell)
    if not shown:
        return None
    files = [_file(content, cell, number == 0) for number, cell in enumerate(list(shown.values())[:_FILES])]
    return {
        "files": files,
        "more": len(shown) - len(files),
        "kinds": {cell.measurement.kind for cell in shown.values()},
    }


def _file(content: Content, cell: Cell, is_open: bool) -> dict[str, Any]:
    m = cell.measurement
    return {
        "name": content.name(cell.artifact),
        "where": shorten(m.target, NAME_LIMIT),
        "kind": m.kind,
        "is_open": is_open,
        "rows": [_row(one, content.folder) for one in m.examples],
    }


def _row(one: Example, folder: Path | None) -> dict[str, str]:
    picture = read_picture(folder, one.picture)
    return {
        "number": f"{one.sample:,}",
        "picture": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}" if picture else "",
        "text": shorten(one.text, TEXT),
        "right": shorten(one.right, _WORDS),
        "reference": shorten(one.reference, _WORDS),
        "reference_score": percent(one.reference_score) if one.reference_score is not None else "",
        "answer": shorten(one.answer, _WORDS),
        "score": percent(one.score),
    }


SECTION = Section("worst-samples", "Worst samples", _build, "worst_samples.html.j2")
