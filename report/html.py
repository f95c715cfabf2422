"""report.html: one file that needs nothing else. No script runs in it, and its own policy forbids every request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..core.codec import read_json
from ..core.errors import InputError
from ..core.results import Results
from ..core.sanitize import shorten
from ..evaluate.cells import Cell, artifact_name, process_medians, raw_path
from ..evaluate.formatting import ms, percent, percent_range, points, size
from . import plots, plots_quantized
from .content import Content, figure_rows
from .palette import marker, scheme_colour, style_variables
from .reading import figure
from .sections import appendix, diagnosis, model_comparison, provenance, runtimes
from .sections.data import data_section
from .sections.recommendations import choices
from .svg import inline
from .templating import environment


def render(results: Results, folder: Path | None = None) -> str:
    """Return the page. `folder` is the run's: raw files in it add each process's median to the latency plot."""
    content = Content(results)
    cards = appendix.models(content)
    allowed = figure(results.budget.get("asked", {}).get("max_accuracy_drop"))
    template = environment(breakable=_breakable, size=size).get_template("report.html.j2")
    return template.render(
        content=content,
        headline=content.headline(),
        choices=choices(content),
        grid=content.grid(),
        problems=content.problems(),
        figures=figure_rows(content),
        files=appendix.files(content),
        cards=[(card, _curve(card.history, f"training{i}")) for i, card in enumerate(cards)],
        data=data_section(content),
        method=appendix.method(content, _plan(content, folder)),
        models=model_comparison.model_rows(content) if model_comparison.is_comparison(content) else [],
        pairs=model_comparison.pair_rows(content),
        best_file=model_comparison.best_file_title(content),
        standings=_standings(content),
        seeds=any(len(model.get("repeats") or []) > 1 for model in results.models),
        diagnoses=[(card, _snr(card, i)) for i, card in enumerate(diagnosis.diagnoses(content))],
        diagnosis_title=diagnosis.title(content),
        trades=[(card, _trade(card, allowed, i)) for i, card in enumerate(diagnosis.trades(content))],
        allowed=points(allowed) if allowed is not None else "",
        trainings=[(card, _curve(card.history, f"tuning{i}")) for i, card in enumerate(provenance.trainings(content))],
        contests=provenance.contests(content),
        calibrations=provenance.calibrations(content),
        runtimes=runtimes.runtime_rows(content),
        workarounds=runtimes.workarounds(content),
        refusals=runtimes.refusals(content),
        parts=_parts(content),
        scatters=_scatters(content),
        latencies=_latencies(content, folder),
        legend=_legend(content.timed()),
        hollow=any(c.measurement.kind != "measured" for c in content.timed()),
        light=style_variables("light"),
        dark=style_variables("dark"),
    )


def _breakable(name: str) -> Markup:
    """Return a name that may be broken after a slash or a colon, as ``local/`` and ``tflite:`` invite to."""
    pieces = re.split(r"(?<=[/:])", shorten(name, 80))
    return Markup("<wbr>").join(pieces)


def _by_model(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Return the cells model by model."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.artifact.model, []).append(cell)
    return list(groups.items())


def _scatters(content: Content) -> list[tuple[str, Markup]]:
    """Return a drawing of accuracy against latency per model, all to one scale.

    A model whose classes are not known is drawn by its agreement, to the scale of others like it.
    """
    drawings = []
    mark = "the best there is" if content.headline().verdict == "not shown" else "ship this"
    for i, (model, group) in enumerate(_by_model(content.measured())):
        alike = [c for c in content.measured() if c.by_agreement == group[0].by_agreement]
        what = "Agreement with the float model" if group[0].by_agreement else "Accuracy"
        drawing = inline(
            partial(plots.scatter, [c for c in group if c in alike], alike, content.ship, content.front, mark),
            f"scatter{i}",
            f"{what} against latency, {shorten(model)}: {_spoken(group)}",
        )
        caption = [shorten(model)] * content.several + ["agreement with its float model"] * group[0].by_agreement
        drawings.append((": ".join(caption), drawing))
    return drawings


def _standings(content: Content) -> Markup:
    """Return a drawing of the models' accuracies, or nothing where there are no two to compare."""
    rows = [(r.name, r.standing) for r in model_comparison.model_rows(content) if r.standing]
    if not model_comparison.is_comparison(content) or not rows:
        return Markup()
    title = "; ".join(
        f"{name} {percent(s.mean)} ({percent_range(s.low, s.high)}), seeds {', '.join(percent(x) for x in s.seeds)}"
        for name, s in rows
    )
    drawn = [(name, s.mean, s.low, s.high, s.seeds) for name, s in rows]
    return inline(partial(plots.models, drawn), "standings", f"Accuracy of the models with intervals: {title}")


def _parts(content: Content) -> list[tuple[str, list[dict[str, str]]]]:
    """Return model by model how each cell's latency is split into tokenizing and inference, fastest first."""
    found = [(model, _split(group)) for model, group in _by_model(content.timed())]
    return [(shorten(model) if content.several else "", rows) for model, rows in found if rows]


def _split(cells: Sequence[Cell]) -> list[dict[str, str]]:
    found = [
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
        for total, c, tokenize, infer in sorted(found, key=lambda row: row[0])
    ]


def _latencies(content: Content, folder: Path | None) -> list[tuple[str, Markup]]:
    """Return a drawing of the latencies per model."""
    return [
        (
            shorten(model) if content.several else "",
            inline(
                partial(plots.latencies, group, content.timed(), _medians(group, folder), content.ship),
                f"latency{i}",
                f"Median latency with interval, {shorten(model)}: {_spoken(group)}",
            ),
        )
        for i, (model, group) in enumerate(_by_model(content.timed()))
    ]


def _medians(group: Sequence[Cell], folder: Path | None) -> dict[tuple[str, str], list[float]]:
    return {(c.artifact.id, c.measurement.target): process_medians(c.measurement, folder) for c in group}


def _spoken(group: Sequence[Cell]) -> str:
    """Return a drawing's figures in words, for those who cannot see it."""
    return "; ".join(
        f"{shorten(c.variant)} on {shorten(c.measurement.target)} "
        + (f"{percent(c.quality)}, " if c.quality is not None else "")
        + f"{latency.median:.3g} ms"
        for c in group
        if (latency := c.measurement.latency_ms)
    )


def _curve(history: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Return the training curve, or nothing where there is no history of at least two epochs."""
    history = [{key: value for key, value in row.items() if not isinstance(value, float) or figure(value) is not None}
               for row in history]  # fmt: skip
    if len(history) < 2 or not any(isinstance(row.get("loss"), int | float) for row in history):
        return Markup()
    last = ", ".join(f"{shorten(str(k))} {v:.3g}" for k, v in history[-1].items() if isinstance(v, float))
    title = f"Accuracy and loss over {len(history)} epochs; in the last one: {last}"
    return inline(partial(plots.training, history), name, title)


def _snr(card: diagnosis.DiagnosisCard, index: int) -> Markup:
    """Return the signal-to-noise ratio along the graph, or nothing where fewer than two tensors are known."""
    if sum(p.snr is not None for p in card.points) < 2:
        return Markup()
    return inline(partial(plots_quantized.snr, card.points), f"snr{index}", plots_quantized.spoken_snr(card.points))


def _trade(card: diagnosis.Trade, allowed: float | None, index: int) -> Markup:
    """Return what each step costs and buys, or nothing where fewer than two steps have figures."""
    if sum(s.drop is not None and (s.latency is not None or s.bytes > 0) for s in card.steps) < 2:
        return Markup()
    drawing = partial(plots_quantized.trade, card.steps, allowed)
    return inline(drawing, f"trade{index}", plots_quantized.spoken_trade(card.steps))


def _legend(shown: Sequence[Cell]) -> dict[str, list[tuple[str, str]]]:
    """Return the runtimes with their signs and the schemes with their colours, in order of appearance."""
    ours = [c for c in shown if not c.is_reference]
    runtimes_ = dict.fromkeys(c.measurement.runtime for c in ours)
    schemes = dict.fromkeys(c.artifact.scheme for c in ours)
    return {
        "runtimes": [(marker(r)[1], shorten(r, 30)) for r in runtimes_],
        "schemes": [(scheme_colour(s).name, shorten(s, 30)) for s in schemes],
    }


def _plan(content: Content, folder: Path | None) -> Mapping[str, Any]:
    """Return the timing plan that the first raw file records, if there is one."""
    for cell in content.timed():
        path = raw_path(cell.measurement, folder)
        if path is None:
            continue
        try:
            plan = read_json(path).get("plan")
        except (InputError, AttributeError):
            continue
        if isinstance(plan, dict):
            return plan
    return {}
