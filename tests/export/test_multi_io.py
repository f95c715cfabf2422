"""Files with several inputs and outputs: names are kept, samples are fed by name, answers are found by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof import quantize
from edgeproof.core.artifact import Artifact
from edgeproof.core.dataset import PreparedData
from edgeproof.core.measurement import Measurement
from edgeproof.core.model import InputContract, Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate, Export
from edgeproof.core.runner import Outcome, Runner
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.core.variant import Variant
from edgeproof.devices import open_runner
from edgeproof.devices.runtimes import installed_versions
from edgeproof.evaluate.measure import measure
from edgeproof.export import export, inspect, tflite
from edgeproof.export import reference as float_artifact

from ..support.serving import served

pytestmark = pytest.mark.slow
RUNTIMES = {
    "tensorflow": "savedmodel", "litert": "tflite", "tflite-runtime": "tflite", "onnxruntime": "onnx",
    "openvino": "tflite",
}  # fmt: skip
PRECISION = {"openvino": 0.05}  # it computes in bfloat16 on processors that have it
WEIGHTS = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)


def saved_model(folder: Path, function: Callable[..., dict[str, Any]], **inputs: tuple[tuple[int, ...], str]) -> Path:
    """Save a function of named tensors as a frozen SavedModel with one signature."""
    import tensorflow as tf

    specs = [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in inputs.items()]
    module = tf.Module()
    module.serve = tf.function(function, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


def model(folder: Path, contract: InputContract, answer: str, labels: tuple[str, ...] = ()) -> Model:
    return Model("two", "file:somebody.s", folder, "0" * 64, labels, contract, 0.0, answer=answer)


def lopsided(right: Any, left: Any) -> dict[str, Any]:
    """Swapping the inputs changes the answer, and the answer is not the first output in any order."""
    import tensorflow as tf

    logits = tf.matmul(left * 2.0 - tf.nn.relu(right), tf.constant(WEIGHTS))
    return {
        "scores": tf.nn.softmax(logits),
        "a_grid": tf.reshape(tf.concat([left, right], 1), (1, 2, 2, 2)),
        "z_sum": tf.reduce_sum(logits, axis=1),
    }


def expected(samples: NDArray[Any], answer: str = "scores") -> NDArray[np.float32]:
    left, right = samples["left"], samples["right"]
    logits = (left * 2 - np.maximum(right, 0)) @ WEIGHTS
    if answer == "a_grid":
        grid: NDArray[np.float32] = np.concatenate([left, right], axis=1)
        return grid
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return scores


@dataclass(frozen=True)
class Two:
    """The model of two inputs and three outputs, its samples, and its files by format."""

    model: Model
    inputs: Path
    samples: NDArray[Any]
    files: dict[str, Artifact]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    folder = tmp_path_factory.mktemp("two")
    path = saved_model(folder / "saved_model", lopsided, right=((1, 4), "float32"), left=((1, 4), "float32"))
    contract = InputContract("left", (1, 4), "float32", kind="tensor")
    imported = model(path, contract, "scores")
    samples = np.zeros(40, dtype=[("left", np.float32, (4,)), ("right", np.float32, (4,))])
    random = np.random.default_rng(1)
    samples["left"], samples["right"] = random.normal(size=(2, 40, 4))
    np.save(folder / "test.npy", samples)
    files = {
        format_: export(imported, Variant(format_, "float32"), options=Export(), folder=folder)
        for format_ in ("tflite", "onnx")
    }
    return Two(imported, folder / "test.npy", samples, {**files, "savedmodel": float_artifact(imported)})


def runner(artifact: Artifact, runtime: str) -> Runner:
    if not installed_versions()[runtime]:
        pytest.skip(f"{runtime} is not installed in this Python")
    return open_runner(artifact, Target("local", runtime), timeout_seconds=120)


def answers(run: Runner, inputs: Path, folder: Path, count: int) -> NDArray[np.float32]:
    outcome = run.infer(inputs, folder / "answers.npy", 0, count)
    assert outcome.ok, outcome.reason
    values: NDArray[np.float32] = np.load(folder / "answers.npy")
    assert values.dtype == np.float32 and values.ndim == 2
    return values


def test_files_keep_all_names(two: Two) -> None:
    for format_ in ("tflite", "onnx"):
        artifact = two.files[format_]
        assert artifact.status == "ok", artifact.reason
        assert {i.name: (i.shape, i.dtype) for i in artifact.inputs} == {
            "left": ((1, 4), "float32"),
            "right": ((1, 4), "float32"),
        }
        shapes = {o.name: o.shape for o in artifact.outputs}
        assert shapes == {"scores": (1, 3), "a_grid": (1, 2, 2, 2), "z_sum": (1,)}
        assert artifact.answer == "scores" and artifact.labels == () and artifact.tokenizer is None
    assert two.files["onnx"].outputs[0].name == "scores", "who takes an ONNX file's first output gets the answer"


@pytest.mark.parametrize(
    ("runtime", "answer"), [*((name, "scores") for name in RUNTIMES), ("litert", "a_grid"), ("onnxruntime", "a_grid")]
)
def test_every_runtime_feeds_and_answers_by_name(two: Two, tmp_path: Path, runtime: str, answer: str) -> None:
    artifact = replace(two.files[RUNTIMES[runtime]], answer=answer)
    outputs = answers(runner(artifact, runtime), two.inputs, tmp_path, 40)
    np.testing.assert_allclose(outputs, expected(two.samples, answer), atol=PRECISION.get(runtime, 1e-5))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_timing_needs_no_more_than_names(two: Two, runtime: str) -> None:
    with served(runner(two.files[RUNTIMES[runtime]], runtime), two.inputs) as server:
        assert server.ask({"do": "open"}).ok
        timed = server.ask({"do": "burst", "runs": 5, "sample": 3})
    assert timed.ok, timed.reason
    assert len(timed.data["runs_ms"]) == 5 and "tokenize_ms" not in timed.data


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_does_not_fit_is_said(two: Two, tmp_path: Path, runtime: str) -> None:
    artifact = two.files[RUNTIMES[runtime]]
    np.save(tmp_path / "one.npy", two.samples["left"])
    half = runner(artifact, runtime).load(tmp_path / "one.npy")
    assert half.status == "unsupported" and half.remedy
    assert "left" in half.reason and "right" in half.reason
    lost = runner(replace(artifact, answer="gone"), runtime).load(two.inputs)
    assert lost.status == "unsupported" and "gone" in lost.reason and "z_sum" in lost.reason and lost.remedy


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_a_file_without_signature_is_fed_by_its_tensors_names(two: Two, tmp_path: Path, runtime: str) -> None:
    """Files of older converters have none; TensorFlow's decoration of the names is seen through."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    assert two.files["tflite"].path is not None
    content = schema.ModelT.InitFromPackedBuf(two.files["tflite"].path.read_bytes(), 0)
    content.signatureDefs = []
    builder = flatbuffers.Builder()
    builder.Finish(content.Pack(builder), b"TFL3")
    path = tmp_path / "old.tflite"
    path.write_bytes(builder.Output())
    contents = inspect(path)
    assert {i.name for i in contents.inputs} == {"serving_default_left:0", "serving_default_right:0"}
    name = next(o.name for o in contents.outputs if o.shape == (1, 3))
    old = replace(two.files["tflite"], path=path, answer=name)
    outputs = answers(runner(old, runtime), two.inputs, tmp_path, 40)
    np.testing.assert_allclose(outputs, expected(two.samples), atol=1e-5)


def test_one_model_gives_one_onnx_file(two: Two, tmp_path: Path) -> None:
    again = export(two.model, Variant("onnx", "float32"), options=Export(), folder=tmp_path)
    assert again.sha256 == two.files["onnx"].sha256


def test_calibrating_once_changes_no_byte_with_several_inputs(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> dict[str, bytes]:
        schemes = ("int8", "int8-int8io", "int16x8")
        return {s: tflite.convert(two.model, Variant("tflite", s).scheme, Export(), two.samples)[0] for s in schemes}

    once = make()
    monkeypatch.setattr(tflite, "calibrate_once", lambda _: nullcontext())
    assert make() == once


def test_quantized_inputs_and_outputs_are_each_scaled_by_their_own(two: Two, tmp_path: Path) -> None:
    artifact = export(
        two.model, Variant("tflite", "int8-int8io"), options=Export(), folder=tmp_path, calibration=two.inputs
    )
    assert artifact.status == "ok" and {i.dtype for i in artifact.inputs} == {"int8"}
    for runtime in ("litert", "tflite-runtime"):
        if installed_versions()[runtime]:
            outputs = answers(runner(artifact, runtime), two.inputs, tmp_path, 40)
            np.testing.assert_allclose(outputs, expected(two.samples), atol=0.1)


def test_calibration_without_one_of_the_inputs_is_a_row(two: Two, tmp_path: Path) -> None:
    np.save(tmp_path / "calibration.npy", two.samples[["left"]])
    artifact = export(
        two.model, Variant("tflite", "int8"), options=Export(), folder=tmp_path,
        calibration=tmp_path / "calibration.npy",
    )  # fmt: skip
    assert artifact.status == "failed" and "'right'" in artifact.reason and artifact.remedy


def test_names_that_onnx_cannot_hold_are_a_row(tmp_path: Path) -> None:
    path = saved_model(tmp_path / "saved_model", lambda x: {"x": x + 1.0}, x=((1, 4), "float32"))
    contract = InputContract("x", (1, 4), "float32", kind="tensor")
    artifact = export(model(path, contract, "x"), Variant("onnx", "float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "failed" and "both called 'x'" in artifact.reason


def test_an_operator_without_counterpart_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    path = saved_model(tmp_path / "saved_model", lambda x: {"y": tf.math.betainc(x, x, x)}, x=((1, 4), "float32"))
    contract = InputContract("x", (1, 4), "float32", kind="tensor")
    artifact = export(model(path, contract, "y"), Variant("onnx", "float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "failed" and "Betainc" in artifact.reason and "TFLite" in artifact.remedy
    artifact = export(model(path, contract, "y"), Variant("tflite", "float32"), options=Export(), folder=tmp_path)
    assert artifact.reason == "operator tf.Betainc has no TFLite kernel" and artifact.remedy


def test_improper_names_and_loops_survive_onnx(tmp_path: Path) -> None:
    """A name that TensorFlow changes, an output called as an inner tensor may be, a graph nested in the graph."""
    import tensorflow as tf

    def loop(x: Any) -> dict[str, Any]:
        def body(i: Any, y: Any) -> tuple[Any, Any]:
            return i + 1, y * 1.5 + x

        rounds = tf.cast(tf.reduce_sum(tf.abs(x)), tf.int32)
        return {"out/a-b.c": tf.while_loop(lambda i, _: i < rounds, body, (0, x))[1], "input_0": x * 2.0}

    path = saved_model(tmp_path / "saved_model", loop, x=((1, 4), "float32"))
    contract = InputContract("x", (1, 4), "float32", kind="tensor")
    imported = model(path, contract, "out/a-b.c")
    artifact = export(imported, Variant("onnx", "float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "ok", artifact.reason
    assert [i.name for i in artifact.inputs] == ["x"]
    assert [o.name for o in artifact.outputs] == ["out/a-b.c", "input_0"]
    samples = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.save(tmp_path / "in.npy", samples)
    outputs = answers(runner(artifact, "onnxruntime"), tmp_path / "in.npy", tmp_path, 5)
    reference = answers(runner(float_artifact(imported), "tensorflow"), tmp_path / "in.npy", tmp_path, 5)
    np.testing.assert_allclose(outputs, reference, rtol=1e-5)


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Artifact]]:
    """Pictures in a file, and files that answer with the mean of each channel of what they are fed, from -1 to 1."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("means")
    path = saved_model(
        folder / "saved_model",
        lambda picture: {"means": tf.reduce_mean(picture, axis=(1, 2))},
        picture=((1, 8, 8, 3), "float32"),
    )
    contract = InputContract("picture", (1, 8, 8, 3), "float32", -1.0, 1.0)
    means = model(path, contract, "means")
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    images[0], images[1] = 0, 255
    np.save(folder / "in.npy", images)
    files = {
        name: export(means, Variant.parse(name), options=Export(), folder=folder, calibration=folder / "in.npy")
        for name in ("tflite:float32", "tflite:int8-uint8io", "onnx:float32")
    }
    return folder / "in.npy", {**files, "savedmodel:float32": float_artifact(means)}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pixels_are_mapped_onto_the_models_range(
    means: tuple[Path, dict[str, Artifact]], tmp_path: Path, runtime: str
) -> None:
    inputs, files = means
    expected = (np.load(inputs) / 127.5 - 1).mean(axis=(1, 2))
    outputs = answers(runner(files[f"{RUNTIMES[runtime]}:float32"], runtime), inputs, tmp_path, 6)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    if RUNTIMES[runtime] == "tflite":
        quantized = files["tflite:int8-uint8io"]
        assert quantized.inputs[0].scale == pytest.approx(2 / 255, rel=1e-3), "calibration saw the mapped pixels"
        outputs = answers(runner(quantized, runtime), inputs, tmp_path, 6)
        np.testing.assert_allclose(outputs, expected, atol=0.03)


def measured(
    runners: list[Runner], data: PreparedData, folder: Path, references: dict[str, str], **more: Any
) -> tuple[dict[tuple[str, str], Measurement], dict[tuple[str, str], NDArray[np.int64]]]:
    rows: dict[tuple[str, str], Measurement] = {}

    def keep(row: Measurement) -> None:
        rows[row.artifact, row.target] = row

    settings = Evaluate.model_validate({"latency": {"processes": 1, "warmup_seconds": 0.01, "run_seconds": 0.01}})
    by_cell = measure(
        runners, data, references=references, settings=settings, seed=1, cores=2, store=Store(folder / "store"),
        raw_folder=folder / "raw", listener=Silent(), on_row=keep, **more,
    )  # fmt: skip
    return rows, by_cell


def tensors(inputs: Path, count: int) -> PreparedData:
    return PreparedData(inputs.parent, "mine", (), 0, 0, "", {"test": count}, "1" * 64, kind="tensor")


def test_without_classes_there_is_agreement_and_no_accuracy(two: Two, tmp_path: Path) -> None:
    reference = two.files["savedmodel"]
    runners = [runner(two.files[f], r) for r, f in RUNTIMES.items() if installed_versions()[r]]
    data = tensors(two.inputs, 40)
    rows, by_cell = measured(runners, data, tmp_path, {"two": reference.id}, untimed=(two.files["onnx"].id,))
    assert by_cell.keys() == rows.keys() and len(rows) == len(runners)
    for key, row in rows.items():
        assert row.status == "ok", row.reason
        assert row.accuracy is row.accuracy_low is row.drop is None
        assert row.samples == 40 and row.agreement == 1.0
        assert row.difference is not None and row.difference < PRECISION.get(row.runtime, 1e-5)
        assert (row.latency_ms is None) == (row.artifact == two.files["onnx"].id)
        assert by_cell[key].scores is None and (by_cell[key].likeness == 1).all()


def test_an_answer_of_one_value_has_a_difference_and_no_class(two: Two, tmp_path: Path) -> None:
    imported = replace(two.model, answer="z_sum")
    reference = float_artifact(imported)
    runners = [runner(reference, "tensorflow"), runner(replace(two.files["tflite"], answer="z_sum"), "litert")]
    rows, by_cell = measured(runners, tensors(two.inputs, 40), tmp_path, {"two": reference.id}, untimed=(reference.id,))
    row = rows[two.files["tflite"].id, "local/litert"]
    assert row.status == "ok" and row.agreement is None and row.accuracy is None
    assert row.difference is not None and row.difference < 1e-5
    assert all(answer.scores is None for answer in by_cell.values())


def test_another_data_set_is_loaded_again(two: Two, tmp_path: Path) -> None:
    """Tensors of a wrong shape are refused; the next data set must not inherit that."""
    np.save(tmp_path / "test.npy", np.zeros(3, dtype=[("left", np.float32, (5,)), ("right", np.float32, (4,))]))
    reference = two.files["savedmodel"]
    wrong = replace(tensors(tmp_path / "test.npy", 3), sha256="2" * 64)
    rows, _ = measured([runner(two.files["tflite"], "litert")], wrong, tmp_path, {"two": reference.id})
    assert [row.status for row in rows.values()] == ["failed"] and all(row.reason for row in rows.values())
    rows, _ = measured([runner(two.files["tflite"], "litert")], tensors(two.inputs, 40), tmp_path, {})
    assert [row.status for row in rows.values()] == ["ok"]


def test_tensors_without_classes_are_drawn_at_random(two: Two, tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", two.samples)
    data = PreparedData(tmp_path, "mine", (), 0, 0, "", {"train": 40}, "1" * 64, kind="tensor")
    folders = [tmp_path / str(i) for i in range(3)]
    for folder in folders:
        folder.mkdir()
    first, second, other = (
        quantize.draw(data, 10, seed, folder) for seed, folder in zip((1, 1, 2), folders, strict=True)
    )
    drawn = np.load(first.images)
    assert drawn.dtype == two.samples.dtype and len(drawn) == first.count == 10 and first.per_class == {}
    assert all(sample in two.samples for sample in drawn)
    assert first.sha256 == second.sha256 != other.sha256
    assert quantize.load(folders[0]) == first


def test_an_answer_whose_size_changes_is_a_failure(tmp_path: Path) -> None:
    import tensorflow as tf

    path = saved_model(tmp_path / "saved_model", lambda x: {"y": tf.boolean_mask(x, x > 0)}, x=((1, 4), "float32"))
    frozen_model = model(path, InputContract("x", (1, 4), "float32", kind="tensor"), "y")
    np.save(tmp_path / "in.npy", np.array([[1, 1, 1, 1], [1, -1, -1, -1]], np.float32))
    run = runner(float_artifact(frozen_model), "tensorflow")
    outcome: Outcome = run.infer(tmp_path / "in.npy", tmp_path / "out.npy", 0, 2)
    assert outcome.status == "failed" and "4 values, then 1" in outcome.reason
