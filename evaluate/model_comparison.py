"""The models of one run compared: which is more accurate, and what that costs in time and size.

Accuracy is compared between the float references, on the same test samples; what a scheme loses is reported per file.
With several seeds the question is which way of training is better, so the interval is about other samples and other
seeds (`statistics.seeds_difference`); with one seed it can only be about these two models. Two models are called
distinguishable when the test's p, after Holm's correction for the number of pairs, is below 0.05 and the interval
excludes 0. "Not distinguishable" is a result, not a failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ..core.recipe_budget import Budget
from ..core.results import Results
from ..core.sanitize import shorten
from ..core.statistics import (
    CONFIDENCE,
    Drawn,
    drawn_difference,
    drawn_mean,
    holm,
    mcnemar,
    paired_drop,
    seeds_accuracy,
    seeds_difference,
)
from ..tasks import Task, task_of, task_of_row
from ..tasks.bootstrap import FEWEST
from ..tasks.by_parts import ByParts
from .budget import Limits
from .bursts import Ratios
from .cells import Cell, artifact_name, cells
from .compare import change_of
from .model_comparison_text import sentence
from .race import Race

# Which files stand for a model where no budget was given, in words.
NO_BUDGET = "within 1 point of float"

Correct = NDArray[Any]

SEEDS_METHOD = "samples crossed with seeds, seeds nested in models (Hillis 2014); Student's t"
BY_DRAWS = "the same samples, drawn for both (bootstrap, Efron 1979)"
SEEDS_BY_DRAWS = "samples crossed with seeds, by draws of the samples (Obuchowski and Rockette 1995); Student's t"
ONE_SEED_METHOD = "paired samples, adjusted Wald (Bonett and Price 2012); McNemar's exact test"


def compare_models(
    results: Results,
    correct: Mapping[str, Mapping[int, Correct]],
    *,
    budget: Budget | None = None,
    ratios: Ratios | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each pair of models, for `Results.comparisons`.

    ``correct[model][seed]`` is (n,) bool: which of the same n test samples the float reference trained with that seed
    answers rightly; the first seed's model is the exported one. Of a task whose metric is no share of right answers it
    is (n, …), what the metric is made of (`tasks.Task.parts`). `budget` decides which files may stand for a model on a
    target (default: what the results say was asked, and where nothing was, those within 1 point of float); `ratios`
    compares latencies.

    In a row all is of ``a`` against ``b``: ``difference`` is a's accuracy minus b's in shares (of another ``metric`` in
    its unit, above 0 where a is better), ratios are a's figure
    over b's. ``verdict`` is ``a`` or ``b`` (the more accurate one), ``not distinguishable``, or ``not compared``
    with the reason in ``why``; ``sentence`` says it all in words. ``first`` is about the exported models alone.
    Models that could not be made are left out. Raises ValueError when the answers of a model's seeds differ in number.
    """
    within = "" if budget or results.budget.get("asked") else NO_BUDGET
    budget = budget or asked_budget(results)
    rows = [
        _pair(results, a, b, correct, budget, ratios or Ratios())
        for a, b in combinations([m for m in results.models if m.get("status", "ok") == "ok"], 2)
    ]
    with_difference = [row for row in rows if "difference" in row]
    for part in ("difference", "first"):
        for row, p in zip(with_difference, holm([row[part]["p"] for row in with_difference]), strict=True):
            row[part]["p_holm"] = p
    for row in rows:
        row["pairs"], row["within"] = len(with_difference), within
        row["verdict"] = _verdict(row)
        row["sentence"] = sentence(row)
    return rows


def asked_budget(results: Results) -> Budget:
    """Return the budget that the results say was asked, but for its target; where none was, what `NO_BUDGET` says."""
    if not results.budget.get("asked"):
        return Budget(drop_by="estimate")
    limits = {k: v for k, v in results.budget.get("asked", {}).items() if k != "target"}
    try:
        return Budget.model_validate(limits)
    except ValidationError:  # of another version, or changed by hand
        return Budget()


def _pair(
    results: Results,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    correct: Mapping[str, Mapping[int, Correct]],
    budget: Budget,
    ratios: Ratios,
) -> dict[str, Any]:
    row: dict[str, Any] = {"a": a["name"], "b": b["name"]}
    task = next((found for m in results.measurements if (found := task_of_row(m))), None)
    row["why"] = _why_not(a, b, correct, task)
    if not row["why"]:
        ours, theirs = correct[a["name"]], correct[b["name"]]
        row |= _metrics(task, ours, theirs) if isinstance(task, ByParts) else _accuracies(ours, theirs)
    for key, values in (
        ("train_seconds", [m.get("train_seconds") for m in (a, b)]),
        ("float_bytes", [float_bytes(results, m["name"]) for m in (a, b)]),
    ):
        first, second = values
        row[key] = {"a": first, "b": second, "ratio": first / second if first and second else None}
    files = [best_files(results, m["name"], budget, ratios) for m in (a, b)]
    row["targets"] = [_target(target, files[0].get(target), files[1].get(target), ratios) for target in _targets(files)]
    return row


def _why_not(
    a: Mapping[str, Any], b: Mapping[str, Any], correct: Mapping[str, Mapping[int, Correct]], task: Task | None
) -> str:
    """Return why the accuracies of two models cannot be compared; nothing when they can."""
    by_parts = isinstance(task, ByParts)
    if not by_parts and (why := task_of(a.get("labels") or ()).not_comparable(a, b)):
        return why
    for model in (a, b):
        if not correct.get(model["name"]):
            return f"the float model {shorten(model['name'])} has not answered the test split"
    first, second = (len(next(iter(correct[m["name"]].values()))) for m in (a, b))
    if first != second:
        return f"they were tested on different samples ({first:,} and {second:,})"
    if by_parts and first < FEWEST:
        return f"{first} samples are too few to tell"
    return ""


def _metrics(task: ByParts, a: Mapping[int, NDArray[Any]], b: Mapping[int, NDArray[Any]]) -> dict[str, Any]:
    """Return what the answers of two models say of their task's metric, as `_accuracies`."""
    exported = _of_exported(task, a, b)
    if len(a) == len(b) == 1:
        return exported
    ours, theirs = (task.of_seeds(list(one.values())) for one in (a, b))
    pooled = drawn_difference(*((ours, theirs) if task.figure.better == "higher" else (theirs, ours)))
    return exported | {
        "accuracy_a": _of_seeds(list(a), ours),
        "accuracy_b": _of_seeds(list(b), theirs),
        "difference": {
            "difference": pooled.estimate,
            "low": pooled.low,
            "high": pooled.high,
            "confidence": CONFIDENCE,
            "p": pooled.p,
            "seeds_part": pooled.seeds_part,
            "method": SEEDS_BY_DRAWS,
        },
        "by_seed": [_lead(task, seed, a[seed], b[seed]) for seed in a if seed in b],
    }


def _of_seeds(seeds: Sequence[int], drawn: Drawn) -> dict[str, Any]:
    mean, low, high = drawn_mean(drawn)
    spread = float(np.std(drawn.values, ddof=1)) if len(seeds) > 1 else None
    return {"mean": mean, "low": low, "high": high, "spread": spread, "seeds": list(seeds)}


def _lead(task: ByParts, seed: int, a: NDArray[Any], b: NDArray[Any]) -> dict[str, Any]:
    lead, p = task.lead(a, b)
    return {"seed": seed, "difference": lead.value, "low": lead.low, "high": lead.high, "p": p}


def _of_exported(task: ByParts, a: Mapping[int, NDArray[Any]], b: Mapping[int, NDArray[Any]]) -> dict[str, Any]:
    """Return what the answers of the two exported models say."""
    (seed_a, first_a), (seed_b, first_b) = (next(iter(one.items())) for one in (a, b))
    lead, p = task.lead(first_a, first_b)
    scores_a, scores_b = task.scores(first_a), task.scores(first_b)
    difference = {"difference": lead.value, "low": lead.low, "high": lead.high, "p": p}
    return {
        "metric": task.metric,
        "samples": len(first_a),
        **{
            f"accuracy_{name}": {"mean": value, "low": low, "high": high, "spread": None, "seeds": [seed]}
            for name, seed, (value, low, high) in (
                ("a", seed_a, task.estimate(first_a)), ("b", seed_b, task.estimate(first_b))
            )
        },
        "difference": {**difference, "confidence": CONFIDENCE, "seeds_part": None, "method": BY_DRAWS},
        "first": {
            "seeds": [seed_a, seed_b], **difference,
            "only_a": int((scores_a > scores_b).sum()), "only_b": int((scores_b > scores_a).sum()),
        },
        "by_seed": [],
    }  # fmt: skip


def _accuracies(a: Mapping[int, Correct], b: Mapping[int, Correct]) -> dict[str, Any]:
    """Return what the answers of two models say of their accuracies."""
    first_a, first_b = next(iter(a.values())), next(iter(b.values()))
    several = len(a) > 1 or len(b) > 1
    pooled = seeds_difference(list(a.values()), list(b.values()))
    drop, low, high = paired_drop(first_a, first_b)
    first = {
        "seeds": [next(iter(a)), next(iter(b))],
        "difference": drop,
        "low": low,
        "high": high,
        "only_a": int(np.sum(first_a & ~first_b)),
        "only_b": int(np.sum(first_b & ~first_a)),
        "p": mcnemar(first_a, first_b),
    }
    return {
        "samples": len(first_a),
        "accuracy_a": _accuracy(a),
        "accuracy_b": _accuracy(b),
        "difference": {
            "difference": pooled.estimate,
            "low": pooled.low,
            "high": pooled.high,
            "confidence": CONFIDENCE,
            "p": pooled.p if several else first["p"],
            "seeds_part": pooled.seeds_part,
            "method": SEEDS_METHOD if several else ONE_SEED_METHOD,
        },
        "first": first,
        "by_seed": [_seed(seed, a[seed], b[seed]) for seed in a if seed in b],
    }


def _seed(seed: int, a: Correct, b: Correct) -> dict[str, Any]:
    difference, low, high = paired_drop(a, b)
    return {"seed": seed, "difference": difference, "low": low, "high": high, "p": mcnemar(a, b)}


def _accuracy(answers: Mapping[int, Correct]) -> dict[str, Any]:
    shares = {seed: float(np.mean(right)) for seed, right in answers.items()}
    mean, low, high = seeds_accuracy(list(shares.values()), len(next(iter(answers.values()))))
    spread = float(np.std(list(shares.values()), ddof=1)) if len(shares) > 1 else None
    return {"mean": mean, "low": low, "high": high, "spread": spread, "seeds": list(shares)}


def float_bytes(results: Results, model: str) -> int | None:
    """Return the size of a model before any quantization: of its float32 file, else of the SavedModel."""
    sizes = {a.format: a.bytes for a in results.artifacts if a.model == model and a.scheme == "float32" and a.bytes}
    return next((sizes[f] for f in ("tflite", "onnx", "savedmodel") if f in sizes), None)


def best_files(results: Results, model: str, budget: Budget, ratios: Ratios) -> dict[str, Cell]:
    """Return a model's best file within the budget on each target, wherever the budget itself wants it to run."""
    limits, fitting = Limits.of(results, budget), dict[str, list[Cell]]()
    for cell in cells(results):
        if cell.artifact.model == model and not cell.is_reference and limits.keeps(cell):
            fitting.setdefault(cell.measurement.target, []).append(cell)
    return {target: Race(ratios).winner(group)[0] for target, group in fitting.items()}


def _targets(files: Sequence[Mapping[str, Cell]]) -> list[str]:
    return list(dict.fromkeys(target for by_target in files for target in by_target))


def _target(target: str, a: Cell | None, b: Cell | None, ratios: Ratios) -> dict[str, Any]:
    """Return how the best files of two models compare on one target."""
    row: dict[str, Any] = {
        "target": target,
        "a": a.artifact.id if a else None,
        "b": b.artifact.id if b else None,
        "file_a": artifact_name(a.artifact, False) if a else "",
        "file_b": artifact_name(b.artifact, False) if b else "",
        "kind": " and ".join(dict.fromkeys(c.measurement.kind for c in (a, b) if c)),
        "latency_ratio": None,
        "size_ratio": None,
    }
    if a and b:
        ratio = ratios(b.measurement, a.measurement)
        row["latency_ratio"] = asdict(change_of(ratio)) if ratio else None
        row["size_ratio"] = a.artifact.bytes / b.artifact.bytes if b.artifact.bytes else None
    return row


def _verdict(row: Mapping[str, Any]) -> str:
    if "difference" not in row:
        return "not compared"
    difference = row["difference"]
    if difference["p_holm"] >= 1 - CONFIDENCE or difference["low"] <= 0 <= difference["high"]:
        return "not distinguishable"
    return "a" if difference["difference"] > 0 else "b"
