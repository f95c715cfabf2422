"""Figures as people read them, with their units: the same in the terminal, the reports and the reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .measurement import Latency, LatencyRatio, Measurement, PooledDrop


def percent(share: float) -> str:
    """Return a share as per cent with one decimal: ``82.4 %``."""
    return f"{100 * share:.1f} %"


def percent_range(low: float | None, high: float | None) -> str:
    """Return an interval of shares: ``80.6 to 84.0``; nothing when it is not known."""
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def points(difference: float, signed: bool = False) -> str:
    """Return a difference of two shares in percentage points: ``0.35 points``, ``1 point``."""
    number = signed_points(difference) if signed else f"{100 * difference:.2f}".rstrip("0").rstrip(".")
    return f"{number} point" if number in ("1", "+1.00") else f"{number} points"


def signed_points(difference: float) -> str:
    """Return a difference in percentage points with its sign and a true minus: ``+0.35``, ``−0.10``, ``0.00``."""
    text = f"{100 * difference:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def signed_percent(share: float) -> str:
    """Return a change as per cent with its sign: ``+5.2 %``, ``−0.1 %``; of less, its first digit: ``+0.004 %``."""
    change = 100 * share
    text = f"{change:+.1f}" if abs(change) >= 0.05 or not change else f"{change:+.1g}"
    return f"{text} %".replace("-", "−")


def points_range(low: float | None, high: float | None) -> str:
    """Return an interval of differences: ``−0.31 to +0.61``; nothing when it is not known."""
    return "" if low is None or high is None else f"{signed_points(low)} to {signed_points(high)}"


def capitalized(words: str) -> str:
    """Return words with a capital letter; names such as ``mAP`` as they are."""
    return words if words[1:2].isupper() else words[:1].upper() + words[1:]


def significant(value: float) -> str:
    """Return any number with three significant digits and a true minus: ``0.0123``, ``−4.5``, ``1,234``, ``2e+09``."""
    if abs(value) >= 1000:
        return (f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}").replace("-", "−")
    return f"{value:.3g}".replace("-", "−") if value else "0"


def number(value: float) -> str:
    """Return a positive number with three significant digits and no exponent: ``0.0420``, ``2.91``, ``1,234``."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:#.3g}" if value >= 1e-4 else f"{value:.1g}"


def ms(value: float) -> str:
    """Return milliseconds: ``2.91 ms``."""
    return f"{number(value)} ms"


def ratio_words(ratio: LatencyRatio | None) -> str:
    """Return a ratio of latencies: ``0.53×``, with ``=`` before one that is not distinguishable from 1."""
    if ratio is None:
        return "–"
    return f"{'= ' * (ratio.verdict == 'not distinguishable' and ratio.low < ratio.high)}{ratio.ratio:.3f}×"


def ratio_range(ratio: LatencyRatio | None) -> str:
    """Return the interval of a ratio: ``0.521 to 0.534``; nothing where one block leaves none, or it is the anchor."""
    if ratio is None or ratio.low == ratio.high or ratio.high > 1e6:
        return ""
    return f"{ratio.low:.3f} to {ratio.high:.3f}"


def ms_range(latency: Latency) -> str:
    """Return a latency's interval, or what stands in for one when a single process leaves none."""
    return f"{number(latency.low)} to {number(latency.high)}" if latency.confidence > 0 else "no interval: one process"


def size(count: float) -> str:
    """Return bytes in binary units: ``512 B``, ``2.54 MiB``."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= scale:
            return f"{number(count / scale)} {unit}"
    return f"{count:.0f} B"


def count_words(count: int | None) -> str:
    """Return a large count: ``–`` where it is not known, ``512``, ``24.5 M``, ``1.20 G``."""
    if count is None:
        return "–"
    for unit, scale in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= scale:
            return f"{number(count / scale)} {unit}"
    return str(count)


def seconds(value: float) -> str:
    """Return a duration: ``4.2 s``, ``3 min 05 s``."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def times(ratio: float) -> str:
    """Return a ratio: ``1.96×``."""
    return f"{number(ratio)}×"


def precise_ratio(ratio: float) -> str:
    """Return a ratio with three decimals where it is near 1, so that half a per cent is seen: ``1.005``, ``12.3``."""
    return f"{ratio:.3f}" if 0.5 <= ratio < 2 else number(ratio)


def by_design_words(cells: int) -> str:
    """Return how many cells of a table are empty because the runtime does not read the format."""
    counted = "1 cell is" if cells == 1 else f"{cells} cells are"
    return f"{counted} empty by design: the runtime does not read the format"


def p_value(p: float) -> str:
    """Return a p value: ``p = 0.012``, ``p < 0.001``, ``p = 1``."""
    return "p < 0.001" if p < 0.001 else f"p = {f'{p:.2g}' if p < 0.095 else f'{p:.2f}'.rstrip('0').rstrip('.')}"


def on_splits(drop: PooledDrop, on: str = " on ") -> str:
    """Return which samples a drop is of, where a run says it: `` on test and validation, 602 samples``."""
    return f"{on}{' and '.join(drop.splits)}, {drop.samples:,} samples" if drop.splits else ""


def latency_words(m: Measurement) -> str:
    """Return a measurement's median latency with its interval."""
    if m.latency_ms is None:
        return "latency not measured"
    interval = f"{percent(m.latency_ms.confidence)} interval " if m.latency_ms.confidence > 0 else ""
    return f"median latency {ms(m.latency_ms.median)} ({interval}{ms_range(m.latency_ms)})"


# The limits that `drop_by` is about.
DROPS = ("max_accuracy_drop", "max_drop", "max_class_recall_drop")


def limits(asked: dict[str, Any], *, is_share: bool = True, metric: str = "accuracy") -> list[tuple[str, str]]:
    """Return what a budget asks, as (name, limit) in words. Keys that are not known are shown as they are.

    `is_share`: the `metric` is a share; of another one `max_accuracy_drop` is a part of the float model's.
    """
    words: dict[str, tuple[str, Callable[[float], str]]] = {
        "max_accuracy_drop": (f"{metric} drop at most", points),
        "max_drop": ("drop at most", significant),
        "max_class_recall_drop": ("drop of any class's recall at most", points),
        "min_accuracy": (f"{metric} at least", percent),
        "max_latency_ms": ("p95 latency at most", ms),
        "max_bytes": ("file at most", size),
        "max_memory_bytes": ("peak memory at most", size),
        "runtime": ("runs on", str),
        "target": ("on", str),
    }
    judged = {"interval": " with its whole 95 % interval", "estimate": " by estimate"}
    rows = []
    for key, value in asked.items():
        if key == "drop_by" and "max_accuracy_drop" in asked and value in judged:
            continue
        if key == "max_accuracy_drop" and (value == 1 or "max_drop" in asked):  # all of it: no limit
            continue
        part = value if key == "max_drop" and isinstance(value, str) else ""
        if key == "max_accuracy_drop" and not is_share and isinstance(value, int | float):
            part = f"{100 * value:.3g} %"
        if part:
            how = judged.get(str(asked.get("drop_by")), "")
            rows.append(("drop at most", f"{part} of the float model's metric{how}"))
            continue
        if key == "require" and isinstance(value, list | tuple):
            rows += [("requires", str(limit)) for limit in value]
            continue
        if key not in words or not (key in ("target", "runtime") or isinstance(value, int | float)):
            rows.append((key, str(value)))
            continue
        name, unit = words[key]
        how = judged.get(str(asked.get("drop_by")), "") if key in DROPS else ""
        rows.append((name, unit(value) + how))
    return rows
