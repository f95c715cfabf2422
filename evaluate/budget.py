"""The budget's limits: which of them a file on a target violates, and the sentence that says so.

The accuracy drop is judged on all samples that chose nothing (`Measurement.pooled_drop`; where there is none, on
those that the file was measured on), by its paired 95 % interval: the whole interval must be inside the limit
(`budget.drop_by` = "estimate" judges by the estimate alone). Two cases are distinguished. A file whose estimate is
above the limit loses too much. A file whose estimate is within the limit and whose interval is not: it is not shown to
keep the budget, and the remedy says what would show it.

A file whose classes are not known has no accuracy. It is judged by its agreement with its float model: where the two
agree they are right or wrong together, so the drop is at most 1 - agreement (of answers of many elements, such as maps
of classes, element by element).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.artifact import Artifact
from ..core.class_figures import ClassRow
from ..core.errors import InputError
from ..core.formatting import ms, on_splits, percent, points, points_range, size
from ..core.measurement import Measurement, PooledDrop
from ..core.recipe_budget import Budget
from ..core.results import Results
from ..core.sanitize import shorten
from ..core.statistics import CONFIDENCE, samples_needed, samples_needed_of_means
from ..core.target import Target, base_target, parse_runtime, same_version
from ..tasks import Quality, asked, metric_of
from ..tasks.bootstrap import FEWEST
from ..tasks.loss import Loss, allowed_drop, loss_of
from ..tasks.per_class import recall_drop
from ..tflite import tflite_of
from .cells import Cell

REASON_LIMIT = 300
_MIN_RUNTIME = re.compile(r"(?:(tflite|onnxruntime) )?(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Violation:
    """A limit that is violated: the sentence for it, and how many times the limit the figure is (inf: not known).

    `remedy` is set where the limit is only not shown to be kept, and says what would show it; `fact` is then the part
    of `why` that the remedy does not repeat.
    """

    why: str
    excess: float
    remedy: str = ""
    fact: str = ""
    about_latency: bool = False

    @property
    def not_shown(self) -> bool:
        """Whether the samples are too few to tell if the limit is kept."""
        return bool(self.remedy)


@dataclass(frozen=True)
class Limits:
    """A budget beside what was measured: `rows` are all measurements of each artifact, by its id."""

    budget: Budget
    rows: Mapping[str, Sequence[Measurement]]

    @classmethod
    def of(cls, results: Results, budget: Budget) -> Limits:
        """Return the limits of `budget` for the cells of `results`."""
        return cls(budget, rows_by_artifact(results.measurements))

    def violations(self, cell: Cell) -> list[Violation]:
        """Return every limit that a cell which ran violates, or is not shown to keep."""
        budget, m = self.budget, cell.measurement
        violations = [*_drop(m, budget), *_class_recalls(m, budget), *_accuracy(m, budget), *_required(m, budget)]
        if m.latency_ms is None:
            limit = ms(budget.max_latency_ms) if budget.max_latency_ms is not None else ""
            unknown = _unknown("latency", limit, "it was not measured, so the file cannot be ranked")
            violations.append(replace(unknown, about_latency=True))
        else:
            violations += _over("p95 latency", m.latency_ms.p95, budget.max_latency_ms, ms)
        violations += _size(cell.artifact, budget)
        if budget.max_memory_bytes is not None and m.peak_memory_bytes is None:
            violations.append(_unknown("peak memory", size(budget.max_memory_bytes), "it was not measured"))
        elif m.peak_memory_bytes is not None:
            violations += _over("peak memory", m.peak_memory_bytes, budget.max_memory_bytes, size)
        if budget.runtime:
            violations += runtime_violations(cell.artifact, budget.runtime, self.rows.get(cell.artifact.id, ()))
        return violations

    def keeps(self, cell: Cell) -> bool:
        """Return whether a cell ran and is within every limit, wherever it ran."""
        return cell.measurement.status == "ok" and not self.violations(cell)

    def runtime_words(self, cell: Cell) -> str:
        """Return how it is known that a cell's file keeps `budget.runtime`; empty where that is not set."""
        if not self.budget.runtime:
            return ""
        there = _there(parse_runtime(self.budget.runtime), self.rows.get(cell.artifact.id, ()))
        if ran := next((m for m in there if m.status == "ok"), None):
            return f"It ran on {shorten(f'{ran.runtime} {ran.runtime_version}'.strip())}."
        return (
            f"It was not run on {self.budget.runtime}; by the table of operator versions {cell.artifact.min_runtime} "
            "and newer have all of its operators."
        )


def rows_by_artifact(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Return all measurements of each artifact, by its id."""
    rows: dict[str, list[Measurement]] = {}
    for m in measurements:
        rows.setdefault(m.artifact, []).append(m)
    return rows


def runtime_violations(artifact: Artifact, runtime: str, rows: Sequence[Measurement]) -> list[Violation]:
    """Return why a file cannot be said to run on ``NAME==VERSION``; nothing when it can.

    A measurement there decides. Where there is none, the oldest runtime that has all of the file's operators does.
    """
    required = parse_runtime(runtime)
    if not required.reads(artifact.format):
        return [Violation(f"{required.runtime} does not read {shorten(artifact.format)} files", float("inf"))]
    there = _there(required, rows)
    if any(m.status == "ok" for m in there):
        return []
    if there:
        why = shorten(there[0].reason, REASON_LIMIT) or there[0].status
        return [Violation(f"does not run on {runtime}: {why}", float("inf"))]
    oldest = _oldest(artifact, required)
    if oldest is None:
        stated = f" (it asks for {shorten(artifact.min_runtime)})" if artifact.min_runtime else ""
        words = f"it was not run there, and which versions have all of its operators is not known{stated}"
        return [_unknown(f"whether it runs on {runtime}", "", words)]
    # ai-edge-litert has version numbers of its own: which TensorFlow Lite's operators it has is in the table.
    version = (
        tflite_of(required.runtime, required.version) if required.engine.versions == "litert" else required.version
    )
    newest = tuple(int(part) for part in (version or "0").split("."))
    if oldest[: len(newest)] <= newest:
        return []
    words = f"was not run on {runtime}, and by the table of operator versions it asks for {artifact.min_runtime}"
    return [Violation(words, float("inf"))]


def _there(target: Target, rows: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements on that version of that runtime."""
    return [m for m in rows if m.runtime == target.runtime and same_version(target.version, _version(m))]


def _version(m: Measurement) -> str:
    """Return the version that ran; where nothing ran, the version that the target names."""
    if m.runtime_version:
        return m.runtime_version
    try:
        return Target.parse(base_target(m.target)).version
    except InputError:  # a target of another version of edgeproof
        return ""


def _oldest(artifact: Artifact, target: Target) -> tuple[int, ...] | None:
    """Return the version that an artifact's `min_runtime` names, where it is of the wanted runtime's kind."""
    match = _MIN_RUNTIME.fullmatch(artifact.min_runtime)
    if match is None:
        return None
    family = match[1] or ("tflite" if artifact.format == "tflite" else "onnxruntime")
    counted = "tflite" if target.engine.versions == "litert" else target.engine.versions
    if family != counted:
        return None
    return tuple(int(part) for part in match[2].split("."))


def _drop(m: Measurement, budget: Budget) -> list[Violation]:
    most = allowed_drop(m, budget)
    if math.isinf(most):  # no limit: even an unknown drop is within it
        return []
    loss = loss_of(m)
    allowed = loss.metric.amount(most)
    if loss.most is not None:
        if loss.most <= most:
            return []
        words = f"{loss.why}, so it may lose up to {points(loss.most)} of accuracy, more than the {allowed} allowed"
        return [Violation(words, _times_allowed(loss.most, most))]
    if (pooled := loss.drop) is None:
        return [_unknown(f"the drop of {loss.metric.name}", allowed, loss.why)]
    judged = pooled.drop if budget.drop_by == "estimate" or pooled.high is None else pooled.high
    if judged <= most and loss.too_few and pooled.high is None and budget.drop_by == "interval":
        fact = f"{_not_shown(loss, pooled, most)}: so few have no interval"
        return [Violation(fact, _times_allowed(judged, most), f"What would show it: {FEWEST} samples or more.", fact)]
    if judged <= most:
        return []
    interval = f" (95 % interval {loss.interval})" if loss.interval else ""
    excess = _times_allowed(judged, most)
    if pooled.drop > most:
        words = f"loses {_lost(loss, pooled.drop)} against float{on_splits(pooled)}{interval}"
        words += f", more than the {allowed} allowed"
        if budget.drop_by == "interval" and pooled.low is not None and pooled.low <= most:
            words += f"; {pooled.samples:,} samples do not exclude that it loses less"
        return [Violation(words, excess)]
    fact, remedy = f"{_not_shown(loss, pooled, most)}{interval}", _would_show(loss, pooled, most, _limit_name(budget))
    why = f"{fact}: {_how_many(loss, pooled, most, _limit_name(budget))}"
    return [Violation(why, excess, remedy, fact if "samples instead of" in remedy else why)]


def _limit_name(budget: Budget) -> str:
    return "max_drop" if budget.max_drop is not None else "max_accuracy_drop"


def _lost(loss: Loss, drop: float) -> str:
    """Return ``0.35 points of accuracy``, ``0.12 of MAE``, ``1.2 dB of SNR``."""
    words, of = loss.metric.amount(drop), f" of {loss.metric.name}"
    return words if words.endswith(of) else words + of


def _not_shown(loss: Loss, drop: PooledDrop, most: float) -> str:
    lost, amount = drop.drop, loss.metric.amount
    words = f"loses {amount(lost)}" if lost > 0 else f"gains {amount(-lost)}" if lost < 0 else "loses nothing"
    of = f" of {' and '.join(drop.splits)}" if drop.splits else ""
    return (
        f"cannot be shown with {drop.samples:,} samples{of} to lose at most {_lost(loss, most)}, though on these it "
        f"{words}"
    )


def _needed(loss: Loss, pooled: PooledDrop, most: float) -> int | None:
    """Return about how many samples would show that a drop is within the limit, given its estimate."""
    low, high = pooled.low or 0.0, pooled.high or 0.0
    needed = samples_needed if loss.metric.is_share else samples_needed_of_means
    return needed(pooled.drop, low, high, pooled.samples, most)


def _how_many(loss: Loss, pooled: PooledDrop, most: float, name: str) -> str:
    """Return how many samples would tell, in words."""
    if pooled.samples < 1:
        return "more samples would tell"
    if (count := _needed(loss, pooled, most)) is None:
        return f"no number of samples would show that; allow a little more with budget.{name}"
    return f"about {count:,} samples would be needed"


def _would_show(loss: Loss, pooled: PooledDrop, most: float, name: str) -> str:
    """Return what would show that a file keeps the limit that its estimate keeps."""
    count = _needed(loss, pooled, most) if pooled.samples > 0 else None
    ways = []
    if count is not None:
        more = "by more data or a larger share of them for the test"
        ways.append(f"about {count:,} samples instead of {pooled.samples:,}, {more}")
    high = pooled.high or 0.0
    # Rounded up: to thousandths of a share, otherwise to two digits.
    parts = 1000 if loss.metric.is_share or high <= 0 else 10.0 ** (1 - math.floor(math.log10(high)))
    wider = math.ceil(parts * high) / parts
    name = name if loss.metric.is_share else "max_drop"
    ways += ['budget.drop_by = "estimate", which judges by the estimate alone']
    ways += [f"a wider budget, budget.{name} = {wider:g}"] if wider < 1 or not loss.metric.is_share else []
    return f"What would show it: {'; or '.join(ways)}."


def _class_recalls(m: Measurement, budget: Budget) -> list[Violation]:
    """The recall of every class: kept where each class's interval is inside, violated where one's is wholly outside.

    That one of many intervals is outside needs no class to be hurt, so it counts at a confidence corrected for the
    number of classes (Bonferroni). That all are inside needs no correction (an intersection-union test).
    """
    limit = budget.max_class_recall_drop
    if limit is None or limit >= 1:
        return []
    known = [(row, row.recall) for row in (m.by_class.rows if m.by_class else ()) if row.recall is not None]
    drops = [(row, s.drop, s.drop_high) for row, s in known if s.drop is not None and s.drop_high is not None]
    if m.by_class is None or not drops:
        words = "it was not compared with its float model on samples of known classes"
        return [_unknown("the drop of each class's recall", points(limit), words)]
    if budget.drop_by == "estimate":
        row, worst, _ = max(drops, key=lambda one: one[1])
        return [] if worst <= limit else [_too_low(row, worst, "", limit)]
    corrected = 1 - (1 - CONFIDENCE) / m.by_class.classes
    lost = [(row, *recall_drop(row, corrected)) for row, _, _ in drops]
    row, drop, low, high = max(lost, key=lambda one: one[2])
    if low > limit and drop > limit:
        interval = f" ({percent(corrected)} interval {points_range(low, high)})"
        return [_too_low(row, drop, interval, limit)]
    row, drop, high = max(drops, key=lambda one: one[2])
    others = sum(h > limit for _, _, h in drops) - 1
    more = f"{others}{' or more' if m.by_class.classes > len(m.by_class.rows) else ''}"
    return [] if high <= limit else [_recall_not_shown(row, drop, high, limit, f" and in {more} more" * bool(others))]


def _too_low(row: ClassRow, drop: float, interval: str, limit: float) -> Violation:
    words = f"loses {points(drop)} of recall in the class {shorten(row.label)} ({row.samples:,} samples){interval}"
    return Violation(f"{words}, more than the {points(limit)} allowed", drop / limit if limit else 1 + 100 * drop)


def _recall_not_shown(row: ClassRow, drop: float, high: float, limit: float, more: str) -> Violation:
    """That the samples of a class do not show that the limit is kept, and those of `more` neither.

    `row` is the class that is furthest from it.
    """
    fact = (
        f"cannot be shown to lose at most {points(limit)} of recall in the class {shorten(row.label)}{more}: with "
        f"{row.samples:,} samples of it the 95 % interval of the drop ends at {points(high)}"
    )
    low = recall_drop(row)[1]
    count = samples_needed(drop, low, high, row.samples, limit)
    ways = [f"about {count:,} samples of that class instead of {row.samples:,}"] if count is not None else []
    wider = math.ceil(1000 * high) / 1000
    ways += ['budget.drop_by = "estimate", which judges by the estimates alone'] if drop <= limit else []
    ways += [f"a wider budget, budget.max_class_recall_drop = {wider:g}"] if wider < 1 else []
    remedy = f"What would show it: {'; or '.join(ways or ['more samples of that class'])}."
    return Violation(fact, high / limit if limit else 1 + 100 * high, remedy, fact)


def _accuracy(m: Measurement, budget: Budget) -> list[Violation]:
    if budget.min_accuracy is None:
        return []
    if (metric := metric_of(m)) is None:
        return [_unknown("accuracy", percent(budget.min_accuracy), "it was not measured")]
    if not metric.is_share:
        words = f"the metric is {metric.phrase}, which is no share: {asked.instead(metric)}"
        return [_unknown("accuracy", percent(budget.min_accuracy), words)]
    if metric.value >= budget.min_accuracy:
        return []
    # Shares of wrong answers, so that missing 99 % by one point counts for more than missing 80 % by one.
    ratio = (1 - metric.value) / max(1 - budget.min_accuracy, 1e-3)
    return [Violation(f"{metric.phrase} is below the {percent(budget.min_accuracy)} asked", ratio)]


def _required(m: Measurement, budget: Budget) -> list[Violation]:
    """The limits of `budget.require`: of the metric by its interval, of a figure beside it by the estimate."""
    violations = []
    for name, most, limit in budget.requirements:
        metric = metric_of(m)
        is_metric = metric is not None and name.lower() == metric.name.lower()
        words = metric.words if metric is not None and is_metric else asked.words
        value = metric.value if metric is not None and is_metric else m.metrics.get(name)
        bound = words(limit)
        if value is None or not math.isfinite(value):
            has = ", ".join(shorten(one, 40) for one in m.metrics) or "none beside the metric"
            violations.append(_unknown(shorten(name), bound, f"the figures of this file are {has}"))
        elif value > limit if most else value < limit:
            side = f"{'above' if most else 'below'} the {bound} asked"
            violations.append(Violation(f"{shorten(name)} {words(value)} is {side}", asked.excess(value, limit)))
        elif metric is not None and is_metric and budget.drop_by == "interval":
            end = metric.high if most else metric.low
            if end is None or (end > limit if most else end < limit):
                violations.append(_metric_not_shown(metric, end, bound, most=most))
    return violations


def _metric_not_shown(metric: Quality, end: float | None, bound: str, *, most: bool) -> Violation:
    """That a metric keeps its limit by the estimate, and not by its interval, which ends at `end`."""
    ends = f"its 95 % interval ends at {metric.words(end)}" if end is not None else "so few have no interval"
    asked_for = f"{bound} of {metric.name} at {'most' if most else 'least'}"
    fact = (
        f"cannot be shown with {metric.samples:,} samples to have {asked_for}: on these it is {metric.text}, and {ends}"
    )
    more = "more samples" if end is not None else f"{FEWEST} samples or more"
    estimate = 'budget.drop_by = "estimate", which judges by the estimate alone'
    return Violation(fact, 1.0, f"What would show it: {more}; or {estimate}.", fact)


def _size(artifact: Artifact, budget: Budget) -> list[Violation]:
    """The uncompressed size counts: a device stores the file uncompressed, whatever a store's download takes."""
    violations = _over("the file's size", artifact.bytes, budget.max_bytes, size)
    if violations and artifact.compressed_bytes and budget.max_bytes and artifact.compressed_bytes <= budget.max_bytes:
        words = f"; compressed it is {size(artifact.compressed_bytes)}, but the file's own bytes count"
        return [Violation(violations[0].why + words, violations[0].excess)]
    return violations


def _times_allowed(drop: float, allowed: float) -> float:
    return drop / allowed if allowed else 1 + 100 * drop


def _over(what: str, value: float, limit: float | None, words: Callable[[float], str]) -> list[Violation]:
    if limit is None or value <= limit:
        return []
    return [Violation(f"{what} {words(value)} is above the {words(limit)} allowed", value / limit)]


def _unknown(what: str, limit: str, why: str) -> Violation:
    against = f" to compare with the {limit} of the budget" if limit else ""
    return Violation(f"{what} is not known{against}: {why}", float("inf"))
