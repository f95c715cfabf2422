"""How the figures of each cell went over several runs, with what changed from one run to the next.

A change is judged as in `compare`: by its interval, and latencies only between runs on the same machine. With 95 %
intervals one change in twenty is called so by chance where nothing changed: the history shows where to look, `compare`
and its gate decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..core.frames import data_frame, html_table
from ..core.measurement import Measurement
from ..core.results import Results
from ..tasks import Quality, quality_of
from .cells import Cell
from .compare import MACHINE_KEYS, Change, compare_cell, matched

MAX_RUNS = 500


@dataclass(frozen=True)
class HistoryRun:
    """One of the runs: `machine` in words, `data` the SHA-256 of the prepared data, `version` of edgeproof."""

    name: str
    started: str
    folder: str
    machine: str
    data: str
    version: str


@dataclass(frozen=True)
class HistoryPoint:
    """One cell in one run, by the number of the run from 0. Figures are None where the run has none.

    `accuracy` is a share, `latency_ms` the median of one inference in milliseconds, both with their intervals; changes
    are from the run before that has the figure. `score` is the `metric` where that is no share, with its interval.
    `agreement` is shown where there is neither.
    """

    run: int
    status: str
    kind: str
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    agreement: float | None = None
    latency_ms: float | None = None
    latency_low: float | None = None
    latency_high: float | None = None
    bytes: int | None = None
    accuracy_change: Change | None = None
    latency_change: Change | None = None
    metric: str = ""
    score: float | None = None
    score_low: float | None = None
    score_high: float | None = None

    @property
    def quality(self) -> Quality:
        """How well the file answers."""
        return quality_of(
            Measurement("", "", "", "", metric=self.metric, accuracy=self.accuracy, accuracy_low=self.accuracy_low,
                        accuracy_high=self.accuracy_high, score=self.score, score_low=self.score_low,
                        score_high=self.score_high, agreement=self.agreement)
        )  # fmt: skip


@dataclass(frozen=True)
class Series:
    """A variant on a target over the runs that have it; `model` is empty where every run has one model only."""

    model: str
    variant: str
    target: str
    points: tuple[HistoryPoint, ...]


@dataclass(frozen=True)
class History:
    """The figures over runs. `warnings` say what makes runs hard to compare; `page` is the HTML page, if one is."""

    runs: tuple[HistoryRun, ...]
    series: tuple[Series, ...]
    warnings: tuple[str, ...]
    page: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the history as plain values, for JSON."""
        return {**asdict(self), "page": str(self.page) if self.page else None}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each cell in each run."""
        rows = []
        for series in self.series:
            for point in series.points:
                figures = {name: value for name, value in vars(point).items() if not name.endswith("_change")}
                changes = {
                    f"{name}_change": change.verdict if change else None
                    for name, change in (("accuracy", point.accuracy_change), ("latency", point.latency_change))
                }
                named = {"model": series.model, "variant": series.variant, "target": series.target}
                rows.append(
                    {"started": self.runs[point.run].started, "name": self.runs[point.run].name, **named}
                    | figures
                    | changes
                )
        return rows

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row for each cell in each run. Raises InputError without pandas."""
        rows = self.rows()
        return data_frame(tuple(rows[0]) if rows else (), rows)

    def _repr_html_(self) -> str:
        columns = ("started", "model", "variant", "target", "status", "accuracy", "latency_ms", "bytes", "kind")
        return html_table(columns, [[row[column] for column in columns] for row in self.rows()], "history")


def history(runs: Sequence[tuple[Results, Path | None]]) -> History:
    """Return the history of runs, each with its folder (where raw files are), oldest first.

    Runs are put in the order in which they were started, if all of them say when. Raises InputError without a run.
    """
    if not runs or len(runs) > MAX_RUNS:
        raise InputError(f"{len(runs)} runs are no history", f"name from 1 to {MAX_RUNS} runs")
    ordered = list(runs)
    if all(isinstance(results.run.get("started"), str) for results, _ in runs):
        ordered.sort(key=lambda run: str(run[0].run["started"]))
    found = matched([results for results, _ in ordered])
    series = []
    for key in dict.fromkeys(key for by_key in found for key in by_key):
        having = [(number, by_key[key]) for number, by_key in enumerate(found) if key in by_key]
        if not all(cell.is_by_design for _, cell in having):
            variant, target, model = key
            series.append(Series(model, variant, target, _points(having, ordered)))
    described = tuple(_described(results, folder) for results, folder in ordered)
    return History(described, tuple(series), tuple(_warnings(described)))


def _points(
    having: Sequence[tuple[int, Cell]], runs: Sequence[tuple[Results, Path | None]]
) -> tuple[HistoryPoint, ...]:
    points: list[HistoryPoint] = []
    before: tuple[int, Cell] | None = None
    for number, cell in having:
        point = _point(number, cell)
        if before is not None and cell.measurement.status == "ok":
            (results_a, folder_a), (results_b, folder_b) = runs[before[0]], runs[number]
            change = compare_cell(before[1], cell, folder_a, folder_b)
            alike = _machine(results_a) == _machine(results_b)
            point = replace(
                point, accuracy_change=change.accuracy, latency_change=change.latency if alike else None
            )  # fmt: skip
        if cell.measurement.status == "ok":
            before = (number, cell)
        points.append(point)
    return tuple(points)


def _point(number: int, cell: Cell) -> HistoryPoint:
    m = cell.measurement
    point = HistoryPoint(number, m.status, m.kind, bytes=cell.artifact.bytes or None)
    if m.status != "ok":
        return point
    latency = m.latency_ms
    return replace(
        point,
        accuracy=m.accuracy,
        accuracy_low=m.accuracy_low,
        accuracy_high=m.accuracy_high,
        agreement=m.agreement,
        metric=m.metric,
        score=m.score,
        score_low=m.score_low,
        score_high=m.score_high,
        latency_ms=latency.median if latency else None,
        latency_low=latency.low if latency else None,
        latency_high=latency.high if latency else None,
    )


def _described(results: Results, folder: Path | None) -> HistoryRun:
    run = results.run
    return HistoryRun(
        name=str(run.get("name") or "run"),
        started=str(run.get("started") or ""),
        folder=str(folder) if folder else "",
        machine=_machine(results),
        data=str(results.data.get("sha256") or ""),
        version=str(run.get("edgeproof_version") or ""),
    )


def _machine(results: Results) -> str:
    return ", ".join(
        f"{results.environment.get(key)} cores" if key == "cores" else str(results.environment.get(key))
        for key in MACHINE_KEYS
    )


def _warnings(runs: Sequence[HistoryRun]) -> list[str]:
    warnings = []
    if len({run.machine for run in runs}) > 1:
        warnings.append(
            "the runs are of unlike machines: latencies are compared only from one run to the next on the same"
        )
    if len({run.data for run in runs}) > 1:
        warnings.append("the runs are of different prepared data: part of a change may be the data's")
    return warnings
