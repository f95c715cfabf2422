"""Keras models in memory, exported by plain scripts as a user writes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.quick import QUICK

KERAS_2 = """
import psutil
import tf_keras as keras
import numpy as np
import edgeproof as ep

layers = [keras.layers.Dense(5, activation="relu", input_shape=(6,)), keras.layers.Dense(3, activation="softmax")]
x = np.random.default_rng(1).normal(size=(40, 6)).astype("float32")
model = keras.Sequential(layers, name="in_memory")
wanted = ["tflite:float32", "tflite:int8"]

class Interrupting(ep.Silent):
    def progress(self, task, done, total, note=""):
        if task == "export":
            raise KeyboardInterrupt

try:
    ep.export(model, wanted, calibration=(x,), out="files", progress=Interrupting())
except KeyboardInterrupt:
    assert not psutil.Process().children(recursive=True)
else:
    raise AssertionError("it was not interrupted")
files = ep.export(model, wanted, calibration=(x,), samples=20, maker="converter", out="files")
assert [file.id for file in files.values()] == ["in_memory--tflite-float32", "in_memory--tflite-int8"]
assert files["tflite:int8"].calibration["samples"] == 20 and str(files.model) == "files/model"

# Of three classes the samples have two: their numbers are positions in the output of every file.
few, short = (x[:6], [0, 1] * 3), {"processes": 1, "run_seconds": 0.02, "warmup_seconds": 0}
measured = ep.evaluate(files, few, ["local/tensorflow", "local/litert"], latency=short, out="measured")
accuracy = [row.accuracy for row in measured.results.measurements if row.status == "ok"]
assert len(accuracy) == 3 and None not in accuracy, accuracy
alone = ep.evaluate(files.model, few, "local/tensorflow", latency=short, out="alone")
assert alone.results.measurements[0].accuracy == accuracy[0]
try:
    ep.evaluate(files.model, (x[:6], [3] * 6), "local/tensorflow", latency=short, out="alone")
except ep.InputError as error:
    assert "class number 3" in error.message and "has 3 classes" in error.message, error
else:
    raise AssertionError("it was not refused")

lambdas = [keras.layers.Lambda(lambda v: v * 2, input_shape=(6,)), keras.layers.Dense(3)]
try:
    ep.export(keras.Sequential(lambdas), wanted[:1], out="files")
except ep.InputError as error:
    assert str(error).startswith("the model is refused: "), error
else:
    raise AssertionError("it was not refused")
"""
AT_THE_END = """
import os, tempfile, psutil
assert [file.status for file in files.values()] == ["ok", "ok"], files
assert not os.listdir(tempfile.gettempdir()), os.listdir(tempfile.gettempdir())
assert not psutil.Process().children(recursive=True)
"""


def _in_the_readme() -> str:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text.partition("## From Python")[2].partition("\n## ")[0], re.DOTALL)
    asked = "budget=ep.Budget(max_latency_ms=5)"
    assert code.count(asked) == 1
    return str(code.replace(asked, f"{asked}, latency={QUICK}"))  # measured until it is certain, it takes a minute


@pytest.mark.slow
@pytest.mark.parametrize("code", [KERAS_2, _in_the_readme()], ids=["Keras 2", "Keras 3, as in the README"])
def test_a_keras_model_in_memory_is_exported_by_a_plain_script(code: str, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    (tmp_path / "script.py").write_text(code + AT_THE_END, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
