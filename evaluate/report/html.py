"""report.html: one file that needs nothing else. No script runs in it, and its own policy forbids every request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...core.names import shorten
from ...core.results import Results
from ..cells import Cell, process_medians, raw_path
from ..units import percent, size
from . import details, plots
from .content import Content, figure_rows
from .palette import marker, scheme_colour, style_variables
from .svg import inline
from .templating import environment


def render(results: Results, folder: Path | None = None) -> str:
    """Return the page. `folder` is the run's: raw files in it add each process's median to the latency plot."""
    content = Content(results)
    cards = details.models(content)
    facts, findings = details.data(content)
    template = environment(breakable=_breakable, size=size).get_template("report.html.j2")
    return template.render(
        content=content,
        headline=content.headline(),
        grid=content.grid(),
        problems=content.problems(),
        figures=figure_rows(content),
        files=details.files(content),
        cards=[(card, _training(card, i)) for i, card in enumerate(cards)],
        data_facts=facts,
        findings=findings,
        method=details.method(content, _plan(content, folder)),
        scatters=_scatters(content),
        latencies=_latencies(content, folder),
        legend=_legend(content.measured()),
        hollow=any(c.measurement.kind != "measured" for c in content.measured()),
        light=style_variables("light"),
        dark=style_variables("dark"),
    )


def _breakable(name: str) -> Markup:
    """Return a name that may be broken after a slash or a colon, as ``local/`` and ``tflite:`` invite to."""
    pieces = re.split(r"(?<=[/:])", shorten(name, 80))
    return Markup("<wbr>").join(pieces)


def _by_model(content: Content) -> list[tuple[str, list[Cell]]]:
    """Return the cells that can be drawn, model by model."""
    groups: dict[str, list[Cell]] = {}
    for cell in content.measured():
        groups.setdefault(cell.artifact.model, []).append(cell)
    return list(groups.items())


def _scatters(content: Content) -> list[tuple[str, Markup]]:
    """Return a drawing of accuracy against latency per model, all to one scale."""
    everything = content.measured()
    return [
        (
            shorten(model) if content.several else "",
            inline(
                partial(plots.scatter, group, everything, content.ship),
                f"scatter{i}",
                f"Accuracy against latency, {shorten(model)}: {_spoken(group)}",
            ),
        )
        for i, (model, group) in enumerate(_by_model(content))
    ]


def _latencies(content: Content, folder: Path | None) -> list[tuple[str, Markup]]:
    """Return a drawing of the latencies per model."""
    return [
        (
            shorten(model) if content.several else "",
            inline(
                partial(plots.latencies, group, content.measured(), _medians(group, folder), content.ship),
                f"latency{i}",
                f"Median latency with interval, {shorten(model)}: {_spoken(group)}",
            ),
        )
        for i, (model, group) in enumerate(_by_model(content))
    ]


def _medians(group: Sequence[Cell], folder: Path | None) -> dict[tuple[str, str], list[float]]:
    return {(c.artifact.id, c.measurement.target): process_medians(c.measurement, folder) for c in group}


def _spoken(group: Sequence[Cell]) -> str:
    """Return a drawing's figures in words, for those who cannot see it."""
    return "; ".join(
        f"{shorten(c.variant)} on {shorten(c.measurement.target)} {percent(m.accuracy)}, {m.latency_ms.median:.3g} ms"
        for c in group
        if (m := c.measurement).accuracy is not None and m.latency_ms
    )


def _training(card: details.ModelCard, index: int) -> Markup:
    """Return the training curve, or nothing where there is no history of at least two epochs."""
    if len(card.history) < 2 or not any(isinstance(row.get("loss"), int | float) for row in card.history):
        return Markup()
    last = ", ".join(f"{k} {v:.3g}" for k, v in card.history[-1].items() if isinstance(v, float))
    title = f"Accuracy and loss over {len(card.history)} epochs; in the last one: {last}"
    return inline(partial(plots.training, card.history), f"training{index}", title)


def _legend(shown: Sequence[Cell]) -> dict[str, list[tuple[str, str]]]:
    """Return the runtimes with their signs and the schemes with their colours, in order of appearance."""
    ours = [c for c in shown if not c.is_reference]
    runtimes = dict.fromkeys(c.measurement.runtime for c in ours)
    schemes = dict.fromkeys(c.artifact.scheme for c in ours)
    return {
        "runtimes": [(marker(r)[1], shorten(r, 30)) for r in runtimes],
        "schemes": [(scheme_colour(s).name, shorten(s, 30)) for s in schemes],
    }


def _plan(content: Content, folder: Path | None) -> Mapping[str, Any]:
    """Return the timing plan that the first raw file records, if there is one."""
    for cell in content.measured():
        path = raw_path(cell.measurement, folder)
        if path is None:
            continue
        try:
            plan = json.loads(path.read_text(encoding="utf-8")).get("plan")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(plan, dict):
            return plan
    return {}
