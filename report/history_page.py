"""The history of runs as one self-contained HTML page, in the form of the report: no scripts, no requests."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from markupsafe import Markup

from ..core.formatting import capitalized
from ..core.sanitize import shorten
from ..evaluate.history import History, HistoryPoint, Series
from ..tasks.quality import heading
from . import plots_history
from .history_words import date, entries, name
from .palette import scheme_colour, style_variables
from .plots_history import Line, Value
from .svg import inline
from .templating import environment

# Says on the page that this program wrote it: only such a page is replaced.
GENERATOR = "Edgeproof history"
_MIB = 2**20


def render(history: History) -> str:
    """Return the page."""
    metric = _metric(*history.series)
    drawings = [
        ("accuracy", capitalized(metric), _drawings(history, "accuracy", "%", _accuracy)),
        ("score", capitalized(metric), _drawings(history, "score", metric, _score)),
        ("agreement", "Agreement with the float model", _drawings(history, "agreement", "%", _agreement)),
        ("latency", "Median latency", _drawings(history, "latency", "ms", _latency)),
        ("size", "Size", _drawings(_files(history), "size", "MiB", _size)),
    ]
    schemes = dict.fromkeys(s.variant.partition(":")[2] for s in history.series)
    hollow = any(p.kind != "measured" for s in history.series for p in s.points if p.status == "ok")
    return environment(breakable=_breakable).get_template("history.html.j2").render(
        generator=GENERATOR,
        runs=[(number, date(run), run) for number, run in enumerate(history.runs, 1)],
        sections=[(key, title, drawn) for key, title, drawn in drawings if drawn],
        legend=[(scheme_colour(scheme).name, shorten(scheme, 30)) for scheme in schemes],
        series=[(name(one), capitalized(_metric(one)), list(entries(history, one))) for one in history.series],
        hollow=hollow,
        warnings=history.warnings,
        light=style_variables("light"),
        dark=style_variables("dark"),
        shorten=shorten,
    )  # fmt: skip


def _metric(*series: Series) -> str:
    return heading(point.quality for one in series for point in one.points)


def _drawings(
    history: History, key: str, unit: str, value: Callable[[HistoryPoint], Value | None]
) -> list[tuple[str, Markup]]:
    """Return a drawing of one figure for each target: its name and the drawing."""
    drawings = []
    for number, target in enumerate(dict.fromkeys(series.target for series in history.series)):
        shown = [line for s in history.series if s.target == target if (line := _line(s, value)) is not None]
        if not shown:
            continue
        spoken = "; ".join(f"{line.name} last {line.values[-1].value:.4g}" for line in shown)
        title = f"{key.capitalize()} over {len(history.runs)} runs, {shorten(target)}, {unit}: {spoken}"
        draw = partial(plots_history.lines, shown, len(history.runs), unit)
        drawings.append((shorten(target), inline(draw, f"{key}{number}", title)))
    return drawings


def _files(history: History) -> History:
    """Return the history of the files alone, the format in place of the target: all targets have the same file."""
    files: dict[tuple[str, str], Series] = {}
    for series in history.series:
        longer = files.get((series.model, series.variant))
        if longer is None or len(series.points) > len(longer.points):
            files[series.model, series.variant] = replace(series, target=series.variant.partition(":")[0])
    return replace(history, series=tuple(files.values()))


def _line(series: Series, value: Callable[[HistoryPoint], Value | None]) -> Line | None:
    values = [v for point in series.points if (v := value(point)) is not None]
    scheme = series.variant.partition(":")[2]
    label = f"{scheme} of {series.model}" if series.model else scheme
    return Line(shorten(label, 22), scheme, values) if values else None


def _accuracy(point: HistoryPoint) -> Value | None:
    if point.accuracy is None:
        return None
    return _value(point, point.accuracy, point.accuracy_low, point.accuracy_high)


def _score(point: HistoryPoint) -> Value | None:
    return None if point.score is None else _value(point, point.score, point.score_low, point.score_high)


def _agreement(point: HistoryPoint) -> Value | None:
    known = point.accuracy is not None or point.score is not None
    return None if known or point.agreement is None else _value(point, point.agreement)


def _latency(point: HistoryPoint) -> Value | None:
    if not point.latency_ms:
        return None
    return _value(point, point.latency_ms, point.latency_low or None, point.latency_high or None)


def _size(point: HistoryPoint) -> Value | None:
    return _value(point, point.bytes / _MIB) if point.bytes else None


def _value(point: HistoryPoint, value: float, low: float | None = None, high: float | None = None) -> Value:
    return Value(point.run, value, low, high, point.kind == "measured")


def _breakable(text: str) -> Markup:
    """Return a name that may be broken after a slash or a colon."""
    return Markup("<wbr>").join(re.split(r"(?<=[/:])", shorten(text, 120)))
