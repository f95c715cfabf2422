"""Sensor models that others made, a Conv1D, an LSTM and one of two inputs: through every command, figures again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproof as ep
from edgeproof.frameworks import tensorflow

from .test_tasks import QUICK

pytestmark = pytest.mark.slow
SAMPLES, STEPS, CHANNELS, CLASSES = 60, 16, 3, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, keras = tensorflow.fresh(5)
    root, layers = tmp_path_factory.mktemp("sensors"), keras.layers
    window, answer = layers.Input((STEPS, CHANNELS)), {"units": CLASSES, "activation": "softmax"}
    hidden = layers.GlobalAveragePooling1D()(layers.Conv1D(8, 5, activation="relu")(window))
    keras.Model(window, layers.Dense(**answer)(hidden)).save(root / "conv1d.keras")
    # Weights of fewer than 1,024 values stay in float, and those of the loop are in a graph of their own.
    hidden = layers.Dense(64, activation="relu")(layers.LSTM(32)(window))
    keras.Model(window, layers.Dense(**answer)(hidden)).save(root / "lstm.keras")
    left, right = layers.Input((4,), name="load"), layers.Input((3,), name="heat")
    joined = layers.Dense(8, activation="relu")(layers.Concatenate()([left, right]))
    keras.Model([left, right], layers.Dense(**answer)(joined)).save(root / "two.keras")
    return root


def samples(name: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(6)
    sizes = {"load": (4,), "heat": (3,)} if name == "two" else {"": (STEPS, CHANNELS)}
    return {key: random.normal(size=(SAMPLES, *size)).astype(np.float32) for key, size in sizes.items()}


def answers_of(path: Path, x: dict[str, np.ndarray]) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    taken, (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for number in range(SAMPLES):
        for detail in taken:
            one = next(value for key, value in x.items() if key in detail["name"])
            interpreter.set_tensor(detail["index"], one[number][None])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(given["index"])[0])
    return np.array(answers)


# The converter's calibration crashes on loops, so an LSTM's smaller file has no int8 activations.
@pytest.mark.parametrize(("name", "small"), [("conv1d", "int8"), ("lstm", "dynamic"), ("two", "int8")])
def test_it_is_proved_diagnosed_compared_and_bundled(name: str, small: str, folder: Path, tmp_path: Path) -> None:
    x = samples(name)
    given: Any = x if name == "two" else x[""]
    first = {key: value[:20] for key, value in x.items()} if name == "two" else x[""][:20]
    files = ep.export(
        folder / f"{name}.keras", ["tflite:float32", f"tflite:{small}"], calibration=(first,), out=tmp_path / "files"
    )
    exact, smaller = (answers_of(files[f"tflite:{scheme}"].path, x).argmax(axis=1) for scheme in ("float32", small))
    y = np.where(np.arange(SAMPLES) % 3 == 0, (exact + 1) % CLASSES, exact)
    run = ep.evaluate(files, (given, y), "local/litert", out=tmp_path / "a", latency=QUICK)
    rows = run.results.measurements
    assert [row.accuracy for row in rows] == pytest.approx([(exact == y).mean(), (smaller == y).mean()])
    assert rows[1].agreement == pytest.approx((exact == smaller).mean())
    assert rows[1].drop == pytest.approx((exact == y).mean() - (smaller == y).mean())
    again = ep.evaluate(files, (given, (y + 1) % CLASSES), "local/litert", out=tmp_path / "b", latency=QUICK)
    change = ep.compare(run.folder, again.folder).cells[0].accuracy
    assert change is not None
    assert change.estimate == pytest.approx((exact == (y + 1) % CLASSES).mean() - (exact == y).mean())
    found = ep.diagnose(files[f"tflite:{small}"].path, data=(given,), samples=SAMPLES, out=tmp_path)
    # It runs other kernels than the evaluation: of an untrained network an answer may be a tie.
    assert found.samples == SAMPLES and found.agreement == pytest.approx((exact == smaller).mean(), abs=0.04)
    bundle = ep.bundle(files[f"tflite:{small}"], out=tmp_path / "bundle")
    golden = np.load(bundle.folder / "golden.npz")
    assert len(golden["outputs"]) == 8 and (bundle.folder / "verify.py").is_file()
