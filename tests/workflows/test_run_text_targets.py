"""A run on texts whose targets are numbers, or tags: from the recipe to the bundle, and the figures computed again."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof import bundle, evaluate, run
from edgeproof.core.dataset import read_texts
from edgeproof.core.recipe import Data, Recipe
from edgeproof.workflows.recipe_kind import recipe_fingerprint
from edgeproof.workflows.run_folder import source_run_of

from ..support.metrics import average_precision
from ..support.text_tasks import TAGS, answers, told

pytestmark = pytest.mark.slow
ONCE = {"processes": 1, "warmup_seconds": 0.01, "run_seconds": 0.01}


def recipe(folder: Path, task: str, target: str) -> dict[str, Any]:
    """A recipe on a table with a column of numbers and one of tags."""
    texts, held, numbers = told(240)
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["review", "stars", "topics"])
        for text, row, number in zip(texts, held, numbers, strict=True):
            table.writerow([text, f"{number:.9g}", "|".join(tag for tag, has in zip(TAGS, row, strict=True) if has)])
    small = {"backbone": "scratch:average-embedding", "max_tokens": 20, "vocabulary": 200, "embedding": 8}
    return {
        "name": "texts",
        "task": task,
        "data": {"source": f"csv:{folder / 't.csv'}", "text_column": "review", "target": target},
        "model": [{"name": "m", **small}],
        "train": {"epochs": 12, "learning_rate": 0.02, "batch_size": 16},
        "export": {"variants": ["tflite:float32", "tflite:int8"]},
        "evaluate": {"targets": ["local/litert"], "diagnose": "all", "latency": ONCE},
    }


def test_numbers_from_the_recipe_to_the_bundle(tmp_path: Path) -> None:
    made = run(recipe(tmp_path, "regression", "stars"), tmp_path / "run")
    files = tmp_path / "run" / "artifacts"
    source = source_run_of(files / "m--tflite-int8.tflite", "m")
    assert source is not None and not made.failures and made.results.models[0]["answer"] == "values"
    data = source.data()
    texts, right = read_texts(data.inputs("test")), np.load(data.targets("test"))
    rows = {row.artifact: row for row in made.results.measurements if row.target == "local/litert"}
    errors = {}
    for scheme in ("float32", "int8"):
        file, row = files / f"m--tflite-{scheme}.tflite", rows[f"m--tflite-{scheme}"]
        errors[scheme] = np.abs(right - answers(file, files / "m.tokenizer", texts, "values")).mean()
        assert (row.metric, row.samples) == ("MAE", len(texts)) and row.score == pytest.approx(errors[scheme], rel=1e-4)
    drop = rows["m--tflite-int8"].drop
    assert drop == pytest.approx(errors["int8"] - errors["float32"], abs=1e-4) and errors["float32"] < 1.5
    assert made.results.diagnoses and made.results.diagnoses[0]["artifact"] == "m--tflite-int8"
    assert "val MAE" in (tmp_path / "run" / "log.jsonl").read_text()

    one = bundle(files / "m--tflite-int8.tflite", out=tmp_path / "b")
    assert one.manifest["file"]["answer_kind"] == "value" and "MAE" in (one.folder / "README.md").read_text()
    assert not any(row["accepts"] for row in one.manifest["consumers"] if "lassifier" in row["consumer"])
    assert not any(row["examples"] for row in one.manifest["measurements"])
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for script in (["example.py", texts[0]], ["verify.py"]):
        done = subprocess.run(
            [sys.executable, *script], cwd=one.folder, capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if script[0] == "example.py":
            expected = answers(files / "m--tflite-int8.tflite", files / "m.tokenizer", texts[:1], "values")[0, 0]
            assert float(done.stdout.splitlines()[-1]) == pytest.approx(expected, rel=1e-4)


def test_tags_are_trained_and_judged_by_their_names(tmp_path: Path) -> None:
    table = recipe(tmp_path, "", "topics")
    assert recipe_fingerprint(Recipe.model_validate(table))["task"] == "multilabel"
    made = run(
        {**table, "export": {"variants": ["tflite:int8"]}}, tmp_path / "run", overrides={"evaluate.diagnose": "none"}
    )
    file = tmp_path / "run" / "artifacts" / "m--tflite-int8.tflite"
    (row,) = [row for row in made.results.measurements if row.target == "local/litert" and row.status == "ok"]
    history = made.results.models[0]["history"]
    assert "val_mAP" in history[0] and "val mAP" in (tmp_path / "run" / "log.jsonl").read_text()
    assert row.metric == "mAP" and made.results.models[0]["labels"] == list(TAGS)
    assert made.results.data["report"]["tags"].keys() == set(TAGS)
    texts, held, _ = told(240)
    given = answers(file, file.parent / "m.tokenizer", texts, "probabilities")
    source = Data(source=f"csv:{tmp_path / 't.csv'}", text_column="review", target="topics")
    judged = evaluate(file, source, "local/litert", out=tmp_path / "again", latency=ONCE)
    (again,) = judged.results.measurements
    expected = np.mean([average_precision(given[:, tag], held[:, tag].astype(int)) for tag in range(2)])
    assert again.samples == 240 and again.accuracy == pytest.approx(expected, abs=1e-6)
