"""Which file to ship on each target, why each other one not; and without a budget, which files no other beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.artifact import Artifact
from ...core.formatting import ms, ms_range, on_splits, size
from ...core.sanitize import shorten
from ...evaluate.cells import Cell
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..section import Section

WHY_LIMIT = 2000


@dataclass(frozen=True)
class Turned:
    """A file that was not chosen on a target, and why.

    `status`: fits, not shown (to fit), over budget, turned down, beaten, or the row's.
    """

    what: str
    where: str
    status: str
    why: str


@dataclass(frozen=True)
class FrontRow:
    """A file of the Pareto front. `lead` says in what it is the best of them."""

    name: str
    where: str
    lead: str
    accuracy: str
    interval: str
    drop: str
    drop_interval: str
    latency: str
    latency_interval: str
    size: str
    kind: str


@dataclass(frozen=True)
class Choice:
    """What is said of one target: the file to ship (empty: none), its figures, and all others with the reason.

    `overall` marks the target whose file is the recommendation over all targets; `verdict` is the budget's there.
    """

    target: str
    file: str
    figures: tuple[tuple[str, str, str], ...]
    kind: str
    why: str
    overall: bool
    verdict: str
    front: tuple[FrontRow, ...]
    fits: tuple[Turned, ...]
    beaten: tuple[Turned, ...]
    rejected: tuple[Turned, ...]
    failed: tuple[Turned, ...]

    @property
    def others(self) -> tuple[Turned, ...]:
        """All files that were not chosen: those that fit first, those that did not run last."""
        return self.fits + self.beaten + self.rejected + self.failed

    @property
    def nothing(self) -> str:
        """Why no file is named here, in two words."""
        ran = self.fits or self.beaten or self.rejected
        return "nothing ran" if self.failed and not ran else "nothing fits" if self.verdict else "nothing"

    @property
    def counted(self) -> str:
        """How many of the others there are of each kind, in words."""
        groups = (
            (self.fits, "fits as well", "fit as well"),
            (self.beaten, "is beaten", "are beaten"),
            (self.rejected, "is turned down", "are turned down"),
            (self.failed, "did not run", "did not run"),
        )
        counts = [f"{len(rows)} {one if len(rows) == 1 else many}" for rows, one, many in groups if rows]
        return ", ".join(counts)


def choices(content: Content) -> list[Choice]:
    """Return what is recommended on each target, in the order of the targets; nothing before a run has ended."""
    recommendation = content.results.recommendation
    rows = recommendation.get("targets")
    if not isinstance(rows, list):
        rows = _of_an_older_run(recommendation)
    names = {a.id: a for a in content.results.artifacts}
    return [_choice(row, content, names) for row in rows if isinstance(row, Mapping)]


def _of_an_older_run(recommendation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a run that knew one recommendation only: the others by their targets."""
    by_target: dict[str, dict[str, Any]] = {}
    if recommendation.get("artifact"):
        chosen = {key: recommendation.get(key) for key in ("target", "artifact", "why")}
        by_target[str(chosen["target"])] = chosen
    for part in ("fits", "rejected"):
        for row in recommendation.get(part, []):
            target = str(row.get("target", ""))
            by_target.setdefault(target, {"target": target, "why": ""}).setdefault(part, []).append(row)
    return list(by_target.values())


def _choice(row: Mapping[str, Any], content: Content, names: Mapping[str, Artifact]) -> Choice:
    target = str(row.get("target", ""))
    cell = content.by_key.get((str(row.get("artifact")), target))
    overall = cell is not None and cell is content.ship
    rejected = [(r, content.by_key.get((str(r.get("artifact")), target))) for r in _rows(row, "rejected")]
    ran = [r for r, measured in rejected if measured is None or measured.measurement.status == "ok"]
    unshown = [r for r in ran if r.get("verdict") == "not shown"]
    failed = [(r, measured) for r, measured in rejected if measured is not None and measured.measurement.status != "ok"]

    def turned(rows: Iterable[Mapping[str, Any]], status: str) -> tuple[Turned, ...]:
        return tuple(_turned(r, status, content, names) for r in rows)

    return Choice(
        target=shorten(target, NAME_LIMIT),
        file=content.name(cell.artifact) if cell else "",
        figures=tuple(_figures(cell)) if cell else (),
        kind=cell.measurement.kind if cell else "",
        why=shorten(str(row.get("why") or ""), WHY_LIMIT),
        overall=overall,
        verdict=shorten(str(row.get("verdict") or ""), NAME_LIMIT),
        front=tuple(_front(_rows(row, "pareto"), content)),
        fits=turned(_rows(row, "fits"), "fits"),
        beaten=turned(_rows(row, "beaten"), "beaten"),
        rejected=turned(unshown, "not shown")
        + turned([r for r in ran if r not in unshown], "over budget" if content.results.budget else "turned down"),
        failed=tuple(_turned(r, measured.measurement.status, content, names) for r, measured in failed),
    )


def _rows(row: Mapping[str, Any], part: str) -> list[Mapping[str, Any]]:
    records = row.get(part)
    return [r for r in records if isinstance(r, Mapping)] if isinstance(records, list) else []


def _turned(row: Mapping[str, Any], status: str, content: Content, names: Mapping[str, Artifact]) -> Turned:
    artifact, why = names.get(str(row.get("artifact"))), str(row.get("why", ""))
    if why.lower().startswith(f"{status}: "):  # the status stands beside it
        why = why[len(status) + 2 :]
    return Turned(
        content.name(artifact) if artifact else shorten(str(row.get("artifact", "")), NAME_LIMIT),
        shorten(str(row.get("target", "")), NAME_LIMIT),
        status,
        shorten(why, REASON_LIMIT),
    )


def _figures(cell: Cell) -> Iterable[tuple[str, str, str]]:
    """Return (name, figure, interval) of a recommended file: what its budget limits."""
    m = cell.measurement
    quality, loss = cell.quality, cell.loss
    if quality.is_share or quality.rank == 0:
        yield quality.name[:1].upper() + quality.name[1:], quality.text, quality.aside
    if loss.drop is not None:
        yield loss.metric.drop_title(), loss.points, loss.interval + on_splits(loss.drop, "; ")
    if m.latency_ms:
        yield "Median latency", ms(m.latency_ms.median), f"p95 {ms(m.latency_ms.p95)}"
    yield "Size", size(cell.artifact.bytes), _compressed(cell.artifact)


def _compressed(artifact: Artifact) -> str:
    return f"{size(artifact.compressed_bytes)} compressed" if artifact.compressed_bytes else ""


def _front(rows: Sequence[Mapping[str, Any]], content: Content) -> Iterable[FrontRow]:
    for row in rows:
        cell = content.by_key.get((str(row.get("artifact")), str(row.get("target"))))
        if cell is None:
            continue
        m = cell.measurement
        lead = str(row.get("why", "")).partition(":")[0]
        yield FrontRow(
            name=content.name(cell.artifact),
            where=shorten(m.target, NAME_LIMIT),
            lead=shorten(lead, 2 * NAME_LIMIT),
            accuracy=cell.quality.short,
            interval=cell.quality.interval,
            drop=cell.loss.points,
            drop_interval=cell.loss.interval,
            latency=ms(m.latency_ms.median) if m.latency_ms else "–",
            latency_interval=ms_range(m.latency_ms) if m.latency_ms else "",
            size=size(cell.artifact.bytes),
            kind=m.kind,
        )


def brief(choice: Choice) -> str:
    """Return a target's recommendation on one line, as the terminal and Markdown show it."""
    if choice.file:
        figures = [
            f"drop {value} {name.partition(', ')[2]}" if name.startswith("Drop") else value
            for name, value, _ in choice.figures
        ]
        unsure = ", not shown to fit the budget" if choice.verdict == "not shown" else ""
        return f"{choice.file} ({', '.join(figures)}){unsure}"
    if choice.front:
        return "; ".join(f"{row.name}, {row.lead[:1].lower()}{row.lead[1:]}" for row in choice.front)
    return choice.why or "nothing"


def _build(content: Content) -> dict[str, Any] | None:
    by_target = choices(content)
    return {"choices": by_target} if by_target else None


def _title(content: Content) -> str:
    return "By target" if content.results.budget else "Pareto front"


SECTION = Section("targets", _title, _build, "recommendations.html.j2")
