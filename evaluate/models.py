"""The models of a run compared: the accuracy of each one's float reference, and the gaps between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any, TypeVar

from ..core.artifact import artifact_id
from ..core.measurement import Measurement
from ..core.recipe_budget import Budget
from ..core.results import Results
from ..core.sanitize import shorten
from ..core.statistics import difference_interval
from ..core.variant import Variant
from ..tasks import Quality, task_of_row

T = TypeVar("T")
# Which float file of a model counts, the first that ran.
FLOAT_FORMATS = ("savedmodel", "tflite", "onnx")


@dataclass(frozen=True)
class AccuracyGap:
    """How much more accurate one exported model is than another, in shares. `distinguishable`: the interval excludes 0.

    `why` says in a sentence that the less accurate one is behind; `remedy` says what to do if that does not matter.
    """

    estimate: float
    low: float
    high: float
    why: str = ""
    remedy: str = ""

    @property
    def distinguishable(self) -> bool:
        """Whether the two are distinguishable."""
        return not self.low <= 0 <= self.high


def float_accuracies(results: Results) -> dict[str, Quality]:
    """Return the metric of each model's float reference, by name; models without one are left out.

    That is its SavedModel, or, where nothing ran that, its float32 file.
    """
    floats = {
        a.id: a
        for a in results.artifacts
        if a.format in FLOAT_FORMATS and (a.scheme == "float32" or a.format == "savedmodel")
    }
    ran = [m for m in results.measurements if m.artifact in floats and m.status == "ok"]
    accuracies: dict[str, Quality] = {}
    for m in sorted(ran, key=lambda m: FLOAT_FORMATS.index(floats[m.artifact].format)):
        if (task := task_of_row(m)) and (known := task.reported(m)):
            figure = task.figure(known.value, m.samples, known.low, known.high)
            accuracies.setdefault(floats[m.artifact].model, figure)
    return accuracies


def score_of(row: Measurement | None) -> dict[str, Any]:
    """Return the metric of a row, where that is no share, as a model's repeats have it."""
    if row is None or row.score is None:
        return {}
    return {"metric": row.metric, "score": row.score, "score_low": row.score_low, "score_high": row.score_high}


def of_float_file(answers: Mapping[tuple[str, str], T], model: str) -> T | None:
    """Return what the float32 file of a model has in `answers`, by (artifact id, target), where nothing ran its own."""
    ids = [artifact_id(model, Variant.parse(f"{format_}:float32")) for format_ in FLOAT_FORMATS[1:]]
    return next((one for id_ in ids for (artifact, _), one in answers.items() if artifact == id_), None)


def accuracy_gap(results: Results, better: str, other: str) -> AccuracyGap:
    """Return how much more accurate the exported model `better` is than `other`; both have a float accuracy.

    From the paired comparison on the same samples where `results.comparisons` has it, and otherwise as two separate
    samples (a wider, cautious interval).
    """
    for row in results.comparisons:
        first = row.get("first")
        if first and {row["a"], row["b"]} == {better, other}:
            if row["a"] == better:
                return AccuracyGap(first["difference"], first["low"], first["high"])
            return AccuracyGap(-first["difference"], -first["high"], -first["low"])
    accuracies = float_accuracies(results)
    more, less = accuracies[better], accuracies[other]
    if more.better == "lower":
        more, less = less, more
    return AccuracyGap(*difference_interval(_ends(less), _ends(more), 1.0 if more.is_share else inf))


def _ends(figure: Quality) -> tuple[float, float, float]:
    low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
    return figure.value, low, high


def behind(results: Results, models: Collection[str], budget: Budget) -> dict[str, AccuracyGap]:
    """Return which of `models` are less accurate than the best of them, distinguishably and by more than a file may be.

    A model of unknown accuracy is behind every model whose accuracy is known.
    """
    accuracies = {model: figure for model, figure in float_accuracies(results).items() if model in models}
    if not accuracies or len(models) < 2:
        return {}
    top = min(accuracies, key=lambda model: accuracies[model].cost)
    best = accuracies[top]
    allowed = budget.allowed_drop(best.value, is_share=best.is_share)
    remedy = f"set budget.{'min_accuracy' if best.is_share else 'require'} to say what {best.name} is enough"
    gaps: dict[str, AccuracyGap] = {}
    for model in models:
        if model not in accuracies:
            gaps[model] = AccuracyGap(
                1.0, 0.0, 1.0, f"The {best.name} of {shorten(model)} is not known, so it does not go first."
            )
        elif model != top:
            lead = accuracy_gap(results, top, model)
            if lead.distinguishable and lead.estimate > allowed:
                gaps[model] = replace(
                    lead,
                    why=f"{shorten(model)} is {best.amount(lead.estimate)} {best.worse_than()} than {shorten(top)} "
                    f"(95 % interval {best.signed_span(lead.low, lead.high)}).",
                    remedy=f"That is more than the {best.amount(allowed)} that a file may lose: {remedy}.",
                )
    return gaps
