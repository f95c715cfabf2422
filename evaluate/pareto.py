"""Without a budget: the Pareto front of accuracy, latency and size, and which file dominates each other one.

Estimates are compared, without their intervals: the front shows a choice, it does not make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.formatting import ms, size, times
from ..core.measurement import Measurement
from ..core.results import Results
from ..core.sanitize import shorten
from ..tasks import Quality, comparable
from .budget import REASON_LIMIT, rows_by_artifact, runtime_violations
from .cells import Cell, artifact_name, cells, has_several_models

Costs = tuple[float, ...]


def pareto(measurements: Sequence[Measurement], bytes_of: Mapping[str, int]) -> list[Measurement]:
    """Return the measurements that no other beats: better in one of accuracy, latency, size and no worse in the others.

    `bytes_of` maps artifact ids to file sizes. Estimates are compared as they are, without their intervals.
    Measurements that lack one of these are left out. Where none has an accuracy, agreement stands in for it, else the
    relative error; where nothing is known of how well any file answers, latency and size alone are compared.
    The order is that of `measurements`.
    """
    with_costs = _costs(measurements, bytes_of)
    return [m for m, costs in with_costs if not any(_dominates(other, costs) for _, other in with_costs)]


def without_budget(results: Results, runtime: str = "") -> dict[str, Any]:
    """Return the `recommendation` of a run that was given no budget: nothing is chosen, and the front is shown.

    ``pareto`` are the candidates of the front, each with ``why`` it may be wanted; ``beaten`` those that one of them
    beats; ``rejected`` those that did not run, or that cannot run on `runtime`. ``targets`` holds the same for each
    target alone. ``artifact`` and ``target`` are None, ``fits`` is empty.
    """
    candidates = [c for c in cells(results) if not c.is_reference and not c.is_by_design]
    candidates = [c for c in candidates if c.measurement.kind != "emulated"] or candidates
    rows = rows_by_artifact(results.measurements)
    refused: dict[str, str] = {}
    for cell in candidates:
        if runtime and (violations := runtime_violations(cell.artifact, runtime, rows.get(cell.artifact.id, ()))):
            refused[cell.artifact.id] = sentence("; ".join(b.why for b in violations))
    targets = dict.fromkeys(c.measurement.target for c in candidates)
    return {
        **_front(results, candidates, refused, ""),
        "targets": [
            {**_front(results, [c for c in candidates if c.measurement.target == target], refused, target),
             "target": target}
            for target in targets
        ],
    }  # fmt: skip


def did_not_run(cell: Cell) -> str:
    """Return why a cell has no figures: where no file could be made, why not."""
    if cell.artifact.status != "ok":
        return sentence(f"no file: {shorten(cell.artifact.reason, REASON_LIMIT) or cell.artifact.status}")
    m = cell.measurement
    return sentence(f"{m.status}: {shorten(m.reason, REASON_LIMIT) or 'no reason was given'}")


def no_exported_file(results: Results, target: str) -> str:
    """Return that there is nothing to choose from (on a target): only float models were measured, or nothing at all."""
    where = f" on {target}" if target else ""
    if any(c.is_reference and target in ("", c.measurement.target) for c in cells(results)):
        return f"Only float models were measured{where}: there is no exported file to choose from."
    return f"No exported file ran{where}."


def sentence(words: str) -> str:
    """Return words with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."


def _costs(measurements: Sequence[Measurement], bytes_of: Mapping[str, int]) -> list[tuple[Measurement, Costs]]:
    """Return what each measurement costs, less being better; those that lack a figure are left out."""
    ran = [m for m in measurements if m.status == "ok"]
    figures = comparable(ran)
    nothing_known = not any(figures)
    return [
        (m, (*([figure.cost] if figure else []), m.latency_ms.median, float(bytes_of[m.artifact])))
        for m, figure in zip(ran, figures, strict=True)
        if (figure or nothing_known) and m.latency_ms is not None
    ]


def _dominates(a: Costs, b: Costs) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _front(results: Results, candidates: Sequence[Cell], refused: Mapping[str, str], target: str) -> dict[str, Any]:
    """Return which of some candidates are on the front, and what is said of each other one."""
    several, nothing = has_several_models(results), no_exported_file(results, target)
    ran = [c for c in candidates if c.measurement.status == "ok" and c.artifact.id not in refused]
    bytes_of = {c.artifact.id: c.artifact.bytes for c in ran}
    costs = {(m.artifact, m.target): cost for m, cost in _costs([c.measurement for c in ran], bytes_of)}
    with_costs = [c for c in ran if _key(c) in costs]
    front = [c for c in with_costs if not any(_dominates(other, costs[_key(c)]) for other in costs.values())]
    front.sort(key=lambda c: (costs[_key(c)][1], c.artifact.bytes, _key(c)))
    leads = _leads(front, costs)
    beaten = []
    for cell in with_costs:
        if cell not in front:
            better = next(c for c in front if _dominates(costs[_key(c)], costs[_key(cell)]))
            beaten.append(_row(cell, _beaten(cell, better, costs, several)))
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


def _leads(front: Sequence[Cell], costs: Mapping[tuple[str, str], Costs]) -> dict[tuple[str, str], list[str]]:
    """Return in what each file of the front is best; those that are best in nothing lie between."""
    best = [min(column) for column in zip(*(costs[_key(c)] for c in front), strict=True)]
    return {
        _key(c): [
            name
            for name, value, least in zip(_names(c)[-len(best) :], costs[_key(c)], best, strict=True)
            if value == least
        ]
        for c in front
    }  # fmt: skip


def _names(cell: Cell) -> tuple[str, str, str]:
    return cell.quality.best, "the fastest", "the smallest"


def _description(cell: Cell, leads: Sequence[str]) -> str:
    m = cell.measurement
    latency = ms(m.latency_ms.median) if m.latency_ms else ""
    figures = f"{cell.quality.phrase}, {cell.loss.phrase}, {latency}, {size(cell.artifact.bytes)}"
    return sentence(f"{_listed(leads) or 'between the others'}: {figures}")


def _beaten(cell: Cell, better: Cell, costs: Mapping[tuple[str, str], Costs], several: bool) -> str:
    """Return what a file of the front has before one that it beats."""
    mine, its = costs[_key(cell)], costs[_key(better)]
    bulk = f"{times(its[-1] / mine[-1])} the size" if mine[-1] else "no larger"
    where = f" on {better.measurement.target}" if better.measurement.target != cell.measurement.target else ""
    return (
        f"{artifact_name(better.artifact, several)}{where} {_answers(cell.quality, better.quality)}, at "
        f"{times(its[-2] / mine[-2])} the latency and {bulk}."
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
    words = []
    if cell.quality.best in leads:
        words.append(cell.quality.compared)
    if "the fastest" in leads and m.latency_ms:
        words.append(ms(m.latency_ms.median))
    if "the smallest" in leads:
        words.append(size(cell.artifact.bytes))
    return ", ".join(words)


def _key(cell: Cell) -> tuple[str, str]:
    return cell.measurement.artifact, cell.measurement.target


def _row(cell: Cell, why: str) -> dict[str, Any]:
    return {"artifact": cell.artifact.id, "target": cell.measurement.target, "why": why}
