"""The headline of the reports: which file to ship, its figures, and the sentences why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.artifact import Artifact
from ..core.formatting import (
    limits,
    ms,
    ms_range,
    on_splits,
    percent,
    size,
)
from ..core.measurement import Measurement
from ..core.sanitize import shorten
from ..tasks import quality_of
from ..tasks.loss import loss_of
from .content import Content, verdict_of

WHY_LIMIT = 2000


@dataclass(frozen=True)
class Figure:
    """One figure of the headline: what it is, its value with its unit, its interval or what else there is to know."""

    name: str
    value: str
    note: str
    kind: str


@dataclass(frozen=True)
class Headline:
    """The answer: `title` in parts (text, emphasised), figures, and the sentences why.

    `verdict` is the budget's: ``met``, ``not met``, ``not shown``; empty where there is none.
    """

    ships: bool
    title: tuple[tuple[str, bool], ...]
    why: str
    figures: tuple[Figure, ...]
    limits: tuple[tuple[str, str], ...]
    verdict: str

    @property
    def status(self) -> str:
        """The verdict as the word that colours it."""
        return {"met": "ok", "not shown": "unsupported"}.get(self.verdict, "failed")

    @property
    def verdict_words(self) -> str:
        """The verdict as it follows the word budget."""
        return {"not shown": "not shown to be met"}.get(self.verdict, self.verdict)

    @property
    def text(self) -> str:
        """The title as one line."""
        return "".join(part for part, _ in self.title)


def headline(content: Content) -> Headline:
    """Return the answer to which file to ship."""
    recommendation, budget = content.results.recommendation, content.results.budget
    metric = content.metric
    limits_set = tuple(limits(budget.get("asked", {}), is_share=metric.is_share, metric=metric.name))
    why = shorten(str(recommendation.get("why", "")), WHY_LIMIT)
    verdict = verdict_of(budget)
    if content.ship:
        m, artifact = content.ship.measurement, content.ship.artifact
        title = (("Ship ", False), (content.name(artifact), True), (" on ", False), (shorten(m.target), True))
        if verdict == "not shown":
            title = (("Not shown to fit the budget, the best there is: ", False), *title[1:])
        if artifact.caution:
            why = f"{why} {artifact.caution}.".lstrip()
        return Headline(True, title, why, tuple(_figures(m, artifact)), limits_set, verdict)
    if not recommendation:
        return Headline(False, (("No recommendation: the run has not ended", False),), "", (), limits_set, "")
    if budget or not content.front:
        nothing = "Nothing fits the budget" if budget else "No file is chosen"
        nothing = "No file ran" if content.nothing_ran else nothing
        return Headline(False, ((nothing, False),), why, (), limits_set, verdict)
    files = len({artifact for artifact, _ in content.front})
    worth = "1 file that no other beats" if files == 1 else f"{files} files that no other beats"
    return Headline(False, (("No budget was given: ", False), (worth, True)), why, (), (), "")


def _figures(m: Measurement, artifact: Artifact) -> Iterable[Figure]:
    if (quality := quality_of(m)).title:
        yield Figure(quality.title, quality.text, quality.note, m.kind)
    loss = loss_of(m)
    if (drop := loss.drop) is not None:
        unit = loss.metric.drop_unit
        if unit == "points" and abs(round(100 * drop.drop, 2)) == 1:
            unit = "point"
        note = _interval("95 %", loss.interval, on_splits(drop, ""))
        yield Figure("Drop against float", f"{loss.points} {unit}".rstrip(), note, m.kind)
    if m.latency_ms:
        confidence = percent(m.latency_ms.confidence)
        more = f"p95 {ms(m.latency_ms.p95)}"
        if m.latency_ms.tokenize is not None and m.latency_ms.infer is not None:
            more += f"; tokenizing {ms(m.latency_ms.tokenize)}, inference {ms(m.latency_ms.infer)}"
        note = _interval(confidence, ms_range(m.latency_ms), more)
        yield Figure("Median latency", ms(m.latency_ms.median), note, m.kind)
    memory = f"peak memory {size(m.peak_memory_bytes)}" if m.peak_memory_bytes else f"{artifact.bytes:,} bytes"
    yield Figure("File size", size(artifact.bytes), memory, m.kind)


def _interval(confidence: str, interval: str, more: str = "") -> str:
    words = interval if interval.startswith("no ") else f"{interval} ({confidence} interval)" if interval else ""
    return "; ".join(part for part in (words, more) if part)
