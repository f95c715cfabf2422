"""The models of a run compared: the accuracy of each one's float reference, and the gaps between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..core.formatting import points, points_range
from ..core.results import Results
from ..core.sanitize import shorten
from ..core.statistics import difference_interval
from ..tasks import task_of


class Share(NamedTuple):
    """An accuracy with its 95 % interval, on so many samples."""

    share: float
    low: float
    high: float
    samples: int


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


def float_accuracies(results: Results) -> dict[str, Share]:
    """Return the accuracy of each model's float reference, by name; models without one are left out."""
    models = {a.id: a.model for a in results.artifacts if a.format == "savedmodel"}
    accuracies: dict[str, Share] = {}
    for m in results.measurements:
        is_reference = m.artifact in models and m.status == "ok"
        if is_reference and (share := task_of(()).reported(m)) is not None:
            accuracies.setdefault(models[m.artifact], Share(*share, m.samples))
    return accuracies


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
    return AccuracyGap(*difference_interval(accuracies[other][:3], accuracies[better][:3]))


def behind(results: Results, models: Collection[str], allowed: float) -> dict[str, AccuracyGap]:
    """Return which of `models` are less accurate than the best of them, distinguishably and by more than `allowed`.

    A model of unknown accuracy is behind every model whose accuracy is known.
    """
    accuracies = {model: share for model, share in float_accuracies(results).items() if model in models}
    if not accuracies or len(models) < 2:
        return {}
    top = max(accuracies, key=lambda model: accuracies[model].share)
    gaps: dict[str, AccuracyGap] = {}
    for model in models:
        if model not in accuracies:
            gaps[model] = AccuracyGap(
                1.0, 0.0, 1.0, f"The accuracy of {shorten(model)} is not known, so it does not go first."
            )
        elif model != top:
            lead = accuracy_gap(results, top, model)
            if lead.distinguishable and lead.estimate > allowed:
                gaps[model] = replace(
                    lead,
                    why=f"{shorten(model)} is {points(lead.estimate)} less accurate than {shorten(top)} (95 % interval "
                    f"{points_range(lead.low, lead.high)}).",
                    remedy=f"That is more than the {points(allowed)} that a file may lose: set budget.min_accuracy to "
                    "say what accuracy is enough.",
                )
    return gaps
