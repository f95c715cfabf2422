"""results.json and results.csv: the run's results for scripts. Both are rewritten after every new row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .artifact import Artifact
from .class_figures import ClassFigures
from .codec import from_json, read_json, to_json, write_atomic, write_json
from .errors import InputError
from .frames import data_frame, html_table
from .measurement import Measurement
from .model import Model
from .results_document import check_document
from .sanitize import csv_cell
from .target import base_target

SCHEMA = 1


@dataclass
class Results:
    """The results of a run, which grow row by row. Call `save` after each change: a crash then loses one row."""

    run: dict[str, Any]
    """Name, start and end, hash of the recipe, version of edgeproof, seconds by task."""
    environment: dict[str, Any]
    """Processor, cores, memory, operating system, Python, packages: of the first target's device."""
    data: dict[str, Any] = field(default_factory=dict)
    """Source, counts by split, report of the data check."""
    models: list[dict[str, Any]] = field(default_factory=list)
    """A row a model, with the accuracy of its float reference on the test split."""
    artifacts: list[Artifact] = field(default_factory=list)
    """A row a file; their paths are relative to the run's folder."""
    measurements: list[Measurement] = field(default_factory=list)
    """A row for each artifact on each target."""
    budget: dict[str, Any] = field(default_factory=dict)
    """What was asked, and whether it is met; empty without a budget."""
    recommendation: dict[str, Any] = field(default_factory=dict)
    """The file to ship, why, and why the others are not; the same for each target."""
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    """A row for each pair of models."""
    diagnoses: list[dict[str, Any]] = field(default_factory=list)
    """A row for each diagnosed file."""
    bench: list[dict[str, Any]] = field(default_factory=list)
    """A row for each group of cells that was timed side by side: its anchor, and what the machine could tell apart."""
    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The environment of each device, by its name."""
    device_differences: list[dict[str, Any]] = field(default_factory=list)
    """A row for each file in one runtime on a further device: how its answers there differ from the first device's."""
    sustained: list[dict[str, Any]] = field(default_factory=list)
    """A row for each device: the latency of its fastest file by minute, under sustained load."""
    fleet: dict[str, Any] = field(default_factory=dict)
    """What several devices have in common: each file's worst device, and the fewest files that serve all of them."""

    def environment_of(self, device: str) -> dict[str, Any]:
        """Return a device's environment. That of the first device is `environment`, which older results have alone."""
        first = next(iter(self.environments), device)
        return self.environment if device == first else self.environments.get(device, {})

    def add_bench(self, row: dict[str, Any]) -> None:
        """Add what the bench learnt about the machine, once."""
        if row not in self.bench:
            self.bench.append(row)

    def add_model(self, model: Model) -> None:
        """Add or replace a model's row. Its accuracy is null until the float reference has been measured."""
        row = {
            "name": model.name,
            "backbone": model.backbone,
            "labels": list(model.labels),
            "input": to_json(model.input),
            "sha256": model.sha256,
            "train_seconds": model.train_seconds,
            "accuracy": None,
            "samples": 0,
            "metrics": model.metrics,
            "history": model.history,
            "provenance": model.provenance,
            "answer": model.answer,
            "tokenizer": {**to_json(model.tokenizer), "folder": None} if model.tokenizer else None,
            "repeats": [],
        }
        self.models = [*(m for m in self.models if m["name"] != model.name), row]

    def set_repeats(self, name: str, repeats: list[dict[str, Any]]) -> None:
        """Set a model's results by seed; the first is the one that was exported."""
        for model in self.models:
            if model["name"] == name:
                model["repeats"] = repeats

    def add_artifact(self, artifact: Artifact) -> None:
        """Add or replace an artifact's row."""
        others = [a for a in self.artifacts if a.id != artifact.id]
        position = next((i for i, a in enumerate(self.artifacts) if a.id == artifact.id), len(others))
        self.artifacts = [*others[:position], artifact, *others[position:]]

    def add_measurement(self, measurement: Measurement) -> None:
        """Add or replace the row of an artifact on a target. The float reference also sets its model's accuracy."""
        cell = (measurement.artifact, measurement.target)
        rows = self.measurements
        position = next((i for i, m in enumerate(rows) if (m.artifact, m.target) == cell), len(rows))
        self.measurements = [*rows[:position], measurement, *rows[position + 1 :]]
        artifact = next((a for a in self.artifacts if a.id == measurement.artifact), None)
        if artifact and artifact.format == "savedmodel" and measurement.accuracy is not None:
            for model in self.models:
                if model["name"] == artifact.model:
                    model.update(accuracy=measurement.accuracy, samples=measurement.samples)

    def rows_of(self, artifacts: Sequence[Artifact]) -> list[Measurement]:
        """Return the measurements of some artifacts."""
        ids = {artifact.id for artifact in artifacts}
        return [row for row in self.measurements if row.artifact in ids]

    def sort(self, targets: Sequence[str]) -> None:
        """Sort the measurements by artifact and then by `targets`, and what is of a device by device.

        They arrive in the order of completion.
        """
        artifacts = [artifact.id for artifact in self.artifacts]
        self.measurements.sort(
            key=lambda m: (artifacts.index(m.artifact), targets.index(base_target(m.target)), m.target)
        )
        devices = list(dict.fromkeys(target.partition("/")[0] for target in targets))
        self.bench.sort(key=lambda row: devices.index(row["anchor"].rpartition("@")[2].partition("/")[0]))
        self.sustained.sort(key=lambda row: devices.index(row["target"].partition("/")[0]))

    def to_json(self) -> dict[str, Any]:
        """Return the content of results.json."""
        return {
            "schema": SCHEMA,
            "run": self.run,
            "environment": self.environment,
            "environments": self.environments,
            "data": self.data,
            "models": self.models,
            "artifacts": [to_json(a) for a in self.artifacts],
            "measurements": [to_json(m) for m in self.measurements],
            "budget": self.budget,
            "recommendation": self.recommendation,
            "comparisons": self.comparisons,
            "diagnoses": self.diagnoses,
            "bench": self.bench,
            "device_differences": self.device_differences,
            "sustained": self.sustained,
            "fleet": self.fleet,
        }

    def save(self, folder: Path) -> None:
        """Write results.json and results.csv into `folder`, each atomically; durably once the run is finished."""
        durable = bool(self.run.get("finished"))
        write_json(folder / "results.json", self.to_json(), durable=durable)
        write_atomic(folder / "results.csv", self.to_csv(), durable=durable)

    def to_csv(self) -> str:
        """Return one line per measurement, with columns of its artifact. Cells are safe in a spreadsheet."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in self.rows():
            writer.writerow({k: csv_cell(v) if isinstance(v, str) else v for k, v in row.items()})
        return stream.getvalue()

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with the rows and columns of results.csv.

        Raises InputError if pandas is not installed.
        """
        return data_frame(CSV_COLUMNS, list(self.rows()))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the row of results.csv for each measurement, by column."""
        artifacts = {a.id: a for a in self.artifacts}
        for measurement in self.measurements:
            row = asdict(replace(measurement, by_class=None, profile=None, metrics={}, examples=()))
            latency = row.pop("latency_ms") or {}
            row |= {f"latency_{name}": value for name, value in latency.items()}
            ratio = row.pop("latency_ratio") or {}
            row |= {f"latency_ratio{'' if name == 'ratio' else f'_{name}'}": value for name, value in ratio.items()}
            pooled = row.pop("pooled_drop") or {}
            row |= {
                "pooled_drop": pooled.get("drop"), "pooled_drop_low": pooled.get("low"),
                "pooled_drop_high": pooled.get("high"), "pooled_samples": pooled.get("samples"),
                "pooled_splits": " and ".join(pooled.get("splits", ())),
            }  # fmt: skip
            row |= _class_columns(measurement.by_class)
            placement = row.pop("placement") or {}
            row |= {f"placement_{name}": placement.get(name) for name in ("delegated", "operators", "partitions")}
            row |= _micro_columns(measurement)
            if artifact := artifacts.get(measurement.artifact):
                row |= {
                    "model": artifact.model, "format": artifact.format, "scheme": artifact.scheme,
                    "bytes": artifact.bytes, "compressed_bytes": artifact.compressed_bytes or None,
                    "min_runtime": artifact.min_runtime, "made_by": artifact.made_by,
                    "training": str(artifact.training.get("kind", "")),
                }  # fmt: skip
            row["verdict"] = self._verdict(measurement)
            row |= self._fleet_columns(measurement)
            yield row

    def _repr_html_(self) -> str:
        """Return a table for notebooks: a row per measurement, and a row per file that could not be made."""
        rows: list[list[object]] = [
            [
                row["artifact"], row["target"], row["status"], *_answers(row), _figure(row.get("latency_median")),
                row.get("bytes"), row["kind"], row["reason"] or row["verdict"],
            ]
            for row in self.rows()
        ]  # fmt: skip
        rows += [
            [a.id, None, a.status, None, None, None, None, None, None, a.reason]
            for a in self.artifacts
            if a.status != "ok"
        ]
        return html_table(_SHOWN, rows, str(self.run.get("name") or ""))

    def _fleet_columns(self, measurement: Measurement) -> dict[str, Any]:
        """Return whether this is the file's worst device, by what, and whether the smallest set has it here."""
        if not self.fleet:
            return {}
        cell = (measurement.artifact, measurement.target)
        worst = [
            name
            for row in self.fleet.get("worst", [])
            for name, verdict in (("accuracy", "lower"), ("latency", "above"))
            if (one := row.get(name)) and (row["artifact"], one["target"], one["verdict"]) == (*cell, verdict)
        ]
        files = (self.fleet.get("smallest_set") or {}).get("files", [])
        served = {(file["artifact"], device["target"]) for file in files for device in file["devices"]}
        return {"worst_device": " and ".join(worst), "in_smallest_set": "yes" if cell in served else ""}

    def _verdict(self, measurement: Measurement) -> str:
        """Return the recommendation's verdict on a file on its target, or ``""``."""
        targets = self.recommendation.get("targets", [])
        choice: dict[str, Any] = next((t for t in targets if t.get("target") == measurement.target), {})
        if choice.get("artifact") == measurement.artifact:
            return "recommended"
        for verdict in ("fits", "pareto", "beaten", "rejected"):
            if any(row.get("artifact") == measurement.artifact for row in choice.get(verdict, [])):
                return verdict
        return ""


CSV_COLUMNS = (
    "artifact", "model", "format", "scheme", "bytes", "target", "device", "runtime", "runtime_version", "kind",
    "status", "reason", "accuracy", "accuracy_low", "accuracy_high", "samples", "agreement", "difference", "drop",
    "drop_low", "drop_high", "latency_median", "latency_low", "latency_high", "latency_confidence", "latency_p90",
    "latency_p95", "latency_p99", "latency_processes", "latency_runs", "latency_threads", "latency_tokenize",
    "latency_infer", "load_ms", "first_ms", "peak_memory_bytes", "raw", "measured_at",
    "verdict", "compressed_bytes", "min_runtime", "made_by", "training", "agreement_by", "pooled_drop",
    "pooled_drop_low", "pooled_drop_high", "pooled_samples", "pooled_splits",
    "top_five", "calibration_error", "most_hurt_class", "most_hurt_recall_drop", "most_hurt_recall_drop_low",
    "most_hurt_recall_drop_high",
    "placement_delegated", "placement_operators", "placement_partitions",
    "latency_ratio", "latency_ratio_low",
    "latency_ratio_high", "latency_ratio_confidence", "latency_ratio_verdict", "latency_ratio_anchor",
    "latency_invoke", "latency_transfer", "latency_batch", "latency_throughput", "latency_warmup_runs",
    "latency_steady", "file_memory_bytes", "arena_bytes", "reference_samples", "reference_identical",
    "npu_ms", "npu_cycles", "npu_sram_bytes", "worst_device", "in_smallest_set", "metric",
    "score", "score_low", "score_high",
)  # fmt: skip


def _class_columns(figures: ClassFigures | None) -> dict[str, Any]:
    """Return the columns of results.csv that are about classes."""
    if figures is None:
        return {}
    columns: dict[str, Any] = {
        "top_five": figures.top_five.value if figures.top_five else None,
        "calibration_error": figures.calibration.error if figures.calibration else None,
    }
    if most := figures.most_hurt:
        row, recall = most
        columns |= {
            "most_hurt_class": row.label, "most_hurt_recall_drop": recall.drop,
            "most_hurt_recall_drop_low": recall.drop_low, "most_hurt_recall_drop_high": recall.drop_high,
        }  # fmt: skip
    return columns


def _micro_columns(measurement: Measurement) -> dict[str, Any]:
    """Return the columns of results.csv that are about microcontrollers and NPUs."""
    columns: dict[str, Any] = {}
    if arena := measurement.arena:
        columns["arena_bytes"] = arena.bytes
    if npu := measurement.npu:
        columns |= {"npu_ms": npu.milliseconds, "npu_cycles": npu.cycles, "npu_sram_bytes": npu.sram_bytes}
    if match := measurement.reference:
        columns |= {"reference_samples": match.samples, "reference_identical": match.identical}
    return columns


# Columns of the table for notebooks.
_SHOWN = ("file", "target", "status", "accuracy", "agreement", "drop", "median ms", "bytes", "kind", "")


def _answers(row: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Return the metric, the agreement and the drop of a row, in per cent where they are shares."""
    if row["score"] is None:
        return _percent(row["accuracy"]), _percent(row["agreement"]), _percent(row["drop"])
    return f"{row['metric']} {_figure(row['score'])}", _percent(row["agreement"]), _figure(row["drop"])


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.2%}"


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def is_unfinished(path: Path) -> bool:
    """Return whether a path is a folder in which no run has ended."""
    return path.is_dir() and not (path / "results.json").exists()


def has_ended(results: Results) -> bool:
    """Return whether results are those of a run that measured all it was asked for; a killed one leaves some, too."""
    return results.run.get("finished", True) is not None


def load_results(path: Path) -> Results:
    """Read a run's folder or its results.json. Raises InputError when it is invalid, damaged, or of another version."""
    if is_unfinished(path):
        raise InputError(f"{path} has no results.json: no run has ended there", "run its recipe again, which resumes")
    if not path.exists():
        raise InputError(f"{path} does not exist", "give the folder of a run, or its results.json")
    file = path / "results.json" if path.is_dir() else path
    document = read_json(file)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        schema = document.get("schema") if isinstance(document, dict) else None
        raise InputError(
            f"{file} has schema {schema!r}, expected {SCHEMA}", "make it again with this version of edgeproof"
        )
    check_document(document, str(file))
    return Results(
        run=document["run"],
        environment=document["environment"],
        data=document.get("data", {}),
        models=document["models"],
        artifacts=from_json(list[Artifact], document["artifacts"], f"{file}: artifacts"),
        measurements=from_json(list[Measurement], document["measurements"], f"{file}: measurements"),
        budget=document.get("budget", {}),
        recommendation=document.get("recommendation", {}),
        comparisons=document.get("comparisons", []),
        diagnoses=document.get("diagnoses", []),
        bench=document.get("bench", []),
        environments=document.get("environments", {}),
        device_differences=document.get("device_differences", []),
        sustained=document.get("sustained", []),
        fleet=document.get("fleet", {}),
    )
