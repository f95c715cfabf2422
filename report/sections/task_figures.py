"""A task's further figures: the IoU of each class, the F1 of each tag, a row each and a column for each file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...core.formatting import percent, significant
from ...core.sanitize import shorten
from ...tasks.classification import Accuracy
from ..content import NAME_LIMIT, Content
from ..section import Section

# Of more, results.json has all.
_FILES, _ROWS = 8, 40


@dataclass(frozen=True)
class TaskFigures:
    """A table: files with where they ran, and for each figure its name and the value of each file."""

    files: tuple[tuple[str, str, str], ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    more: str
    heading: str


def task_figures(content: Content) -> TaskFigures | None:
    """Return the table; None where no file has such figures. Files that answer alike everywhere have one column."""
    cells = [c for c in content.cells if c.measurement.metrics and c.measurement.status == "ok"]
    columns: dict[tuple[str, str], tuple[str, str, str, Mapping[str, float]]] = {}
    for cell in cells:
        m = cell.measurement
        name, target = content.name(cell.artifact), shorten(m.target, NAME_LIMIT)
        key = (cell.artifact.id, repr(sorted(m.metrics.items())))
        others = columns[key][1] + ", " if key in columns else ""
        columns[key] = (name, others + target, m.kind, m.metrics)
    if not columns:
        return None
    words = percent if content.metric.is_share else significant
    names = list(dict.fromkeys(name for *_, metrics in columns.values() for name in metrics))
    shown = list(columns.values())[:_FILES]
    rows = [
        (shorten(name, NAME_LIMIT), tuple(words(m[name]) if name in m else "–" for *_, m in shown))
        for name in names[:_ROWS]
    ]
    left = [f"{len(names) - _ROWS} figures"] if len(names) > _ROWS else []
    left += [f"{len(columns) - _FILES} files"] if len(columns) > _FILES else []
    more = f"{' and '.join(left)} more are in results.json" if left else ""
    return TaskFigures(
        tuple((name, target, kind) for name, target, kind, _ in shown), tuple(rows), more, _title(content)
    )


def _build(content: Content) -> dict[str, Any] | None:
    table = task_figures(content)
    return None if table is None else {"table": table}


def _title(content: Content) -> str:
    """Return the heading: the figures of numbers are of no classes."""
    return "Class by class" if content.metric.is_share and content.metric is not Accuracy else "Further figures"


SECTION = Section("task-figures", _title, _build, "task_figures.html.j2")
