"""Every file on every runtime: the grid of artifact × target, and what its marks mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.artifact import Artifact
from ...core.formatting import ms
from ...core.sanitize import shorten
from ...evaluate.cells import Cell
from ..content import NAME_LIMIT, REASON_LIMIT, Content, verdict_of
from ..section import Section


@dataclass(frozen=True)
class GridCell:
    """A cell of artifact × target. `mark` is what is said of it beside its figures.

    `state`: ok, over, ship (the recommendation), pick (that of its target), front (on the Pareto front of a run
    without a budget), quiet, missing, or a status that is not ok.
    """

    state: str
    target: str
    accuracy: str = ""
    latency: str = ""
    kind: str = ""
    note: str = ""
    mark: str = ""


def grid(content: Content) -> list[tuple[str, list[tuple[Artifact, list[GridCell]]]]]:
    """Return for each model one row per artifact with one cell per target."""
    groups: dict[str, list[tuple[Artifact, list[GridCell]]]] = {}
    for artifact in content.results.artifacts:
        row = [_grid_cell(content, artifact, target) for target in content.targets]
        groups.setdefault(artifact.model, []).append((artifact, row))
    return [(shorten(model, NAME_LIMIT), rows) for model, rows in groups.items()]


def grid_words(content: Content) -> str:
    """Return what the cells of the grid hold, in sentences; of its signs those that occur."""
    cells = [cell for _, rows in grid(content) for _, row in rows for cell in row]
    marks = {cell.mark for cell in cells}
    timed = "answer, tokenizing and inference" if content.tokenizes else "inference"
    sentences = {
        f"{content.judged_by[:1].upper()}{content.judged_by[1:]}; then median latency of one {timed}.": any(
            cell.accuracy or cell.latency for cell in cells
        ),
        "A dash: that runtime does not read files of that format.": content.by_design() > 0,
        "Over budget: it ran, and misses a limit.": "over budget" in marks,
        "Not shown to fit: the samples are too few to tell.": "not shown to fit" in marks,
        "Coloured: the best there is on that target, and not shown to fit.": any(
            cell.state in ("ship", "pick") and cell.mark == "not shown to fit" for cell in cells
        ),
        "Ship here: recommended on that target.": "ship here" in marks,
        f"On the front: no other pair of file and target beats it in {content.quality_name}, latency and size at "
        "once.": "on the front" in marks,
    }
    return " ".join(sentence for sentence, is_there in sentences.items() if is_there)


def _grid_cell(content: Content, artifact: Artifact, target: str) -> GridCell:
    cell = content.by_key.get((artifact.id, target))
    if cell is None:
        missing = "missing" if artifact.status == "ok" else artifact.status
        return GridCell(missing, target, note="no file" if artifact.status != "ok" else "not run")
    m = cell.measurement
    if cell.is_by_design:
        return GridCell("quiet", target, note=shorten(m.reason, REASON_LIMIT))
    if m.status != "ok":
        return GridCell(m.status, target, note=shorten(m.reason, REASON_LIMIT))
    state, mark = _standing(content, cell)
    latency = ms(m.latency_ms.median) if m.latency_ms else "no latency"
    return GridCell(state, target, cell.quality.short, latency, m.kind, mark=mark)


def _standing(content: Content, cell: Cell) -> tuple[str, str]:
    """Return a measured cell's state and what is said of it."""
    key = (cell.artifact.id, cell.measurement.target)
    if cell is content.ship:
        return "ship", "not shown to fit" if verdict_of(content.results.budget) == "not shown" else "ship this"
    if key in content.picks:
        return "pick", "ship here" if content.picks[key] != "not shown" else "not shown to fit"
    if content.over.get(key) == "not shown":
        return "over", "not shown to fit"
    if key in content.over:
        return "over", "over budget" if content.results.budget else "turned down"
    if key in content.front and not content.results.budget:
        return "front", "on the front"
    return "ok", "reference" if cell.is_reference else ""


def _build(content: Content) -> dict[str, Any]:
    return {"grid": grid(content), "caption": grid_words(content)}


SECTION = Section("grid", "Overview", _build, "overview.html.j2")
