"""What a bundle says of its run's budget, and of samples that could not be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from edgeproof.cli.main import status
from edgeproof.core.codec import to_json, write_json
from edgeproof.core.results import SCHEMA, load_results
from edgeproof.workflows.bundle import _judged
from edgeproof.workflows.model_files import open_artifact

from ..conftest import class_folders
from ..support.bundle_models import mean_colour_model

WHY = "its drop is at most 3.1 points, and 1 is asked; 400 test samples would show it"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mean.tflite"
    path.write_bytes(mean_colour_model())
    return path


def results(file: Path, budget: dict[str, Any], **recommendation: Any) -> Path:
    """A folder of results that recommend `file`."""
    artifact = to_json(open_artifact(file)) | {"path": str(file)}
    folder = file.parent / "run"
    chosen = {"artifact": artifact["id"], "target": "local/litert", "why": WHY} | recommendation
    document = {"schema": SCHEMA, "run": {}, "environment": {}, "models": [], "measurements": [],
                "artifacts": [artifact], "budget": budget, "recommendation": chosen}  # fmt: skip
    write_json(folder / "results.json", document)
    return folder


def budget(verdict: str) -> dict[str, Any]:
    return {"asked": {"max_accuracy_drop": 0.01}, "met": verdict == "met", "verdict": verdict}


@pytest.mark.parametrize("verdict", ["not shown", "met", ""])
def test_a_bundle_says_what_its_runs_budget_came_to(
    verdict: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of which it is not shown that it fits is bundled all the same, and says so wherever it goes."""
    run = results(file, budget(verdict) if verdict else {})
    assert status(["bundle", str(run), "--out", str(tmp_path / "out"), "--samples", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    manifest = json.loads((tmp_path / "out" / "mean" / "bundle.json").read_text())
    readme = (tmp_path / "out" / "mean" / "README.md").read_text()
    doubt = (
        "it is not shown that this file fits the budget of its run (accuracy drop at most 1 point); the run's report"
    )
    for output in (manifest, printed):
        if verdict:
            asked = {"max_accuracy_drop": 0.01}
            assert output["budget"] == {"asked": asked, "verdict": verdict, "why": WHY, "target": "local/litert"}
        else:
            assert output["budget"] is None
        assert [note.startswith(doubt) for note in output["notes"]] == [True] * (verdict == "not shown")
    assert (doubt in readme.replace("\\", "")) == (verdict == "not shown")
    if verdict == "not shown":  # as words for a person, too
        assert status(["bundle", str(run), "--out", str(tmp_path / "out"), "--samples", "1"]) == 0
        assert f"note: {doubt}" in capsys.readouterr().out


def test_nothing_is_bundled_where_no_file_fits(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = results(file, budget("not met"), artifact=None, target=None)
    assert status(["bundle", str(run), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "recommends no file" in told and not (tmp_path / "out").exists()
    assert Path("".join(told.partition("name one:")[2].split(",")[0].split())).is_file(), told


def test_files_that_were_not_chosen_have_the_verdict_of_their_own_row(file: Path) -> None:
    sha256 = open_artifact(file).sha256
    row = {"artifact": "mean", "target": "local/litert", "why": "it drops by 4 points"}
    other = {"artifact": "other", "target": "local/litert"}
    for rows, verdict in (
        ({"fits": [row]}, "met"),
        ({"rejected": [row | {"verdict": "not met"}]}, "not met"),
        ({"rejected": [row | {"verdict": "not shown"}]}, "not shown"),
        ({"rejected": [row]}, ""),  # it did not run
        ({}, ""),
    ):
        judged = _judged(load_results(results(file, budget("met"), **other, **rows)), sha256)
        assert judged is not None and judged["verdict"] == verdict
        assert judged["why"] == (row["why"] if rows else "")
    assert _judged(load_results(results(file, budget("met"))), "0" * 64) == {
        "asked": {"max_accuracy_drop": 0.01}, "verdict": "", "why": "", "target": "",
    }  # fmt: skip


def test_samples_that_could_not_be_read_are_listed_beside_the_bundle_and_not_in_it(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle is for others; which of its maker's pictures are broken is not."""
    class_folders(tmp_path / "data")
    (tmp_path / "data" / "a" / "broken.png").write_bytes(b"no picture")
    artifact = to_json(open_artifact(file)) | {
        "labels": ["a", "b", "c"], "path": file.name,
        "contract": {"name": "image", "shape": [1, 8, 8, 3], "dtype": "float32", "low": 0.0, "high": 255.0,
                     "resize": "stretch", "kind": "image"},
    }  # fmt: skip
    write_json(file.with_suffix(".json"), artifact)
    command = ["bundle", str(file), "--data", f"folder:{tmp_path}/data", "--out", str(tmp_path / "out")]
    assert status([*command, "--samples", "2"]) == 0
    with (tmp_path / "out" / "unreadable.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == ["a/broken.png"] and "not an image" in rows[0]["why"]
    errors = capsys.readouterr().err
    assert f"{tmp_path}/out/unreadable.csv" in errors.replace("\n", "") and "a/broken.png" in errors
    assert not list((tmp_path / "out" / "mean").rglob("unreadable.csv"))
