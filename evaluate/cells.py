"""Cells: measurements joined with their artifacts, for selection, comparison and report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.artifact import Artifact
from ..core.codec import read_json
from ..core.errors import InputError
from ..core.files import real_path
from ..core.measurement import Measurement
from ..core.results import Results
from ..core.runtime import RUNTIMES
from ..core.sanitize import shorten
from ..tasks import Quality, quality_of
from ..tasks.loss import Loss, loss_of


@dataclass(frozen=True)
class Cell:
    """One artifact on one target, with its measurement."""

    artifact: Artifact
    measurement: Measurement

    @property
    def variant(self) -> str:
        """Format and scheme, as written in the results; not checked against today's table of schemes."""
        return f"{self.artifact.format}:{self.artifact.scheme}"

    @property
    def is_reference(self) -> bool:
        """Whether this is the frozen float model itself, or a file on TensorFlow, which no device runs."""
        return self.artifact.format == "savedmodel" or self.measurement.runtime == "tensorflow"

    @property
    def is_by_design(self) -> bool:
        """Whether the cell is empty because that runtime does not read that format at all: nothing to fix."""
        m = self.measurement
        runtime = RUNTIMES.get(m.runtime)
        not_read = runtime is not None and self.artifact.format not in runtime.formats
        return m.status in ("unsupported", "skipped") and not_read

    @property
    def is_candidate(self) -> bool:
        """Whether the cell may be recommended: a file that can ship, run by a runtime that reads it, at batch 1."""
        latency = self.measurement.latency_ms
        if self.measurement.kind == "estimated":  # nothing was run
            return False
        return not self.is_reference and not self.is_by_design and (latency is None or latency.batch == 1)

    @property
    def quality(self) -> Quality:
        """The figure that says how well the file answers."""
        return quality_of(self.measurement)

    @property
    def loss(self) -> Loss:
        """What the file loses against its float model."""
        return loss_of(self.measurement)

    @property
    def is_problem(self) -> bool:
        """Whether a person should read why this cell has no figures."""
        return self.measurement.status != "ok" and not self.is_by_design


def cells(results: Results) -> list[Cell]:
    """Return one cell per measurement, in their order. Raises InputError when one names no known artifact."""
    artifacts = {a.id: a for a in results.artifacts}
    missing = sorted({m.artifact for m in results.measurements} - artifacts.keys())
    if missing:
        raise InputError(
            f"the results hold a measurement of {shorten(missing[0])!r}, but no artifact of that name",
            "results.json was changed by hand or cut short: run the recipe again",
        )
    return [Cell(artifacts[m.artifact], m) for m in results.measurements]


def artifact_name(artifact: Artifact, with_model: bool) -> str:
    """Return ``tflite:int8``, or ``tflite:int8 of MODEL`` where there are several models to tell apart."""
    variant = f"{artifact.format}:{artifact.scheme}"
    return shorten(f"{variant} of {artifact.model}" if with_model else variant, 80)


def has_several_models(results: Results) -> bool:
    """Return whether these results have artifacts of more than one model."""
    return len({a.model for a in results.artifacts}) > 1


def raw_name(artifact: str, target: str, suffix: str) -> str:
    """Return the name of a cell's file in a run's ``raw``; it has none of the signs that other systems refuse."""
    return f"{artifact}--on--{re.sub('[/:,=]', '-', target)}{suffix}"


def raw_path(measurement: Measurement, folder: Path | None) -> Path | None:
    """Return the raw file of a measurement in the run's `folder`, if it is there."""
    return file_of(measurement.raw, folder)


def file_of(name: str, folder: Path | None) -> Path | None:
    """Return a file that results name, in the run's `folder`, if it is there.

    A path that leads out of the folder is not followed: results.json may come from anywhere.
    """
    if folder is None or not name:
        return None
    try:
        path = real_path(folder / name)
        return path if path.is_relative_to(real_path(folder)) and path.is_file() else None
    except (OSError, ValueError):  # a name that is too long or has a NUL, a folder that may not be entered
        return None


def process_medians(measurement: Measurement, folder: Path | None) -> list[float]:
    """Return the median of each process's runs in milliseconds, from the raw file; empty when there is none."""
    path = raw_path(measurement, folder)
    if path is None:
        return []
    try:
        processes = read_json(path)["processes"]
        runs = [np.asarray(process["runs_ms"], dtype=float) for process in processes]
    except (InputError, ValueError, TypeError, KeyError):
        return []
    medians = [float(np.median(r)) for r in runs if r.ndim == 1 and r.size]
    return [m for m in medians if np.isfinite(m) and m > 0]
