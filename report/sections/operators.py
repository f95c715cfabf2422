"""Where the time goes: a bar for each kind of operators of each profiled file, and why some are slow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...core.formatting import count_words, ms, percent, size
from ...core.profile import KindTime, ProfileSummary
from ...core.sanitize import shorten
from ...evaluate.cells import Cell
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..palette import scheme_colour
from ..section import Section

# Kinds with a bar; the rest are one.
_BARS = 7
# Profiles of two files differ by a tenth for chance alone; latencies say which is faster.
_SLOWER = 1.2


def kernel_words(content: Content) -> list[str]:
    """Return a sentence for each file that ran without XNNPACK where a file of its model ran with it, same target."""
    with_xnnpack: dict[tuple[str, str], Cell] = {}
    without: list[Cell] = []
    for cell in content.cells:
        m = cell.measurement
        kernels = m.fingerprint.get("kernels") if m.status == "ok" else None
        if kernels == "xnnpack":
            with_xnnpack.setdefault((cell.artifact.model, m.target), cell)
        elif kernels == "builtin":
            without.append(cell)
    sentences = []
    for cell in without:
        if other := with_xnnpack.get((cell.artifact.model, cell.measurement.target)):
            name, target = content.name(cell.artifact), shorten(cell.measurement.target, NAME_LIMIT)
            sentences.append(
                f"{name} on {target} runs in the runtime's own kernels: XNNPACK, which runs "
                f"{content.name(other.artifact)} there, takes none of its operators{_medians(cell, other)}."
            )
    return sentences


def _medians(cell: Cell, other: Cell) -> str:
    own, others = cell.measurement.latency_ms, other.measurement.latency_ms
    return f" (median {ms(own.median)} against {ms(others.median)})" if own and others else ""


def _build(content: Content) -> dict[str, Any] | None:
    ran = [cell for cell in content.cells if cell.measurement.status == "ok"]
    profiled = [(cell, p) for cell in ran if (p := cell.measurement.profile) is not None]
    words = kernel_words(content)
    made = [(cell, p) for cell, p in profiled if p.status == "ok"]
    first = next((c for c, _ in made if c is content.ship), None) or next((c for c, p in made if p.findings), None)
    floats = {(c.artifact.model, c.measurement.target, c.artifact.format): (c, p) for c, p in reversed(made)
              if c.artifact.scheme == "float32"}  # fmt: skip
    cards = []
    for cell, p in made:
        beside = floats.get((cell.artifact.model, cell.measurement.target, cell.artifact.format))
        against = _against(content, p, *beside) if beside and beside[0] is not cell else ""
        cards.append(_card(content, cell, p, cell is first, against))
    if not cards and not words:
        return None
    missing: dict[tuple[str, str], list[str]] = {}
    for cell, p in profiled:
        if p.status != "ok":
            reason = (shorten(p.reason, REASON_LIMIT), shorten(p.remedy, REASON_LIMIT))
            what = f"{content.name(cell.artifact)} on {shorten(cell.measurement.target, NAME_LIMIT)}"
            missing.setdefault(reason, []).append(what)
    return {"cards": cards, "words": words, "missing": [(", ".join(what), *reason) for reason, what in missing.items()]}


def _against(content: Content, p: ProfileSummary, cell: Cell, float_profile: ProfileSummary) -> str:
    """Return which operators take longer than in the float32 file there; empty where the sum is not clearly larger."""
    if p.operators_ms < _SLOWER * float_profile.operators_ms:
        return ""
    own, others = _by_op(p), _by_op(float_profile)
    op = max(own, key=lambda name: own[name] - others.get(name, 0.0))
    before = f"instead of {ms(others[op])}" if op in others else f"which {content.name(cell.artifact)} has not"
    return (
        f"operators take {ms(p.operators_ms)}, those of {content.name(cell.artifact)} there "
        f"{ms(float_profile.operators_ms)}: most of the difference is {shorten(op, NAME_LIMIT)}, {ms(own[op])} {before}"
    )


def _by_op(p: ProfileSummary) -> dict[str, float]:
    times: dict[str, float] = {}
    for kind in p.kinds:
        times[kind.op] = times.get(kind.op, 0.0) + kind.ms
    return times


def _card(content: Content, cell: Cell, p: ProfileSummary, is_open: bool, against: str) -> dict[str, Any]:
    longest = max((kind.share for kind in p.kinds), default=1.0) or 1.0
    shown = [_bar(kind, longest) for kind in p.kinds[:_BARS]]
    return {
        "name": content.name(cell.artifact),
        "target": shorten(cell.measurement.target, NAME_LIMIT),
        "kind": cell.measurement.kind,
        "colour": scheme_colour(cell.artifact.scheme).name,
        "run": ms(p.run_ms),
        "operators": ms(p.operators_ms),
        "runs": p.runs,
        "engine": shorten(p.engine, NAME_LIMIT),
        "bars": shown,
        "rest": _rest(p.kinds[_BARS:]),
        "findings": [shorten(finding, REASON_LIMIT) for finding in (against, *p.findings) if finding],
        "paths": [shorten(path, 200) for path in (p.path, p.model_explorer) if path],
        "is_open": is_open,
    }


def _bar(kind: KindTime, longest: float) -> dict[str, str]:
    return {
        "name": f"{kind.count} × {shorten(kind.op, NAME_LIMIT)}",
        "kernel": shorten(kind.kernel, NAME_LIMIT),
        "width": f"{100 * kind.share / longest:.1f}",
        "time": ms(kind.ms),
        "share": percent(kind.share),
        "cost": ", ".join(_costs(kind)),
    }


def _rest(kinds: Sequence[KindTime]) -> str:
    if not kinds:
        return ""
    share = percent(sum(kind.share for kind in kinds))
    return f"{sum(kind.count for kind in kinds)} operators of {len(kinds)} more kinds: {share}"


def _costs(kind: KindTime) -> Iterator[str]:
    if kind.macs:
        yield f"{count_words(kind.macs)} MACs"
    if kind.bytes is not None:
        yield size(kind.bytes)


SECTION = Section("operators", "Where the time goes", _build, "operators.html.j2")
