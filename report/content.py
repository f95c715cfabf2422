"""The contents of the reports, computed once: the terminal, Markdown and HTML lay out the same words and figures.

Everything here is plain text; each output escapes it itself. Untrusted names are put on one line and shortened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.formatting import on_splits
from ..core.results import Results
from ..core.sanitize import shorten
from ..evaluate.bursts import Ratios
from ..evaluate.cells import Cell, artifact_name, cells, has_several_models
from ..tasks import metric_of
from ..tasks.classification import Accuracy
from ..tasks.quality import AgreementShare, Likeness, Quality, caption

NAME_LIMIT = 60
# The name of one sample, by the kind of input.
_NOUNS = {"image": "image", "text": "text"}
REASON_LIMIT = 600
NAMED = 8


class Content:
    """A run's results as the sections read them. `folder` is the run's, with raw files; None: not known."""

    def __init__(self, results: Results, folder: Path | None = None) -> None:
        self.results = results
        self.folder = folder
        self.ratios = Ratios(folder)
        self.cells = cells(results)
        self.several = has_several_models(results)
        self.by_key = {(c.artifact.id, c.measurement.target): c for c in self.cells}
        self.targets = tuple(dict.fromkeys(m.target for m in results.measurements))
        recommendation = results.recommendation
        self.ship = self.by_key.get((recommendation.get("artifact"), recommendation.get("target")))  # type: ignore[arg-type]
        kinds = {i["kind"] for m in results.models if isinstance(i := m.get("input"), Mapping) and i.get("kind")}
        kinds |= {"image" for m in results.models if isinstance(i := m.get("input"), Mapping) and i and "kind" not in i}
        self.noun = _NOUNS.get(kinds.pop(), "sample") if len(kinds) == 1 else "sample"
        self.tokenizes = any(m.latency_ms and m.latency_ms.tokenize is not None for m in results.measurements)
        self.over = _verdicts(recommendation.get("rejected"))
        self.front = _keys(recommendation.get("pareto"))
        self.picks = {k: v for k, v in _verdicts(recommendation.get("targets")).items() if k in self.by_key}

    @property
    def tested_on(self) -> str:
        """The samples of accuracies: the test split, or all samples of the source if it has none or all were chosen."""
        report = self.results.data.get("report")
        splits = report.get("splits") if isinstance(report, Mapping) else None
        is_whole = isinstance(splits, Mapping) and splits.get("test") == "the whole source"
        counts = self.results.data.get("counts")
        if splits is None and isinstance(counts, Mapping):  # arrays and tables that were not divided
            is_whole = self.results.run.get("name") == "evaluate" and not counts.get("train")
        return "all samples of the source" if is_whole else "the test split"

    @property
    def dropped_on(self) -> str:
        """The samples of the drops, if the run states them: those of most files first, then exceptions."""
        groups: dict[str, list[str]] = {}
        for cell in self.cells:
            drop = cell.measurement.pooled_drop
            if drop is not None and cell.measurement.status == "ok":
                names = groups.setdefault(on_splits(drop), [])
                names += [name for name in [self.name(cell.artifact)] if name not in names]
        drops = [
            f"that of {', '.join(names[:NAMED])}{f' and {len(names) - NAMED} more' if len(names) > NAMED else ''}{on}"
            for on, names in sorted(groups.items(), key=lambda group: -len(group[1]))
        ]
        if not drops:
            return ""
        first = "drop against float" + max(groups, key=lambda on: len(groups[on]))
        return "; ".join([first, *drops[1:]])

    @property
    def samples_of(self) -> str:
        """The samples of accuracies and drops, as a sentence."""
        words = "; ".join(part for part in (self.judged_by, self.dropped_on) if part)
        return f"{words[:1].upper()}{words[1:]}."

    def name(self, artifact: Artifact) -> str:
        """Return an artifact's name as short as is unambiguous."""
        return artifact_name(artifact, self.several)

    @property
    def run_name(self) -> str:
        """The run's name."""
        return shorten(str(self.results.run.get("name") or "run"), NAME_LIMIT)

    @property
    def nothing_ran(self) -> bool:
        """Whether there were files to measure, and none of them ran anywhere."""
        tried = [c.measurement.status for c in self.cells if not c.is_reference and not c.is_by_design]
        return bool(tried) and "ok" not in tried

    def timed(self) -> list[Cell]:
        """Return the cells with a latency above 0: those that can be drawn on a logarithmic axis."""
        return [
            c
            for c in self.cells
            if (m := c.measurement).status == "ok" and m.latency_ms and min(m.latency_ms.low, m.latency_ms.median) > 0
        ]

    def measured(self) -> list[Cell]:
        """Return the timed cells that answer with a share as well, from 0 to 1: an accuracy or an agreement."""
        return [c for c in self.timed() if c.quality.is_share]

    @property
    def by_agreement(self) -> bool:
        """Whether some files could only be judged by their agreement with their float model."""
        return any(isinstance(c.quality, AgreementShare) for c in self.cells if c.measurement.status == "ok")

    @property
    def _drawn(self) -> type[Quality]:
        """The kind of figure that the plots show against latency: a metric, or agreement if no file has a metric.

        A metric that is no share is in no plot, and is the kind that texts and tables speak of.
        """
        kinds = (type(c.quality) for c in self.measured())
        return min(kinds, key=lambda kind: kind.rank, default=self.metric)

    @property
    def metric(self) -> type[Quality]:
        """The metric of the run's task; of a run that has none accuracy, which it would be."""
        figures = (metric_of(c.measurement) for c in self.cells if c.measurement.status == "ok")
        return next((type(figure) for figure in figures if figure), Accuracy)

    @property
    def quality(self) -> str:
        """The name of that kind, with a capital letter."""
        return self._drawn.title if self.by_metric else self._drawn.name.capitalize()

    @property
    def quality_name(self) -> str:
        """The name of that kind within a sentence."""
        return self._drawn.name

    @property
    def by_metric(self) -> bool:
        """Whether that kind is a metric, which has intervals."""
        return not issubclass(self._drawn, Likeness)

    @property
    def judged_by(self) -> str:
        """What is shown instead of a metric: shares of right answers, of answers as the float model's, or less."""
        return caption((c.quality for c in self.cells if c.measurement.status == "ok"), self.tested_on)

    def by_design(self) -> int:
        """Return how many cells are empty because the runtime does not read the format."""
        return sum(c.is_by_design for c in self.cells)


def verdict_of(budget: Mapping[str, Any]) -> str:
    """Return a budget's verdict; runs of before there were three have `met` alone. Empty where there is no budget."""
    if budget.get("met") is None:
        return ""
    return shorten(str(budget.get("verdict") or ("met" if budget["met"] else "not met")), NAME_LIMIT)


def _keys(rows: object) -> set[tuple[str, str]]:
    """Return (artifact, target) of each row of a recommendation."""
    records = [r for r in rows if isinstance(r, Mapping)] if isinstance(rows, list) else []
    return {(str(r.get("artifact")), str(r.get("target"))) for r in records}


def _verdicts(rows: object) -> dict[tuple[str, str], str]:
    """Return the verdict of each row of a recommendation by (artifact, target); empty where it has none."""
    records = [r for r in rows if isinstance(r, Mapping)] if isinstance(rows, list) else []
    return {(str(r.get("artifact")), str(r.get("target"))): str(r.get("verdict") or "") for r in records}
