"""Without a budget: the Pareto front of accuracy, latency and size, and which file dominates each other one.

A file beats another only by what can be told apart: latencies by the interval of their ratio, sizes exactly. Accuracies
are compared as estimates, and a better estimate alone beats nothing unless the intervals, where there are any, exclude
that it is chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.formatting import ms, size, times
from ..core.measurement import Measurement
from ..core.results import Results
from ..core.sanitize import shorten
from ..tasks import Quality, comparable, quality_of
from .budget import REASON_LIMIT, rows_by_artifact, runtime_violations
from .bursts import Ratios
from .cells import Cell, artifact_name, cells, has_several_models

Costs = tuple[float, ...]
_LATENCY = -2  # its place in the costs
_AMONG, _FASTEST, _SMALLEST = "among ", "the fastest", "the smallest"


def pareto(
    measurements: Sequence[Measurement], bytes_of: Mapping[str, int], ratios: Ratios | None = None
) -> list[Measurement]:
    """Return the measurements that no other beats: no worse in accuracy, latency and size, and better in one of them.

    `bytes_of` maps artifact ids to file sizes. `ratios` compares latencies: one that is not distinguishable from
    another is neither better nor worse. Measurements that lack one of these are left out. Where none has an accuracy,
    agreement stands in for it, else the relative error; where nothing is known of how well any file answers, latency
    and size alone are compared. The order is that of `measurements`.
    """
    front = _Front(measurements, bytes_of, ratios or Ratios())
    return [m for m in front.compared if not front.better(m)]


def without_budget(results: Results, runtime: str = "", ratios: Ratios | None = None) -> dict[str, Any]:
    """Return the `recommendation` of a run that was given no budget: nothing is chosen, and the front is shown.

    ``pareto`` are the candidates of the front, each with ``why`` it may be wanted; ``beaten`` those that one of them
    beats; ``rejected`` those that did not run, or that cannot run on `runtime`. ``targets`` holds the same for each
    target alone. ``artifact`` and ``target`` are None, ``fits`` is empty.
    """
    ratios = ratios or Ratios()
    candidates = [c for c in cells(results) if c.is_candidate]
    candidates = [c for c in candidates if c.measurement.kind != "emulated"] or candidates
    rows = rows_by_artifact(results.measurements)
    refused: dict[str, str] = {}
    for cell in candidates:
        if runtime and (violations := runtime_violations(cell.artifact, runtime, rows.get(cell.artifact.id, ()))):
            refused[cell.artifact.id] = sentence("; ".join(b.why for b in violations))
    targets = dict.fromkeys(c.measurement.target for c in candidates)
    device, elsewhere = first_device(candidates, list(results.environments))
    fronts = [
        _front(results, [c for c in candidates if c.measurement.device == name], refused, "", ratios)
        for name in dict.fromkeys([device, *(c.measurement.device for c in candidates)])
    ]
    return {
        **fronts[0],
        **{rows: [row for front in fronts for row in front[rows]] for rows in ("pareto", "beaten", "rejected")},
        "why": fronts[0]["why"] + elsewhere,
        "targets": [
            {**_front(results, [c for c in candidates if c.measurement.target == target], refused, target, ratios),
             "target": target}
            for target in targets
        ],
    }  # fmt: skip


def first_device(candidates: Sequence[Cell], order: Sequence[str]) -> tuple[str, str]:
    """Return the device that a choice over all targets is among, the first one with a latency, and what to say of it.

    Latencies of different devices are not compared, so files on the others are chosen target by target. `order` is that
    of the run's targets: the first file may not run on the first device.
    """
    found = dict.fromkeys(c.measurement.device for c in candidates)
    names = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    timed = {c.measurement.device for c in candidates if c.measurement.latency_ms}
    first = next((name for name in names if name in timed), next(iter(names), ""))
    if len(names) < 2:
        return first, ""
    others = ", ".join(shorten(name) for name in names if name != first)
    return first, (
        f" This is among the files on the device {shorten(first)}: its latencies are not compared with those on "
        f"{others}, which have choices of their own."
    )


def did_not_run(cell: Cell) -> str:
    """Return why a cell has no figures: where no file could be made, why not."""
    if cell.artifact.status != "ok":
        return sentence(f"no file: {shorten(cell.artifact.reason, REASON_LIMIT) or cell.artifact.status}")
    m = cell.measurement
    return sentence(f"{m.status}: {shorten(m.reason, REASON_LIMIT) or 'no reason was given'}")


def no_exported_file(results: Results, target: str) -> str:
    """Return why there is nothing to choose from (on a target): only estimates, only float models, or nothing."""
    where = f" on {target}" if target else ""
    here = [c for c in cells(results) if not c.is_reference and target in ("", c.measurement.target)]
    if any(c.measurement.kind == "estimated" and c.measurement.status == "ok" for c in here):
        return f"Figures of exported files{where} are estimates: nothing ran, so there is nothing to choose from."
    if any(c.is_reference and target in ("", c.measurement.target) for c in cells(results)):
        return f"Only float models were measured{where}: there is no exported file to choose from."
    return f"No exported file ran{where}."


def sentence(words: str) -> str:
    """Return words with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."


class _Front:
    """The measurements that can be compared, with their costs, and which of them beat each other.

    Costs are (how badly it answers, milliseconds, bytes), less being better; without the first if nothing is known of
    it.
    """

    def __init__(self, measurements: Sequence[Measurement], bytes_of: Mapping[str, int], ratios: Ratios) -> None:
        ran = [m for m in measurements if m.status == "ok"]
        figures = comparable(ran)
        nothing_known = not any(figures)
        self.costs: dict[tuple[str, str], Costs] = {}
        self.compared: list[Measurement] = []
        self.ratios = ratios
        for m, figure in zip(ran, figures, strict=True):
            if (figure or nothing_known) and m.latency_ms is not None:
                answers = [figure.cost] if figure else []
                self.costs[m.artifact, m.target] = (*answers, m.latency_ms.median, float(bytes_of[m.artifact]))
                self.compared.append(m)

    def better(self, m: Measurement) -> list[Measurement]:
        """Return the measurements that beat `m`."""
        return [other for other in self.compared if other is not m and self._beats(other, m)]

    def best(self) -> list[set[tuple[str, str]]]:
        """Return for each cost which measurements have the least: it, and those that cannot be told from it."""
        groups = []
        for column in range(-len(next(iter(self.costs.values()), ())), 0):
            least = min(self.compared, key=lambda m: self._rank(m, column))
            groups.append({(m.artifact, m.target) for m in self.compared if m is least or self._ties(m, least, column)})
        return groups

    def _rank(self, m: Measurement, column: int) -> float:
        """Return the cost; of latencies the ratio to the anchor, where all are ratios of the same."""
        anchors = {x.latency_ratio.anchor if x.latency_ratio else "" for x in self.compared}
        if column == _LATENCY and m.latency_ratio and len(anchors) == 1:
            return m.latency_ratio.ratio
        return self.costs[m.artifact, m.target][column]

    def _ties(self, m: Measurement, least: Measurement, column: int) -> bool:
        if column == _LATENCY:
            ratio = self.ratios(least, m)
            return ratio is not None and ratio.verdict == "not distinguishable"
        same = self.costs[m.artifact, m.target][column] == self.costs[least.artifact, least.target][column]
        return same or (column < _LATENCY and not _surely_better(least, m))

    def _beats(self, a: Measurement, b: Measurement) -> bool:
        *answers_a, _, bytes_a = self.costs[a.artifact, a.target]
        *answers_b, _, bytes_b = self.costs[b.artifact, b.target]
        if answers_a > answers_b or bytes_a > bytes_b:
            return False
        ratio = self.ratios(b, a)
        if ratio is None or ratio.verdict == "slower":
            return False
        return ratio.verdict == "faster" or bytes_a < bytes_b or (answers_a != answers_b and _surely_better(a, b))


def _surely_better(a: Measurement, b: Measurement) -> bool:
    """Return whether `a`, whose estimate is better, answers better beyond chance, as far as there are intervals."""
    drops = [m.judged_drop for m in (a, b)]
    first, second = drops
    if first and second and first.high is not None and second.low is not None and first.high < second.low:
        return True
    mine, its = quality_of(a), quality_of(b)
    if mine.low is None or its.high is None:
        return True
    return mine.surely_better(its)


def _front(
    results: Results, candidates: Sequence[Cell], refused: Mapping[str, str], target: str, ratios: Ratios
) -> dict[str, Any]:
    """Return which of some candidates are on the front, and what is said of each other one."""
    several, nothing = has_several_models(results), no_exported_file(results, target)
    ran = [c for c in candidates if c.measurement.status == "ok" and c.artifact.id not in refused]
    bytes_of = {c.artifact.id: c.artifact.bytes for c in ran}
    compared = _Front([c.measurement for c in ran], bytes_of, ratios)
    with_costs = [c for c in ran if _key(c) in compared.costs]
    better = {_key(c): compared.better(c.measurement) for c in with_costs}
    front = [c for c in with_costs if not better[_key(c)]]
    front.sort(key=lambda c: (*compared.costs[_key(c)][-2:], _key(c)))
    leads = _leads(front, compared)
    beaten = []
    for cell in with_costs:
        if better[_key(cell)]:
            named = [c for c in front if c.measurement in better[_key(cell)]] or [
                c for c in with_costs if c.measurement in better[_key(cell)]
            ]
            beaten.append(_row(cell, _beaten(cell, named[0], compared, several)))
    rejected = [
        _row(c, did_not_run(c) if c.measurement.status != "ok" else refused.get(c.artifact.id, _not_compared(c)))
        for c in candidates
        if c not in with_costs
    ]
    return {
        "artifact": None,
        "target": None,
        "why": _why(front, leads, candidates, len(with_costs), several, target, nothing),
        "rejected": rejected,
        "fits": [],
        "pareto": [_row(c, _description(c, leads[_key(c)])) for c in front],
        "beaten": beaten,
    }


def _leads(front: Sequence[Cell], compared: _Front) -> dict[tuple[str, str], list[str]]:
    """Return in what each file of the front is best; those that are best in nothing lie between.

    A file that another one, also one off the front, cannot be told from is only among the best. Sizes are exact.
    """
    leads: dict[tuple[str, str], list[str]] = {_key(c): [] for c in front}
    for column, best in enumerate(compared.best()):
        for c in front:
            if _key(c) in best:
                names = [*(c.quality.best for _ in compared.costs[_key(c)][:-2]), _FASTEST, _SMALLEST]
                leads[_key(c)].append(_AMONG * (len(best) > 1 and names[column] != _SMALLEST) + names[column])
    return leads


def _description(cell: Cell, leads: Sequence[str]) -> str:
    m = cell.measurement
    latency = ms(m.latency_ms.median) if m.latency_ms else ""
    figures = f"{cell.quality.phrase}, {cell.loss.phrase}, {latency}, {size(cell.artifact.bytes)}"
    return sentence(f"{_listed(leads) or 'between the others'}: {figures}")


def _beaten(cell: Cell, better: Cell, compared: _Front, several: bool) -> str:
    """Return what a file of the front has before one that it beats."""
    mine, its = compared.costs[_key(cell)][-1], compared.costs[_key(better)][-1]
    ratio = compared.ratios(cell.measurement, better.measurement)
    same = ratio is None or ratio.verdict == "not distinguishable"
    latency = "a latency that is not distinguishable" if same or ratio is None else f"{times(ratio.ratio)} the latency"
    bulk = "no larger" if not mine or mine == its else f"{times(its / mine)} the size"
    where = f" on {better.measurement.target}" if better.measurement.target != cell.measurement.target else ""
    return (
        f"{artifact_name(better.artifact, several)}{where} {_answers(cell.quality, better.quality)}, at "
        f"{latency} and {bulk}."
    )


def _answers(mine: Quality, its: Quality) -> str:
    """Return how well a better file answers beside another."""
    if not its.better:
        return "is better"
    if its.value == mine.value:
        return f"answers as well ({its.compared})"
    return f"answers better ({its.compared} against {mine.compared})"


def _not_compared(cell: Cell) -> str:
    """Return why a file that ran is not on the front and not compared."""
    if cell.measurement.latency_ms is None:
        return "Its latency was not measured."
    return "How well it answers is not known: it has no accuracy, and no float model to agree with."


def _why(
    front: Sequence[Cell],
    leads: Mapping[tuple[str, str], Sequence[str]],
    candidates: Sequence[Cell],
    count: int,
    several: bool,
    target: str,
    nothing: str,
) -> str:
    where = f" on {target}" if target else ""
    if not candidates:
        return nothing
    if not front and any(c.measurement.status == "ok" for c in candidates):
        return f"No two files can be compared{where}: what each lacks is said beside it."
    if not front:
        return f"No exported file ran{where}: the list of failures says what went wrong and what to do."
    files = f"files that ran{where}" if target else "measured pairs of file and target"
    leading = [
        f"{artifact_name(c.artifact, several)}{'' if target else f' on {c.measurement.target}'} is "
        f"{_listed(leads[_key(c)])} ({_figure(c, leads[_key(c)])})"
        for c in front
        if leads[_key(c)]
    ]
    beats = "is beaten by no other" if len(front) == 1 else "are beaten by no other"
    quality = front[0].quality
    judged_by = f"{quality.full_name}, " if quality.better else ""
    head = f"{len(front)} of the {count} {files} {beats} in {judged_by}latency and size at once"
    if count == 1:
        head = f"One file was measured{where}"
    end = "" if target else " A budget ([budget] in the recipe, or --budget) has one of them chosen."
    if not judged_by:
        end = " How well they answer is not known: they have no accuracy, and no float model to agree with."
    return f"{head}: {'; '.join(leading)}.{end}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _figure(cell: Cell, leads: Sequence[str]) -> str:
    m = cell.measurement
    best = {name.removeprefix(_AMONG) for name in leads}
    words = []
    if cell.quality.best in best:
        words.append(cell.quality.compared)
    if _FASTEST in best and m.latency_ms:
        words.append(ms(m.latency_ms.median))
    if _SMALLEST in best:
        words.append(size(cell.artifact.bytes))
    return ", ".join(words)


def _key(cell: Cell) -> tuple[str, str]:
    return cell.measurement.artifact, cell.measurement.target


def _row(cell: Cell, why: str) -> dict[str, Any]:
    return {"artifact": cell.artifact.id, "target": cell.measurement.target, "why": why}
