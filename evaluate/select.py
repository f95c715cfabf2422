"""Selection: which file to ship on which target, what was turned down, and why, in figures.

A file fits the budget when its figures are within every limit. The drop of accuracy is judged by its estimate; when
its interval does not exclude a bigger drop than allowed, the recommendation says so. Of the files that fit, the one
with the lowest median latency wins, and where intervals overlap the latencies are not distinguishable: then the
smallest of those files wins.

A file whose classes are not known has no accuracy. It is judged by its agreement with its float self: where the two
agree they are right or wrong together, so the drop is at most 1 - agreement.

Several models: each file's drop is against its own float model, and says nothing of how good that model is. A fast file
of a model that is less accurate, distinguishably and by more than the drop allowed, is therefore ranked after those of
the most accurate model; `budget.min_accuracy` says that some accuracy is enough, and then all that reach it are ranked
by latency. What the most accurate model's best file would cost, or the faster model's would save, is said either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.measurement import Latency, Measurement
from ..core.names import shorten
from ..core.recipe import Budget
from ..core.results import Results
from .cells import Cell, artifact_name, cells, has_several_models
from .models import Gap, behind, float_accuracies, gap
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
    set_aside = _set_aside(results, fitting, budget)
    rejected = [
        _row(c, _sentence("; ".join(b.why for b in breaches[_key(c)]))) for c in candidates if breaches[_key(c)]
    ]
    front = pareto([c.measurement for c in candidates], {c.artifact.id: c.artifact.bytes for c in candidates})
    common = {"rejected": rejected, "pareto": [{"artifact": m.artifact, "target": m.target} for m in front]}
    if not fitting:
        why = _why_nothing(candidates, breaches, budget, several)
        return {"asked": asked, "met": False}, {"artifact": None, "target": None, "why": why, "fits": [], **common}
    ranked = [c for c in fitting if c.artifact.model not in set_aside]
    winner, tied = _winner(ranked)
    why = _why_winner(winner, tied, ranked, budget, several, passed_over=len(ranked) < len(fitting))
    if several:
        why = " ".join([why, *_beside_models(results, winner, fitting, set_aside, budget)])
    fits = [
        _row(c, _beside(c, winner) + (f" {set_aside[c.artifact.model].why}" if c.artifact.model in set_aside else ""))
        for c in (*ranked, *(c for c in fitting if c not in ranked))
        if c is not winner
    ]
    return {"asked": asked, "met": True}, {**_row(winner, why), "fits": fits, **common}


def keeps(cell: Cell, budget: Budget) -> bool:
    """Return whether a cell that ran is within every limit of the budget, wherever it ran."""
    return cell.measurement.status == "ok" and not _breaches(cell, budget)


def best(fitting: Sequence[Cell]) -> Cell:
    """Return which of some cells that fit a budget to take: the smallest of the fastest."""
    return _winner(sorted(fitting, key=_by_latency))[0]


def pareto(measurements: Sequence[Measurement], bytes_of: Mapping[str, int]) -> list[Measurement]:
    """Return the measurements that no other beats: better in one of accuracy, latency, size and no worse in the others.

    `bytes_of` maps artifact ids to file sizes. Estimates are compared as they are, without their intervals.
    Measurements that lack accuracy or latency are left out; where none has an accuracy, agreement stands in for it.
    The order is that of `measurements`.
    """
    by_agreement = all(m.accuracy is None for m in measurements)
    known = [
        (m, (-quality, m.latency_ms.median, float(bytes_of[m.artifact])))
        for m in measurements
        if m.status == "ok"
        and (quality := m.agreement if by_agreement else m.accuracy) is not None
        and m.latency_ms is not None
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
    if m.drop is None and m.agreement is not None:
        bound = 1 - m.agreement
        words = (
            f"agrees with its float self on {percent(m.agreement)}, so it may lose up to {points(bound)} of accuracy"
        )
        if bound > budget.max_accuracy_drop:
            ratio = _times_allowed(bound, budget)
            found.append(_Breach(f"{words}, more than the {points(budget.max_accuracy_drop)} allowed", ratio))
    elif m.drop is None:
        why = "the float model has no figure"
        if m.difference is not None:
            why = f"only that no value of its answers is more than {m.difference:.2g} off its float self's"
        found.append(_unknown("the drop of accuracy", points(budget.max_accuracy_drop), why))
    elif m.drop > budget.max_accuracy_drop:
        interval = points_range(m.drop_low, m.drop_high)
        words = f"loses {points(m.drop)} of accuracy against float" + (
            f" (95 % interval {interval})" if interval else ""
        )
        ratio = _times_allowed(m.drop, budget)
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


def _times_allowed(drop: float, budget: Budget) -> float:
    return drop / budget.max_accuracy_drop if budget.max_accuracy_drop else 1 + 100 * drop


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


def _set_aside(results: Results, fitting: Sequence[Cell], budget: Budget) -> dict[str, Gap]:
    """Return the models whose files are ranked after the others', and by how much they are behind."""
    if budget.min_accuracy is not None:
        return {}
    return behind(results, {c.artifact.model for c in fitting}, budget.max_accuracy_drop)


def _beside_models(
    results: Results, winner: Cell, fitting: Sequence[Cell], set_aside: Mapping[str, Gap], budget: Budget
) -> list[str]:
    """Return what another model's best file would cost or save: the most accurate one's, else the fastest one's."""
    known = float_accuracies(results)
    models = [m for m in dict.fromkeys(c.artifact.model for c in fitting) if m in known]
    if winner.artifact.model not in models:
        return []
    top = max(models, key=lambda m: known[m].share)
    if top != winner.artifact.model:
        other = best([c for c in fitting if c.artifact.model == top])
        found = gap(results, top, winner.artifact.model)
        sure = "" if found.real else ", not distinguishable"
        if not found.real and found.estimate > budget.max_accuracy_drop:
            sure += f" with {known[top].samples:,} samples: a larger test split would tell"
        more = "; set budget.min_accuracy higher if that matters more" if budget.min_accuracy is not None else ""
        return [
            f"The most accurate model, {shorten(top)}, is {points(found.estimate)} better (95 % interval "
            f"{points_range(found.low, found.high)}{sure}); its best file, {_name(other, True)}, takes "
            f"{times(_latency(other).median / _latency(winner).median)} the latency and "
            f"{_times_size(other, winner)} the size{more}."
        ]
    faster = [c for c in fitting if c.artifact.model in set_aside and _latency(c).high < _latency(winner).low]
    if not faster:
        return []
    other = best(faster)
    return [
        f"{_name(other, True)} takes {times(_latency(other).median / _latency(winner).median)} the latency. "
        f"{set_aside[other.artifact.model].why} {set_aside[other.artifact.model].remedy}".rstrip()
    ]


def _times_size(cell: Cell, other: Cell) -> str:
    return times(cell.artifact.bytes / other.artifact.bytes) if other.artifact.bytes else size(cell.artifact.bytes)


def _why_winner(
    winner: Cell, tied: Sequence[Cell], fitting: Sequence[Cell], budget: Budget, several: bool, passed_over: bool
) -> str:  # fmt: skip
    m = winner.measurement
    others = [c for c in tied if c is not winner]
    place = "the smallest of the fastest files that fit" if others else "the fastest file that fits"
    among = ", of the models that are not behind in accuracy" if passed_over else ""
    parts = [
        f"{_name(winner, several)} is {place} the budget{among}: {latency_words(m)}, {accuracy_words(m)}, "
        f"{drop_words(m)}, {size(winner.artifact.bytes)}; {m.kind}."
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
    same = [c for c in fitting if c.artifact.model == winner.artifact.model]
    better = max(same, key=lambda c: c.measurement.accuracy or 0.0)
    if (better.measurement.accuracy_low or 0.0) > (m.accuracy_high or 1.0):
        parts.append(
            f"{_name(better, several)} is more accurate ({percent(better.measurement.accuracy or 0.0)}) at "
            f"{times(_latency(better).median / _latency(winner).median)} the latency; "
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
