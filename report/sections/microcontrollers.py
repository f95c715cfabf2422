"""What a file takes on a microcontroller or an NPU, and whether its answers are those of the reference kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...core.formatting import count_words, ms, size
from ...core.measurement import Arena, Measurement, NpuEstimate, ReferenceMatch
from ...core.sanitize import shorten
from ...evaluate.placement import words
from ..content import NAME_LIMIT, Content
from ..section import Section


def micro_rows(content: Content) -> list[dict[str, Any]]:
    """Return a row for each file with figures of a microcontroller or an NPU: its facts, as names and words."""
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
    facts = list(_npu(m.npu)) if m.npu else []
    facts += [("Operators", words(m.placement))] if m.npu and m.placement else []
    facts += [("Arena", _arena(m.arena))] if m.arena else []
    return facts + ([("Answers", _reference(m.reference))] if m.reference else [])


def _npu(npu: NpuEstimate) -> Iterator[tuple[str, str]]:
    yield "Latency", f"{ms(npu.milliseconds)}: {npu.cycles:,} cycles at {npu.clock_mhz:g} MHz"
    memories = (("SRAM", npu.sram_bytes), ("DRAM", npu.dram_bytes), ("flash", npu.flash_bytes))
    yield "Memory", ", ".join(f"{size(count)} of {name}" for name, count in memories if count)
    yield "Work", f"{count_words(npu.macs)} multiply-accumulates"
    settings = (npu.accelerator, npu.system_config, npu.memory_mode)
    yield "Configuration", ", ".join(shorten(name, NAME_LIMIT) for name in settings)


def _arena(arena: Arena) -> str:
    parts = f"{size(arena.activations)} activations, {size(arena.persistent)} of the interpreter"
    return f"{size(arena.bytes)}: {parts}, on a {arena.bits}-bit machine"


def _reference(match: ReferenceMatch) -> str:
    by = shorten(match.by, NAME_LIMIT)
    same = f"bit for bit those of {by}’s reference kernels on {match.identical:,} of {match.samples:,} samples"
    return same if match.identical == match.samples else f"{same}; largest difference {match.difference:.2g}"


def _build(content: Content) -> dict[str, Any] | None:
    rows = micro_rows(content)
    arenas = any(cell.measurement.arena for cell in content.cells)
    return {"rows": rows, "arenas": arenas, "npus": any(row["kind"] == "estimated" for row in rows)} if rows else None


SECTION = Section("microcontrollers", "Microcontrollers and NPUs", _build, "microcontrollers.html.j2")
