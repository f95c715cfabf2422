"""Selection: which file to ship on which target, which files are rejected, and why, in figures.

A file fits the budget when its figures are within every limit (`budget.Limits`). Of the files that fit, the one with
the lowest latency wins. Files tie with it unless the ratio of the two latencies, from bursts of the same rounds
(`bursts.Ratios`), is shown to be above 1 by more than the resolution that the recipe asks for: then the smallest of
those files wins. This is done for each target, and once over all targets. Without a budget nothing is recommended,
and `pareto` returns the files that no other beats.

A budget has one of three verdicts. ``met``: a file keeps every limit. ``not shown``: none is shown to, but for some
files the samples are too few to tell (the estimate of the drop is within the limit, its interval is not); the best of
them is recommended as such, with what would show it. ``not met``: neither.

Latencies of different devices are never ranked. Over all targets is over those of the first device; each target has
a choice of its own.

Several models: a file's drop is against its own float model, and does not say how good that model is. A fast file of a
model that is less accurate, distinguishably and by more than the allowed drop, is therefore ranked after those of the
most accurate model. With `budget.min_accuracy` or `require`, all files that reach it are ranked by latency. Either way
the reason names what the most accurate model's best file would cost, or what the faster model's would save.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.formatting import latency_words, ms, size, times
from ..core.measurement import Latency
from ..core.recipe_budget import Budget
from ..core.results import Results
from ..core.sanitize import shorten
from ..core.statistics import CONFIDENCE
from ..tasks import metric_of
from ..tasks.loss import allowed_drop
from .budget import Limits, Violation
from .bursts import Ratios
from .cells import Cell, artifact_name, cells, has_several_models
from .models import AccuracyGap, accuracy_gap, behind, float_accuracies
from .pareto import did_not_run, first_device, no_exported_file, pareto, sentence, without_budget
from .race import Race, by_latency

MET, NOT_MET, NOT_SHOWN = "met", "not met", "not shown"


def verdict(
    results: Results, budget: Budget | None, runtime: str = "", ratios: Ratios | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the `budget` and the `recommendation` of results.json.

    Candidates are the cells of files that can ship: no SavedModel, no TensorFlow, no runtime that does not read the
    format, and on `budget.target` when that is given. `recommendation` holds ``artifact``, ``target``, ``why``;
    ``rejected`` (candidates outside the budget, with reasons, and those that did not run at all, with the rows');
    ``fits`` (those inside it that were not chosen, each put beside the winner); ``pareto`` (candidates that no other
    beats in accuracy, latency and size at once); ``verdict``: ``met``, ``not met`` or ``not shown``; and ``targets``,
    the same for each target alone: ``target``, ``artifact``, ``why``, ``verdict``, ``rejected``, ``fits``. When the
    verdict is ``not met``, artifact and target are None and ``why`` names the candidate that came closest and the limit
    it missed. When it is ``not shown``, they are of the best file that may fit. Rows of ``rejected`` that ran have a
    ``verdict``, too. The budget's ``met`` is True for the verdict ``met`` alone.

    `runtime` is what a recipe says that its files must run on, ``NAME==VERSION``; it counts as `budget.runtime` where
    that is not given. Without a budget the first is empty and the second is `pareto.without_budget`'s. `ratios`
    compares latencies (default: by the results alone, which is cautious).
    """
    ratios = ratios or Ratios()
    if budget is None:
        return {}, without_budget(results, runtime, ratios)
    if runtime and not budget.runtime:
        budget = budget.model_copy(update={"runtime": runtime})
    limits_set = {k: v for k, v in budget.model_dump(mode="json", exclude_none=True).items() if v != ""}
    limits = Limits.of(results, budget)
    candidates = [c for c in cells(results) if c.is_candidate and budget.target in ("", c.measurement.target)]
    # On an emulated accelerator times do not count.
    candidates = [c for c in candidates if c.measurement.kind != "emulated"] or candidates
    ran = [c for c in candidates if c.measurement.status == "ok"]
    front = pareto([c.measurement for c in ran], {c.artifact.id: c.artifact.bytes for c in ran}, ratios)
    race = Race(ratios, max((row["resolution"] for row in results.bench), default=0.0))
    device, elsewhere = first_device(candidates, list(results.environments))
    by_device = {
        name: _choose(results, [c for c in candidates if c.measurement.device == name], limits, race, budget.target)
        for name in dict.fromkeys([device, *(c.measurement.device for c in candidates)])
    }
    chosen = by_device[device]
    chosen["why"] += elsewhere
    chosen["rejected"] += [row for name, other in by_device.items() if name != device for row in other["rejected"]]
    targets = dict.fromkeys(c.measurement.target for c in candidates)
    recommendation = {
        **chosen,
        "pareto": [{"artifact": m.artifact, "target": m.target} for m in front],
        "targets": [
            {**_choose(results, [c for c in candidates if c.measurement.target == target], limits, race, target),
             "target": target}
            for target in targets
        ],
    }  # fmt: skip
    return {"asked": limits_set, "met": chosen["verdict"] == MET, "verdict": chosen["verdict"]}, recommendation


def _choose(results: Results, candidates: Sequence[Cell], limits: Limits, race: Race, target: str) -> dict[str, Any]:
    """Return which candidate to ship, and for each other one why not."""
    budget, several = limits.budget, has_several_models(results)
    ran = [c for c in candidates if c.measurement.status == "ok"]
    violations = {_key(c): limits.violations(c) for c in ran}
    fitting = sorted((c for c in ran if not violations[_key(c)]), key=by_latency)
    open_ones = sorted((c for c in ran if violations[_key(c)] and _is_open(violations[_key(c)])), key=by_latency)
    state, fitting = (MET, fitting) if fitting else (NOT_SHOWN, open_ones)
    if not fitting:
        why = _why_nothing(ran, violations, target, several) if candidates else no_exported_file(results, target)
        rejected = [_turned_down(c, violations) for c in candidates]
        return {"artifact": None, "target": None, "why": why, "verdict": NOT_MET, "rejected": rejected, "fits": []}
    set_aside = _set_aside(results, fitting, budget)
    ranked = [c for c in fitting if c.artifact.model not in set_aside]
    winner, tied = race.winner(ranked)
    why = _why_winner(winner, tied, ranked, limits, race, several, len(ranked) < len(fitting), violations[_key(winner)])
    if several:
        why = " ".join([why, *_beside_models(results, winner, fitting, set_aside, budget, race)])
    fits = [
        _row(
            c,
            _beside(c, winner, race) + (f" {set_aside[c.artifact.model].why}" if c.artifact.model in set_aside else ""),
        )
        for c in (*ranked, *(c for c in fitting if c not in ranked))
        if c is not winner
    ]
    rejected = [_turned_down(c, violations) for c in candidates if c not in fitting]
    if state == NOT_SHOWN:  # none of them fits: they are turned down for what is not shown
        rejected = [*(_turned_down(c, violations) for c in fitting if c is not winner), *rejected]
        fits = []
    return {**_row(winner, why), "verdict": state, "rejected": rejected, "fits": fits}


def _is_open(violations: Sequence[Violation]) -> bool:
    """Whether the samples are too few to tell if the budget is kept."""
    return all(violation.not_shown for violation in violations)


def _turned_down(cell: Cell, violations: Mapping[tuple[str, str], Sequence[Violation]]) -> dict[str, Any]:
    if cell.measurement.status != "ok":
        return _row(cell, did_not_run(cell))
    unmet = violations[_key(cell)]
    return {**_row(cell, _violation_words(unmet)), "verdict": NOT_SHOWN if _is_open(unmet) else NOT_MET}


def _violation_words(violations: Sequence[Violation]) -> str:
    return sentence("; ".join(b.why for b in violations))


def _key(cell: Cell) -> tuple[str, str]:
    return cell.measurement.artifact, cell.measurement.target


def _latency(cell: Cell) -> Latency:
    """Return the latency of a cell that fits; cells without one are rejected earlier."""
    if cell.measurement.latency_ms is None:
        raise ValueError(f"{cell.artifact.id} on {cell.measurement.target} has no latency")
    return cell.measurement.latency_ms


def _row(cell: Cell, why: str) -> dict[str, Any]:
    return {"artifact": cell.artifact.id, "target": cell.measurement.target, "why": why}


def _set_aside(results: Results, fitting: Sequence[Cell], budget: Budget) -> dict[str, AccuracyGap]:
    """Return the models whose files are ranked after the others', and by how much they are behind."""
    return {} if budget.says_enough else behind(results, {c.artifact.model for c in fitting}, budget)


def _beside_models(
    results: Results,
    winner: Cell,
    fitting: Sequence[Cell],
    set_aside: Mapping[str, AccuracyGap],
    budget: Budget,
    race: Race,
) -> list[str]:
    """Return what another model's best file would cost or save: the most accurate one's, else the fastest one's."""
    accuracies = float_accuracies(results)
    models = [m for m in dict.fromkeys(c.artifact.model for c in fitting) if m in accuracies]
    if winner.artifact.model not in models:
        return []
    top = min(models, key=lambda m: accuracies[m].cost)
    if top != winner.artifact.model:
        other = race.winner([c for c in fitting if c.artifact.model == top])[0]
        lead = accuracy_gap(results, top, winner.artifact.model)
        sure = "" if lead.distinguishable else ", not distinguishable"
        metric, best = accuracies[top], accuracies[top].best_model()
        if not lead.distinguishable and lead.estimate > budget.allowed_drop(metric.value, is_share=metric.is_share):
            sure += f" with {accuracies[top].samples:,} samples: a larger test split would tell"
        more = "; set budget.min_accuracy higher if that matters more" if budget.min_accuracy is not None else ""
        return [
            f"{best[0].upper()}{best[1:]}, {shorten(top)}, is {metric.amount(lead.estimate)} better (95 % interval "
            f"{metric.signed_span(lead.low, lead.high)}{sure}); its best file, {_name(other, True)}, takes "
            f"{times(race.ratio(winner, other).ratio)} the latency and "
            f"{_times_size(other, winner)} the size{more}."
        ]
    faster = [c for c in fitting if c.artifact.model in set_aside and race.ratio(winner, c).verdict == "faster"]
    if not faster:
        return []
    other = race.winner(faster)[0]
    return [
        f"{_name(other, True)} takes {times(race.ratio(winner, other).ratio)} the latency. "
        f"{set_aside[other.artifact.model].why} {set_aside[other.artifact.model].remedy}".rstrip()
    ]


def _times_size(cell: Cell, other: Cell) -> str:
    return times(cell.artifact.bytes / other.artifact.bytes) if other.artifact.bytes else size(cell.artifact.bytes)


def _why_winner(
    winner: Cell,
    tied: Sequence[Cell],
    fitting: Sequence[Cell],
    limits: Limits,
    race: Race,
    several: bool,
    passed_over: bool,
    violations: Sequence[Violation],
) -> str:
    m, model, budget = winner.measurement, winner.artifact.model, limits.budget
    others = [c for c in tied if c is not winner]
    fits = "may fit" if violations else "fit" if others else "fits"
    place = f"the smallest of the fastest files that {fits}" if others else f"the fastest file that {fits}"
    metric = metric_of(m)
    among = f", of the models that are not behind in {metric.name if metric else 'accuracy'}" if passed_over else ""
    # What is not shown is its drop, which the sentence after this one is about.
    drop_phrase = "" if violations else f"{winner.loss.phrase}, "
    parts = [
        f"{_name(winner, several)} is {place} the budget{among}: {latency_words(m)}, {winner.quality.phrase}, "
        f"{drop_phrase}{size(winner.artifact.bytes)}; {m.kind}."
    ]
    if violations:
        parts.append(f"It {'; '.join(violation.fact for violation in violations)}.")
        parts += dict.fromkeys(violation.remedy for violation in violations)
    if others:
        named = ", ".join(
            f"{_name(c, several)} ({ms(_latency(c).median)}, {size(c.artifact.bytes)})" for c in others[:3]
        )
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        parts.append(f"It ties in latency with {named}{more}: {race.tie_words(winner, others)}.")
    if runtime_sentence := limits.runtime_words(winner):
        parts.append(runtime_sentence)
    drop = m.judged_drop
    allowed, amount = allowed_drop(m, budget), winner.loss.metric.amount
    if not violations and drop is not None and drop.high is not None and drop.high > allowed:
        parts.append(
            f"Its drop is within the {amount(allowed)} allowed, but {drop.samples:,} samples do not "
            f"exclude one of up to {amount(drop.high)}: a larger test split would tell."
        )
    if _latency(winner).confidence < CONFIDENCE:
        count = _latency(winner).processes
        parts.append(
            f"Its latency rests on {count} process{'es' if count > 1 else ''}, too few for a 95 % interval: "
            "set evaluate.latency.processes to 6 or more."
        )
    same = [(metric, c) for c in fitting if c.artifact.model == model and (metric := metric_of(c.measurement))]
    best_metric, better = min(same, key=lambda pair: pair[0].cost, default=(None, winner))
    if best_metric and (own := metric_of(m)) and best_metric.surely_better(own):
        parts.append(
            f"{_name(better, several)} is {best_metric.better_than()} ({best_metric.text}) at "
            f"{times(race.ratio(winner, better).ratio)} the latency; "
            f"set budget.{'min_accuracy' if own.is_share else 'require'} if that matters more."
        )
    return " ".join(parts)


def _beside(cell: Cell, winner: Cell, race: Race) -> str:
    """Return how a cell that fits compares with the winner; "not distinguishable" is a result too."""
    mine, ratio = _latency(cell), race.ratio(winner, cell)
    bulk = f"{times(cell.artifact.bytes / winner.artifact.bytes)} " if winner.artifact.bytes else ""
    file = f"{bulk}the size ({size(cell.artifact.bytes)})"
    if ratio.verdict == "not distinguishable":
        return f"Latency ({ms(mine.median)}) not distinguishable from the recommended file's; {file}."
    return f"{times(ratio.ratio)} the latency ({ms(mine.median)}) and {file} of the recommended file."


def _why_nothing(
    ran: Sequence[Cell], violations: Mapping[tuple[str, str], list[Violation]], target: str, several: bool
) -> str:
    where = f" on {target}" if target else ""
    if not ran:
        return (
            f"No exported file ran{where}, so there is nothing to recommend: the list of failures says what went "
            "wrong and what to do."
        )
    closest = min(
        ran, key=lambda c: (max(b.excess for b in violations[_key(c)]), len(violations[_key(c)]), by_latency(c))
    )
    missed = "; ".join(b.why for b in sorted(violations[_key(closest)], key=lambda b: -b.excess))
    if len(ran) == 1:
        return f"{_name(closest, several)} is all that ran, and it does not fit the budget: {missed}."
    counted = f"{len(ran)} files that ran{where}" if where else f"{len(ran)} measured pairs of file and target"
    return f"None of the {counted} fits the budget. Closest is {_name(closest, several)}: {missed}."


def _name(cell: Cell, several: bool) -> str:
    return f"{artifact_name(cell.artifact, several)} on {cell.measurement.target}"
