"""Every file is run before it is ok: a file that its runtime refuses, or that answers otherwise, is a row with why."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import StageError
from edgeproof.core.model import Model
from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import export, first_run, onnx, tflite
from edgeproof.export.reasons import explain

from ..support.onnx_models import exported, frozen, model_at, onnx_answers, tensorflow_answers

pytestmark = pytest.mark.slow
WEIGHTS = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


def serve(x: Any, offset: float = 0.0) -> dict[str, Any]:
    import tensorflow as tf

    return {"y": tf.nn.relu(x) @ WEIGHTS + offset, "best": tf.argmax(x, 1)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return frozen(serve, {"x": ((1, 4), "float32")}, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Another model with the same inputs and outputs."""
    return frozen(lambda x: serve(x, 900.0), {"x": ((1, 4), "float32")}, tmp_path_factory.mktemp("shifted"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """One with two rows where the other has one."""
    import tensorflow as tf

    def two(x: Any) -> dict[str, Any]:
        return {name: tf.repeat(value, 2, 0) for name, value in serve(x).items()}

    return frozen(two, {"x": ((1, 4), "float32")}, tmp_path_factory.mktemp("wide"))


def convert_to(model: Model, format_: str) -> bytes:
    return converted(model.saved_model, format_)


@cache
def converted(saved_model: Path, format_: str) -> bytes:
    model = model_at(saved_model.parent, {"x": ((1, 4), "float32")})
    if format_ == "onnx":
        return onnx.convert(model, Export())
    return tflite.convert(model, Variant("tflite", "float32").scheme, Export(), None)[0]


@pytest.fixture(scope="module", params=["tflite", "onnx"])
def format_(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


def test_a_right_file_passes(model: Model, format_: str) -> None:
    first_run.check(convert_to(model, format_), Variant(format_, "float32"), model)


def test_a_file_with_other_answers_is_refused(model: Model, shifted: Model, format_: str) -> None:
    with pytest.raises(StageError, match=r"'y' is .*% away from the float model's"):
        first_run.check(convert_to(shifted, format_), Variant(format_, "float32"), model)


def test_a_file_with_another_shape_is_refused(model: Model, wide: Model, format_: str) -> None:
    with pytest.raises(StageError, match=r"as \[2.*where the model gives \[1"):
        first_run.check(convert_to(wide, format_), Variant(format_, "int8"), model)


def test_a_file_of_a_supplied_one_is_run_beside_that(model: Model, shifted: Model, wide: Model) -> None:
    source, variant = convert_to(model, "tflite"), Variant("tflite", "weight-int8")
    first_run.check_supplied(source, variant, source, 0.0, 0.0)
    with pytest.raises(StageError, match=r"as \[2.*where the model gives \[1"):
        first_run.check_supplied(convert_to(wide, "tflite"), variant, source, 0.0, 0.0)
    with pytest.raises(StageError, match="% away from the float model's"):
        first_run.check_supplied(convert_to(shifted, "tflite"), Variant("tflite", "float32"), source, 0.0, 0.0)
    with pytest.raises(StageError, match="cannot run it") as refused:
        first_run.check_supplied(source[: len(source) // 2], variant, source, 0.0, 0.0)
    assert "onnx" not in explain(refused.value, "tflite")[1]  # which nobody makes of a .tflite


def test_a_file_that_does_not_load_is_a_row(
    model: Model, format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = convert_to(model, format_)
    broken = content[: len(content) // 2]
    if format_ == "onnx":
        monkeypatch.setattr(onnx, "convert", lambda *_: broken)
    else:
        monkeypatch.setattr(tflite, "convert", lambda *_: (broken, {}))
    artifact = export(model, Variant(format_, "float32"), options=Export(), folder=tmp_path)
    assert artifact.status == "failed" and artifact.path is None and "cannot run it" in artifact.reason
    assert not list(tmp_path.glob(f"*.{format_}")) and artifact.remedy


def test_the_float_model_answers_once_for_all_files(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    first_run.answered.cache_clear()
    loads: list[str] = []
    real = tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "load", lambda path, *rest: (loads.append(path), real(path, *rest))[1])
    content = convert_to(model, "onnx")
    for _ in range(3):
        first_run.check(content, Variant("onnx", "float32"), model)
    assert loads == [str(model.saved_model)]


def test_quantized_edges_are_fed_and_read(model: Model, tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.random.default_rng(0).uniform(0, 255, (20, 4)).astype(np.float32))
    variant = Variant("tflite", "int8-int8io")
    artifact = export(model, variant, options=Export(), folder=tmp_path, calibration=tmp_path / "c.npy")
    assert artifact.status == "ok", artifact.reason


def test_weights_beyond_float16_stay_in_float32_and_are_named(tmp_path: Path) -> None:
    large = np.array([[1e5, 2e5, -3e5]], np.float32)

    def scaled(x: Any) -> dict[str, Any]:
        return {"y": (x * large) @ np.full((3, 2), 1e-5, np.float32) + x @ WEIGHTS[:3, :2]}

    model = frozen(scaled, {"x": ((1, 3), "float32")}, tmp_path)
    artifact = exported(model, "float16")
    assert artifact.status == "ok" and artifact.path is not None, artifact.reason
    assert list(artifact.storage["beyond_float16"].values()) == [3e5]
    samples = {"x": np.array([[0.5, 0.1, 0.2]], np.float32)}
    expected, answers = tensorflow_answers(model, samples)["y"], onnx_answers(artifact.path, samples)["y"]
    np.testing.assert_allclose(answers, expected, rtol=5e-3)


def test_answers_that_are_no_numbers_are_refused(model: Model, format_: str, tmp_path: Path) -> None:
    import tensorflow as tf

    def overflows(x: Any) -> dict[str, Any]:
        return {**serve(x), "y": tf.math.log(x[:, :3] - 1e6)}

    content = convert_to(frozen(overflows, {"x": ((1, 4), "float32")}, tmp_path), format_)
    with pytest.raises(StageError, match=r"NaN or infinity in 'y'.*65,504") as refused:
        first_run.check(content, Variant(format_, "float16"), model)
    assert f"{format_}:float32" in refused.value.remedy
    with pytest.raises(StageError, match="NaN or infinity in 'y'"):
        first_run.check(content, Variant(format_, "int8"), model)
