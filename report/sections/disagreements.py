"""The samples on which a file and its float model answer differently, those first of which both are surest."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ...core.class_figures import Disagreement
from ...core.formatting import percent
from ...core.sanitize import shorten
from ...evaluate.examples import TEXT, read_picture
from ..content import NAME_LIMIT, Content
from ..section import Section
from .classes import Group, groups, kind_of_all, where


def _build(content: Content) -> dict[str, Any] | None:
    shown = [group for of_model in groups(content).values() for group in of_model if group.figures.disagreements]
    if not shown:
        return None
    first = next((group for group in shown if content.ship in group.cells), shown[0])
    return {"kind": kind_of_all(shown), "files": [_file(content, group, group is first) for group in shown]}


def _file(content: Content, group: Group, is_open: bool) -> dict[str, Any]:
    samples = group.cells[0].measurement.samples
    return {
        "name": content.name(group.cells[0].artifact),
        "where": where(group),
        "count": f"{group.figures.disagreed:,}",
        "samples": f"{samples:,}",
        "is_open": is_open,
        "rows": [_row(one, content.folder) for one in group.figures.disagreements],
    }


def _row(one: Disagreement, folder: Path | None) -> dict[str, str]:
    picture = read_picture(folder, one.picture)
    return {
        "number": f"{one.sample:,}",
        "picture": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}" if picture else "",
        "text": shorten(one.text, TEXT),
        "label": shorten(one.label, NAME_LIMIT),
        "reference": f"{shorten(one.reference, NAME_LIMIT)} {_share(one.reference_confidence)}",
        "answer": f"{shorten(one.answer, NAME_LIMIT)} {_share(one.confidence)}",
        "right": "file" if one.answer == one.label else "float" if one.reference == one.label else "",
    }


def _share(confidence: float) -> str:
    return percent(confidence).replace(" ", "\N{NO-BREAK SPACE}")


SECTION = Section("disagreements", "Disagreements", _build, "disagreements.html.j2")
