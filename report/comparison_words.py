"""Two runs side by side, in words: what the terminal, Markdown and JUnit say of each cell. Each output escapes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..core.formatting import ms, percent, points, precise_ratio, signed_percent, size
from ..core.sanitize import shorten
from ..core.statistics import CONFIDENCE
from ..evaluate.compare import BY_MEDIANS, SAME_FILE, SEPARATE, CellComparison, Change, Comparison
from ..evaluate.gate import MOST_RATIO, Judgement
from ..tasks.agreement import counts_samples
from ..tasks.quality import AgreementShare, Likeness, heading
from .bench_words import sentences_of

# Cells of only one run, and of one verdict of the gate, that are named; the JSON document has all.
NAMED, NAMED_NOT_SHOWN = 8, 3
REASON_LIMIT = 200
_UNSURE = "Not every pair of files is told apart to {resolution} after {seconds}: raise --latency max_seconds."
# What marks the interval of a row that was compared by the more cautious method.
SEPARATE_MARK, MEDIANS_MARK = "†", "‡"


@dataclass(frozen=True)
class Figure:
    """How one figure changed from a to b: `change` with the verdict, its `interval`, both `values`; empty: no figure.

    `tone` is ``better``, ``worse``, or empty where nothing is distinguishable.
    """

    change: str = ""
    interval: str = ""
    values: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Row:
    """One cell in words; `model` is empty where both runs have one only.

    `status` is not empty where it did not run in both runs; then there are no figures.
    """

    variant: str
    model: str
    target: str
    status: str
    kind: str
    accuracy: Figure
    latency: Figure
    size: Figure

    @property
    def name(self) -> str:
        """The file's name, and its model's where there are several."""
        return f"{self.variant} of {self.model}" if self.model else self.variant


def metric_heading(comparison: Comparison) -> str:
    """Return what the column of the metric is called."""
    return heading(figure for cell in comparison.cells for figure in cell.qualities)


def rows(comparison: Comparison) -> list[Row]:
    """Return the cells that can have figures: not those whose runtime does not read the format."""
    several = len({c.model for c in comparison.cells}) > 1
    return [_row(cell, several) for cell in comparison.cells if not cell.by_design]


def _row(cell: CellComparison, several: bool) -> Row:
    names = (shorten(cell.variant), shorten(cell.model) if several else "", shorten(cell.target))
    sizes = _size(cell)
    if (cell.status_a, cell.status_b) != ("ok", "ok"):
        status = cell.status_b if cell.status_a == cell.status_b else f"{cell.status_a} → {cell.status_b}"
        return Row(*names, status, "", Figure(), Figure(), sizes)
    kind = cell.kind_b if cell.kind_a == cell.kind_b else f"{cell.kind_a} → {cell.kind_b}"
    return Row(*names, "", kind, _accuracy(cell), _latency(cell), sizes)


def _accuracy(cell: CellComparison) -> Figure:
    first, second = cell.qualities
    values = _both(first, second, lambda figure: figure.text)
    if isinstance(first or second, Likeness):
        values += f" {AgreementShare.suffix}{_of_elements(cell)}"
    if (change := cell.accuracy) is None:
        return Figure(values=values)
    mark = SEPARATE_MARK if change.method.startswith(SEPARATE) else ""
    metric = cell.metric
    interval = f"[{metric.signed(change.low)}, {metric.signed(change.high)}]{mark}"
    text = points(change.estimate, signed=True) if metric.is_share else metric.signed(change.estimate)
    if metric.drop_unit and not metric.is_share:
        text += f" {metric.drop_unit}"
    worse = "lower" if metric.better == "higher" else "higher"
    return _figure(change, text, interval, values, ("higher", "lower"), worse=worse)


def _latency(cell: CellComparison) -> Figure:
    values = _both(cell.latency_ms_a, cell.latency_ms_b, ms)
    if (change := cell.latency) is None:
        return Figure(values=values)
    if change.method == SAME_FILE:
        return Figure("= same file")
    mark = MEDIANS_MARK if change.method == BY_MEDIANS else ""
    known = change.high <= MOST_RATIO * change.low
    ends = f"[{precise_ratio(change.low)}, {precise_ratio(change.high)}]"
    interval = f"{ends}{mark}" if known else "no interval: one block"
    return _figure(change, f"{precise_ratio(change.estimate)}×", interval, values, ("slower", "faster"), worse="higher")


def _figure(change: Change, text: str, interval: str, values: str, words: tuple[str, str], worse: str) -> Figure:
    if change.verdict == "not distinguishable":
        return Figure(f"= {text}", interval, values)
    word = words[0] if change.verdict == "higher" else words[1]
    return Figure(f"{text}, {word}", interval, values, "worse" if change.verdict == worse else "better")


def _size(cell: CellComparison) -> Figure:
    if not cell.bytes_a and not cell.bytes_b:
        return Figure()
    values = _both(cell.bytes_a, cell.bytes_b, size)
    if cell.same_file:
        return Figure("same file", values=values)
    if cell.bytes_a == cell.bytes_b or not cell.bytes_a or not cell.bytes_b:
        return Figure("=" if cell.bytes_a == cell.bytes_b else "", values=values)
    more = cell.bytes_b / cell.bytes_a - 1
    return Figure(signed_percent(more), "", values, "worse" if more > 0 else "better")


def _of_elements(cell: CellComparison) -> str:
    """Return what agreements are shares of, where it is not whole samples in both."""
    kinds = ["samples" if counts_samples(by) else "elements" for by in (cell.agreement_by_a, cell.agreement_by_b)]
    return "" if kinds == ["samples"] * 2 else f", of {kinds[0] if kinds[0] == kinds[1] else ' → '.join(kinds)}"


def _both(a: Any, b: Any, words: Callable[[Any], str]) -> str:
    """Return ``a → b`` with their units, or the value alone when both read the same."""
    first, second = ("–" if v is None else words(v) for v in (a, b))
    return first if first == second else f"{first} → {second}"


def legend(comparison: Comparison) -> Iterator[str]:
    """Yield what the signs in the table mean, as far as they are there."""
    yield f"a → b; in brackets the {100 * CONFIDENCE:.0f} % interval of the change; =: not distinguishable from none"
    cells = [c for c in comparison.cells if not c.by_design]
    if why := {c.accuracy.method for c in cells if c.accuracy and c.accuracy.method.startswith(SEPARATE)}:
        reasons = sorted(method.partition(": ")[2] or "not of the same samples" for method in why)
        yield f"{SEPARATE_MARK} compared as two separate samples, whose interval is wider: {'; '.join(reasons)}"
    if by_medians := [c.latency.confidence for c in cells if c.latency and c.latency.method == BY_MEDIANS]:
        yield (
            f"{MEDIANS_MARK} no anchor in common, or its raw latencies are gone, so the machine's own speed is in it: "
            f"no latency is called different (intervals of {percent(min(by_medians))} or more)"
        )
    if comparison.bench:
        yield "latencies were measured now: the files of both runs in the same rounds"
    yield from sentences_of(comparison.bench, _UNSURE)
    for cell, row in zip(cells, rows(comparison), strict=True):
        if cell.latency_why and not row.status and not cell.is_reference:
            yield f"{row.name} on {row.target}: {shorten(cell.latency_why, REASON_LIMIT)}"


def only_in(comparison: Comparison) -> Iterator[str]:
    """Yield which cells only one of the runs has."""
    for run, names in (("a", comparison.only_a), ("b", comparison.only_b)):
        if names:
            yield f"only in {run}: {_listed(list(map(shorten, names)), ', ')}"


def status_changes(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Yield each cell that runs in one run only, with the reason why it does not in the other."""
    for cell, row in zip((c for c in comparison.cells if not c.by_design), rows(comparison), strict=True):
        if (cell.status_a == "ok") != (cell.status_b == "ok"):
            reason = cell.reason_b if cell.status_a == "ok" else cell.reason_a
            yield f"{row.name} on {row.target}: {row.status}", shorten(reason, REASON_LIMIT)


def gate_lines(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Yield (verdict, sentence) for each limit and verdict other than met, and last the verdict of the gate."""
    gate = comparison.gate
    if gate is None:
        return
    for limit in gate.limits:
        judged = [j for j in gate.judgements if j.limit == limit]
        for verdict in ("not met", "not shown"):
            if matching := [j for j in judged if j.verdict == verdict]:
                most = NAMED if verdict == "not met" else NAMED_NOT_SHOWN
                words = [f"{place(comparison, j)} ({shorten(j.why, REASON_LIMIT)})" for j in matching]
                places = _listed(words, "; ", most)
                yield verdict, f"{limit}: {verdict} on {len(matching)} of {len(judged)}: {places}"
        if all(j.verdict == "met" for j in judged):
            yield "met", f"{limit}: met on {len(judged)} of {len(judged)}" if judged else f"{limit}: nothing to judge"
    yield gate.verdict, f"gate {gate.verdict}"


def place(comparison: Comparison, judgement: Judgement) -> str:
    """Return the cell of a judgement: ``tflite:int8 on local/litert``, with its model where there are several."""
    several = len({c.model for c in comparison.cells}) > 1
    of = f" of {judgement.model}" if several else ""
    return shorten(f"{judgement.variant}{of} on {judgement.target}", 120)


def _listed(names: list[str], between: str, most: int = NAMED) -> str:
    """Return the first names, and how many more there are."""
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
