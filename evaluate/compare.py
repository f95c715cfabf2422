"""Comparison of two runs, cell by cell: is a difference more than noise? Runs of unlike machines are refused.

Accuracies are compared pair by pair where both runs kept the score of each sample and the samples are the same ones
(`scores`); otherwise as two separate samples, whose interval is wider. Latencies are compared through the two runs'
anchors where these are the same file on the same runtime: each was timed in the same rounds as the cells, so that the
machine's speed, which differs from minute to minute, cancels out. Without a common anchor a ratio is shown and never
called a difference. Each row says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from ..core.boxes import AnchorDecoding
from ..core.errors import InputError
from ..core.frames import data_frame, html_table
from ..core.measurement import Kind, Latency, LatencyRatio, Measurement
from ..core.results import Results
from ..core.sanitize import shorten
from ..core.statistics import CONFIDENCE, difference_interval, paired_loss
from ..tasks import Quality, comparable, task_of_row
from ..tasks.classification import Accuracy
from ..tasks.quality import heading
from .bursts import Record, ratio_of, read_record, through_anchor
from .cells import Cell, cells
from .gate import Gate, Limit, judge
from .scores import KeptScores, kept, pairs

MACHINE_KEYS = ("cpu", "cores", "os")
PAIRED = "the same samples, pair by pair (adjusted Wald, Bonett and Price 2012; of other scores the normal interval)"
RESAMPLED = "the same samples, drawn for both (bootstrap, Efron 1979)"
IDENTICAL = "the same file gave the same samples the same scores on the same machine and runtime"
SEPARATE = "Newcombe's interval, separate samples"
BY_ANCHOR = "ratios to the common anchor, of bursts of the same rounds (Welch's interval over blocks)"
BY_ROUNDS = "bursts of the same rounds (Student's interval over blocks)"
BY_MEDIANS = "medians of different times: the machine's speed may have changed in between"
NO_COMMON_ANCHOR = (
    "the runs have no anchor in common (the file that each run's latencies are ratios of), or its raw latencies are "
    "missing in raw/, so the machine's own speed cannot be taken out, and no latency is called different: compare with "
    "--remeasure, which times both runs' files together."
)


@dataclass(frozen=True)
class Change:
    """A difference or a ratio with its interval. `verdict`: ``lower``, ``higher`` or ``not distinguishable``."""

    estimate: float
    low: float
    high: float
    confidence: float
    method: str
    verdict: str

    @property
    def tells(self) -> bool:
        """Whether the interval is about the two files: not where the machine's speed may be part of it."""
        return self.method != BY_MEDIANS


@dataclass(frozen=True)
class CellComparison:
    """One variant on one target in both runs. `accuracy` is b - a in shares, `latency` is b / a; None: not known.

    Of a metric that is no share (`metric_a`, `metric_b`) `accuracy` is b - a in its unit, and `score_a` and `score_b`
    are the values.

    Files without known classes have no accuracy: their agreement with their float models is shown in its place, and
    `agreement_by` says what that is a share of (`tasks.agreement`).
    `by_design` cells are empty in both, since the runtime does not read the format. `is_reference`: the float model
    itself, or a file on TensorFlow, which no device runs. `latency_why` says why there is no ratio of latencies, where
    both runs' files were to be timed now.
    """

    model: str
    variant: str
    target: str
    status_a: str
    status_b: str
    kind_a: str
    kind_b: str
    accuracy_a: float | None
    accuracy_b: float | None
    accuracy: Change | None
    agreement_a: float | None
    agreement_b: float | None
    latency_ms_a: float | None
    latency_ms_b: float | None
    latency: Change | None
    bytes_a: int
    bytes_b: int
    same_file: bool
    by_design: bool = False
    agreement_by_a: str = ""
    agreement_by_b: str = ""
    reason_a: str = ""
    reason_b: str = ""
    latency_why: str = ""
    is_reference: bool = False
    metric_a: str = ""
    metric_b: str = ""
    score_a: float | None = None
    score_b: float | None = None

    @property
    def qualities(self) -> tuple[Quality | None, Quality | None]:
        """How well both files answer, by the kind of figure that counts for the two; None where one lacks it."""
        figures = (
            (self.metric_a, self.accuracy_a, self.score_a, self.agreement_a, self.agreement_by_a),
            (self.metric_b, self.accuracy_b, self.score_b, self.agreement_b, self.agreement_by_b),
        )
        a, b = comparable(
            [Measurement("", self.target, "", "", metric=metric, accuracy=accuracy, score=score, agreement=agreement,
                         agreement_by=by)
             for metric, accuracy, score, agreement, by in figures]
        )  # fmt: skip
        return a, b

    @property
    def metric(self) -> type[Quality]:
        """The metric that `accuracy` is a difference of."""
        return next((type(one) for one in self.qualities if one is not None), Accuracy)


@dataclass(frozen=True)
class Comparison:
    """Run b beside run a. `warnings` say what makes the two hard to compare, each with what to do about it.

    `gate` is what the limits of `fail_on` came to; None where there were none. `bench` says of each group of files that
    were timed now what this machine could tell apart; empty where latencies are the runs' own.
    """

    run_a: str
    run_b: str
    cells: tuple[CellComparison, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    warnings: tuple[str, ...]
    gate: Gate | None = None
    bench: tuple[dict[str, Any], ...] = ()

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with a row for each cell. Raises InputError where pandas is not installed."""
        rows = []
        for cell in self.cells:
            row = {name: value for name, value in vars(cell).items() if not isinstance(value, Change)}
            for name, change in (("accuracy", cell.accuracy), ("latency", cell.latency)):
                figures = vars(change) if change else {}
                row |= {f"{name}_{figure}": figures.get(figure) for figure in ("estimate", "low", "high", "verdict")}
            rows.append(row)
        return data_frame(tuple(rows[0]) if rows else (), rows)

    def _repr_html_(self) -> str:
        rows = [
            (
                cell.model, cell.variant, cell.target, *_both(*_figures(cell)),
                cell.accuracy.verdict if cell.accuracy else None, *_both(cell.latency_ms_a, cell.latency_ms_b),
                cell.latency.verdict if cell.latency else None, cell.bytes_a, cell.bytes_b,
            )
            for cell in self.cells
            if not cell.by_design
        ]  # fmt: skip
        metric = heading(one for cell in self.cells for one in cell.qualities)
        columns = ("model", "variant", "target", f"{metric} a", "b", "b - a", "ms a", "b", "b / a", "bytes a", "b")
        return html_table(columns, rows, f"a: {self.run_a}, b: {self.run_b}")

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values, for JSON."""
        return asdict(self)


def _figures(cell: CellComparison) -> tuple[float | None, float | None]:
    """Return the metric of both files: a share, or what is none."""
    return (
        cell.score_a if cell.accuracy_a is None else cell.accuracy_a,
        cell.score_b if cell.accuracy_b is None else cell.accuracy_b,
    )


def _both(a: float | None, b: float | None) -> tuple[str | None, str | None]:
    return (None if a is None else f"{a:.4g}", None if b is None else f"{b:.4g}")


def compare(
    run_a: Results,
    run_b: Results,
    *,
    folder_a: Path | None = None,
    folder_b: Path | None = None,
    force: bool = False,
    fail_on: Sequence[Limit] = (),
    remeasured: Remeasured | None = None,
) -> Comparison:
    """Compare each cell of `run_b` with the same variant, target and model of `run_a`.

    The folders are the runs'; with them latencies are compared from raw files. A single model in each run is taken
    for the same one whatever it is called. `fail_on` are limits to judge (`gate`). Raises InputError when the machines
    differ (unless `force`, or latencies were `remeasured` here), or when the runs have no cell in common.
    """
    warnings = _unlike_data(run_a, run_b)
    if remeasured is None:
        warnings = _unlike_machines(run_a, run_b, force) + warnings
    cells_a, cells_b = matched([run_a, run_b])
    if not cells_a.keys() & cells_b.keys():
        raise InputError(
            "the two runs have no variant on the same target in common",
            "compare runs of recipes that share variants, targets and model names",
        )
    common = tuple(compare_cell(a, cells_b[k], folder_a, folder_b) for k, a in cells_a.items() if k in cells_b)
    if remeasured is not None:
        keys = (key for key in cells_a if key in cells_b)
        common = tuple(_timed_now(cell, remeasured.cells.get(key)) for key, cell in zip(keys, common, strict=True))
    only_a, only_b = (
        [c for k, c in ours.items() if k not in others and not c.is_by_design]
        for ours, others in ((cells_a, cells_b), (cells_b, cells_a))
    )
    warnings += _unlike_readings((a, cells_b[key]) for key, a in cells_a.items() if key in cells_b)
    if any(cell.latency and cell.latency.method == BY_MEDIANS for cell in common):
        warnings.append(NO_COMMON_ANCHOR)
    return Comparison(
        run_a=run_name(run_a),
        run_b=run_name(run_b),
        cells=common,
        only_a=tuple(map(_cell_name, only_a)),
        only_b=tuple(map(_cell_name, only_b)),
        warnings=tuple(warnings),
        gate=judge(fail_on, common, only_a) if fail_on else None,
        bench=remeasured.bench if remeasured else (),
    )


@dataclass(frozen=True)
class Remeasured:
    """What timing both runs' files now came to, by (variant, target, model), and what the bench says of itself."""

    cells: Mapping[tuple[str, str, str], Together]
    bench: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Together:
    """What timing the two files of a cell came to: both latencies and the ratio b / a, or in `why` the reason for none.

    `is_same` is of one file that both runs have: it was not timed, and differs by nothing.
    """

    why: str = ""
    kind: Kind = "measured"
    latency_a: Latency | None = None
    latency_b: Latency | None = None
    change: Change | None = None
    is_same: bool = False


SAME_FILE = "both runs have the same file: it was not timed"
_NOT_TIMED = Together("it was not timed now: it did not run in both runs, or is the float model, which ships nowhere")


def _timed_now(cell: CellComparison, together: Together | None) -> CellComparison:
    """Return a cell with the latencies of now in place of the runs' own."""
    timed = together or _NOT_TIMED
    if timed.is_same:
        change = Change(1.0, 1.0, 1.0, CONFIDENCE, SAME_FILE, "not distinguishable")
        return replace(cell, latency=change, latency_ms_a=None, latency_ms_b=None)
    return replace(
        cell,
        latency=timed.change,
        latency_ms_a=timed.latency_a.median if timed.latency_a else None,
        latency_ms_b=timed.latency_b.median if timed.latency_b else None,
        kind_a=timed.kind if timed.change else cell.kind_a,
        kind_b=timed.kind if timed.change else cell.kind_b,
        latency_why=timed.why,
    )


def matched(runs: Sequence[Results]) -> list[dict[tuple[str, str, str], Cell]]:
    """Return the cells of each run by (variant, target, model); the model is empty where every run has one only."""
    by_model = any(len({a.model for a in run.artifacts}) > 1 for run in runs)
    return [
        {(c.variant, c.measurement.target, c.artifact.model if by_model else ""): c for c in cells(run)} for run in runs
    ]


def run_name(run: Results) -> str:
    """Return a run's name and when it was started."""
    return " ".join(str(run.run[key]) for key in ("name", "started") if run.run.get(key))


def _cell_name(cell: Cell) -> str:
    return f"{cell.variant} of {cell.artifact.model} on {cell.measurement.target}"


def _unlike_machines(run_a: Results, run_b: Results, force: bool) -> list[str]:
    in_a, in_b = ([m.device for m in run.measurements] for run in (run_a, run_b))
    unlike = []
    for device in dict.fromkeys(device for device in in_a if device in in_b):
        a, b = (run.environment_of(device) for run in (run_a, run_b))
        if "unreachable" in a or "unreachable" in b:  # what it was is not known
            continue
        unlike += [
            f"{key}{'' if device == 'local' else f' of {shorten(device)}'} is {a.get(key)!r} in one and "
            f"{b.get(key)!r} in the other"
            for key in MACHINE_KEYS
            if a.get(key) != b.get(key)
        ]
    if not unlike:
        return []
    words = f"the runs were measured on unlike machines: {'; '.join(unlike)}"
    if not force:
        raise InputError(words, "repeat one of them on the other's machine, or compare all the same with --force")
    return [f"{words}. Latencies differ for that reason alone; compare accuracies and sizes only."]


def _unlike_data(run_a: Results, run_b: Results) -> list[str]:
    a, b = (run.data.get("sha256") for run in (run_a, run_b))
    if a == b:
        return []
    return [
        "the runs were not tested on the same prepared data: part of a difference may be the data's. "
        "Give both recipes the same [data] table, seed and image size."
    ]


def _unlike_readings(pairs: Iterable[tuple[Cell, Cell]]) -> list[str]:
    """Return which outputs were read as other boxes in each run, wherever the anchors come from."""
    unlike = {}
    for a, b in pairs:
        one, other = (
            cell.artifact.boxes and replace(cell.artifact.boxes, decoding=_unnamed(cell.artifact.boxes.decoding))
            for cell in (a, b)
        )
        if one and other and one.outputs == other.outputs and one != other:
            unlike[b.artifact.id] = (
                f"the outputs of {b.artifact.id} were read as boxes in another way in each run (--boxes, --anchors): a "
                "difference of the metric may be that of the readings. Give both runs the same."
            )
    return list(unlike.values())


def _unnamed(decoding: AnchorDecoding | None) -> AnchorDecoding | None:
    return decoding and replace(decoding, source="")


def compare_cell(a: Cell, b: Cell, folder_a: Path | None, folder_b: Path | None) -> CellComparison:
    """Compare one cell of two runs; the folders are the runs', where raw files are."""
    m, n = a.measurement, b.measurement
    return CellComparison(
        model=b.artifact.model,
        variant=b.variant,
        target=n.target,
        status_a=m.status,
        status_b=n.status,
        kind_a=m.kind,
        kind_b=n.kind,
        accuracy_a=m.accuracy,
        accuracy_b=n.accuracy,
        accuracy=_accuracy(a, b, kept(m, folder_a), kept(n, folder_b)),
        agreement_a=m.agreement,
        agreement_b=n.agreement,
        latency_ms_a=m.latency_ms.median if m.latency_ms else None,
        latency_ms_b=n.latency_ms.median if n.latency_ms else None,
        latency=latency_change(m, n, read_record(m, folder_a), read_record(n, folder_b)),
        bytes_a=a.artifact.bytes,
        bytes_b=b.artifact.bytes,
        same_file=_same_bytes(a, b),
        by_design=a.is_by_design and b.is_by_design,
        agreement_by_a=m.agreement_by,
        agreement_by_b=n.agreement_by,
        reason_a=m.reason,
        reason_b=n.reason,
        is_reference=b.is_reference,
        metric_a=m.metric,
        metric_b=n.metric,
        score_a=m.score,
        score_b=n.score,
    )


def _accuracy(a: Cell, b: Cell, scores_a: KeptScores | None, scores_b: KeptScores | None) -> Change | None:
    """Return the difference b - a: of the same samples by their scores, of others with Newcombe's interval.

    Where one file on one machine and runtime gave every sample the same score, it is exactly 0.
    """
    task, other = (task_of_row(cell.measurement) for cell in (a, b))
    if task is None or other is None or task.name != other.name:
        return None
    first, second = (task.reported(cell.measurement) for cell in (a, b))
    if first is None or second is None:
        return None
    if scores_a is None or scores_b is None or not pairs(scores_a, scores_b):
        difference, low, high = difference_interval(first, second, 1.0 if task.figure.is_share else inf)
        why = "not of the same samples" if scores_a and scores_b else "a run has no readable scores of its samples"
        return Change(difference, low, high, CONFIDENCE, f"{SEPARATE}: {why}", _verdict(low, high, 0))
    if _is_same_file(a, b) and np.array_equal(scores_a.parts, scores_b.parts):
        return Change(0.0, 0.0, 0.0, CONFIDENCE, IDENTICAL, _verdict(0, 0, 0))
    if scores_a.parts.ndim > 1 and scores_b.parts.ndim > 1:
        # What a loses of b's metric: where less of it is better, the difference b - a is the other way round.
        order = (scores_b, scores_a) if task.figure.better == "higher" else (scores_a, scores_b)
        lost = task.drop(*(one.parts for one in order))
        if lost.ends == (None, None):
            return None
        return Change(*lost, CONFIDENCE, RESAMPLED, _verdict(lost.low, lost.high, 0))
    gain, low, high = paired_loss(scores_b.scores, scores_a.scores)
    return Change(gain, low, high, CONFIDENCE, PAIRED, _verdict(low, high, 0))


def _same_bytes(a: Cell, b: Cell) -> bool:
    return bool(a.artifact.sha256) and a.artifact.sha256 == b.artifact.sha256


def _is_same_file(a: Cell, b: Cell) -> bool:
    """Whether two cells are one file on the same machine and runtime: their fingerprints say both."""
    first, second = a.measurement.fingerprint, b.measurement.fingerprint
    return _same_bytes(a, b) and bool(first) and first == second


def latency_change(a: Measurement, b: Measurement, raw_a: Record | None, raw_b: Record | None) -> Change | None:
    """Return the ratio b / a of two runs' cells; None where kind (measured, emulated, …), threads or batch differ.

    `raw_a` and `raw_b` are the raw records, None where there are none.
    """
    x, y = a.latency_ms, b.latency_ms
    if x is None or y is None or (a.kind, x.threads, x.batch) != (b.kind, y.threads, y.batch):
        return None
    if raw_a and raw_b and (interval := through_anchor(raw_a, raw_b, min(raw_a["error"], raw_b["error"]))):
        return change_of(ratio_of(interval, ""), BY_ANCHOR)
    # Both intervals hold together at least this often (Bonferroni), and then the ratio lies between these ends.
    confidence = max(0.0, x.confidence + y.confidence - 1)
    return Change(
        y.median / x.median, y.low / x.high, y.high / x.low, confidence, BY_MEDIANS, "not distinguishable"
    )  # fmt: skip


def change_of(ratio: LatencyRatio, method: str = BY_ROUNDS) -> Change:
    """Return a ratio of latencies as a change."""
    verdict = {"faster": "lower", "slower": "higher"}.get(ratio.verdict, ratio.verdict)
    return Change(ratio.ratio, ratio.low, ratio.high, ratio.confidence, method, verdict)


def _verdict(low: float, high: float, nothing: float) -> str:
    """Return on which side of `nothing` the interval lies."""
    if low <= nothing <= high:
        return "not distinguishable"
    return "lower" if high < nothing else "higher"
