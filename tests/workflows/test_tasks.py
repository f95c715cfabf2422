"""Models that are no classifiers of one class in several: through every command, each figure computed again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeproof as ep
from edgeproof.core.errors import InputError
from edgeproof.frameworks import tensorflow
from edgeproof.tasks.drawing import palette

from ..support.external_imports import Heard
from ..support.metrics import average_precision, mean_iou

pytestmark = pytest.mark.slow
QUICK = {"processes": 1, "max_seconds": 0, "run_seconds": 0.02, "warmup_seconds": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net with two outputs, a tagger and a one-sigmoid classifier, with their data."""
    tf, keras = tensorflow.fresh(3)
    root, layers = tmp_path_factory.mktemp("tasks"), keras.layers
    picture = layers.Input((16, 16, 3))
    wide = layers.Conv2D(8, 3, padding="same", activation="relu")(picture)
    deep = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPool2D()(wide))
    joined = layers.Concatenate()([layers.UpSampling2D()(deep), wide])
    mask = layers.Conv2D(3, 1, activation="softmax", name="mask")(joined)
    edge = layers.Conv2D(1, 1, activation="sigmoid", name="edge")(joined)
    keras.Model(picture, [mask, edge]).save(root / "unet.keras")
    for name, values in (("tags", 5), ("yes", 1)):
        hidden = layers.Dense(16, activation="relu")
        model = keras.Sequential([layers.Input((8,)), hidden, layers.Dense(values, activation="sigmoid")])
        (root / f"{name}.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    random = np.random.default_rng(1)
    np.save(root / "pictures.npy", random.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8))
    np.save(root / "maps.npy", random.integers(0, 3, (40, 16, 16)))
    np.save(root / "sensors.npy", random.normal(size=(60, 8)).astype(np.float32))
    np.save(root / "tagged.npy", (random.random((60, 5)) < 0.4).astype(int))
    return root


def answers_of(path: Path, samples: np.ndarray, values: int) -> np.ndarray:
    """What LiteRT answers in the output of so many values, one sample after another."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()
    chosen = next(one for one in given if one["shape"][-1] == values)
    answers = []
    for sample in samples:
        interpreter.set_tensor(taken["index"], sample[None].astype(np.float32))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(chosen["index"])[0])
    return np.array(answers)


def evaluated(folder: Path, name: str, x: np.ndarray, y: np.ndarray, out: Path, **options: Any) -> tuple[Any, ep.Run]:
    files = ep.export(folder / name, ["tflite:float32", "tflite:int8"], calibration=(x[:20],),
                      out=out / "files", **options)  # fmt: skip
    return files, ep.evaluate(files, data=(x, y), targets="local/litert", out=out / "run", latency=QUICK)


def test_a_segmenter_with_two_outputs_is_proved_by_its_maps(folder: Path, tmp_path: Path) -> None:
    x, y = np.load(folder / "pictures.npy"), np.load(folder / "maps.npy")
    files, run = evaluated(folder, "unet.keras", x, y, tmp_path, value_range=(0, 1))
    exact, quantized = run.results.measurements
    for row, scheme in ((exact, "float32"), (quantized, "int8")):
        given = answers_of(files[f"tflite:{scheme}"].path, x / 255, 3)
        each = mean_iou(given.argmax(axis=-1), y, 255)
        assert (row.metric, row.samples) == ("mean IoU", 40)
        assert row.accuracy == pytest.approx(np.mean(list(each.values())), abs=2e-3)
        assert row.metrics["pixel accuracy"] == pytest.approx((given.argmax(axis=-1) == y).mean(), abs=2e-3)
    assert exact.accuracy is not None and quantized.accuracy is not None
    assert quantized.drop == pytest.approx(exact.accuracy - quantized.accuracy)
    assert quantized.agreement_by == "class of each element"
    assert run.results.data["report"].get("classes") is None
    page, words = (run.folder / "report.html").read_text(), (run.folder / "report.md").read_text()
    assert "Mean IoU</strong> is the mean over classes" in page and "Wilson" not in page.partition('id="method"')[2]
    assert "mean IoU to be had" in page and "IoU 2" in page
    assert "| IoU 2 |" in words and "Mean IoU (95 % interval)" in words
    assert json.loads((run.folder / "results.json").read_text())["measurements"][0]["metric"] == "mean IoU"
    exact_answers, given = (answers_of(files[f"tflite:{name}"].path, x / 255, 3) for name in ("float32", "int8"))
    right = [(one.argmax(axis=-1) == y).mean(axis=(1, 2)) for one in (exact_answers, given)]
    falls = right[0] - right[1]
    worst = quantized.examples[0]
    assert 0 < len(quantized.examples) <= 12 and falls[worst.sample] == pytest.approx(falls.max(), abs=6e-3)
    assert worst.score == pytest.approx(right[1][worst.sample], abs=6e-3) and worst.reference_score is not None
    drawing = Image.open(run.folder / worst.picture)
    assert drawing.size == (4 * 96 + 3 * 4, 96), "the picture, what is right, the float model's map and the file's"
    true = 0.4 * x[worst.sample, 8, 8] + 0.6 * palette(np.array([y[worst.sample, 8, 8]]))[0]
    assert np.abs(np.array(drawing.getpixel((100 + 51, 51))) - true).max() < 60, "its class's colour (a JPEG)"
    assert "What is answered worst" in page and page.count("data:image/jpeg;base64") >= 2
    again = ep.evaluate(files, data=(x, y), targets="local/litert", out=tmp_path / "again", latency=QUICK)
    compared = ep.compare(run.folder, again.folder)
    assert [cell.accuracy.estimate for cell in compared.cells if cell.accuracy] == [0.0, 0.0]
    bundle = ep.bundle(files["tflite:int8"], out=tmp_path / "bundle")
    assert bundle.folder.is_dir()
    found = ep.diagnose(files["tflite:int8"].path, data=(x,), samples=40, out=tmp_path)
    same = exact_answers.argmax(axis=-1) == given.argmax(axis=-1)
    assert found.samples == 40 and found.agreement == pytest.approx(same.mean(), abs=2e-3), "pixel by pixel"


def test_a_tagger_is_proved_by_its_tags(folder: Path, tmp_path: Path) -> None:
    x, y = np.load(folder / "sensors.npy"), np.load(folder / "tagged.npy")
    files, run = evaluated(folder, "tags.tflite", x, y, tmp_path)
    for row, scheme in zip(run.results.measurements, ("float32", "int8"), strict=True):
        given = answers_of(files[f"tflite:{scheme}"].path, x, 5)
        expected = np.mean([average_precision(given[:, tag], y[:, tag]) for tag in range(5)])
        assert row.metric == "mAP" and row.accuracy == pytest.approx(expected, abs=1e-6)
        right = ((given >= 0.5) & (y == 1)).sum(axis=0)
        f1 = 2 * right / ((given >= 0.5).sum(axis=0) + y.sum(axis=0))
        assert [row.metrics[f"F1 {tag}"] for tag in range(5)] == pytest.approx(f1.tolist())
    assert run.results.measurements[1].agreement_by == "side of one half of each element"
    worst = run.results.measurements[0].examples[0]
    named = [str(tag) for tag in np.flatnonzero(y[worst.sample])]
    assert worst.right == (", ".join(named) or "no tag") and not worst.picture
    found = ep.diagnose(files["tflite:int8"].path, data=(x,), samples=60, out=tmp_path)
    sides = [answers_of(files[f"tflite:{name}"].path, x, 5) >= 0.5 for name in ("float32", "int8")]
    assert found.agreement == pytest.approx((sides[0] == sides[1]).mean()), "tag by tag"
    np.savez(tmp_path / "held out.npz", x=x, y=y)
    source = f"npz:{tmp_path / 'held out.npz'}"
    from_file = ep.evaluate(files["tflite:int8"].path, source, "local/litert", out=tmp_path / "npz", latency=QUICK)
    row, again = run.results.measurements[1], from_file.results.measurements[0]
    assert (again.metric, again.accuracy, again.metrics) == (row.metric, row.accuracy, row.metrics)
    assert from_file.results.data["source"] == source
    with pytest.raises(InputError, match="has no targets of the task multilabel"):
        ep.evaluate(files, f"npy:{folder / 'sensors.npy'}", "local/litert", out=tmp_path / "no", task="multilabel")


def test_one_sigmoid_is_a_classifier_of_two_classes(folder: Path, tmp_path: Path) -> None:
    x, y = np.load(folder / "sensors.npy"), np.load(folder / "tagged.npy")[:, 0]
    files, run = evaluated(folder, "yes.tflite", x, y, tmp_path)
    for row, scheme in zip(run.results.measurements, ("float32", "int8"), strict=True):
        given = answers_of(files[f"tflite:{scheme}"].path, x, 1)[:, 0] >= 0.5
        assert row.metric == "accuracy" and row.accuracy == pytest.approx((given == y).mean())
    exact, quantized = (answers_of(files[f"tflite:{scheme}"].path, x, 1)[:, 0] >= 0.5 for scheme in ("float32", "int8"))
    assert run.results.measurements[1].agreement == pytest.approx((exact == quantized).mean())
    with pytest.raises(InputError, match="multilabel: y has the shape"):
        ep.evaluate(files, data=(x, y), out=tmp_path / "wrong", task="multilabel")
    with pytest.raises(InputError, match="there is no task 'tagging'"):
        ep.evaluate(files, data=(x, y), out=tmp_path / "wrong", task="tagging")
    with pytest.raises(InputError, match="NaN or infinity in 1 samples, the first is 3"):
        ep.evaluate(files, data=(x, np.where(np.arange(60)[:, None] == 3, np.nan, np.ones((60, 5)))),
                    out=tmp_path / "wrong", task="multilabel")  # fmt: skip
    with pytest.raises(InputError, match="59 entries for 60 samples"):
        ep.evaluate(files, data=(x, y[1:]), out=tmp_path / "wrong")


def test_maps_of_three_classes_are_not_scored_by_one_sigmoid(tmp_path: Path) -> None:
    """The first of two outputs tells two classes apart: the row says so, instead of an IoU of 0 for the third."""
    import onnx
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 6, 4, 3 if name == "x" else 1))
              for name in ("x", "edge", "other")]  # fmt: skip
    axes = helper.make_tensor("axes", TensorProto.INT64, (1,), [3])
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["grey"]),
        helper.make_node("Div", ["grey", "most"], ["edge"]),
        helper.make_node("Identity", ["edge"], ["other"]),
    ]
    most = helper.make_tensor("most", TensorProto.FLOAT, (), [255.0])
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [axes, most])
    path = tmp_path / "edges.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    x = np.random.default_rng(1).integers(0, 256, (9, 6, 4, 3), dtype=np.uint8)
    two, three = (np.random.default_rng(2).integers(0, classes, (9, 6, 4)) for classes in (2, 3))
    run = ep.evaluate(path, (x, three), "local/onnxruntime", out=tmp_path / "three", latency=QUICK)
    (row,) = run.results.measurements
    assert row.status == "failed" and "one sigmoid or logit (of two classes)" in row.reason and row.accuracy is None
    heard = Heard()
    run = ep.evaluate(path, (x, two), "local/onnxruntime", out=tmp_path / "two", latency=QUICK, progress=heard)
    each = mean_iou((x.mean(axis=-1) / 255 >= 0.5).astype(int), two, 255)
    assert run.results.measurements[0].accuracy == pytest.approx(np.mean(list(each.values())))
    assert any("its metric mean IoU; of several outputs edge is judged" in note for note in heard.notes)
