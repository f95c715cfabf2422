"""A run on windows of a table: from the recipe to a file, whose figures are computed again from the file alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeproof import bundle, run
from edgeproof.core.dataset import load_prepared
from edgeproof.workflows.run_folder import source_run_of

from ..support.number_data import MOTIONS, motion_recipe, tagged
from ..support.quick import ONCE

pytestmark = pytest.mark.slow


def answers(file: Path, samples: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for one in samples:
        interpreter.set_tensor(given, one[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(answer)[0])
    return np.array(found)


def test_numbers_of_a_table_are_measured_in_their_unit(tmp_path: Path) -> None:
    x = tagged(160)[0]
    rows = [f"{a:.4f},{b:.4f},{50 + 20 * (a - 5) + (b - 5):.3f}" for a, b in x[:, :2]]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,load", *rows]), "utf-8")
    models = [{"name": "m", "backbone": "scratch:dense", "units": [8]}, {"name": "n", "backbone": "scratch:dense"}]
    made = run(
        motion_recipe(
            tmp_path,
            data={"source": f"csv:{tmp_path / 't.csv'}", "target": "load"},
            model=models,
            evaluate={"targets": ["local/litert"], "latency": {**ONCE, "threads": [1, 2], "batch": [1, 8]}},
        ),
        tmp_path / "run",
    )
    files = tmp_path / "run" / "artifacts"
    source = source_run_of(files / "m--tflite-int8.tflite", "m")
    assert source is not None and not made.failures
    data = source.data()
    contract = json.loads((files / "m--tflite-int8.json").read_text("utf-8"))["contract"]
    assert contract["columns"] == ["a", "b"] == list(source.model.input.columns)
    errors = {}
    for scheme in ("float32", "int8"):
        errors[scheme] = [
            np.abs(answers(files / f"m--tflite-{scheme}.tflite", np.load(data.inputs(s))) - np.load(data.targets(s)))
            for s in ("test", "validation")
        ]
    timed = {row.target for row in made.results.measurements if row.status == "ok" and row.latency_ms is not None}
    assert timed == {f"local/litert{options}" for options in ("", ":threads=2", ":batch=8", ":threads=2,batch=8")}
    assert made.results.run["finished"] and made.report.exists()
    rows = {row.artifact: row for row in made.results.measurements if row.target == "local/litert"}
    for scheme in ("float32", "int8"):
        row = rows[f"m--tflite-{scheme}"]
        assert row.metric == "MAE" and row.score == pytest.approx(errors[scheme][0].mean(), rel=1e-3)
    pooled = rows["m--tflite-int8"].pooled_drop
    assert pooled is not None and pooled.samples >= len(errors["int8"][0])
    both = {k: np.concatenate(v if pooled.samples > len(v[0]) else v[:1]).mean() for k, v in errors.items()}
    assert pooled.drop == pytest.approx(both["int8"] - both["float32"], abs=1e-3)
    (pair,) = made.results.comparisons
    other = np.abs(
        answers(files / "n--tflite-float32.tflite", np.load(data.inputs("test"))) - np.load(data.targets("test"))
    ).mean()
    assert (pair["metric"], pair["a"], pair["b"]) == ("MAE", "m", "n"), "above 0 the first one is better"
    assert pair["difference"]["difference"] == pytest.approx(other - errors["float32"][0].mean(), abs=1e-3)
    assert pair["verdict"] in ("a", "b", "not distinguishable")


def test_a_sensor_model_from_a_table_to_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = motion_recipe(tmp_path)
    made = run(recipe, tmp_path / "run")
    rows = {row.artifact: row for row in made.results.measurements if row.target == "local/litert" and row.accuracy}
    assert set(rows) == {"conv--tflite-float32", "conv--tflite-int8"} and not made.failures
    float_file = tmp_path / "run" / "artifacts" / "conv--tflite-float32.tflite"
    source = source_run_of(float_file, "conv")
    assert source is not None
    data = source.data()
    x, y = np.load(data.inputs("test")), np.load(data.targets("test"))
    right = answers(float_file, x).argmax(axis=1) == y
    row = rows["conv--tflite-float32"]
    assert row.metric == "accuracy" and row.samples == len(y) and row.accuracy == pytest.approx(right.mean())
    assert row.accuracy > 0.9 and made.results.models[0]["labels"] == list(MOTIONS)
    assert made.results.models[0]["provenance"]["parameters"] < 1000
    assert made.results.data["report"]["classes"]["run"]["test"] == int((y == MOTIONS.index("run")).sum())
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "cut off: 0.2 of the groups" in page

    again = run(recipe, tmp_path / "run")  # nothing has changed
    assert again.results.run["finished"] == made.results.run["finished"]

    package = bundle(tmp_path / "run" / "artifacts" / "conv--tflite-int8.tflite", out=tmp_path / "bundle")
    golden = json.loads((package.folder / "golden.json").read_text("utf-8"))
    assert "from the test split of csv:" in (package.folder / "README.md").read_text("utf-8") and golden
    assert load_prepared(data.folder).task == "classification"
