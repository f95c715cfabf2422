"""What failed or could not be measured: one entry per reason, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.sanitize import shorten
from ..content import NAME_LIMIT, REASON_LIMIT, Content
from ..section import Section


@dataclass(frozen=True)
class Problem:
    """Something that has no figures, and what a person can do about it."""

    what: str
    where: tuple[str, ...]
    status: str
    reason: str
    remedy: str
    stage: str = "export"


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
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for cell in content.cells:
        m = cell.measurement
        if cell.is_problem and cell.artifact.status == "ok":
            grouped.setdefault((content.name(cell.artifact), m.status, m.reason, m.remedy), []).append(m.target)
    return entries + [
        Problem(name, tuple(where), status, shorten(reason, REASON_LIMIT), shorten(remedy, REASON_LIMIT))
        for (name, status, reason, remedy), where in grouped.items()
    ]


def _build(content: Content) -> dict[str, Any] | None:
    entries = problems(content)
    return {"problems": entries} if entries else None


SECTION = Section("problems", "Failures", _build, "problems.html.j2")
