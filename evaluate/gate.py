"""A gate for CI: limits on how much worse run b may be than run a, decided by intervals, cell by cell.

A limit is ``accuracy_drop > 0.5 points``, ``metric_drop > 2 %`` (of any task's metric, as a part of that of run a),
``latency > 3 %``, ``size > 5 %`` or ``new-failures``. On a cell it is "not met" where the interval of the change lies
wholly beyond it, "met" where it lies wholly within, and otherwise "not shown": these samples or these latencies cannot
tell. So noise alone never fails a gate, and what was not measured is never called good. The float model itself ships
nowhere: it is left out where there are files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import copysign, inf, isfinite
from typing import TYPE_CHECKING, Literal

from ..core.errors import InputError
from ..core.formatting import precise_ratio, signed_percent, signed_points
from ..core.sanitize import shorten
from .cells import Cell

if TYPE_CHECKING:
    from .compare import CellComparison

Verdict = Literal["met", "not met", "not shown"]

NEW_FAILURES = "new-failures"
# An interval that covers less often than this says nothing; `compare` calls such a change not distinguishable.
LEAST_CONFIDENCE = 0.8
# An interval of a ratio that is wider than this is that of one block of processes, which has none.
MOST_RATIO = 1e6
_NAME = re.compile(r"[^\s<>=]*")
_AMOUNT = re.compile(r">\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([^\s0-9.]\S*)")
_EXAMPLES = "'accuracy_drop > 0.5 points', 'metric_drop > 2 %', 'latency > 3 %', 'size > 5 %', new-failures"


@dataclass(frozen=True)
class Change:
    """How much worse b is than a in a limit's unit, with the interval; and the same in words."""

    value: float
    low: float
    high: float
    words: str


@dataclass(frozen=True)
class Metric:
    """What a limit can be of: its unit, and the change of a cell, or a text that says why there is none."""

    unit: str
    change: Callable[[CellComparison], Change | str]


@dataclass(frozen=True)
class Limit:
    """One limit: `text` as it was asked; `most` of `metric` is allowed, in its unit (None for ``new-failures``)."""

    text: str
    metric: str
    most: float | None = None


@dataclass(frozen=True)
class Judgement:
    """One limit on one cell. `value`, `low`, `high`: how much worse b is, in the limit's unit; None: not known."""

    limit: str
    model: str
    variant: str
    target: str
    verdict: Verdict
    why: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Gate:
    """What all limits came to: ``not met`` if one is not met on one cell, else ``not shown`` if one is not shown."""

    verdict: Verdict
    limits: tuple[str, ...]
    judgements: tuple[Judgement, ...]

    def of(self, verdict: Verdict) -> list[Judgement]:
        """Return the judgements with a verdict."""
        return [j for j in self.judgements if j.verdict == verdict]


def parse_limit(text: str) -> Limit:
    """Return the limit that a text names. Raises InputError with what is wrong and how it is written."""
    text = text.strip()
    metric = _NAME.match(text)[0]  # type: ignore[index]  # it matches the empty text too
    if metric not in (*METRICS, NEW_FAILURES):
        close = get_close_matches(metric.lower().replace("-", "_"), METRICS, 1) or get_close_matches(
            metric.lower().replace("_", "-"), [NEW_FAILURES], 1
        )
        hint = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"the limit {shorten(text)!r} names no known figure", f"{hint}write one of {_EXAMPLES}")
    amount = text[len(metric) :].strip()
    if metric == NEW_FAILURES:
        if amount:
            raise InputError(f"the limit {shorten(text)!r} has an amount", f"write {NEW_FAILURES} alone")
        return Limit(NEW_FAILURES, NEW_FAILURES)
    unit = METRICS[metric].unit
    example = f"write it as '{metric} > {'0.5' if unit == 'points' else '3'} {unit}'"
    found = _AMOUNT.fullmatch(amount)
    if found is None:
        raise InputError(f"the limit {shorten(text)!r} does not say how much is too much", example)
    if found[2] not in (unit, unit.removesuffix("s")):
        raise InputError(f"the limit {shorten(text)!r} is in {shorten(found[2])!r}: {metric} is in {unit}", example)
    return Limit(f"{metric} > {found[1]} {unit}", metric, float(found[1]))


def judge(limits: Sequence[Limit], cells: Sequence[CellComparison], missing: Sequence[Cell]) -> Gate:
    """Judge every limit on every cell that both runs have; `missing` are the cells of a that b has not.

    Cells that ran in neither run are left out, and so is the float model where there are files. Raises InputError for
    a limit of a figure that no file of the runs has, which would never fail.
    """
    files = [c for c in cells if not c.is_reference]
    counted = [c for c in files or cells if not c.by_design and "ok" in (c.status_a, c.status_b)]
    lost = [c for c in missing if c.measurement.status == "ok" and not (files and c.is_reference)]
    for limit in limits:
        _check_known(limit, [c for c in counted if c.status_a == c.status_b == "ok"])
    judgements: list[Judgement] = []
    for limit in limits:
        judgements += [_judged(limit, cell) for cell in counted]
        judgements += _lost(limit, lost)
    verdicts = {j.verdict for j in judgements}
    whole: Verdict = "not met" if "not met" in verdicts else "met" if verdicts == {"met"} else "not shown"
    return Gate(whole, tuple(dict.fromkeys(limit.text for limit in limits)), tuple(judgements))


def _check_known(limit: Limit, cells: Sequence[CellComparison]) -> None:
    """Raise InputError for a limit of the accuracy or the metric where none of the `cells` has it in either run."""
    if limit.metric not in ("accuracy_drop", "metric_drop") or not cells:
        return
    if any(value is not None for c in cells for value in (c.accuracy_a, c.accuracy_b)):
        return
    others = sorted({shorten(name) for c in cells for name in (c.metric_a, c.metric_b) if name})
    if not others:
        raise InputError(
            f"{limit.text}: the classes are not known in either run, so nothing would ever be beyond it",
            "evaluate on samples whose classes are known, or leave it out",
        )
    if limit.metric == "accuracy_drop":
        raise InputError(
            f"{limit.text}: the metric of the runs is {' or '.join(others)}, which is no share",
            f"limit it with 'metric_drop > 2 %', a part of the {' or '.join(others)} of run a",
        )


def _judged(limit: Limit, cell: CellComparison) -> Judgement:
    def verdict(verdict: Verdict, why: str, *figures: float | None) -> Judgement:
        return Judgement(limit.text, cell.model, cell.variant, cell.target, verdict, why, *figures)

    if limit.most is None:
        if cell.status_a == "ok" and cell.status_b != "ok":
            return verdict("not met", f"it ran in a; in b: {cell.status_b}{cell.reason_b and f', {cell.reason_b}'}")
        return verdict("met", "it runs in b" if cell.status_b == "ok" else "it did not run in a either")
    change = METRICS[limit.metric].change(cell)
    if isinstance(change, str):
        return verdict("not shown", change)
    figures = [figure if isfinite(figure) else None for figure in (change.value, change.low, change.high)]
    if change.low > limit.most:
        return verdict("not met", change.words, *figures)
    return verdict("met" if change.high <= limit.most else "not shown", change.words, *figures)


def _lost(limit: Limit, missing: Sequence[Cell]) -> Iterator[Judgement]:
    """Yield the judgements of cells that ran in a and that b lacks: the model failed, or it was not asked for."""
    for cell in missing if limit.metric == NEW_FAILURES else ():
        yield Judgement(
            limit.text, cell.artifact.model, cell.variant, cell.measurement.target, "not met",
            "it ran in a, and is not in b",
        )  # fmt: skip


def _accuracy_drop(cell: CellComparison) -> Change | str:
    if cell.accuracy is None:
        return _not_in_both(cell, "accuracy")
    change, metric = cell.accuracy, cell.metric
    if not metric.is_share:
        return f"the metric is {metric.name}, which is no share: limit it with metric_drop"
    words = f"{signed_points(change.estimate)} points [{signed_points(change.low)}, {signed_points(change.high)}]"
    drop, low, high = (100 * value for value in (-change.estimate, -change.high, -change.low))
    return Change(drop + 0.0, low + 0.0, high + 0.0, words)


def _metric_drop(cell: CellComparison) -> Change | str:
    """How much is lost of any task's metric, as a part of that of a."""
    change, (first, _) = cell.accuracy, cell.qualities
    if change is None or first is None:
        return _not_in_both(cell, "metric")
    metric, ends = cell.metric, (change.estimate, change.low, change.high)
    words = f"{metric.signed(ends[0])} {metric.drop_unit}".rstrip() + f" [{', '.join(map(metric.signed, ends[1:]))}]"
    worse = [_part(end * (1 if metric.better == "lower" else -1), abs(first.value)) for end in ends]
    words += "" if first.value else f", from {first.text}"
    return Change(worse[0] + 0.0, min(worse[1:]) + 0.0, max(worse[1:]) + 0.0, f"{first.name} {words}")


def _part(lost: float, whole: float) -> float:
    """Return what is lost in per cent of the whole; of 0 anything is more than any part."""
    return 100 * lost / whole if whole else copysign(inf, lost) if lost else 0.0


def _latency(cell: CellComparison) -> Change | str:
    change = cell.latency
    if change is None:
        if cell.latency_why:
            return cell.latency_why
        if cell.kind_a != cell.kind_b:
            return f"latency is {cell.kind_a} in a and {cell.kind_b} in b"
        return _not_in_both(cell, "comparable latency")
    if not change.tells:
        return f"{precise_ratio(change.estimate)}×, from medians of different times: use --remeasure"
    if change.confidence < LEAST_CONFIDENCE or change.high > MOST_RATIO * change.low:
        return f"{precise_ratio(change.estimate)}×, of too few processes for an interval"
    words = f"{precise_ratio(change.estimate)}× [{precise_ratio(change.low)}, {precise_ratio(change.high)}]"
    more, low, high = (100 * (ratio - 1) for ratio in (change.estimate, change.low, change.high))
    return Change(more, low, high, words)


def _size(cell: CellComparison) -> Change | str:
    if not cell.bytes_a or not cell.bytes_b:
        return _not_in_both(cell, "size")
    share = (cell.bytes_b - cell.bytes_a) / cell.bytes_a
    return Change(100 * share, 100 * share, 100 * share, signed_percent(share))


def _not_in_both(cell: CellComparison, what: str) -> str:
    if what in ("accuracy", "metric") and cell.metric_a and cell.metric_b and cell.metric_a != cell.metric_b:
        return f"the metric is {shorten(cell.metric_a)} in a and {shorten(cell.metric_b)} in b"
    failed = [f"{run}: {status}" for run, status in (("a", cell.status_a), ("b", cell.status_b)) if status != "ok"]
    return f"no {what} in both runs" + (f" ({', '.join(failed)})" if failed else "")


METRICS = {
    "accuracy_drop": Metric("points", _accuracy_drop),
    "metric_drop": Metric("%", _metric_drop),
    "latency": Metric("%", _latency),
    "size": Metric("%", _size),
}
