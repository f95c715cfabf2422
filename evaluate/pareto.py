"""Without a budget: the files that no other beats in accuracy, latency and size at once, and what beats the others.

Figures are compared as estimated, without their intervals: the front shows a choice, it does not make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.measurement import Measurement
from ..core.names import shorten
from ..core.results import Results
from .cells import Cell, artifact_name, cells, has_several_models
from .limits import REASON_LIMIT, rows_by_artifact, runtime_breaches
from .units import accuracy_words, drop_words, ms, percent, size, times

Costs = tuple[float, ...]


def pareto(measurements: Sequence[Measurement], bytes_of: Mapping[str, int]) -> list[Measurement]:
    """Return the measurements that no other beats: better in one of accuracy, latency, size and no worse in the others.

    `bytes_of` maps artifact ids to file sizes. Estimates are compared as they are, without their intervals.
    Measurements that lack accuracy or latency are left out; where none has an accuracy, agreement stands in for it.
    The order is that of `measurements`.
    """
    known = _costs(measurements, bytes_of)
    return [m for m, costs in known if not any(_dominates(other, costs) for _, other in known)]


def without_budget(results: Results, runtime: str = "") -> dict[str, Any]:
    """Return the `recommendation` of a run that was given no budget: nothing is chosen, and the front is shown.

    ``pareto`` are the candidates of the front, each with ``why`` it may be wanted; ``beaten`` those that one of them
    beats; ``rejected`` those that did not run, or that cannot run on `runtime`. ``targets`` holds the same for each
    target alone. ``artifact`` and ``target`` are None, ``fits`` is empty.
    """
    candidates = [c for c in cells(results) if not c.is_reference and not c.is_by_design]
    rows = rows_by_artifact(results.measurements)
    refused: dict[str, str] = {}
    for cell in candidates:
        if runtime and (breaches := runtime_breaches(cell.artifact, runtime, rows.get(cell.artifact.id, ()))):
            refused[cell.artifact.id] = sentence("; ".join(b.why for b in breaches))
    several = has_several_models(results)
    targets = dict.fromkeys(c.measurement.target for c in candidates)
    return {
        **_front(candidates, refused, several, ""),
        "targets": [
            {**_front([c for c in candidates if c.measurement.target == target], refused, several, target),
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


def sentence(words: str) -> str:
    """Return words with a capital letter and a full stop."""
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."


def _costs(measurements: Sequence[Measurement], bytes_of: Mapping[str, int]) -> list[tuple[Measurement, Costs]]:
    """Return what each measurement costs, less being better; those that lack a figure are left out."""
    by_agreement = all(m.accuracy is None for m in measurements)
    return [
        (m, (-quality, m.latency_ms.median, float(bytes_of[m.artifact])))
        for m in measurements
        if m.status == "ok"
        and (quality := m.agreement if by_agreement else m.accuracy) is not None
        and m.latency_ms is not None
    ]


def _dominates(a: Costs, b: Costs) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _front(candidates: Sequence[Cell], refused: Mapping[str, str], several: bool, target: str) -> dict[str, Any]:
    """Return which of some candidates are on the front, and what is said of each other one."""
    ran = [c for c in candidates if c.measurement.status == "ok" and c.artifact.id not in refused]
    bytes_of = {c.artifact.id: c.artifact.bytes for c in ran}
    costs = {(m.artifact, m.target): found for m, found in _costs([c.measurement for c in ran], bytes_of)}
    known = [c for c in ran if _key(c) in costs]
    front = [c for c in known if not any(_dominates(other, costs[_key(c)]) for other in costs.values())]
    front.sort(key=lambda c: (costs[_key(c)][1], c.artifact.bytes, _key(c)))
    leads = _leads(front, costs)
    beaten = []
    for cell in known:
        if cell not in front:
            better = next(c for c in front if _dominates(costs[_key(c)], costs[_key(cell)]))
            beaten.append(_row(cell, _beaten(cell, better, costs, several)))
    rejected = [
        _row(c, did_not_run(c) if c.measurement.status != "ok" else refused.get(c.artifact.id, "It has no latency."))
        for c in candidates
        if c not in known
    ]
    return {
        "artifact": None,
        "target": None,
        "why": _why(front, leads, len(known), several, target),
        "rejected": rejected,
        "fits": [],
        "pareto": [_row(c, _wanted(c, leads[_key(c)])) for c in front],
        "beaten": beaten,
    }


def _leads(front: Sequence[Cell], costs: Mapping[tuple[str, str], Costs]) -> dict[tuple[str, str], list[str]]:
    """Return in what each file of the front is best; those that are best in nothing lie between."""
    best = [min(costs[_key(c)][i] for c in front) for i in range(3)] if front else []
    return {
        _key(c): [
            name
            for name, found, least in zip(_names(c), costs[_key(c)], best, strict=True)
            if found == least
        ]
        for c in front
    }  # fmt: skip


def _names(cell: Cell) -> tuple[str, str, str]:
    return (
        "the nearest to its float self" if cell.by_agreement else "the most accurate",
        "the fastest",
        "the smallest",
    )


def _wanted(cell: Cell, leads: Sequence[str]) -> str:
    m = cell.measurement
    latency = ms(m.latency_ms.median) if m.latency_ms else ""
    figures = f"{accuracy_words(m)}, {drop_words(m)}, {latency}, {size(cell.artifact.bytes)}"
    return sentence(f"{_listed(leads) or 'between the others'}: {figures}")


def _beaten(cell: Cell, better: Cell, costs: Mapping[tuple[str, str], Costs], several: bool) -> str:
    """Return what a file of the front has before one that it beats."""
    mine, its = costs[_key(cell)], costs[_key(better)]
    quality = (
        f"answers as well ({percent(-its[0])})"
        if its[0] == mine[0]
        else f"answers better ({percent(-its[0])} against {percent(-mine[0])})"
    )
    bulk = f"{times(its[2] / mine[2])} the size" if mine[2] else "no larger"
    where = f" on {better.measurement.target}" if better.measurement.target != cell.measurement.target else ""
    return (
        f"{artifact_name(better.artifact, several)}{where} {quality}, at {times(its[1] / mine[1])} the latency and "
        f"{bulk}."
    )


def _why(
    front: Sequence[Cell], leads: Mapping[tuple[str, str], Sequence[str]], count: int, several: bool, target: str
) -> str:
    where = f" on {target}" if target else ""
    if not front:
        return f"No exported file was measured{where}: the list of failures says what went wrong and what to do."
    files = f"files that ran{where}" if target else "measured pairs of file and target"
    told = [
        f"{artifact_name(c.artifact, several)}{'' if target else f' on {c.measurement.target}'} is "
        f"{_listed(leads[_key(c)])} ({_figure(c, leads[_key(c)])})"
        for c in front
        if leads[_key(c)]
    ]
    beats = "is beaten by no other" if len(front) == 1 else "are beaten by no other"
    head = f"{len(front)} of the {count} {files} {beats} in accuracy, latency and size at once"
    if count == 1:
        head = f"One file was measured{where}"
    end = "" if target else " A budget ([budget] in the recipe, or --budget) has one of them chosen."
    return f"{head}: {'; '.join(told)}.{end}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _figure(cell: Cell, leads: Sequence[str]) -> str:
    m = cell.measurement
    words = []
    if any("accurate" in lead or "float" in lead for lead in leads) and cell.quality is not None:
        words.append(percent(cell.quality))
    if "the fastest" in leads and m.latency_ms:
        words.append(ms(m.latency_ms.median))
    if "the smallest" in leads:
        words.append(size(cell.artifact.bytes))
    return ", ".join(words)


def _key(cell: Cell) -> tuple[str, str]:
    return cell.measurement.artifact, cell.measurement.target


def _row(cell: Cell, why: str) -> dict[str, Any]:
    return {"artifact": cell.artifact.id, "target": cell.measurement.target, "why": why}
