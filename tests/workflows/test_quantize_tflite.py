"""``edgeproof export FILE.tflite``: a float file that is supplied without its model, without TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.cli.main import status
from edgeproof.core.artifact import Artifact
from edgeproof.core.maker import CONVERTER
from edgeproof.core.recipe import Data, Evaluate
from edgeproof.core.run_log import RunLog
from edgeproof.tflite import objects
from edgeproof.tflite.writer import write
from edgeproof.workflows.evaluate import evaluate_files

from ..support.quick import QUICK
from ..support.scheme_files import Files, shared

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return shared(tmp_path_factory)


@pytest.fixture(scope="module")
def mine(files: Files) -> Path:
    """The float file alone, under a name of the user's."""
    path = files.folder / "my model.tflite"
    path.write_bytes(files.content("tflite:float32"))
    folder = files.folder / "pictures"
    for number, picture in enumerate(np.load(files.inputs)):
        (folder / f"class {number % 4}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"class {number % 4}" / f"{number}.png")
    return path


@pytest.fixture(scope="module")
def without_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing TensorFlow fails."""
    folder = tmp_path_factory.mktemp("poison")
    (folder / "tensorflow.py").write_text("raise ImportError('TensorFlow was imported')")
    return {**os.environ, "PYTHONPATH": str(folder)}


def edgeproof(*arguments: str, status: int = 0, env: dict[str, str] | None = None) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "edgeproof", *arguments], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_a_supplied_file_is_quantized_and_proved(
    mine: Path, tmp_path: Path, without_tensorflow: dict[str, str]
) -> None:
    out, pictures = tmp_path / "out", f"folder:{mine.parent / 'pictures'}"
    done = edgeproof(
        "export", str(mine), "--to", "tflite:weight-int8", "--to", "tflite:int8", "--calibrate", pictures,
        "--value-range", "0,255", "--samples", "40", "--out", str(out), "--json", env=without_tensorflow,
    )  # fmt: skip
    weight, int8 = json.loads(done.stdout)
    assert (weight["status"], int8["status"]) == ("ok", "ok")
    assert weight["made_by"].startswith("ai-edge-quantizer") and "tensorflow" not in weight["made_by"]
    assert int8["calibration"]["samples"] == 40 and int8["contract"]["kind"] == "image"
    (beside,) = out.glob("*--tflite-float32.tflite")
    assert beside.read_bytes() == mine.read_bytes()
    quick = Evaluate.model_validate({"targets": ["local/litert"], "latency": QUICK})
    with RunLog(None) as listener:
        measured = evaluate_files(sorted(out.glob("*.tflite")), Data(source=pictures), quick, tmp_path, None, listener)
    agreement = {row.artifact.rpartition("--")[2]: row.agreement or 0.0 for row in measured.results.measurements}
    assert agreement["tflite-float32"] == 1 and agreement["tflite-weight-int8"] > 0.8 and agreement["tflite-int8"] > 0.5
    # A second time everything is there.
    again = edgeproof("export", str(mine), "--to", "tflite:weight-int8", "--value-range", "0,255", "--out", str(out),
                      "--json", env=without_tensorflow)  # fmt: skip
    assert json.loads(again.stdout)[0]["sha256"] == weight["sha256"]


def test_arrays_calibrate_what_takes_no_pictures(files: Files, mine: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "arrays.npy", np.load(files.samples).astype(np.float32))
    out = tmp_path / "out"
    arguments = ("export", str(mine), "--to", "tflite:int16x8", "--out", str(out), "--json")
    done = edgeproof(*arguments, "--calibrate", f"npy:{tmp_path / 'arrays.npy'}")
    (artifact,) = json.loads(done.stdout)
    assert artifact["contract"]["kind"] == "tensor" and artifact["calibration"]["samples"] == 60
    assert artifact["calibration"]["method"] == "min-max"
    done = edgeproof(*arguments, status=2)
    assert "--calibrate" in done.stderr


def test_what_is_known_of_our_own_float_file_is_taken_over(files: Files, tmp_path: Path) -> None:
    path = files("tflite:float32").path
    done = edgeproof("export", str(path), "--to", "tflite:weight-int8", "--out", str(tmp_path / "out"), "--json")
    (artifact,) = json.loads(done.stdout)
    assert artifact["id"] == "model--tflite-weight-int8" and artifact["contract"]["kind"] == "image"
    assert artifact["parent_sha256"] == "model" and artifact["answer"] == "probabilities"


REFUSED = {
    "needs the SavedModel": (("--to", "tflite:float16", "--to", "onnx:int8"), "tflite:weight-int4"),
    "not a float file": (("--to", "tflite:weight-int8"), "float32 file"),
    "cannot be quantized": (("--to", "tflite:weight-int8"), "float32"),
    "is damaged": (("--to", "tflite:weight-int8"), "again"),
    "no output": (("--to", "tflite:weight-int8", "--output", "nothing"), "probabilities"),
    "does not read": (("--to", "tflite:weight-int8", "--maker", "converter"), "--maker"),
    "fixed shapes": (("--to", "tflite:weight-int8", "--size", "64"), "--size"),
    "is empty": (("--to", "tflite:weight-int8", "--value-range", "1,0"), "0,1"),
    "3 labels were given": (("--to", "tflite:weight-int8", "--labels", "LABELS"), "one label per class or value"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_made(
    files: Files, mine: Path, tmp_path: Path, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, remedy = REFUSED[why]
    path = mine
    if why == "not a float file":
        path = files("tflite:int8", CONVERTER).path or mine
    elif why == "cannot be quantized":  # an int8 file without its sidecar
        path = tmp_path / "quantized.tflite"
        path.write_bytes(files.content("tflite:int8", CONVERTER))
    elif why == "is damaged":
        path = tmp_path / "cut.tflite"
        path.write_bytes(mine.read_bytes()[:3000])
    (tmp_path / "labels.txt").write_text("a\nb\nc")
    given = [str(tmp_path / "labels.txt") if argument == "LABELS" else argument for argument in arguments]
    assert status(["export", str(path), *given, "--out", str(tmp_path / "out")]) == 2
    said = " ".join(capfd.readouterr().err.split())
    assert why in said and remedy in said
    assert not list((tmp_path / "out").glob("*.tflite"))


def test_a_scheme_that_does_not_suit_the_file_is_a_row(files: Files, tmp_path: Path) -> None:
    """Blocks are for dense layers: a file of convolutions has none, and the others are made all the same."""
    model = objects.read(files.content("tflite:float32"))
    for graph in model.subgraphs:  # the whole network, but judged by what is before its dense layers
        graph.operators = [op for op in graph.operators if objects.operator_name(model, op) in CONVOLUTIONS][:4]
        graph.outputs = graph.operators[-1].outputs
    model.signatureDefs = None
    path = tmp_path / "convolutions.tflite"
    path.write_bytes(write(model))
    done = edgeproof(
        "export", str(path), "--to", "tflite:int4-block32", "--to", "tflite:weight-int8", "--out", str(tmp_path / "o"),
        "--json", status=3,
    )  # fmt: skip
    block, weight = (Artifact(**{**row, "path": None}) for row in json.loads(done.stdout))
    assert block.status == "failed" and "dense and embedding-lookup" in block.reason
    assert weight.status == "ok"


CONVOLUTIONS = {"MUL", "SUB", "ADD", "CONV_2D", "DEPTHWISE_CONV_2D"}
