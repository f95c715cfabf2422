"""A fleet: the same files on several devices, the worst device of each, and the fewest files that serve all devices.

Accuracies of devices are compared, sample by sample: all devices answered the same samples. Latencies of devices are
not ranked; each is compared with the budget's limit on its own device, and the worst device is the one that misses the
limit by the largest factor. What the figures do not tell apart is said to be not distinguishable. Intervals hold
together (Bonferroni): over all pairs of a file's devices for accuracy, over its devices for latency.

Of each file a device has one cell: on the runtime there that keeps the budget, of these the fastest one. An estimator
runs nothing, so no file is shown to keep a budget there: it is left out of the sets, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.measurement import Measurement
from ..core.recipe_budget import Budget
from ..core.results import Results
from ..core.sanitize import shorten
from ..core.statistics import CONFIDENCE, difference_interval, paired_loss, wider
from ..core.target import base_target
from ..tasks import comparable, task_of_row
from .budget import Limits, Violation
from .bursts import Ratios, read_record
from .cells import Cell, artifact_name, cells, has_several_models
from .certainty import tail_interval
from .models import behind
from .pareto import did_not_run, sentence
from .race import Race, by_latency
from .scores import kept, pairs
from .select import MET, NOT_MET, NOT_SHOWN

_ORDER = {MET: 0, NOT_SHOWN: 1, NOT_MET: 2, "": 3}
SAME, LOWER, UNCLEAR = "same", "lower", "not distinguishable"
ABOVE, WITHIN = "above", "within"


@dataclass(frozen=True)
class _Standing:
    """A file on a device: its cell there, whether it keeps the budget (empty: that cannot be said), and why not."""

    cell: Cell
    verdict: str
    violations: tuple[Violation, ...] = ()

    @property
    def ran(self) -> bool:
        return self.cell.measurement.status == "ok"

    @property
    def excess(self) -> float:
        return max((violation.excess for violation in self.violations), default=0.0)


def fleet(
    results: Results,
    budget: Budget | None,
    *,
    runtime: str = "",
    folder: Path | None = None,
    ratios: Ratios | None = None,
) -> dict[str, Any]:
    """Return the `fleet` of results.json; empty unless files ran on more than one device.

    ``devices`` are their names; ``cells`` has for each file on each device ``artifact``, ``device``, ``target``,
    ``kind`` and ``verdict``: ``met``, ``not shown``, ``not met``, empty where nothing can be said. ``worst`` has for
    each file ``accuracy`` (the device where it answers worst, beside the one where it answers best) and ``latency``
    (the device where its 95th percentile is the largest multiple of the limit), each None where nothing is compared.
    ``smallest_set`` is None without a budget; see `_smallest_set`. `runtime` counts as in `select.verdict`; `folder` is
    the run's, with raw files: without them intervals are wider, or missing.
    """
    if budget is not None and runtime and not budget.runtime:
        budget = budget.model_copy(update={"runtime": runtime})
    limits = Limits.of(results, budget) if budget is not None else None
    shown = [c for c in cells(results) if _belongs(c)]
    names = list(dict.fromkeys([*results.environments, *(c.measurement.device for c in shown)]))
    devices = [name for name in names if any(c.measurement.device == name for c in shown)]
    if len({c.measurement.device for c in shown if c.measurement.status == "ok"}) < 2:
        return {}
    table = {
        (artifact, device): standing
        for artifact in dict.fromkeys(c.artifact.id for c in shown)
        for device in devices
        if (standing := _standing([c for c in shown if _key(c) == (artifact, device)], limits))
    }
    artifacts = list(dict.fromkeys(artifact for artifact, _ in table))
    return {
        "devices": devices,
        "cells": [
            {
                "artifact": artifact, "device": device, "target": s.cell.measurement.target,
                "kind": s.cell.measurement.kind, "verdict": s.verdict,
            }
            for (artifact, device), s in table.items()
        ],
        "worst": [
            {
                "artifact": artifact,
                "accuracy": _worst_accuracy([s.cell.measurement for s in of if s.ran], folder),
                "latency": _worst_latency([s.cell.measurement for s in of if s.ran], budget, folder),
            }
            for artifact in artifacts
            for of in [[s for (name, _), s in table.items() if name == artifact]]
        ],
        "smallest_set": _smallest_set(results, table, devices, budget, ratios or Ratios(folder)) if budget else None,
    }  # fmt: skip


def _belongs(cell: Cell) -> bool:
    """Whether a cell is of a file that can ship, at the numbers of threads and batch that are asked first."""
    m = cell.measurement
    return not cell.is_reference and not cell.is_by_design and m.target == base_target(m.target)


def _key(cell: Cell) -> tuple[str, str]:
    return cell.artifact.id, cell.measurement.device


def _standing(of_device: Sequence[Cell], limits: Limits | None) -> _Standing | None:
    """Return where a file stands on a device, by the best of its cells there."""
    # On an emulated accelerator times do not count.
    real = [c for c in of_device if c.measurement.kind != "emulated"] or of_device
    return min((_judged(c, limits) for c in real), key=lambda s: (_rank(s), *by_latency(s.cell)), default=None)


def _rank(standing: _Standing) -> tuple[bool, int]:
    return not standing.ran, _ORDER[standing.verdict]


def _judged(cell: Cell, limits: Limits | None) -> _Standing:
    m = cell.measurement
    if limits is None or m.status != "ok" or m.kind == "estimated":
        return _Standing(cell, "")
    untimed = m.latency_ms is None
    violations = tuple(
        v for v in limits.violations(cell) if not v.about_latency or limits.budget.max_latency_ms is not None
    )
    if not violations:
        return _Standing(cell, MET)
    is_open = all(v.not_shown or (v.about_latency and untimed) for v in violations)
    return _Standing(cell, NOT_SHOWN if is_open else NOT_MET, violations)


def _worst_accuracy(rows: Sequence[Measurement], folder: Path | None) -> dict[str, Any] | None:
    """Return the device where a file answers worst, beside the one where it answers best."""
    figures = [(row, figure) for row, figure in zip(rows, comparable(rows), strict=True) if figure]
    if len(figures) < 2:
        return None
    worst, low_figure = max(figures, key=lambda pair: pair[1].cost)
    best, high_figure = min(figures, key=lambda pair: pair[1].cost)
    confidence = 1 - (1 - CONFIDENCE) / (len(figures) * (len(figures) - 1) / 2)
    difference, low, high, verdict = low_figure.cost - high_figure.cost, None, None, UNCLEAR
    ours, theirs = kept(worst, folder), kept(best, folder)
    if low_figure.cost == high_figure.cost:
        others = [kept(row, folder) for row, _ in figures]
        same = all(one and ours and pairs(one, ours) and (one.scores == ours.scores).all() for one in others)
        verdict = SAME if same or all(row.difference == 0 for row, _ in figures) else UNCLEAR
    elif ours and theirs and pairs(ours, theirs) and ours.parts.ndim == 1:
        difference, low, high = paired_loss(theirs.scores, ours.scores, confidence)
    elif ours and theirs and pairs(ours, theirs) and (task := task_of_row(worst)):
        lost = task.drop(theirs.parts, ours.parts, confidence=confidence)
        difference, (low, high) = lost.value, lost.ends
    elif None not in (low_figure.low, low_figure.high, high_figure.low, high_figure.high):
        pair = (low_figure, high_figure) if low_figure.better == "higher" else (high_figure, low_figure)
        below, above = ((f.value, *wider(f.value, f.low or 0.0, f.high or 0.0, confidence)) for f in pair)
        difference, low, high = difference_interval(below, above, 1.0 if low_figure.is_share else inf)
    if low is not None and low > 0:
        verdict = LOWER
    return {
        "figure": low_figure.name, "device": worst.device, "target": worst.target, "value": low_figure.value,
        "against": best.device, "against_target": best.target, "against_value": high_figure.value,
        "difference": difference, "low": low, "high": high, "confidence": confidence, "verdict": verdict,
    }  # fmt: skip


def _worst_latency(rows: Sequence[Measurement], budget: Budget | None, folder: Path | None) -> dict[str, Any] | None:
    """Return the device where a file's 95th percentile is the largest multiple of the budget's limit."""
    limit = budget.max_latency_ms if budget else None
    timed = [row for row in rows if row.latency_ms is not None and row.kind == "measured"]
    if limit is None or not timed:
        return None
    multiples = [_multiple(row, limit, (1 - CONFIDENCE) / len(timed), folder) for row in timed]
    worst = max(multiples, key=lambda one: float(one["times_limit"]))
    # Devices whose own interval reaches the worst one's cannot be told from it.
    reach = worst["low"] if worst["low"] is not None else worst["times_limit"]
    also = [
        one["device"]
        for one in multiples
        if one is not worst and (one["high"] if one["high"] is not None else one["times_limit"]) >= reach
    ]
    return {**worst, "limit_ms": limit, "also": also}


def _multiple(row: Measurement, limit: float, error: float, folder: Path | None) -> dict[str, Any]:
    p95 = row.latency_ms.p95 if row.latency_ms else inf
    low = high = None
    verdict = ABOVE if p95 > limit else WITHIN
    if (record := read_record(row, folder)) and len(record["processes"]) > 1:
        low, high = (exp(min(max(end, -50.0), 50.0)) / limit for end in tail_interval(record, error)[1:])
        verdict = ABOVE if low > 1 else WITHIN if high <= 1 else UNCLEAR
    return {
        "device": row.device, "target": row.target, "p95_ms": p95, "times_limit": p95 / limit, "low": low, "high": high,
        "verdict": verdict,
    }  # fmt: skip


def _smallest_set(
    results: Results,
    table: Mapping[tuple[str, str], _Standing],
    devices: Sequence[str],
    budget: Budget,
    ratios: Ratios,
) -> dict[str, Any]:
    """Return the fewest files of which each device has one that keeps the budget there.

    ``files`` has for each ``artifact`` the ``devices`` that it is for, with ``target`` and ``verdict``. On a device
    where no file keeps the budget, those that may (the samples are too few to tell, or there is no latency) count
    instead: the ``verdict`` is then ``not shown``, and ``not_shown`` says where and why. It is ``not met`` where a
    device has neither; ``missing`` says which and why, and the files are for the others. ``left_out`` are devices on
    which nothing runs. Of several smallest sets it is the one that has the recommended file of the most devices, then
    the one of the fewest bytes.
    """
    several = has_several_models(results)
    race = Race(ratios, max((row["resolution"] for row in results.bench), default=0.0))
    allowed: dict[str, dict[str, _Standing]] = {}
    missing, left_out = [], []
    for device in devices:
        here = [s for (_, name), s in table.items() if name == device]
        verdicts = {s.verdict for s in here}
        state = next((one for one in (MET, NOT_SHOWN) if one in verdicts), "")
        if state:
            allowed[device] = {s.cell.artifact.id: s for s in here if s.verdict == state}
        elif any(s.ran for s in here) and NOT_MET not in verdicts:
            left_out.append({"device": device, "why": "Nothing runs there: its figures are estimates."})
        else:
            missing.append({"device": device, "why": _why_none(here, several)})
    models = {s.cell.artifact.model for of in allowed.values() for s in of.values()}
    aside = behind(results, models, budget) if not budget.says_enough else {}
    artifacts = {artifact.id: artifact for artifact in results.artifacts}

    def preferred(device: str, among: Sequence[str]) -> str:
        """Return the file that a device gets of some: the recommendation's rules, on that device."""
        standings = [allowed[device][name] for name in among if name in allowed[device]]
        ranked = [s.cell for s in standings if s.cell.artifact.model not in aside] or [s.cell for s in standings]
        timed = [c for c in ranked if c.measurement.latency_ms and c.measurement.kind == "measured"]
        if timed:
            return race.winner(timed)[0].artifact.id
        return min(ranked, key=lambda c: (c.artifact.bytes, c.artifact.id)).artifact.id

    own = {device: preferred(device, list(of)) for device, of in allowed.items()}

    def cost(names: tuple[str, ...]) -> tuple[int, int, tuple[str, ...]]:
        return -sum(own[device] in names for device in allowed), sum(artifacts[n].bytes for n in names), names

    best = min(smallest_covers({device: list(of) for device, of in allowed.items()}), key=cost, default=())
    chosen: dict[str, list[dict[str, Any]]] = {name: [] for name in best}
    for device, of in allowed.items():
        name = preferred(device, best)
        chosen[name].append({"device": device, "target": of[name].cell.measurement.target, "verdict": of[name].verdict})
    files = [{"artifact": name, "devices": served} for name, served in chosen.items() if served]
    not_shown = [
        {
            "device": served["device"],
            "why": sentence("; ".join(v.why for v in allowed[served["device"]][name].violations)),
        }
        for name, of in chosen.items()
        for served in of
        if served["verdict"] == NOT_SHOWN
    ]
    verdict = NOT_MET if missing or not files else NOT_SHOWN if not_shown else MET
    return {
        "verdict": verdict, "files": files, "missing": missing, "not_shown": not_shown,
        "left_out": left_out,
        "why": _words(verdict, files, missing, left_out, artifacts, several),
    }  # fmt: skip


def smallest_covers(allowed: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Yield every smallest set of files of which each device is allowed one, in the order of their names.

    `allowed` maps a device to its files, at least one. It is exact: the search goes to sets of one more file only when
    there is none of fewer, and branches on the device that leaves the fewest choices.
    """

    def extend(chosen: frozenset[str], size: int) -> Iterator[frozenset[str]]:
        open_ones = [set(files) for files in allowed.values() if not chosen.intersection(files)]
        if not open_ones:
            yield chosen
        elif len(chosen) < size:
            for name in min(open_ones, key=len):
                yield from extend(chosen | {name}, size)

    for size in range(1, len(allowed) + 1):
        if found := set(extend(frozenset(), size)):
            yield from sorted(tuple(sorted(cover)) for cover in found)
            return


def _unmet(standing: _Standing) -> str:
    return sentence("; ".join(violation.why for violation in standing.violations))


def _why_none(here: Sequence[_Standing], several: bool) -> str:
    """Return why no file keeps the budget on a device."""
    ran = [s for s in here if s.ran and s.violations]
    if not ran:
        return did_not_run(here[0].cell) if here else "No file was run there."
    nearest = min(ran, key=lambda s: (s.excess, *by_latency(s.cell)))
    words = "; ".join(violation.why for violation in nearest.violations)
    return sentence(f"the nearest is {artifact_name(nearest.cell.artifact, several)}: {words}")


def _words(
    verdict: str,
    files: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, str]],
    left_out: Sequence[Mapping[str, str]],
    artifacts: Mapping[str, Artifact],
    several: bool,
) -> str:
    """Return a smallest set as sentences."""
    named = [
        f"{artifact_name(artifacts[one['artifact']], several)} for {_listed([d['device'] for d in one['devices']])}"
        for one in files
    ]
    served = sum(len(one["devices"]) for one in files)
    count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
    keep = "keeps" if len(files) == 1 else "keep"
    all_ = f"all {served} devices" if served > 1 else "the device"
    parts = []
    if missing:
        parts.append(f"No set of files keeps the budget on all devices: {_listed([m['device'] for m in missing])} "
                     f"{'has' if len(missing) == 1 else 'have'} none.")  # fmt: skip
        parts += [f"On the others: {'; '.join(named)}."] if named else []
    elif verdict == MET:
        fewer = "" if len(files) == 1 else ", and no fewer do"
        parts.append(f"{count} {keep} the budget on {all_}{fewer}: {'; '.join(named)}.")
    elif files:
        parts.append(f"{count} may keep the budget on {all_}, but it is not shown on each: {'; '.join(named)}.")
    else:
        parts.append("No device runs files, so there is nothing to choose from.")
    if left_out:
        parts.append(f"Not counted: {_listed([one['device'] for one in left_out])}, where figures are estimates.")
    return " ".join(parts)


def _listed(names: Sequence[str]) -> str:
    short = [shorten(name, 60) for name in names]
    return " and ".join([", ".join(short[:-1]), short[-1]]) if len(short) > 1 else "".join(short)
