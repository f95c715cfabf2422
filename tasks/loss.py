"""What a file loses against its float model, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.formatting import on_splits
from ..core.measurement import Measurement, PooledDrop
from ..core.recipe_budget import Budget
from . import metric_of
from .agreement import counts_samples
from .bootstrap import FEWEST
from .classification import Accuracy
from .quality import AgreementShare, Quality, likeness_of


@dataclass(frozen=True)
class Loss:
    """What a file loses against its float model: the `drop` of the metric, or the `most` that it can be (a share).

    Where both answer the same, they are right or wrong together: the drop is at most 1 - agreement. `why` says what is
    known instead of the drop. `by_element`: the agreement counts elements. `metric` is what is lost.
    """

    drop: PooledDrop | None
    most: float | None = None
    why: str = ""
    by_element: bool = False
    metric: type[Quality] = Accuracy

    @property
    def phrase(self) -> str:
        """How far the file is from the float model, or can be, within a sentence."""
        if self.most is not None:
            by_element = ", element by element" if self.by_element else ""
            return f"loses at most {self.metric.amount(self.most)} of whatever accuracy that has{by_element}"
        if self.drop is None:
            return "drop against float not known"
        words = ("worse than", "better than") if self.metric.better == "lower" else ("below", "above")
        way = words[0] if self.drop.drop > 0 else words[1]
        distance = (
            f"{self.metric.amount(abs(self.drop.drop))} {way} float" if self.drop.drop else "no drop against float"
        )
        interval = f" (95 % interval of the drop {self.interval})" if self.interval else ""
        return distance + on_splits(self.drop) + interval

    @property
    def too_few(self) -> bool:
        """Whether the samples are too few for an interval of the drop."""
        return self.drop is not None and self.metric is not Accuracy and 0 < self.drop.samples < FEWEST

    @property
    def words(self) -> str:
        """What the file does, where the drop is known: ``loses 0.35 points of accuracy``, ``gains …``."""
        drop, amount, name = self.drop.drop if self.drop else 0.0, self.metric.amount, self.metric.name
        if amount(abs(drop)) == amount(0):
            return f"loses no {name}" if self.metric.better == "higher" else f"has no more {name}"
        lost = amount(abs(drop)).removesuffix(f" of {name}")
        return f"{'loses' if drop > 0 else 'gains'} {lost} of {name}"

    @property
    def points(self) -> str:
        """The drop in a table, of a share in points: ``+0.35``, ``≤ 2.00``, ``–``."""
        if self.drop is not None:
            return self.metric.signed(self.drop.drop)
        return f"≤ {100 * self.most:.2f}" if self.most is not None else "–"

    @property
    def interval(self) -> str:
        """The interval of the drop; empty if it is not known."""
        return self.metric.signed_span(self.drop.low, self.drop.high) if self.drop else ""


def loss_of(m: Measurement) -> Loss:
    """Return what a file loses against its float model."""
    if m.judged_drop is not None:
        metric = metric_of(m)
        return Loss(m.judged_drop, metric=type(metric) if metric else Accuracy)
    alike = likeness_of(m)
    if isinstance(alike, AgreementShare):
        return Loss(None, 1 - alike.value, alike.phrase, by_element=not counts_samples(alike.by))
    why = "the float model has no figure"
    if m.difference is not None:
        why = f"only that no value of its answers is more than {m.difference:.2g} off its float model's"
    if alike is not None:
        why += f", and that its numbers are {alike.text} of their spread off"
    return Loss(None, why=why)


def allowed_drop(m: Measurement, budget: Budget) -> float:
    """Return what a row may lose of its metric, or of whatever accuracy it has; infinity: there is no limit."""
    metric = metric_of(m)
    if metric is None:
        return budget.allowed_drop()
    return budget.allowed_drop(None if m.drop is None else metric.before(m.drop), is_share=metric.is_share)
