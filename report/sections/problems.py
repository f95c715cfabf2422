"""What failed or could not be measured: one entry per reason, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.measurement import Measurement
from ...core.sanitize import shorten
from ...tasks import quality_of
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..section import Section

_ENDED = ("crashed", "timeout", "skipped")


@dataclass(frozen=True)
class Problem:
    """Something that has no figures, and what a person can do about it."""

    what: str
    where: tuple[str, ...]
    status: str
    reason: str
    remedy: str
    stage: str = "export"
    measured: str = ""  # what is known of it all the same


def problems(content: Content) -> list[Problem]:
    """Return what failed, one entry per reason: models, files, cells. Those empty by design are no problems.

    The cells of an artifact that could not be made are not told again for every target.
    """
    entries = [
        Problem(
            shorten(str(m.get("name", "")), NAME_LIMIT),
            (),
            shorten(str(m["status"]), NAME_LIMIT),
            shorten(str(m.get("reason", "")), REASON_LIMIT),
            shorten(str(m.get("remedy", "")), REASON_LIMIT),
            "training",
        )
        for m in content.results.models
        if m.get("status", "ok") != "ok"
    ]
    entries += [
        Problem(content.name(a), (), a.status, shorten(a.reason, REASON_LIMIT), shorten(a.remedy, REASON_LIMIT))
        for a in content.results.artifacts
        if a.status != "ok"
    ]
    grouped: dict[tuple[str, str, str, str, str], list[str]] = {}
    for cell in content.cells:
        m = cell.measurement
        if cell.is_problem and cell.artifact.status == "ok":
            key = (content.name(cell.artifact), m.status, m.reason, m.remedy, _measured(m))
            grouped.setdefault(key, []).append(m.target)
    return entries + [
        Problem(
            name, tuple(where), status, shorten(reason, REASON_LIMIT), shorten(remedy, REASON_LIMIT), measured=measured
        )
        for (name, status, reason, remedy, measured), where in grouped.items()
    ]


def _measured(row: Measurement) -> str:
    """Return the figure of a row whose device disappeared after it had answered; else nothing."""
    figure = quality_of(row)
    if row.status not in _ENDED or not figure.title:
        return ""
    return f"{figure.title[:1].lower()}{figure.title[1:]} {figure.text} ({row.samples:,} samples, {row.kind}) stays"


def _build(content: Content) -> dict[str, Any] | None:
    entries = problems(content)
    return {"problems": entries} if entries else None


SECTION = Section("problems", "Failures", _build, "problems.html.j2")
