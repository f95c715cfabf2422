"""A comparison of two models in one sentence: the more accurate one first, then what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.formatting import number, p_value, times
from ..core.sanitize import shorten
from ..tasks import figure_of

NAME_LIMIT = 60


def sentence(row: Mapping[str, Any]) -> str:
    """Return a row of `model_comparison.compare_models` as a sentence; ``verdict`` and ``pairs`` are already in it."""
    a, b = (shorten(str(row[key]), NAME_LIMIT) for key in ("a", "b"))
    if row["verdict"] == "not compared":
        return _with_costs(f"{a} and {b} are not compared in accuracy: {row['why']}", a, row, False, b)
    difference, metric = row["difference"], figure_of(str(row.get("metric") or ""))
    turned = difference["difference"] < 0
    first, second = (b, a) if turned else (a, b)
    low, high = (-difference["high"], -difference["low"]) if turned else (difference["low"], difference["high"])
    lead = abs(difference["difference"])
    facts = f"95 % interval {metric.signed_span(low, high)}; {test_words(row)}; {seeds_words(row)}"
    if row["verdict"] != "not distinguishable":
        return _with_costs(
            f"{first} is {metric.better_than()} than {second} by {metric.amount(lead)} ({facts})",
            "it",
            row,
            turned,
            second,
        )
    ahead = f"{first} is {metric.amount(lead)} ahead" if metric.amount(lead) != metric.amount(0) else "they are level"
    verdict = f"{first} and {second} are not distinguishable in {metric.name}: {ahead} ({facts})"
    return _with_costs(verdict, first, row, turned, second)


def test_words(row: Mapping[str, Any]) -> str:
    """Return the p that decided, with what it was corrected for; McNemar's where there is one seed of each."""
    corrected = f" after Holm's correction for {row['pairs']} pairs" if row["pairs"] > 1 else ""
    name = "" if row.get("metric") or max(_counts(row)) > 1 else "McNemar's "
    return f"{name}{p_value(row['difference']['p_holm'])}{corrected}"


def seeds_words(row: Mapping[str, Any]) -> str:
    """Return over how many seeds; one seed says nothing of what another would have given."""
    a, b = _counts(row)
    if a != b:
        return f"{a} and {b} seeds"
    return "1 seed, so of these two trained models only" if a == 1 else f"{a} seeds"


def _counts(row: Mapping[str, Any]) -> tuple[int, int]:
    return len(row["accuracy_a"]["seeds"]), len(row["accuracy_b"]["seeds"])


def _with_costs(verdict: str, subject: str, row: Mapping[str, Any], turned: bool, other: str) -> str:
    """Put the costs behind the verdict."""
    costs = _costs(row, turned)
    parts = [verdict, *([f"{subject} {' and '.join(costs)}"] if costs else []), *_files(row, turned, other)]
    return f"{'; '.join(parts)}."


def _costs(row: Mapping[str, Any], turned: bool) -> list[str]:
    """Return what the model that is named first costs beside the other."""
    words = (("train_seconds", "takes {} the training time"), ("float_bytes", "is {} the size in float"))
    return [text.format(times(_ratio(ratio, turned))) for key, text in words if (ratio := row[key]["ratio"])]


def _ratio(value: float, turned: bool) -> float:
    return 1 / value if turned else value


def _files(row: Mapping[str, Any], turned: bool, other: str) -> list[str]:
    """Return how the best files of the two compare on each target, as clauses."""
    within = str(row.get("within") or "within the budget")
    ratios, alone = [], []
    for target in row["targets"]:
        where = shorten(str(target["target"]), NAME_LIMIT)
        mine, its = ("b", "a") if turned else ("a", "b")
        names = dict.fromkeys(shorten(target[f"file_{k}"], NAME_LIMIT) for k in (mine, its))
        if target[mine] is None or target[its] is None:
            alone.append(f"on {where} only {other if target[mine] is None else 'it'} has a file {within}")
        elif (change := target["latency_ratio"]) is None:
            alone.append(f"on {where} the latencies cannot be compared")
        else:
            ratios.append(f"{_times_as_long(change, turned)} on {where} ({' against '.join(names)})")
    return ([f"its best file {within} takes {_listed(ratios)}"] if ratios else []) + alone


def _times_as_long(change: Mapping[str, Any], turned: bool) -> str:
    ratio = times(_ratio(change["estimate"], turned))
    if change["verdict"] == "not distinguishable":
        return f"{ratio} as long (not distinguishable from equal)"
    low, high = sorted(_ratio(change[end], turned) for end in ("low", "high"))
    return f"{ratio} as long ({number(low)} to {number(high)})"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
