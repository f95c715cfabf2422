"""`compare --remeasure` on real files: both runs' files are found, checked, fed and timed in the same rounds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproof as ep
from edgeproof.cli.main import status
from edgeproof.evaluate.compare import BY_ROUNDS, SAME_FILE

from ..support import contract
from ..support.bundle_models import mean_colour_model

QUICK = {"processes": 2, "max_seconds": 0, "run_seconds": 0.06, "warmup_seconds": 0.01}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two evaluations of a file of one name: one takes pictures of 8 pixels, the other of 16."""
    folder = tmp_path_factory.mktemp("runs")
    folders = []
    for name, size in (("a", 8), ("b", 16)):
        file = folder / name / "colour.tflite"
        file.parent.mkdir()
        file.write_bytes(mean_colour_model(size))
        x = np.zeros((6, size, size, 3), np.uint8)
        x[np.arange(6), ..., np.arange(6) % 3] = 255
        data, out = (x, np.arange(6) % 3), folder / name / "run"
        folders.append(ep.evaluate([file], data, "local/litert", value_range=(0, 255), out=out, latency=QUICK).folder)
    return folders


def copied(folder: Path, to: Path, **facts: Any) -> ep.Results:
    """A copy of a run in `to`, with other facts about its file."""
    shutil.copytree(folder, to, symlinks=True)
    results = ep.Run.load(to).results
    results.artifacts = [replace(artifact, **facts) for artifact in results.artifacts]
    results.save(to)
    return results


def test_both_files_are_timed_in_the_same_rounds_each_with_its_own_samples(
    runs: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [part for key, value in QUICK.items() for part in ("--latency", f"{key}={value}")]
    names = [str(folder) for folder in runs]
    assert status(["compare", *names, "--remeasure", *arguments, "--fail-on", "latency > 100000 %", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    for bench in document["bench"]:
        bench["disturbances"] = []  # what disturbs it depends on the day
    contract.hold_document("compare --remeasure --json", document)
    (cell,) = document["cells"]
    assert cell["latency"]["method"] == BY_ROUNDS and cell["latency"]["low"] <= cell["latency"]["estimate"]
    assert cell["latency_ms_a"] > 0 and cell["latency_ms_b"] > 0 and cell["latency_why"] == ""
    (bench,) = document["bench"]
    assert bench["anchor"].startswith("colour") and bench["anchor"].endswith("@local/litert") and bench["blocks"] == 2


def test_one_file_of_both_runs_is_not_timed_and_differs_by_nothing(runs: list[Path]) -> None:
    comparison = ep.compare(runs[0], runs[0], remeasure=True, fail_on="latency > 0 %")
    (cell,) = comparison.cells
    assert cell.latency is not None and (cell.latency.low, cell.latency.high) == (1, 1)
    assert cell.latency.method == SAME_FILE and comparison.gate is not None and comparison.gate.verdict == "met"


def test_what_cannot_be_timed_is_refused_with_the_reason(runs: list[Path], tmp_path: Path) -> None:
    gone = copied(runs[1], tmp_path / "gone", path=Path("artifacts/none.tflite"))
    changed = copied(runs[1], tmp_path / "changed", sha256="0" * 64)
    copied(runs[1], tmp_path / "unfed")
    shutil.rmtree(tmp_path / "unfed" / ".store")
    for name, reason in (("gone", "none.tflite does not exist"), ("changed", "has changed since its run"),
                         ("unfed", "no longer holds the samples")):  # fmt: skip
        with pytest.raises(ep.InputError, match=reason):
            ep.compare(runs[0], tmp_path / name, remeasure=True)
    for results in (gone, changed):
        with pytest.raises(ep.InputError, match="the run's folder is not known"):
            ep.compare(runs[0], results, remeasure=True)


def test_other_machines_do_not_matter_when_files_are_timed_now(runs: list[Path], tmp_path: Path) -> None:
    results = copied(runs[0], tmp_path / "elsewhere")
    results.environment["cpu"] = "another"
    results.save(tmp_path / "elsewhere")
    with pytest.raises(ep.InputError, match="unlike machines"):
        ep.compare(runs[0], tmp_path / "elsewhere")
    assert ep.compare(runs[0], tmp_path / "elsewhere", remeasure=True).warnings == ()


def test_how_files_are_timed_is_checked_first(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ep.InputError, match="latency says how files are timed"):
        ep.compare("none", "none", latency={"processes": 2})
    with pytest.raises(ep.InputError, match="frobnicate"):
        ep.compare("none", "none", remeasure=True, latency={"frobnicate": 2})
    assert status(["compare", "none", "none", "--latency", "processes=2"]) == 2
    assert "give both" in capfd.readouterr().err
