"""The models compared: several of one run, or one that was trained with several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from ...core.errors import InputError
from ...core.formatting import (
    ms,
    number,
    p_value,
    percent,
    percent_range,
    points_range,
    seconds,
    signed_points,
    size,
    times,
)
from ...core.sanitize import shorten
from ...core.statistics import seeds_accuracy
from ...evaluate.cells import artifact_name
from ...evaluate.model_comparison import NO_BUDGET, asked_budget, best_files, float_bytes
from ...evaluate.models import float_accuracies
from ...tasks import Quality, figure_of
from ...tasks.classification import Accuracy
from .. import plots
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..reading import figure
from ..section import Section
from ..svg import inline

# Where a backbone comes from, by the part before the colon in a recipe.
ORIGINS = {
    "keras": "tf.keras.applications",
    "hub": "TensorFlow Hub",
    "package": "weights in a Python package",
    "file": "supplied as a file",
    "scratch": "trained from scratch",
}
# What the weights in packages are of.
PACKAGED = {
    "package:mobilenet_v2": "tf.keras.applications",
    "package:efficientnet_lite0": "TensorFlow Hub module",
    "package:use_multilingual_v3": "TensorFlow Hub module",
}


@dataclass(frozen=True)
class Standing:
    """A model's accuracy over its seeds: mean, interval, and each seed's own; the first is the exported model's.

    Of another metric the interval is that of a comparison with another model, None where there is none.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: tuple[float, ...]


@dataclass(frozen=True)
class ModelRow:
    """One model in the table. `best` holds (target, file, latency, kind) of its best file within the budget."""

    name: str
    backbone: str
    origin: str
    status: str
    reason: str
    accuracy: str
    interval: str
    seeds: str
    train: str
    size: str
    best: tuple[tuple[str, str, str, str], ...]
    standing: Standing | None


@dataclass(frozen=True)
class TargetRow:
    """The best files of a pair on one target: which, and the first one's latency and size over the second one's."""

    target: str
    files: str
    latency: str
    interval: str
    size: str
    kind: str


@dataclass(frozen=True)
class PairRow:
    """Two models: the verdict in a sentence, and the figures behind it."""

    pair: tuple[str, str]
    verdict: str
    sentence: str
    difference: str
    interval: str
    test: str
    first: str
    first_interval: str
    mcnemar: str
    targets: tuple[TargetRow, ...]


def is_comparison(content: Content) -> bool:
    """Return whether there is anything to compare: several models, or several seeds of one."""
    models = content.results.models
    return len(models) > 1 or any(len(m.get("repeats") or []) > 1 for m in models)


def best_file_title(content: Content) -> str:
    """Return which of a model's files its row names."""
    return f"Best file {'within the budget' if content.results.budget.get('asked') else NO_BUDGET}"


def model_rows(content: Content) -> list[ModelRow]:
    """Return a row per model of the run, failed ones too."""
    return [_row(content, m) for m in content.results.models]


def _row(content: Content, model: Mapping[str, Any]) -> ModelRow:
    name, status = str(model.get("name", "")), str(model.get("status", "ok"))
    backbone = str(model.get("backbone", ""))
    over_seeds = standing(content, model)
    train, bytes_ = model.get("train_seconds"), float_bytes(content.results, name)
    files = best_files(content.results, name, asked_budget(content.results), content.ratios)
    figure, metric = float_accuracies(content.results).get(name), content.metric
    accuracy = "not measured" if model.get("labels") or figure else "not known"
    if over_seeds or figure:
        accuracy = metric.words(over_seeds.mean) if over_seeds else figure.text if figure else ""
    return ModelRow(
        name=shorten(name, NAME_LIMIT),
        backbone=shorten(backbone, 120),
        origin=origin(backbone),
        status=shorten(status, NAME_LIMIT),
        reason=shorten(str(model.get("reason", "")), REASON_LIMIT),
        accuracy=accuracy,
        interval=metric.span(over_seeds.low, over_seeds.high) if over_seeds else figure.interval if figure else "",
        seeds=_seeds(over_seeds, metric),
        train=seconds(train) if isinstance(train, int | float) else "–",
        size=size(bytes_) if bytes_ else "–",
        best=tuple(
            (
                shorten(target, NAME_LIMIT),
                artifact_name(cell.artifact, False),
                ms(cell.measurement.latency_ms.median) if cell.measurement.latency_ms else "–",
                cell.measurement.kind,
            )
            for target, cell in files.items()
        ),
        standing=over_seeds,
    )


def origin(backbone: str) -> str:
    """Return where a backbone comes from, in words."""
    if backbone in PACKAGED:
        return f"{PACKAGED[backbone]}, {ORIGINS['package']}"
    return ORIGINS.get(backbone.partition(":")[0], "")


def standing(content: Content, model: Mapping[str, Any]) -> Standing | None:
    """Return a model's metric over its seeds, or the share of its one float reference; None where it has none."""
    key, name = "accuracy" if content.metric.is_share else "score", str(model.get("name", ""))
    repeats = [r for r in model.get("repeats") or [] if isinstance(r.get(key), int | float) and r.get("samples")]
    values = [float(r[key]) for r in repeats]
    if len(values) > 1 and content.metric is Accuracy:
        return Standing(*seeds_accuracy(values, min(int(r["samples"]) for r in repeats)), tuple(values))
    if len(values) > 1:
        pairs = ((row, side) for row in content.results.comparisons for side in "ab" if row.get(side) == name)
        known = next((over for row, side in pairs if isinstance(over := row.get(f"accuracy_{side}"), Mapping)), {})
        return Standing(sum(values) / len(values), figure(known.get("low")), figure(known.get("high")), tuple(values))
    reference = float_accuracies(content.results).get(name)
    if reference is None or not reference.is_share or reference.low is None or reference.high is None:
        return None
    return Standing(reference.value, reference.low, reference.high, (reference.value,))


def _seeds(over_seeds: Standing | None, metric: type[Quality]) -> str:
    if over_seeds is None:
        return ""
    if len(over_seeds.seeds) == 1:
        return "1 seed"
    low, high = min(over_seeds.seeds), max(over_seeds.seeds)
    span = f"{100 * low:.1f} to {100 * high:.1f}" if metric.is_share else metric.span(low, high)
    return f"{len(over_seeds.seeds)} seeds, {span}; exported {metric.words(over_seeds.seeds[0])}"


def pair_rows(content: Content) -> list[PairRow]:
    """Return a row for each pair of `Results.comparisons`. Raises InputError when these are not what a run writes."""
    try:
        return [_pair(row) for row in content.results.comparisons]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            "the results' comparisons of models are incomplete",
            "results.json was changed by hand or is of another version: run the recipe again",
        ) from error


def _pair(row: Mapping[str, Any]) -> PairRow:
    difference, first = row.get("difference"), row.get("first")
    metric = figure_of(str(row.get("metric") or ""))
    several = difference is not None and max(len(row[f"accuracy_{k}"]["seeds"]) for k in ("a", "b")) > 1
    return PairRow(
        pair=(shorten(str(row["a"]), NAME_LIMIT), shorten(str(row["b"]), NAME_LIMIT)),
        verdict=shorten(str(row["verdict"]), NAME_LIMIT),
        sentence=shorten(str(row["sentence"]), 2000),
        difference=metric.signed(difference["difference"]) if difference else "–",
        interval=metric.signed_span(difference["low"], difference["high"]) if difference else "",
        test=p_value(difference["p_holm"]) if difference else "",
        first=signed_points(first["difference"]) if first and several else "",
        first_interval=points_range(first["low"], first["high"]) if first and several else "",
        mcnemar=p_value(first["p_holm"]) if first and not row.get("metric") else "",
        targets=tuple(_target(target) for target in row.get("targets", [])),
    )


def _target(row: Mapping[str, Any]) -> TargetRow:
    change, ratio = row["latency_ratio"], row["size_ratio"]
    same = change is not None and change["verdict"] == "not distinguishable"
    return TargetRow(
        target=shorten(str(row["target"]), NAME_LIMIT),
        files=" against ".join(dict.fromkeys(shorten(str(row[k]), NAME_LIMIT) or "none" for k in ("file_a", "file_b"))),
        latency=times(change["estimate"]) + (", not distinguishable" if same else "") if change else "–",
        interval=f"{number(change['low'])} to {number(change['high'])}" if change else "",
        size=times(ratio) if ratio else "–",
        kind=str(row.get("kind", "")),
    )


def _build(content: Content) -> dict[str, Any] | None:
    if not is_comparison(content):
        return None
    return {
        "models": model_rows(content),
        "pairs": pair_rows(content),
        "best_file": best_file_title(content),
        "standings": _standings(content),
        "seeds": any(len(model.get("repeats") or []) > 1 for model in content.results.models),
    }


def _standings(content: Content) -> Markup:
    """Return a drawing of the models' accuracies, or nothing where none is known."""
    rows = [(r.name, r.standing) for r in model_rows(content) if r.standing and r.standing.low is not None]
    if not rows or not content.metric.is_share:
        return Markup()
    title = "; ".join(
        f"{name} {percent(s.mean)} ({percent_range(s.low, s.high)}), seeds {', '.join(percent(x) for x in s.seeds)}"
        for name, s in rows
    )
    drawn = [(name, s.mean, s.low or 0.0, s.high or 0.0, s.seeds) for name, s in rows]
    draw = partial(plots.models, drawn, metric=content.metric.name)
    return inline(draw, "standings", f"{content.metric.title} of the models with intervals: {title}")


SECTION = Section("compared", "Models compared", _build, "model_comparison.html.j2")
