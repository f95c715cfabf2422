"""Float ``.tflite`` files as people have them: open shapes, samples of few values, loops; and files far from float."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli.main import status as _status
from edgeproof.core.errors import InputError
from edgeproof.core.remedies import CannotMakeError
from edgeproof.core.target import Target
from edgeproof.core.variant import SCHEMES
from edgeproof.devices import open_runner
from edgeproof.export import agreement, chosen_shapes, fix_shapes, in_process, quantizer, samples
from edgeproof.export.inspect import inspect
from edgeproof.export.ranges import METHODS, MIN_MAX, MOVING_AVERAGE
from edgeproof.frameworks import tensorflow
from edgeproof.tasks.classification import Classification
from edgeproof.tflite import objects
from edgeproof.tflite.storage import storage
from edgeproof.workflows import model_files as cli_files

pytestmark = pytest.mark.slow
INT8, INT16 = SCHEMES["tflite"]["int8"], SCHEMES["tflite"]["int16x8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as ``from_keras_model`` writes them: a regression of 8 sensors, a picture of any size, an LSTM, a GRU."""
    tf, keras = tensorflow.fresh(7)
    root = tmp_path_factory.mktemp("supplied")
    layers = keras.layers

    def write(name: str, model: Any) -> None:
        (root / name).write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())

    sensors = keras.Sequential([layers.Dense(16, activation="relu", input_shape=(8,)), layers.Dense(1)])
    write("sensors.tflite", sensors)
    # Heavier tails than the normal distribution's, as measured values have them.
    values = np.random.default_rng(1).standard_t(6, (300, 8)).astype(np.float32)
    np.save(root / "sensors.npy", values)
    picture = [layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", input_shape=(None, None, 3))]
    write("picture.tflite", keras.Sequential([*picture, layers.GlobalAveragePooling2D(), layers.Dense(3)]))
    for kind in ("LSTM", "GRU"):
        model = keras.Sequential([getattr(layers, kind)(8, input_shape=(6, 3)), layers.Dense(2)])
        one = tf.function(model).get_concrete_function(tf.TensorSpec((1, 6, 3)))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([one], model)
        (root / f"{kind.lower()}.tflite").write_bytes(converter.convert())
    module, matrix = tf.Module(), np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
    module.state = tf.Variable(tf.zeros((1, 4)))

    def remember(x: Any) -> Any:
        module.state.assign(module.state * 0.5 + x)
        return {"y": tf.matmul(module.state, matrix)}

    module.serve = tf.function(remember, input_signature=[tf.TensorSpec((1, 4), name="x")])
    tf.saved_model.save(module, str(root / "state"), signatures=module.serve.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(root / "state"))
    converter.experimental_enable_resource_variables = True
    (root / "state.tflite").write_bytes(converter.convert())
    np.save(root / "matrix.npy", matrix)
    # One input is a thousand times the other, and does not matter: eight bits have no room for both.
    scaled = tf.function(lambda x: tf.matmul(x, [[1e-5], [1.0]]))
    one = scaled.get_concrete_function(tf.TensorSpec((1, 2), name="x"))
    content = tf.lite.TFLiteConverter.from_concrete_functions([one]).convert()
    (root / "scaled.tflite").write_bytes(content)
    np.save(root / "scaled.npy", (np.random.default_rng(4).normal(size=(80, 2)) * [1000, 1]).astype(np.float32))
    np.save(root / "windows.npy", np.random.default_rng(2).normal(size=(40, 6, 3)).astype(np.float32))
    return root


@pytest.fixture
def edgeproof(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in this process, and returns what it printed."""

    def run(*arguments: object, status: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["edgeproof", *map(str, arguments)])
        outcome = _status()
        out, err = capfd.readouterr()
        assert outcome == status, out + err
        return str(out + err)

    return run


def answers(content: bytes, inputs: Any) -> Any:
    """A file's one output for each sample, by LiteRT's plain interface."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    values = []
    for sample in inputs:
        interpreter.set_tensor(takes["index"], sample[None])
        interpreter.invoke()
        values.append(interpreter.get_tensor(gives["index"])[0])
    return np.array(values)


def test_an_open_batch_is_fixed_and_few_values_keep_their_tails(folder: Path, tmp_path: Path, edgeproof: Any) -> None:
    path, values = folder / "sensors.tflite", np.load(folder / "sensors.npy")
    signature = objects.read(path.read_bytes()).subgraphs[0].tensors[0].shapeSignature
    assert list(signature) == [-1, 8]  # the converter's default
    np.save(tmp_path / "some.npy", values[:150])
    edgeproof("export", path, "--to", "tflite:int8", "--to", "tflite:int16x8", "--calibrate",
              f"npy:{tmp_path / 'some.npy'}", "--samples", 150, "--out", tmp_path)  # fmt: skip
    beside = (tmp_path / "sensors--tflite-float32.tflite").read_bytes()
    graph = objects.read(beside).subgraphs[0]
    assert all(tensor.shapeSignature is None for tensor in graph.tensors)
    expected = answers(path.read_bytes(), values[150:])
    assert answers(beside, values[150:]) == pytest.approx(expected, abs=1e-6)
    spread = expected.std()
    for scheme, limit in (("int8", 0.2), ("int16x8", 0.2)):
        sidecar = json.loads((tmp_path / f"sensors--tflite-{scheme}.json").read_text())
        assert sidecar["status"] == "ok" and sidecar["calibration"]["method"] != MOVING_AVERAGE
        outputs = answers((tmp_path / f"sensors--tflite-{scheme}.tflite").read_bytes(), values[150:])
        assert np.sqrt(np.mean((outputs - expected) ** 2)) < limit * spread
        # What was tried stands there with its figures, and the moving average would have been several times as bad.
        tried = {row["method"]: row["error"] for row in sidecar["calibration"]["methods"]}
        assert tried.keys() == METHODS.keys()
        assert tried[MOVING_AVERAGE] > 2 * tried[sidecar["calibration"]["method"]]
        (other, *_) = [row for row in sidecar["alternatives"] if MOVING_AVERAGE in row["made_by"]]
        assert "relative error against the float model" in other["why"] and other["status"] == "ok"


def test_a_file_far_from_the_float_model_is_warned_of(folder: Path, tmp_path: Path, edgeproof: Any) -> None:
    printed = " ".join(
        edgeproof("export", folder / "scaled.tflite", "--to", "tflite:int8", "--to", "tflite:int16x8", "--calibrate",
                  f"npy:{folder / 'scaled.npy'}", "--out", tmp_path).split()
    )  # fmt: skip
    far, near = (
        json.loads((tmp_path / f"scaled--tflite-{scheme}.json").read_text())["calibration"]["float_agreement"]
        for scheme in ("int8", "int16x8")
    )
    assert far["error"] > 0.5 and far["warning"] in printed and "use tflite:int16x8" in printed
    assert near["error"] < 0.05 and "warning" not in near  # what was advised
    assert printed.count("away from the float model") == 1


def test_a_picture_of_open_size_is_resized(folder: Path, tmp_path: Path, edgeproof: Any) -> None:
    path = folder / "picture.tflite"
    refused = edgeproof("export", path, "--to", "tflite:float32", "--out", tmp_path, status=2)
    assert "leaves more than the batch open" in refused and "--size N" in refused
    for command in (("evaluate", path, "--data", "npy:x.npy"), ("diagnose", path), ("bundle", path)):
        printed = " ".join(edgeproof(*command, status=2).split())
        assert "leaves shapes open" in printed and "--to tflite:float32" in printed
    assert inspect(path).inputs[0].shape == (1, -1, -1, 3)
    edgeproof("export", path, "--to", "tflite:float32", "--size", 20, "--value-range", "0,1", "--out", tmp_path)
    fixed = tmp_path / "picture--tflite-float32.tflite"
    assert inspect(fixed).inputs[0].shape == (1, 20, 20, 3)
    shapes = [tuple(map(int, tensor.shape)) for tensor in objects.read(fixed.read_bytes()).subgraphs[0].tensors]
    assert (1, 10, 10, 4) in shapes  # the convolution of stride 2
    pictures = np.random.default_rng(0).random((3, 20, 20, 3)).astype(np.float32)
    assert answers(fixed.read_bytes(), pictures) == pytest.approx(resized(path.read_bytes(), pictures), abs=1e-6)
    content = path.read_bytes()
    other = fix_shapes(content, chosen_shapes(content, None, {"": (1, 8, 12, 3)}))
    assert answers(other, pictures[:, :8, :12]).shape == (3, 3)


def resized(content: bytes, pictures: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, pictures.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, pictures)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    ("size", "shapes", "message"),
    [
        (None, {"nothing": (1, 8, 8, 3)}, "has an open shape"),
        (None, {"": (1, 8, 8, 4)}, "does not fit"),
        (None, {"": (1, 0, 8, 3)}, "does not fit"),
        (None, {}, "leaves more than the batch open"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    folder: Path, size: int | None, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        chosen_shapes((folder / "picture.tflite").read_bytes(), size, shapes)
    assert refused.value.remedy


def test_a_loop_is_quantized_where_that_takes_no_calibration(folder: Path, tmp_path: Path) -> None:
    content, windows = (folder / "gru.tflite").read_bytes(), np.load(folder / "windows.npy")
    assert len(objects.read(content).subgraphs) == 3  # the main graph, the loop's condition and its body
    assert "WHILE" in {operator.name for operator in inspect(folder / "gru.tflite").ops}
    expected = answers(content, windows)
    with pytest.raises(CannotMakeError, match="WHILE runs graphs of its own") as refused:
        quantizer.quantize(content, INT8, lambda: iter([]))
    for name in ("dynamic", "weight-int8"):  # the remedy
        assert f"tflite:{name}" in refused.value.remedy
        quantized, _ = quantizer.quantize(content, SCHEMES["tflite"][name])
        assert storage(objects.read(quantized))["weights"] == {"int8": 8 * 3 * (3 + 8) + 16}
        assert np.abs(answers(quantized, windows) - expected).max() < 0.1 * expected.std()


def test_a_state_between_calls_stays_one(folder: Path) -> None:
    content = (folder / "state.tflite").read_bytes()
    contents = inspect(folder / "state.tflite")
    assert {"CALL_ONCE", "VAR_HANDLE", "ASSIGN_VARIABLE"} <= {operator.name for operator in contents.ops}
    assert storage(objects.read(content))["weights"] == {"float32": 16} and contents.min_runtime == "tflite 2.6.0"
    with pytest.raises(CannotMakeError, match="keeps a state between its calls"):
        quantizer.quantize(content, INT16, lambda: iter([]))
    quantized, _ = quantizer.quantize(content, SCHEMES["tflite"]["dynamic"])
    fed = np.array([[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]], np.float32)
    states = np.array([[1, 0, 0, 0], [0.5, 2, 0, 0], [0.25, 1, 0, 1]])  # half of the last one, and what comes in
    expected = states @ np.load(folder / "matrix.npy")
    assert answers(content, fed) == pytest.approx(expected, abs=1e-5)
    assert answers(quantized, fed) == pytest.approx(expected, abs=0.1)


def test_weights_of_recurrent_operators_are_counted(folder: Path) -> None:
    content = (folder / "lstm.tflite").read_bytes()
    assert storage(objects.read(content))["weights"] == {"float32": 4 * 8 * (3 + 8) + 16}
    with pytest.raises(CannotMakeError, match="only 16 of this model's 368 weights"):
        quantizer.quantize(content, SCHEMES["tflite"]["weight-int8"])


def test_the_methods_of_calibration() -> None:
    lows, highs = np.arange(-100.0, 0), np.arange(1.0, 101)
    assert METHODS[MIN_MAX](lows, highs) == (-100, 100)
    average = highs[0]
    for value in highs[1:]:
        average = 0.95 * average + 0.05 * value
    assert METHODS[MOVING_AVERAGE](lows, highs)[1] == pytest.approx(average)
    assert average < 85  # that is how it cuts tails


def test_trials_hold_samples_out() -> None:
    few = [{"x": np.zeros(8)} for _ in range(40)]
    parts = samples.folds(few, 48)
    assert sorted(index for _, held in parts for index in held) == list(range(40))
    assert all(not set(used) & set(held) and len(used) + len(held) == 40 for used, held in parts)
    many = [{"x": np.zeros(10_000)} for _ in range(40)]
    ((used, held),) = samples.folds(many, 6)
    assert len(held) == 6 and not set(used) & set(held)
    assert samples.folds(few[:5], 48) == [([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])]


def test_only_rows_of_classes_have_a_top_class() -> None:
    def difference(reference: Any, other: Any, classes: int = 0) -> agreement.Difference:
        total = agreement.Difference(task=Classification(classes))
        for one, two in zip(reference, other, strict=True):
            total.add({"out": one}, {"out": two})
        return total

    logits = np.random.default_rng(0).normal(size=(20, 1, 3))
    swapped = logits[:, :, ::-1]
    assert difference(logits, logits, classes=3).agreement == 1
    assert difference(logits, swapped, classes=3).agreement < 0.9
    assert "top class" in difference(logits, swapped, classes=3).record()["warning"]
    assert difference(logits, swapped).agreement is None  # three numbers, nobody said that they are classes
    exponential = np.exp(logits)
    probabilities = exponential / exponential.sum(axis=-1, keepdims=True)
    assert difference(probabilities, probabilities).agreement == 1
    maps = np.random.default_rng(1).normal(size=(4, 1, 5, 7, 3))
    assert difference(maps, maps, classes=3).agreement == 1 and "each element" in difference(maps, maps, classes=3).by
    numbers = np.arange(20.0).reshape(20, 1, 1)
    off = difference(numbers, numbers + 0.1 * numbers.std())
    assert off.error == pytest.approx(0.1) and "warning" not in off.record()
    assert "50% of its answers' own spread" in difference(numbers, numbers + 0.5 * numbers.std()).record()["warning"]
    assert difference(numbers, numbers * np.nan).record()["error"] is None
    with pytest.raises(ValueError, match="those of the float file"):
        difference(numbers, np.zeros((20, 1, 2)))


def test_a_fused_lstm_forgets_one_sample_before_the_next(folder: Path, tmp_path: Path) -> None:
    windows = np.load(folder / "windows.npy")
    run = in_process.litert((folder / "lstm.tflite").read_bytes())
    (name,) = in_process.litert_inputs((folder / "lstm.tflite").read_bytes())
    alone = [next(iter(run({name: window[None]}).values())) for window in windows]
    backwards = [next(iter(run({name: window[None]}).values())) for window in windows[::-1]]
    assert np.array_equal(backwards[::-1], alone)
    artifact = cli_files.open_artifact(folder / "lstm.tflite")
    for runtime in ("litert", "tflite-runtime"):
        outcome = open_runner(artifact, Target("local", runtime), timeout_seconds=120).infer(
            folder / "windows.npy", tmp_path / "answers.npy", 0, len(windows)
        )
        assert outcome.ok, outcome.reason
        outputs = np.load(tmp_path / "answers.npy").reshape(len(windows), -1)
        assert outputs == pytest.approx(np.concatenate(alone), abs=1e-5)
    assert np.ptp(np.concatenate(alone)[:, 0]) > 0.01
