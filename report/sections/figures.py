"""All figures: the long table of every measured cell."""

from __future__ import annotations

from typing import Any

from ...core.formatting import ms, ms_range, percent, ratio_range, ratio_words, size
from ...core.sanitize import shorten
from ...evaluate.cells import artifact_name
from ...evaluate.placement import share
from ...tasks.quality import likeness_of
from ..bench_words import bench_sentences
from ..content import NAME_LIMIT, Content
from ..section import Section


def figure_rows(content: Content) -> list[dict[str, str]]:
    """Return every measured cell's figures in words: the long table of the reports."""
    rows = []
    for cell in content.cells:
        m = cell.measurement
        if m.status != "ok":
            continue
        latency = m.latency_ms
        rows.append(
            {
                "name": content.name(cell.artifact),
                "model": shorten(cell.artifact.model, NAME_LIMIT),
                "variant": artifact_name(cell.artifact, with_model=False),
                "target": shorten(m.target, NAME_LIMIT),
                "kind": m.kind,
                "placed": share(m),
                "ship": "yes" if cell is content.ship else "",
                "pick": "yes" if (cell.artifact.id, m.target) in content.picks else "",
                "version": shorten(f"{m.runtime} {m.runtime_version}".strip(), NAME_LIMIT),
                "accuracy": cell.quality.short,
                "accuracy_interval": cell.quality.interval,
                "drop": cell.loss.points,
                "drop_interval": cell.loss.interval,
                "agreement": alike.column if (alike := likeness_of(m)) else "–",
                "difference": f"≤ {m.difference:.2g}" if m.difference is not None else "",
                "latency": ms(latency.median) if latency else ms(m.npu.milliseconds) if m.npu else "–",
                "latency_interval": ms_range(latency) if latency else "",
                "ratio": ratio_words(m.latency_ratio),
                "ratio_interval": ratio_range(m.latency_ratio),
                "tokenize": ms(latency.tokenize) if latency and latency.tokenize is not None else "–",
                "infer": ms(latency.infer) if latency and latency.infer is not None else "–",
                "p95": ms(latency.p95) if latency else "–",
                "p99": ms(latency.p99) if latency else "–",
                "load": ms(m.load_ms) if m.load_ms is not None else "–",
                "first": ms(m.first_ms) if m.first_ms is not None else "–",
                "memory": size(m.peak_memory_bytes) if m.peak_memory_bytes is not None else "–",
                "own_memory": f"file {size(m.file_memory_bytes)}" if m.file_memory_bytes is not None else "",
                "size": size(cell.artifact.bytes),
            }
        )
    return rows


def latency_confidence(content: Content) -> str:
    """Return what the latency intervals cover, where that is the same for all: ``96.9 % interval``."""
    confidences = {m.latency_ms.confidence for m in (c.measurement for c in content.cells) if m.latency_ms}
    return f"{percent(confidences.pop())} interval" if len(confidences) == 1 else "interval"


def _build(content: Content) -> dict[str, Any] | None:
    rows = figure_rows(content)
    if not rows:
        return None
    return {
        "figures": rows,
        "confidence": latency_confidence(content),
        "ratios": any(row["ratio"] != "–" for row in rows),
        "bench": bench_sentences(content.results),
    }


SECTION = Section("figures", "Figures", _build, "figures.html.j2")
