"""Accuracy against latency, the latencies with their intervals, and how texts share out their time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...core.formatting import ms
from ...core.sanitize import shorten
from ...evaluate.cells import Cell, artifact_name, process_medians
from ...tasks.quality import Likeness
from .. import plots
from ..bench_words import bench_sentences
from ..content import Content, verdict_of
from ..palette import marker, scheme_colour
from ..section import Section
from ..svg import inline


def _build(content: Content) -> dict[str, Any] | None:
    timed = content.timed()
    if not timed:
        return None
    return {
        "scatters": _scatters(content),
        "latencies": _latencies(content),
        "parts": _parts(content),
        "legend": _legend(timed),
        "bench": bench_sentences(content.results),
        "hollow": any(c.measurement.kind != "measured" for c in timed),
    }


def _title(content: Content) -> str:
    return f"{content.quality} and latency" if content.measured() else "Latency"


def _scatters(content: Content) -> list[tuple[str, Markup]]:
    """Return a drawing of accuracy against latency per model, all to one scale.

    A model whose classes are not known is drawn by its agreement, to the scale of others like it.
    """
    drawings = []
    mark = "the best there is" if verdict_of(content.results.budget) == "not shown" else "ship this"
    for i, (model, group) in enumerate(_by_model(content.measured())):
        kind = type(group[0].quality)
        alike = [c for c in content.measured() if isinstance(c.quality, kind)]
        drawing = inline(
            partial(plots.scatter, [c for c in group if c in alike], alike, content.ship, content.front, mark),
            f"scatter{i}",
            f"{kind.full_name.capitalize()} against latency, {shorten(model)}: {_spoken(group)}",
        )
        caption = [shorten(model)] * content.several + [kind.title.lower()] * issubclass(kind, Likeness)
        drawings.append((": ".join(caption), drawing))
    return drawings


def _latencies(content: Content) -> list[tuple[str, Markup]]:
    """Return a drawing of the latencies per model."""
    return [
        (
            shorten(model) if content.several else "",
            inline(
                partial(plots.latencies, group, content.timed(), _medians(group, content.folder), content.ship),
                f"latency{i}",
                f"Median latency with interval, {shorten(model)}: {_spoken(group)}",
            ),
        )
        for i, (model, group) in enumerate(_by_model(content.timed()))
    ]


def _parts(content: Content) -> list[tuple[str, list[dict[str, str]]]]:
    """Return model by model how each cell's latency is split into tokenizing and inference, fastest first."""
    split = [(model, _split(group)) for model, group in _by_model(content.timed())]
    return [(shorten(model) if content.several else "", rows) for model, rows in split if rows]


def _split(cells: Sequence[Cell]) -> list[dict[str, str]]:
    split = [
        (latency.median, c, latency.tokenize, latency.infer)
        for c in cells
        if (latency := c.measurement.latency_ms) and latency.tokenize is not None and latency.infer is not None
    ]
    return [
        {
            "name": artifact_name(c.artifact, with_model=False),
            "target": shorten(c.measurement.target),
            "tokenize": ms(tokenize),
            "infer": ms(infer),
            "total": ms(total),
            "share": f"{100 * tokenize / (tokenize + infer) if tokenize + infer > 0 else 0:.1f}",
            "colour": scheme_colour(c.artifact.scheme).name,
        }
        for total, c, tokenize, infer in sorted(split, key=lambda row: row[0])
    ]


def _legend(shown: Sequence[Cell]) -> dict[str, list[tuple[str, str]]]:
    """Return the runtimes with their signs and the schemes with their colours, in order of appearance."""
    ours = [c for c in shown if not c.is_reference]
    runtimes = dict.fromkeys(c.measurement.runtime for c in ours)
    schemes = dict.fromkeys(c.artifact.scheme for c in ours)
    return {
        "runtimes": [(marker(r)[1], shorten(r, 30)) for r in runtimes],
        "schemes": [(scheme_colour(s).name, shorten(s, 30)) for s in schemes],
    }


def _by_model(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Return the cells model by model."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.artifact.model, []).append(cell)
    return list(groups.items())


def _medians(group: Sequence[Cell], folder: Path | None) -> dict[tuple[str, str], list[float]]:
    return {(c.artifact.id, c.measurement.target): process_medians(c.measurement, folder) for c in group}


def _spoken(group: Sequence[Cell]) -> str:
    """Return a drawing's figures in words, for those who cannot see it."""
    return "; ".join(
        f"{shorten(c.variant)} on {shorten(c.measurement.target)} "
        + (f"{c.quality.text}, " if c.quality.better == "higher" else "")
        + f"{latency.median:.3g} ms"
        for c in group
        if (latency := c.measurement.latency_ms)
    )


SECTION = Section("plots", _title, _build, "quality_latency.html.j2")
