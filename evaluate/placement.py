"""Placement: which of a file's operators an accelerator ran, in words, and whether a strict run takes that."""

from __future__ import annotations

from ..core.formatting import percent
from ..core.measurement import Measurement, Placement
from ..core.runner import Outcome
from ..core.runtime import RUNTIMES
from ..core.sanitize import shorten

_SHOWN = 4  # operators that are named


def is_accelerator(measurement: Measurement) -> bool:
    """Return whether a measurement is of an accelerator, real or estimated."""
    runtime = RUNTIMES.get(measurement.runtime)
    return runtime is not None and (bool(runtime.cpu) or runtime.kind == "estimated")


def share(measurement: Measurement) -> str:
    """Return the share of operators that ran on the accelerator: ``100 %``; ``?`` if unknown, empty for a CPU."""
    placement = measurement.placement
    if placement is None:
        return "?" if is_accelerator(measurement) and measurement.status == "ok" else ""
    if placement.whole or not placement.operators:
        return "100 %"
    # Rounding must not make a whole of a part.
    return percent(min(placement.delegated / placement.operators, 0.999))


def words(placement: Placement | None) -> str:
    """Return what ran where: ``34 of 47 operators on the accelerator, in 13 parts; on the CPU: 13 QuantizeLinear``."""
    if placement is None:
        return "what ran on the accelerator is not known"
    parts = f", in {placement.partitions} parts" if (placement.partitions or 1) > 1 else ""
    kept = sorted(placement.kept.items(), key=lambda item: -item[1])
    named = [f"{count} {_called(op)}" for op, count in kept[:_SHOWN]]
    more = sum(count for _, count in kept[_SHOWN:])
    named += [f"{more} more"] if more else []
    on_cpu = f"; on the CPU: {', '.join(named)}" if named else ""
    return f"{placement.delegated} of {placement.operators} operators on the accelerator{parts}{on_cpu}"


def unplaced(row: Measurement, *, strict: bool) -> Outcome:
    """Return the outcome of a file that loads: a failure if `strict` asks for an accelerator that runs all of it."""
    if not strict or not is_accelerator(row) or (row.placement is not None and row.placement.whole):
        return Outcome("ok")
    runtime = RUNTIMES[row.runtime]
    return Outcome(
        "failed",
        f"{runtime.name} does not run the whole file: {words(row.placement)}",
        f"use another scheme{f', run it on {runtime.cpu}' if runtime.cpu else ''}, or set strict = false to measure it "
        "as it is",
    )


def _called(op: str) -> str:
    return "others" if op == "OTHERS" else shorten(op, 40)
