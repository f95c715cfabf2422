"""Selection: which file to ship on which target, what was turned down, and why, in figures.

A file fits the budget when its figures are within every limit. The drop of accuracy is judged by its estimate; when
its interval does not exclude a bigger drop than allowed, the recommendation says so. Of the files that fit, the one
with the lowest median latency wins, and where intervals overlap the latencies are not distinguishable: then the
smallest of those files wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.measurement import Latency, Measurement
from ..core.recipe import Budget
from ..core.results import Results
from .cells import Cell, artifact_name, cells, has_several_models
from .statistics import CONFIDENCE
from .units import accuracy_words, drop_words, latency_words, ms, percent, points, points_range, size, times


@dataclass(frozen=True)
class _Breach:
    """A limit that is not kept: the words for it, and how many times the limit the figure is (inf: not known)."""

    why: str
    excess: float


def verdict(results: Results, budget: Budget) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the `budget` and the `recommendation` of results.json.

    Candidates are the cells with status ``ok`` of files that can ship: no SavedModel, no TensorFlow, and on
    `budget.target` when that is given. `recommendation` holds ``artifact``, ``target``, ``why``; ``rejected``
    (candidates outside the budget, with reasons), ``fits`` (those inside it that were not chosen, each put beside
    the winner) and ``pareto`` (candidates that no other beats in accuracy, latency and size at once). When nothing
    fits, artifact and target are None and ``why`` names the candidate that came closest and the limit it missed.
    """
    asked = budget.model_dump(mode="json", exclude_none=True)
    asked = {name: value for name, value in asked.items() if value != ""}
    several = has_several_models(results)
    everywhere = [c for c in cells(results) if c.measurement.status == "ok" and not c.is_reference]
    candidates = [c for c in everywhere if budget.target in ("", c.measurement.target)]
    breaches = {_key(c): _breaches(c, budget) for c in candidates}
    fitting = sorted((c for c in candidates if not breaches[_key(c)]), key=_by_latency)
    rejected = [
        _row(c, _sentence("; ".join(b.why for b in breaches[_key(c)]))) for c in candidates if breaches[_key(c)]
    ]
    front = pareto([c.measurement for c in candidates], {c.artifact.id: c.artifact.bytes for c in candidates})
    common = {"rejected": rejected, "pareto": [{"artifact": m.artifact, "target": m.target} for m in front]}
    if not fitting:
        why = _why_nothing(candidates, breaches, budget, several)
        return {"asked": asked, "met": False}, {"artifact": None, "target": None, "why": why, "fits": [], **common}
    winner, tied = _winner(fitting)
    why = _why_winner(winner, tied, fitting, budget, several)
    fits = [_row(c, _beside(c, winner)) for c in fitting if c is not winner]
    return {"asked": asked, "met": True}, {**_row(winner, why), "fits": fits, **common}


def pareto(measurements: Sequence[Measurement], bytes_of: Mapping[str, int]) -> list[Measurement]:
    """Return the measurements that no other beats: better in one of accuracy, latency, size and no worse in the others.

    `bytes_of` maps artifact ids to file sizes. Estimates are compared as they are, without their intervals.
    Measurements that lack accuracy or latency are left out. The order is that of `measurements`.
    """
    known = [
        (m, (-m.accuracy, m.latency_ms.median, float(bytes_of[m.artifact])))
        for m in measurements
        if m.status == "ok" and m.accuracy is not None and m.latency_ms is not None
    ]
    return [m for m, costs in known if not any(_dominates(other, costs) for _, other in known)]


def distinguishable(a: Latency, b: Latency) -> bool:
    """Return whether the intervals of two median latencies do not overlap."""
    return a.high < b.low or b.high < a.low


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _key(cell: Cell) -> tuple[str, str]:
    return cell.measurement.artifact, cell.measurement.target


def _latency(cell: Cell) -> Latency:
    """Return the latency of a cell that fits: those without one are turned down before."""
    if cell.measurement.latency_ms is None:
        raise ValueError(f"{cell.artifact.id} on {cell.measurement.target} has no latency")
    return cell.measurement.latency_ms


def _by_latency(cell: Cell) -> tuple[float, int, str, str]:
    return _latency(cell).median, cell.artifact.bytes, *_key(cell)


def _row(cell: Cell, why: str) -> dict[str, Any]:
    return {"artifact": cell.artifact.id, "target": cell.measurement.target, "why": why}


def _breaches(cell: Cell, budget: Budget) -> list[_Breach]:
    """Return every limit that the cell does not keep, or that cannot be shown to be kept."""
    m = cell.measurement
    found = []
    if m.drop is None:
        found.append(
            _unknown("the drop of accuracy", points(budget.max_accuracy_drop), "the float model has no figure")
        )
    elif m.drop > budget.max_accuracy_drop:
        interval = points_range(m.drop_low, m.drop_high)
        words = f"loses {points(m.drop)} of accuracy against float" + (
            f" (95 % interval {interval})" if interval else ""
        )
        ratio = m.drop / budget.max_accuracy_drop if budget.max_accuracy_drop else 1 + 100 * m.drop
        found.append(_Breach(f"{words}, more than the {points(budget.max_accuracy_drop)} allowed", ratio))
    if budget.min_accuracy is not None:
        if m.accuracy is None:
            found.append(_unknown("accuracy", percent(budget.min_accuracy), "it was not measured"))
        elif m.accuracy < budget.min_accuracy:
            # Shares of wrong answers, so that missing 99 % by one point counts for more than missing 80 % by one.
            ratio = (1 - m.accuracy) / max(1 - budget.min_accuracy, 1e-3)
            found.append(_Breach(f"{accuracy_words(m)} is below the {percent(budget.min_accuracy)} asked", ratio))
    latency = m.latency_ms
    if latency is None:
        limit = ms(budget.max_latency_ms) if budget.max_latency_ms is not None else ""
        found.append(_unknown("latency", limit, "it was not measured, so the file cannot be ranked"))
    else:
        found += _over("p95 latency", latency.p95, budget.max_latency_ms, ms)
    found += _over("the file's size", cell.artifact.bytes, budget.max_bytes, size)
    if budget.max_memory_bytes is not None and m.peak_memory_bytes is None:
        found.append(_unknown("peak memory", size(budget.max_memory_bytes), "it was not measured"))
    elif m.peak_memory_bytes is not None:
        found += _over("peak memory", m.peak_memory_bytes, budget.max_memory_bytes, size)
    return found


def _over(what: str, found: float, limit: float | None, words: Callable[[float], str]) -> list[_Breach]:
    if limit is None or found <= limit:
        return []
    return [_Breach(f"{what} {words(found)} is above the {words(limit)} allowed", found / limit)]


def _unknown(what: str, limit: str, why: str) -> _Breach:
    against = f" to hold against the {limit} of the budget" if limit else ""
    return _Breach(f"{what} is not known{against}: {why}", float("inf"))


def _winner(fitting: Sequence[Cell]) -> tuple[Cell, list[Cell]]:
    """Return the winner, and the cells whose latency is not distinguishable from the fastest one's, fastest first."""
    fastest = fitting[0]
    tied = [c for c in fitting if not distinguishable(_latency(c), _latency(fastest))]
    return min(tied, key=lambda c: (c.artifact.bytes, *_by_latency(c))), tied


def _why_winner(
    winner: Cell, tied: Sequence[Cell], fitting: Sequence[Cell], budget: Budget, several: bool
) -> str:  # fmt: skip
    m = winner.measurement
    others = [c for c in tied if c is not winner]
    place = "the smallest of the fastest files that fit" if others else "the fastest file that fits"
    parts = [
        f"{_name(winner, several)} is {place} the budget: {latency_words(m)}, {accuracy_words(m)}, {drop_words(m)}, "
        f"{size(winner.artifact.bytes)}; {m.kind}."
    ]
    if others:
        named = ", ".join(
            f"{_name(c, several)} ({ms(_latency(c).median)}, {size(c.artifact.bytes)})" for c in others[:3]
        )
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        parts.append(f"Its latency is not distinguishable from that of {named}{more}: the intervals overlap.")
    if m.drop_high is not None and m.drop_high > budget.max_accuracy_drop:
        parts.append(
            f"Its drop is within the {points(budget.max_accuracy_drop)} allowed, but {m.samples:,} samples do not "
            f"exclude one of up to {points(m.drop_high)}: a larger test split would tell."
        )
    if _latency(winner).confidence < CONFIDENCE:
        count = _latency(winner).processes
        parts.append(
            f"Its latency rests on {count} process{'es' if count > 1 else ''}, too few for a 95 % interval: "
            "set evaluate.latency.processes to 6 or more."
        )
    best = max(fitting, key=lambda c: c.measurement.accuracy or 0.0)
    if (best.measurement.accuracy_low or 0.0) > (m.accuracy_high or 1.0):
        parts.append(
            f"{_name(best, several)} is more accurate ({percent(best.measurement.accuracy or 0.0)}) at "
            f"{times(_latency(best).median / _latency(winner).median)} the latency; "
            "set budget.min_accuracy if that matters more."
        )
    return " ".join(parts)


def _beside(cell: Cell, winner: Cell) -> str:
    """Return how a cell that fits compares with the winner; "not distinguishable" is a result too."""
    mine, its = _latency(cell), _latency(winner)
    bulk = f"{times(cell.artifact.bytes / winner.artifact.bytes)} " if winner.artifact.bytes else ""
    file = f"{bulk}the size ({size(cell.artifact.bytes)})"
    if not distinguishable(mine, its):
        return f"Latency ({ms(mine.median)}) not distinguishable from the recommended file's; {file}."
    return f"{times(mine.median / its.median)} the latency ({ms(mine.median)}) and {file} of the recommended file."


def _why_nothing(
    candidates: Sequence[Cell], breaches: Mapping[tuple[str, str], list[_Breach]], budget: Budget, several: bool
) -> str:
    if not candidates:
        where = f" on {budget.target}" if budget.target else ""
        return (
            f"No exported file ran{where}, so there is nothing to recommend: the list of failures says what went "
            "wrong and what to do."
        )
    closest = min(candidates, key=lambda c: (max(b.excess for b in breaches[_key(c)]), len(breaches[_key(c)]), _key(c)))
    missed = "; ".join(b.why for b in sorted(breaches[_key(closest)], key=lambda b: -b.excess))
    if len(candidates) == 1:
        return f"{_name(closest, several)} is all that ran, and it does not fit the budget: {missed}."
    return (
        f"None of the {len(candidates)} measured pairs of file and target fits the budget. "
        f"Closest is {_name(closest, several)}: {missed}."
    )


def _name(cell: Cell, several: bool) -> str:
    return f"{artifact_name(cell.artifact, several)} on {cell.measurement.target}"


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
