"""Models whose answers are numbers: regression, embeddings, tensors. Through every command, each figure again."""

from __future__ import annotations

import csv
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import edgeproof as ep
from edgeproof.core.errors import InputError
from edgeproof.core.formatting import significant
from edgeproof.evaluate.gate import parse_limit
from edgeproof.frameworks import tensorflow
from edgeproof.report.comparison import comparison_table
from edgeproof.report.history_page import render

from ..support.picture_models import linear_model, weights_of
from .test_tasks import QUICK

pytestmark = pytest.mark.slow
SAMPLES = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regressor of two numbers, an embedder and a denoiser of 12 × 10 maps, with their data."""
    tf, keras = tensorflow.fresh(4)
    root, layers = tmp_path_factory.mktemp("numbers"), keras.layers
    made: dict[str, Any] = {}
    for name, values in (("numbers", 2), ("vectors", 6)):
        hidden = layers.Dense(16, activation="relu")
        made[name] = keras.Sequential([layers.Input((8,)), hidden, layers.Dense(values)])
    made["maps"] = keras.Sequential(
        [layers.Input((12, 10, 1)), layers.Conv2D(4, 3, padding="same"), layers.Conv2D(1, 1)]
    )
    made["numbers"].save(root / "numbers.keras")
    for name in ("vectors", "maps"):
        (root / f"{name}.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(made[name]).convert())
    random = np.random.default_rng(2)
    np.save(root / "sensors.npy", random.normal(size=(SAMPLES, 8)).astype(np.float32))
    np.save(root / "noisy.npy", random.normal(size=(SAMPLES, 12, 10, 1)).astype(np.float32))
    return root


def answers_of(path: Path, samples: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for sample in samples:
        interpreter.set_tensor(taken["index"], sample[None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"])[0])
    return np.array(answers)


@cache
def exported(folder: Path, name: str) -> Any:
    x = np.load(folder / ("noisy.npy" if name == "maps" else "sensors.npy"))
    out = folder / f"{name} files"
    (file,) = folder.glob(f"{name}.*")
    return ep.export(file, ["tflite:float32", "tflite:int8"], calibration=(x[:20],), out=out)


def test_a_regressor_is_proved_by_its_error(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "sensors.npy")
    files = exported(folder, "numbers")
    right = answers_of(files["tflite:float32"].path, x)
    y = (right + np.random.default_rng(8).normal(0, 0.2, right.shape)).astype(np.float32)
    run = ep.evaluate(files, (x, y), "local/litert", out=tmp_path / "run", latency=QUICK, budget={"max_drop": 1e-9})
    exact, quantized = run.results.measurements
    errors = {}
    for row, scheme in ((exact, "float32"), (quantized, "int8")):
        error = answers_of(files[f"tflite:{scheme}"].path, x).astype(float) - y
        errors[scheme] = np.abs(error).mean()
        assert (row.metric, row.accuracy, row.samples) == ("MAE", None, SAMPLES)
        assert row.score == pytest.approx(errors[scheme], rel=1e-5)
        assert row.score_low is not None and row.score_high is not None and row.score_low < row.score < row.score_high
        assert row.metrics["RMSE"] == pytest.approx((error**2).mean() ** 0.5, rel=1e-5)
        squared = ((y - y.astype(float).mean(axis=0)) ** 2).sum(axis=0)
        assert row.metrics["R²"] == pytest.approx((1 - (error**2).sum(axis=0) / squared).mean(), rel=1e-5)
    assert quantized.drop == pytest.approx(errors["int8"] - errors["float32"], rel=1e-4), "above 0 it is worse"
    assert run.results.recommendation["artifact"] == exact.artifact and run.results.budget["met"]
    (turned,) = run.results.recommendation["rejected"]
    assert "of MAE" in turned["why"] and "points" not in turned["why"] and "accuracy" not in turned["why"]
    worst = exact.examples[0]
    error = np.abs(right - y).mean(axis=1)
    assert worst.right == ", ".join(significant(float(value)) for value in y[worst.sample])
    assert worst.score < 1 and error[worst.sample] > np.median(error)
    page, words = (run.folder / "report.html").read_text(), (run.folder / "report.md").read_text()
    for text in (page, words):
        assert "Mean absolute error" in text and "points of accuracy" not in text
    assert "drop of MAE" not in words and "| RMSE |" in words
    found = ep.diagnose(files["tflite:int8"].path, data=(x,), samples=SAMPLES, out=tmp_path)
    noise = answers_of(files["tflite:int8"].path, x).astype(float) - right
    expected = 10 * np.log10((right.astype(float) ** 2).sum() / (noise**2).sum())
    assert found.facts["answer_snr_db"] == pytest.approx(expected, abs=0.1), "what moves all values counts, too"
    assert found.agreement is None and found.samples == SAMPLES
    bundle = ep.bundle(files["tflite:int8"], out=tmp_path / "bundle")
    assert json.loads((bundle.folder / "bundle.json").read_text())["file"]["answer_kind"] == "values"
    (table,) = (list(csv.DictReader((run.folder / "results.csv").open(encoding="utf-8"))),)
    assert float(table[0]["score"]) == exact.score and table[0]["accuracy"] == "" and table[0]["metric"] == "MAE"


def test_two_runs_of_a_regressor_are_compared_in_its_unit(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "sensors.npy")
    files = exported(folder, "numbers")
    y = answers_of(files["tflite:float32"].path, x)[:, :1] + np.random.default_rng(8).normal(0, 0.1, (SAMPLES, 2))
    a = ep.evaluate(files, (x, y), "local/litert", out=tmp_path / "a", latency=QUICK, task="regression")
    b = ep.evaluate(files, (x, y + 0.5), "local/litert", out=tmp_path / "b", latency=QUICK)
    compared = ep.compare(a.folder, b.folder, fail_on=["metric_drop > 2 %"])
    cell = compared.cells[0]
    first, second = a.results.measurements[0], b.results.measurements[0]
    assert cell.metric_a == cell.metric_b == "MAE" and (cell.score_a, cell.score_b) == (first.score, second.score)
    assert cell.accuracy is not None and first.score is not None and second.score is not None
    assert cell.accuracy.estimate == pytest.approx(second.score - first.score) and cell.accuracy.verdict == "higher"
    assert compared.gate is not None and compared.gate.verdict == "not met"
    judged = compared.gate.judgements[0]
    assert judged.value == pytest.approx(100 * (second.score / first.score - 1)), "of a, in per cent; more is worse"
    assert judged.low is not None and judged.high is not None and 0 < judged.low < judged.value < judged.high
    same = ep.compare(a.folder, a.folder, fail_on=["metric_drop > 2 %"])
    assert same.gate is not None
    assert [j.verdict for j in same.gate.judgements] == ["met", "met"]
    with pytest.raises(InputError, match="accuracy_drop > 1 points: the metric of the runs is MAE, which is no share"):
        ep.compare(a.folder, b.folder, fail_on=["accuracy_drop > 1 point"])
    assert parse_limit("metric_drop>2%").most == 2
    told = Console(record=True, width=160, file=io.StringIO())
    told.print(comparison_table(compared, 160))
    (columns,) = (line.split() for line in told.export_text().splitlines() if line.startswith("variant"))
    assert columns[2] == "MAE"
    page = render(ep.history([a.folder, b.folder]))
    assert ">MAE<" in page and "Score over 2 runs" in page and "Accuracy" not in page
    points = ep.history([a.folder, b.folder]).series[0].points
    assert [point.score for point in points] == [first.score, second.score] and points[1].quality.name == "MAE"


def test_an_embedder_is_proved_by_what_it_finds(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "sensors.npy")
    files = exported(folder, "vectors")
    exact = answers_of(files["tflite:float32"].path, x)
    y = np.array(["left", "right"])[(exact[:, 0] > exact[:, 1]).astype(int)]
    run = ep.evaluate(files, (x, y), "local/litert", out=tmp_path / "run", latency=QUICK, task="embedding")
    for row, scheme in zip(run.results.measurements, ("float32", "int8"), strict=True):
        given = answers_of(files[f"tflite:{scheme}"].path, x).astype(float)
        unit = given / np.linalg.norm(given, axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -2)
        assert row.metric == "recall@1"
        # Of an int8 file several vectors may be equally near: the share of these counts.
        near = cosines >= cosines.max(axis=1, keepdims=True) - 1e-6
        same = (y[:, None] == y[None]) & near
        assert row.accuracy == pytest.approx((same.sum(axis=1) / near.sum(axis=1)).mean())
        beside = exact.astype(float)
        beside /= np.linalg.norm(beside, axis=1, keepdims=True)
        assert row.metrics["lowest cosine"] == pytest.approx((unit * beside).sum(axis=1).min(), abs=1e-6)


def test_a_denoiser_is_proved_by_its_signal_to_noise_ratio(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "noisy.npy")
    files = exported(folder, "maps")
    y = answers_of(files["tflite:float32"].path, x) + 0.01 * x
    np.savez(tmp_path / "held.npz", x=x, y=y)
    run = ep.evaluate(files, f"npz:{tmp_path / 'held.npz'}", "local/litert", out=tmp_path / "run", latency=QUICK,
                      budget={"max_drop": "50 %"})  # fmt: skip
    ratios = []
    for row, scheme in zip(run.results.measurements, ("float32", "int8"), strict=True):
        noise = answers_of(files[f"tflite:{scheme}"].path, x).astype(float) - y
        ratios.append(10 * np.log10((y.astype(float) ** 2).sum() / (noise**2).sum()))
        assert (row.metric, row.accuracy) == ("SNR", None) and row.score == pytest.approx(ratios[-1], rel=1e-4)
    lost = ratios[0] - ratios[1]
    assert run.results.measurements[1].drop == pytest.approx(lost, rel=1e-3)
    assert json.loads((run.folder / "results.json").read_text())["budget"]["asked"]["max_drop"] == "50 %"
    assert "dB" in (run.folder / "report.md").read_text()
    worst = run.results.measurements[1].examples[0]
    assert worst.reference_score is not None and worst.reference_score > worst.score
    assert (run.folder / worst.picture).read_bytes().startswith(b"\xff\xd8\xff"), "its curve"


def test_what_does_not_fit_says_so(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "sensors.npy")
    files = exported(folder, "numbers")
    with pytest.raises(InputError, match="y has 3 values for each sample, and the model answers with 2"):
        ep.evaluate(files, (x, np.full((SAMPLES, 3), 0.5)), out=tmp_path / "run", task="regression")
    for limit, words in (({"max_drop": "much"}, "neither a number nor a part"), ({"max_drop": -1}, "0 or more"),
                         ({"max_drop": 1, "max_accuracy_drop": 0.1}, "limit the same")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            ep.evaluate(files, (x, np.full((SAMPLES, 2), 0.5)), out=tmp_path / "run", budget=limit)
    with pytest.raises(
        InputError, match=r"min_accuracy is a share, and the metric of the task regression is MAE"
    ) as refused:
        ep.evaluate(files, (x, np.full((SAMPLES, 2), 0.5)), "local/litert", out=tmp_path / "run", latency=QUICK,
                    budget={"min_accuracy": 0.9, "max_drop": 1})  # fmt: skip
    assert '"MAE <= 0.5"' in refused.value.remedy
    assert not list((tmp_path / "run").rglob("results.json")), "nothing was measured"


def test_folders_say_what_an_embedder_is_to_find(tmp_path: Path) -> None:
    """Classes of a labelled source are targets of the task, whatever the file's own are."""
    random, shape = np.random.default_rng(3), (6, 5, 3)
    pictures = random.integers(0, 256, (24, *shape), dtype=np.uint8)
    classes = np.sort(np.arange(24) % 3)  # in the order in which folders are read
    for number, (picture, of) in enumerate(zip(pictures, classes, strict=True)):
        place = tmp_path / "photos" / f"who {of}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{number:02d}.png")
    file = tmp_path / "faces.tflite"
    file.write_bytes(linear_model(shape))
    source = f"folder:{tmp_path / 'photos'}"
    run = ep.evaluate(file, source, "local/litert", out=tmp_path / "run", latency=QUICK, value_range=(0, 1),
                      task="embedding")  # fmt: skip
    (row,) = run.results.measurements
    logits = (pictures.reshape(24, -1) / 255) @ (weights_of(shape).astype(float) * 0.002).T
    given = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cosines = given @ given.T / np.outer(np.linalg.norm(given, axis=1), np.linalg.norm(given, axis=1))
    np.fill_diagonal(cosines, -2)
    assert row.metric == "recall@1" and row.samples == 24
    assert row.accuracy == pytest.approx((classes[cosines.argmax(axis=1)] == classes).mean())
    with pytest.raises(InputError, match="has no targets of the task regression"):
        ep.evaluate(file, source, "local/litert", out=tmp_path / "no", value_range=(0, 1), task="regression")


def test_a_file_without_a_sidecar_takes_arrays_where_the_data_are_some(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.array([[1.0], [2.0], [-1.0], [0.5]], np.float32)
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in (("x", 4), ("y", 1))]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", edges[:1], edges[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    random = np.random.default_rng(5)
    x = random.normal(size=(40, 4)).astype(np.float32)
    y = (x @ weights)[:, 0] * 100
    np.savez(tmp_path / "d.npz", x=x, y=y.round() + 500)
    options: Any = {"latency": QUICK, "out": tmp_path / "run"}
    with pytest.raises(InputError, match="answers with 1 value") as refused:
        ep.evaluate(tmp_path / "m.onnx", (x, y.round().astype(int) + 500), "local/onnxruntime", **options)
    assert "--task regression" in refused.value.remedy
    run = ep.evaluate(
        tmp_path / "m.onnx", f"npz:{tmp_path / 'd.npz'}", "local/onnxruntime", task="regression", **options
    )
    (row,) = run.results.measurements
    assert row.score == pytest.approx(np.abs((x @ weights)[:, 0] - (y.round() + 500)).mean(), rel=1e-5)
    assert "MAE on all samples of the source" in (run.folder / "report.md").read_text()
