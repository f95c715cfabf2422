"""Why accuracy dropped: the diagnosed files, with suspected causes and the error layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from markupsafe import Markup

from ...core.artifact import Artifact
from ...core.formatting import (
    on_splits,
    percent,
)
from ...core.sanitize import shorten
from ...tasks.agreement import counts_samples, words
from ...tasks.loss import loss_of
from .. import plots_quantized
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..reading import decibels, figure, layer, rows, share
from ..section import Section
from ..svg import inline

CAUSES = {
    "outlier-channel": "outlier channel",
    "saturation": "saturating activation",
    "calibration": "calibration too small",
    "preprocessing": "preprocessing mismatch",
    "sensitive-layer": "a layer that int8 does badly",
    "unused-range": "range hardly used",
    "weights": "weights lose too much",
}
TENSORS_SHOWN = 8
# So many of the worst layers are named in the picture; more would cover each other.
MARKED = 6
LAYERS_SHOWN = 40


@dataclass(frozen=True)
class SnrPoint:
    """One activation in graph order. `rank` is its place among the worst, from 1; 0 where it is not one of them."""

    position: int
    snr: float | None
    own: float | None
    rank: int
    label: str


@dataclass(frozen=True)
class TensorRow:
    """One of the worst tensors, in words."""

    rank: int
    name: str
    operator: str
    kind: str
    snr: str
    own: str
    cosine: str
    saturated: str
    range_use: str
    damage: str
    cause: str
    why: str


@dataclass(frozen=True)
class Finding:
    """A suspected cause with its remedy: each finding that speaks for it, and the tensors that they rest on."""

    cause: str
    whys: tuple[str, ...]
    remedy: str
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class DiagnosisCard:
    """One file's diagnosis. `points` are what the picture is drawn from."""

    name: str
    loss: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    worst: tuple[TensorRow, ...]
    points: tuple[SnrPoint, ...]


def diagnoses(content: Content) -> list[DiagnosisCard]:
    """Return a card for each file that was diagnosed."""
    artifacts = {a.id: a for a in content.results.artifacts}
    return [_diagnosis(row, artifacts, content) for row in content.results.diagnoses if isinstance(row, Mapping)]


def _diagnosis(row: Mapping[str, Any], artifacts: Mapping[str, Artifact], content: Content) -> DiagnosisCard:
    artifact = artifacts.get(str(row.get("artifact")))
    ranked = rows(row.get("worst"))
    shown = sorted(
        (t for t in rows(row.get("tensors")) if t.get("kind", "activation") != "weight"),
        key=lambda t: figure(t.get("position")) or 0,
    )
    ranks = _marked(ranked)
    facts = [("Compared on", f"{count:,} {content.noun}s") for count in [row.get("samples")] if isinstance(count, int)]
    agreement = figure(row.get("agreement"))
    if agreement is not None:
        by = str(row.get("agreement_by") or "")
        counted = f", {words(by)}" if not counts_samples(by) else ""
        facts.append(("Agreement with float", f"{percent(agreement)} (measured{counted})"))
    for title, key in (
        ("Compared with", "reference"),
        ("Every tensor", "path"),
        ("For a model viewer", "model_explorer"),
    ):
        if row.get(key):
            facts.append((title, shorten(str(row[key]), 160)))
    return DiagnosisCard(
        name=content.name(artifact) if artifact else shorten(str(row.get("artifact", "")), NAME_LIMIT),
        loss=_loss(artifact, content) if artifact else "",
        facts=tuple(facts),
        findings=tuple(_findings(rows(row.get("suspicions")))),
        worst=tuple(_tensor(i, t) for i, t in enumerate(ranked[:TENSORS_SHOWN], 1)),
        points=tuple(
            SnrPoint(
                position=i,
                snr=figure(t.get("snr_db")),
                own=figure(t.get("own_snr_db")),
                rank=ranks.pop(t.get("position"), 0),
                label=layer(str(t.get("name", ""))),
            )
            for i, t in enumerate(shown)
        ),
    )


def _loss(artifact: Artifact, content: Content) -> str:
    """Return what a file loses, on the first target that knows."""
    for m in content.results.measurements:
        loss = loss_of(m)
        if m.artifact == artifact.id and m.status == "ok" and (drop := loss.drop) is not None:
            interval = loss.interval
            details = "; ".join(
                part for part in (interval and f"95 % interval {interval}", on_splits(drop, "")) if part
            )
            return f"{loss.words} on {shorten(m.target, NAME_LIMIT)}{f' ({details})' if details else ''}"
    return ""


def title(content: Content) -> str:
    """Return the section's heading: no accuracy dropped where every file that was looked into answers as well."""
    named = {str(row.get("artifact")) for row in content.results.diagnoses if isinstance(row, Mapping)}
    losses = [loss_of(m) for m in content.results.measurements if m.artifact in named]
    drops = [(loss.metric, loss.drop.drop) for loss in losses if loss.drop is not None]
    lost = not drops or any(metric.amount(drop) != metric.amount(0) for metric, drop in drops if drop > 0)
    return (
        f"Why {content.metric.name} got worse"
        if lost and not content.metric.is_share
        else f"Why {content.metric.name} dropped"
        if lost
        else "Where quantization changes the answers"
    )


def _marked(ranked: Sequence[Mapping[str, Any]]) -> dict[Any, int]:
    """Return the ranks of the worst tensors by their operators' places: weights do their harm where they are used."""
    numbered = list(enumerate(ranked, 1))
    suspected = [(rank, t) for rank, t in numbered if t.get("cause")]
    ranks: dict[Any, int] = {}
    for rank, t in (suspected or numbered)[:MARKED]:
        ranks.setdefault(figure(t.get("position")), rank)
    return ranks


def _findings(suspicions: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Return the suspicions, those next to each other of one cause with one remedy together."""
    for (cause, remedy), group in groupby(
        suspicions, lambda row: (str(row.get("cause", "")), str(row.get("remedy", "")))
    ):
        alike = list(group)
        tensors = [str(t) for row in alike if isinstance(row.get("tensors"), list) for t in row["tensors"]]
        yield Finding(
            cause=CAUSES.get(cause, shorten(cause, NAME_LIMIT)),
            whys=tuple(shorten(str(row.get("why", "")), REASON_LIMIT) for row in alike),
            remedy=shorten(remedy, REASON_LIMIT),
            tensors=tuple(shorten(t, 120) for t in tensors[:LAYERS_SHOWN]),
        )


def _tensor(rank: int, row: Mapping[str, Any]) -> TensorRow:
    cause = str(row.get("cause") or "")
    return TensorRow(
        rank=rank,
        name=shorten(str(row.get("name", "")), 120),
        operator=shorten(str(row.get("operator", "")), NAME_LIMIT),
        kind=shorten(str(row.get("kind", "")), NAME_LIMIT),
        snr=decibels(row.get("snr_db")),
        own=decibels(row.get("own_snr_db")),
        cosine=f"{value:.4f}" if (value := figure(row.get("cosine"))) is not None else "–",
        saturated=share(row.get("saturated")),
        range_use=share(row.get("range_use")),
        damage=share(row.get("share")),
        cause=CAUSES.get(cause, shorten(cause, NAME_LIMIT)),
        why=shorten(str(row.get("why") or ""), REASON_LIMIT),
    )


def _build(content: Content) -> dict[str, Any] | None:
    cards = diagnoses(content)
    drawn = [(card, _snr(card, i)) for i, card in enumerate(cards)]
    return {"cards": drawn, "title": title(content)} if cards else None


def _snr(card: DiagnosisCard, index: int) -> Markup:
    """Return the signal-to-noise ratio along the graph, or nothing where fewer than two tensors are known."""
    if sum(p.snr is not None for p in card.points) < 2:
        return Markup()
    return inline(partial(plots_quantized.snr, card.points), f"snr{index}", plots_quantized.spoken_snr(card.points))


SECTION = Section("diagnosis", title, _build, "diagnosis.html.j2")
