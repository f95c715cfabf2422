"""What trackers get of a run: for each file on each target its parameters, figures and words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...core.results import Results
from ...core.sanitize import shorten
from ...evaluate.cells import cells

# Columns of results.csv. Figures keep their names; a tracker sorts and plots by them.
_PARAMETERS = (
    "artifact", "model", "format", "scheme", "target", "device", "runtime", "runtime_version", "kind", "made_by",
    "training", "min_runtime",
)  # fmt: skip
_WORDS = ("status", "reason", "verdict", "raw", "measured_at", "most_hurt_class", "agreement_by", "pooled_splits")
_LIMIT = 250


@dataclass(frozen=True)
class ExportedCell:
    """One file on one target. `name` tells it apart; texts are on one line and short."""

    name: str
    ok: bool
    parameters: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


def exported_cells(results: Results) -> Iterator[ExportedCell]:
    """Yield the measurements of a run, with the columns of results.csv; rows that failed have their reason.

    Cells that are empty by design, since that runtime does not read that format, are left out.
    """
    empty = {(c.artifact.id, c.measurement.target) for c in cells(results) if c.is_by_design}
    for row in results.rows():
        if (row["artifact"], row["target"]) in empty:
            continue
        texts = {key: shorten(str(value), _LIMIT) for key, value in row.items() if value not in (None, "")}
        yield ExportedCell(
            name=shorten(f"{row['artifact']} on {row['target']}", _LIMIT),
            ok=row["status"] == "ok",
            parameters={key: texts[key] for key in _PARAMETERS if key in texts},
            figures={
                key: float(value)
                for key, value in row.items()
                if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            },
            words={key: texts[key] for key in _WORDS if key in texts},
        )
