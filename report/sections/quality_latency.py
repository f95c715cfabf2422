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
    """Return a drawing of accuracy against latency per model and device, all of a device to one scale.

    A model whose classes are not known is drawn by its agreement, to the scale of others like it.
    """
    drawings = []
    mark = "the best there is" if verdict_of(content.results.budget) == "not shown" else "ship this"
    for i, (name, group) in enumerate(_groups(content, content.measured())):
        kind = type(group[0].quality)
        alike = [c for c in _of_device(content.measured(), group) if isinstance(c.quality, kind)]
        drawing = inline(
            partial(plots.scatter, [c for c in group if c in alike], alike, content.ship, content.front, mark),
            f"scatter{i}",
            f"{kind.full_name.capitalize()} against latency, {name or shorten(group[0].artifact.model)}: "
            f"{_spoken(group)}",
        )
        caption = [name] * bool(name) + [kind.title.lower()] * issubclass(kind, Likeness)
        drawings.append((": ".join(caption), drawing))
    return drawings


def _latencies(content: Content) -> list[tuple[str, Markup]]:
    """Return a drawing of the latencies per model and device."""
    timed = content.timed()
    return [
        (
            name,
            inline(
                partial(
                    plots.latencies, group, _of_device(timed, group), _medians(group, content.folder), content.ship
                ),
                f"latency{i}",
                f"Median latency with interval, {name or shorten(group[0].artifact.model)}: {_spoken(group)}",
            ),
        )
        for i, (name, group) in enumerate(_groups(content, timed))
    ]


def _parts(content: Content) -> list[tuple[str, list[dict[str, str]]]]:
    """Return by model and device how each cell's latency is split into tokenizing and inference, fastest first."""
    split = [(name, _split(group)) for name, group in _groups(content, content.timed())]
    return [(name, rows) for name, rows in split if rows]


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


def _groups(content: Content, cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Return the cells by model and device, since latencies of different devices are not compared.

    A group's name says the model where there are several, and the device where there are several.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.artifact.model, cell.measurement.device), []).append(cell)
    several = len({device for _, device in groups}) > 1
    return [
        (" on ".join([shorten(model)] * content.several + [shorten(device)] * several), group)
        for (model, device), group in groups.items()
    ]


def _of_device(cells: Sequence[Cell], group: Sequence[Cell]) -> list[Cell]:
    """Return the cells on the device of a group."""
    return [c for c in cells if c.measurement.device == group[0].measurement.device]


def _medians(group: Sequence[Cell], folder: Path | None) -> dict[tuple[str, str], list[float]]:
    return {(c.artifact.id, c.measurement.target): process_medians(c.measurement, folder) for c in group}


def _spoken(group: Sequence[Cell]) -> str:
    """Return a drawing's figures in words, for those who cannot see it."""
    return "; ".join(
        f"{shorten(c.variant)} on {shorten(c.measurement.target)} "
        + (f"{c.quality.text}, " if c.quality.is_share else "")
        + f"{latency.median:.3g} ms"
        for c in group
        if (latency := c.measurement.latency_ms)
    )


SECTION = Section("plots", _title, _build, "quality_latency.html.j2")
