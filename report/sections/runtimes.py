"""What the report says of runtimes: the oldest one that loads a file, workarounds, what ran on accelerators, and what
delegates would not take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...core.artifact import Artifact
from ...core.formatting import points_range, signed_points, times
from ...core.runtime import RUNTIMES
from ...core.sanitize import shorten
from ...evaluate.placement import is_accelerator, words
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..reading import figure, rows
from ..section import Section

OPERATORS_SHOWN = 6


@dataclass(frozen=True)
class RuntimeRow:
    """One file: the oldest runtime that has its operators, which of them ask for it, and where it ran or did not."""

    name: str
    oldest: str
    because: str
    ran: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Workaround:
    """What was changed in a file so that a runtime takes it, and what that costs against the plain file."""

    name: str
    why: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Placed:
    """One file on an accelerator: which of its operators ran there, and which device that was."""

    name: str
    target: str
    whole: bool
    words: str
    adapter: str
    kind: str


@dataclass(frozen=True)
class Refusal:
    """What one delegate would not take of some files: operators by name, each with how often and why."""

    delegate: str
    names: tuple[str, ...]
    takes: str
    takes_all: bool
    refuses: tuple[tuple[str, str], ...]
    kind: str
    source: str


def runtime_rows(content: Content) -> list[RuntimeRow]:
    """Return a row per file of which anything is known; nothing where no operator's oldest runtime is."""
    exported = [a for a in content.results.artifacts if a.status == "ok" and a.format != "savedmodel"]
    if not any(op.min_runtime for a in exported for op in a.ops):
        return []
    return [_row(a, content) for a in exported]


def _row(artifact: Artifact, content: Content) -> RuntimeRow:
    measured = [m for m in content.results.measurements if m.artifact == artifact.id]
    reads = [m for m in measured if m.runtime not in RUNTIMES or artifact.format in RUNTIMES[m.runtime].formats]
    return RuntimeRow(
        name=content.name(artifact),
        oldest=shorten(artifact.min_runtime, NAME_LIMIT) or "not known",
        because=_because(artifact),
        ran=tuple(shorten(m.target, NAME_LIMIT) for m in reads if m.status == "ok"),
        refused=tuple((shorten(m.target, NAME_LIMIT), m.status) for m in reads if m.status != "ok"),
    )


def _because(artifact: Artifact) -> str:
    """Return the operators that ask for the oldest runtime's version."""
    asking = [op for op in artifact.ops if op.min_runtime and artifact.min_runtime.endswith(op.min_runtime)]
    shown = [f"{shorten(op.name, 40)} version {op.version}" for op in asking[:OPERATORS_SHOWN]]
    more = len(asking) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def workarounds(content: Content) -> list[Workaround]:
    """Return the files that were changed for a runtime, and what that costs."""
    return [_workaround(a, content) for a in content.results.artifacts if a.workaround]


def _workaround(artifact: Artifact, content: Content) -> Workaround:
    record = artifact.workaround
    names = {a.id: content.name(a) for a in content.results.artifacts}
    plain = str(record.get("instead_of") or "")
    what = shorten(str(record.get("what") or ""), REASON_LIMIT)
    facts = [("Made for", shorten(str(record["for"]), NAME_LIMIT))] if record.get("for") else []
    if plain:
        facts.append(("Instead of", names.get(plain, shorten(plain, NAME_LIMIT))))
    facts += [("Its cost", words) for words in ["; ".join(_cost(record))] if words]
    return Workaround(content.name(artifact), f"{what[:1].upper()}{what[1:]}", tuple(facts))


def _cost(record: Mapping[str, Any]) -> Iterable[str]:
    """Return what a workaround costs compared with the plain file, where both ran."""
    accuracy = record.get("accuracy")
    if isinstance(accuracy, Mapping) and (drop := figure(accuracy.get("drop"))) is not None:
        interval = points_range(figure(accuracy.get("low")), figure(accuracy.get("high")))
        yield f"a drop of {signed_points(drop)} points" + (f" (95 % interval {interval})" if interval else "")
    if ratio := figure(record.get("latency_ratio")):
        yield f"{times(ratio)} the latency"
    if ratio := figure(record.get("bytes_ratio")):
        yield f"{times(ratio)} the size"
    if record.get("target"):
        yield f"measured on {shorten(str(record['target']), NAME_LIMIT)}"


def placements(content: Content) -> list[Placed]:
    """Return what ran on accelerators, of the files that loaded there."""
    return [
        Placed(
            name=content.name(cell.artifact),
            target=shorten(m.target, NAME_LIMIT),
            whole=m.placement is not None and m.placement.whole,
            words=words(m.placement),
            adapter=shorten(m.placement.adapter if m.placement else "", NAME_LIMIT),
            kind=m.kind,
        )
        for cell in content.cells
        if is_accelerator(m := cell.measurement) and (m.status == "ok" or m.placement is not None)
    ]


def refusals(content: Content) -> list[Refusal]:
    """Return what each delegate would not take; files with the same answer are grouped."""
    grouped: dict[Refusal, list[str]] = {}
    for artifact in content.results.artifacts:
        for row in artifact.delegates:
            if isinstance(row, Mapping):
                grouped.setdefault(_refusal(row), []).append(content.name(artifact))
    merged = [replace(refusal, names=tuple(names)) for refusal, names in grouped.items()]
    return sorted(merged, key=lambda refusal: refusal.delegate)


def _refusal(row: Mapping[str, Any]) -> Refusal:
    takes, total = row.get("takes"), row.get("total")
    is_counted = isinstance(total, int) and isinstance(takes, int)
    return Refusal(
        delegate=shorten(str(row.get("delegate", "")), NAME_LIMIT),
        names=(),
        takes=f"takes {takes} of {total} operators" if is_counted else "not known",
        takes_all=is_counted and takes == total,
        refuses=tuple(_refused(row)),
        kind="estimated" if row.get("kind", "estimated") == "estimated" else shorten(str(row["kind"]), 20),
        source=shorten(str(row.get("source", "")), REASON_LIMIT),
    )


def _refused(row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for entry in rows(row.get("refuses")):
        count = entry.get("count")
        often = f" {count}×" if isinstance(count, int) else ""
        yield f"{shorten(str(entry.get('op', '')), 60)}{often}", shorten(str(entry.get("why", "")), REASON_LIMIT)


def _build(content: Content) -> dict[str, Any] | None:
    parts = {
        "runtimes": runtime_rows(content),
        "workarounds": workarounds(content),
        "placements": placements(content),
        "refusals": refusals(content),
    }
    return parts if any(parts.values()) else None


SECTION = Section("runtimes", "Runtimes", _build, "runtimes.html.j2")
