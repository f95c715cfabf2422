"""What a file takes on a microcontroller, and whether its answers are those of the reference kernels."""

from __future__ import annotations

from typing import Any

from ...core.formatting import size
from ...core.measurement import Arena, Measurement, ReferenceMatch
from ...core.sanitize import shorten
from ..content import NAME_LIMIT, Content
from ..section import Section


def micro_rows(content: Content) -> list[dict[str, Any]]:
    """Return a row for each file of which a microcontroller's figures are known: its facts, as names and words."""
    return [
        {
            "name": content.name(cell.artifact),
            "target": shorten(cell.measurement.target, NAME_LIMIT),
            "kind": cell.measurement.kind,
            "facts": facts,
        }
        for cell in content.cells
        if cell.measurement.status == "ok" and (facts := _facts(cell.measurement))
    ]


def _facts(m: Measurement) -> list[tuple[str, str]]:
    facts = [("Arena", _arena(m.arena))] if m.arena else []
    return facts + ([("Answers", _reference(m.reference))] if m.reference else [])


def _arena(arena: Arena) -> str:
    parts = f"{size(arena.activations)} activations, {size(arena.persistent)} of the interpreter"
    return f"{size(arena.bytes)}: {parts}, on a {arena.bits}-bit machine"


def _reference(match: ReferenceMatch) -> str:
    by = shorten(match.by, NAME_LIMIT)
    same = f"bit for bit those of {by}’s reference kernels on {match.identical:,} of {match.samples:,} samples"
    return same if match.identical == match.samples else f"{same}; largest difference {match.difference:.2g}"


def _build(content: Content) -> dict[str, Any] | None:
    rows = micro_rows(content)
    return {"rows": rows} if rows else None


SECTION = Section("microcontrollers", "Microcontrollers", _build, "microcontrollers.html.j2")
