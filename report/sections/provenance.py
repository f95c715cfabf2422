"""How quantized files were made: layers kept in float, further training, the tools that were tried, calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from ...core.artifact import Artifact
from ...core.formatting import ms, number, percent, points, points_range, signed_points, size, times
from ...core.sanitize import shorten
from ...core.variant import TRAININGS
from ...tasks.agreement import words
from ...tasks.quality import likeness
from .. import plots_quantized
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..reading import figure, flat, rows
from ..section import Section
from ..svg import inline
from ..training_curve import curve

# Names of layers that a step of a search lists.
LAYERS_SHOWN = 40
# Of a calibration's record: where it was, duplicates, and values for programs only.
_NOT_SHOWN = {"images", "count", "sha256"}
# What differs between files that were calibrated with the same samples.
_OWN = {"float_agreement", "methods", "method"}
# Keys of a training record that are shown elsewhere.
_SHOWN_ELSEWHERE = {"kind", "of", "history", "head_only", "why", "layers"}


@dataclass(frozen=True)
class Step:
    """One step of a search: what is kept out of int8, and what that costs and buys. Figures are None where unknown."""

    count: int
    layers: tuple[str, ...]
    more: int
    keep: str
    bytes: int
    drop: float | None
    drop_low: float | None
    drop_high: float | None
    latency: float | None
    latency_low: float | None
    latency_high: float | None
    samples: int
    chosen: bool

    @property
    def words(self) -> dict[str, str]:
        """The figures with their units."""
        has_interval = self.latency_low is not None and self.latency_high is not None
        return {
            "drop": signed_points(self.drop) if self.drop is not None else "–",
            "drop_interval": points_range(self.drop_low, self.drop_high),
            "latency": ms(self.latency) if self.latency is not None else "–",
            "latency_interval": f"{number(self.latency_low or 0)} to {number(self.latency_high or 0)}"
            if has_interval
            else "",
            "size": size(self.bytes) if self.bytes else "–",
        }


@dataclass(frozen=True)
class Trade:
    """The steps of a searched scheme. `sentence` says in a sentence what the chosen step bought."""

    name: str
    sentence: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Maker:
    """A file that one tool made of a scheme: the chosen one, or one that lost, with the reason.

    `tools` are those of `made_by` that differ from the chosen one's: both may start from the converter's file.
    """

    made_by: str
    tools: str
    chosen: bool
    status: str
    size: str
    agreement: str
    latency: str
    why: str


@dataclass(frozen=True)
class ToolSelection:
    """The makers of one scheme, the chosen one first."""

    name: str
    makers: tuple[Maker, ...]


@dataclass(frozen=True)
class TrainingCard:
    """One further training. `warning` says what it could not do, e.g. that only the head was trained."""

    name: str
    title: str
    files: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    warning: str
    history: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class CalibrationCard:
    """One record of calibration, and the files that were calibrated so. `warnings` say where the samples differ."""

    files: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


def trades(content: Content) -> list[Trade]:
    """Return the steps of every searched file."""
    return [_trade(a, content) for a in content.results.artifacts if a.trade]


def _trade(artifact: Artifact, content: Content) -> Trade:
    steps = tuple(_step(row) for row in artifact.trade if isinstance(row, Mapping))
    first, chosen = (steps[0] if steps else None), next((s for s in steps if s.chosen), None)
    summary = _bought(first, chosen) if first and chosen else "No step was chosen."
    why = next((str(row["why"]) for row in rows(artifact.trade) if row.get("why")), "")
    summary += f" {why[:1].upper()}{shorten(why[1:], REASON_LIMIT)}." if why else ""
    of = next((str(row["samples_of"]) for row in rows(artifact.trade) if row.get("samples_of")), "")
    summary += f" Tried on {shorten(of, NAME_LIMIT)}." if of and of not in summary else ""
    return Trade(content.name(artifact), summary, steps)


def _bought(first: Step, chosen: Step) -> str:
    """Return what the chosen step has before the first, in a sentence."""
    if chosen is first:
        return "No layer is kept: the plain file was chosen."
    layers_kept = f"{chosen.count} layer{'s' if chosen.count > 1 else ''} kept in {chosen.keep}"
    parts = []
    if first.drop is not None and chosen.drop is not None:
        parts.append(f"the drop is {points(chosen.drop)} instead of {points(first.drop)}")
    if first.latency and chosen.latency:
        parts.append(f"{times(chosen.latency / first.latency)} the latency")
    if first.bytes and chosen.bytes:
        parts.append(f"{times(chosen.bytes / first.bytes)} the size")
    return (
        f"With {layers_kept}: {', at '.join(parts[:2])}{' and ' + parts[2] if len(parts) > 2 else ''}."
        if parts
        else layers_kept
    )


def _step(row: Mapping[str, Any]) -> Step:
    names = row.get("kept")
    layers = names if isinstance(names, list | tuple) else []
    latency = row.get("latency_ms")
    latency = latency if isinstance(latency, Mapping) else {"median": latency}
    samples, bytes_ = row.get("samples"), row.get("bytes")
    return Step(
        count=len(layers),
        layers=tuple(shorten(str(name), 120) for name in layers[:LAYERS_SHOWN]),
        more=max(0, len(layers) - LAYERS_SHOWN),
        keep=shorten(str(row.get("keep") or "float32"), 20),
        bytes=bytes_ if isinstance(bytes_, int) else 0,
        drop=figure(row.get("drop")),
        drop_low=figure(row.get("drop_low")),
        drop_high=figure(row.get("drop_high")),
        latency=figure(latency.get("median")),
        latency_low=figure(latency.get("low")),
        latency_high=figure(latency.get("high")),
        samples=samples if isinstance(samples, int) else 0,
        chosen=row.get("chosen") is True,
    )


def tool_selections(content: Content) -> list[ToolSelection]:
    """Return for each scheme that several tools made which file was taken, and why not the others."""
    return [_tool_selection(a, content) for a in content.results.artifacts if a.alternatives]


def _tool_selection(artifact: Artifact, content: Content) -> ToolSelection:
    rivals = rows(artifact.alternatives)
    own: Mapping[str, Any] = next((r["chosen"] for r in rivals if isinstance(r.get("chosen"), Mapping)), {})
    winner = Maker(
        made_by=shorten(artifact.made_by, 120) or "not known",
        tools=shorten(artifact.made_by, 120) or "not known",
        chosen=True,
        status="ok",
        size=size(artifact.bytes),
        agreement=_agreement(own),
        latency=_ms(own.get("latency_ms")),
        why=_trialled(own),
    )
    others = [
        Maker(
            made_by=shorten(str(row.get("made_by", "")), 120) or "not known",
            tools=_distinct_tools(str(row.get("made_by", "")), artifact.made_by),
            chosen=False,
            status=shorten(str(row.get("status") or "ok"), 30),
            size=size(row["bytes"]) if isinstance(row.get("bytes"), int) and row["bytes"] else "–",
            agreement=_agreement(row),
            latency=_ms(row.get("latency_ms")),
            why=shorten(str(row.get("why", "")), REASON_LIMIT),
        )
        for row in rivals
    ]
    return ToolSelection(content.name(artifact), (winner, *others))


def _distinct_tools(made_by: str, chosen: str) -> str:
    """Return the tools of a file that did not make the chosen one."""
    ours = [part for part in made_by.split(", ") if part and part not in chosen.split(", ")]
    return shorten(", ".join(ours), 120) or "the same tools in another way"


def _trialled(own: Mapping[str, Any]) -> str:
    """Return the samples and the target of the trial."""
    samples, target = own.get("samples"), str(own.get("target") or "")
    is_complete = isinstance(samples, int) and samples and target
    words = shorten(str(own.get("samples_of") or ""), NAME_LIMIT) or (f"{samples:,} samples" if is_complete else "")
    return f"compared on {words} on {shorten(target, NAME_LIMIT)}" if is_complete else ""


def _agreement(row: Mapping[str, Any]) -> str:
    """Return how like the float model's a file's answers were in its trial."""
    error, by = figure(row.get("relative_error")), str(row.get("agreement_by", ""))
    alike = likeness(figure(row.get("agreement")), by, error)
    return alike.column if alike else ""


def _ms(latency: Any) -> str:
    milliseconds = figure(latency.get("median")) if isinstance(latency, Mapping) else figure(latency)
    return ms(milliseconds) if milliseconds is not None else ""


def trainings(content: Content) -> list[TrainingCard]:
    """Return a card for each further training; files made after the same one share it."""
    groups: dict[tuple[str, str, str], list[Artifact]] = {}
    for artifact in content.results.artifacts:
        if artifact.training:
            record = artifact.training
            key = (artifact.model, str(record.get("kind", "")), str(record.get("sha256") or record.get("of", "")))
            groups.setdefault(key, []).append(artifact)
    return [_training(group, content) for group in groups.values()]


def _training(files: Sequence[Artifact], content: Content) -> TrainingCard:
    record = files[0].training
    kind = str(record.get("kind", ""))
    facts: list[tuple[str, str]] = []
    layers = record.get("layers")
    if isinstance(layers, Mapping) and isinstance(layers.get("total"), int):
        done = layers.get("quantized", layers.get("done"))
        facts.append(("Layers", f"{done} of {layers['total']}"))
    elif layers and not isinstance(layers, Mapping):
        facts.append(("Layers", shorten(str(layers), 80)))
    facts += flat({k: v for k, v in record.items() if k not in _SHOWN_ELSEWHERE})
    small = [
        f"{content.name(a)} {size(a.compressed_bytes)} of {size(a.bytes)}"
        for a in files
        if a.compressed_bytes and a.bytes
    ]
    if small:
        facts.append(("Compressed, as a store ships it", "; ".join(small)))
    why = shorten(str(record.get("why") or ""), REASON_LIMIT)
    head_only = record.get("head_only") is True
    if why and not head_only:
        facts.append(("Why", why))
    return TrainingCard(
        name=shorten(files[0].model, NAME_LIMIT) if content.several else "",
        title=_training_title(kind),
        files=tuple(content.name(a) for a in files),
        facts=tuple(facts),
        warning=f"Only the head was trained{f': {why}' if why else ''}" if head_only else "",
        history=tuple(rows(record.get("history"))),
    )


def calibrations(content: Content) -> list[CalibrationCard]:
    """Return what each calibrated file took its ranges from; equal records are listed once."""
    groups: dict[str, list[Artifact]] = {}
    for artifact in content.results.artifacts:
        if artifact.calibration and artifact.status == "ok":
            shared = {key: value for key, value in artifact.calibration.items() if key not in _OWN}
            groups.setdefault(repr(sorted(shared.items(), key=str)), []).append(artifact)
    return [_calibration(group, content) for group in groups.values()]


def warnings(content: Content) -> list[tuple[str, str]]:
    """Return (files, warning) of everything that a person should know of how the files were made."""
    from_training = [(", ".join(card.files), card.warning) for card in trainings(content) if card.warning]
    return from_training + [
        (", ".join(card.files), warning) for card in calibrations(content) for warning in card.warnings
    ]


def _calibration(files: Sequence[Artifact], content: Content) -> CalibrationCard:
    record = {k: v for k, v in files[0].calibration.items() if k not in _NOT_SHOWN | _OWN}
    warnings = list(_warnings(record))
    own: list[tuple[str, str]] = []
    for artifact in files:
        name, agreement = content.name(artifact), artifact.calibration.get("float_agreement")
        method = shorten(str(artifact.calibration.get("method", "")), REASON_LIMIT)
        if isinstance(agreement, Mapping):
            warnings += [f"{name}: {warning}" for warning in _warnings(dict(agreement))]
            method += f"; {_distance(agreement)}"
        if method:
            own.append((f"Ranges of {name}", method))
    if isinstance(drawn := record.get("per_class"), Mapping) and len(each := set(map(str, drawn.values()))) == 1:
        record["per_class"] = f"{each.pop()} of each of {len(drawn)}"
    return CalibrationCard(
        files=tuple(content.name(a) for a in files),
        facts=(*flat(record), *own),
        warnings=tuple(shorten(w, REASON_LIMIT) for w in warnings),
    )


def _distance(record: Mapping[str, Any]) -> str:
    """Return how far a file was from the float model on the samples that it was calibrated with."""
    agreement, error, samples = (figure(record.get(key)) for key in ("agreement", "error", "samples"))
    counted = words(str(record.get("agreement_by", "")))
    parts = [f"{counted} as the float model's on {percent(agreement)}"] if agreement is not None else []
    parts += [f"answers differ by {percent(error)} of their spread"] if error is not None else []
    return f"{', '.join(parts) or 'not compared'} ({samples or 0:,.0f} calibration samples)"


def _warnings(record: dict[str, Any]) -> Iterable[str]:
    """Take the warnings out of a calibration's record, at its top or in its parts, and return them."""
    for key in [k for k in record if k in ("warning", "warnings")]:
        listed = record.pop(key)
        yield from (str(w) for w in (listed if isinstance(listed, list | tuple) else [listed]) if w)
    for key, value in list(record.items()):
        if isinstance(value, Mapping):
            inner = dict(value)
            yield from _warnings(inner)
            record[key] = inner


def _build(content: Content) -> dict[str, Any] | None:
    parts = (trades(content), trainings(content), tool_selections(content), calibrations(content))
    if not any(parts):
        return None
    allowed = figure(content.results.budget.get("asked", {}).get("max_accuracy_drop"))
    return {
        "trades": [(card, _trade_drawing(card, allowed, i)) for i, card in enumerate(parts[0])],
        "allowed": points(allowed) if allowed is not None else "",
        "trainings": [(card, curve(card.history, f"tuning{i}")) for i, card in enumerate(parts[1])],
        "tool_selections": parts[2],
        "calibrations": parts[3],
    }


def _trade_drawing(card: Trade, allowed: float | None, index: int) -> Markup:
    """Return what each step costs and buys, or nothing where fewer than two steps have figures."""
    if sum(s.drop is not None and (s.latency is not None or s.bytes > 0) for s in card.steps) < 2:
        return Markup()
    drawing = partial(plots_quantized.trade, card.steps, allowed)
    return inline(drawing, f"trade{index}", plots_quantized.spoken_trade(card.steps))


SECTION = Section("quantization", "Quantization", _build, "quantization.html.j2")


def _training_title(kind: str) -> str:
    """Return a further training's words as a heading; the kind itself where another version of edgeproof made it."""
    words = TRAININGS[kind].words if kind in TRAININGS else shorten(kind, NAME_LIMIT) or "further training"
    return words[:1].upper() + words[1:]
