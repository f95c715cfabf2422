"""The converter that reads a SavedModel once gives the same bytes as TensorFlow's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.model import SIGNATURE
from edgeproof.frameworks import tensorflow
from edgeproof.tflite.converter import convert, saved_model_converter
from edgeproof.tflite.objects import read
from edgeproof.tflite.writer import write

pytestmark = pytest.mark.slow

SETTINGS = ["float32", "float16", "dynamic", "int8", "int16x8"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A convolution and a dense layer in a function that is called, as they are and with fake quantization."""
    tf, _ = tensorflow.load()
    quantization = {"plain": lambda value, _: value, "trained": lambda value, limit: _fake_quantized(tf, value, limit)}
    return {name: _save(tf, fake, tmp_path_factory.mktemp("saved") / name) for name, fake in quantization.items()}


def _fake_quantized(tf: Any, value: Any, limit: float) -> Any:
    return tf.quantization.fake_quant_with_min_max_args(value, -limit, limit)


def _save(tf: Any, fake: Callable[[Any, float], Any], folder: Path) -> Path:
    rng = np.random.default_rng(5)
    kernel, weights = rng.normal(size=(3, 3, 3, 8)).astype("float32"), rng.normal(size=(8, 4)).astype("float32")

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def network(x: Any) -> Any:
        image = fake(tf.nn.relu(tf.nn.conv2d(fake(x, 1.0), fake(tf.constant(kernel), 4.0), 1, "SAME")), 6.0)
        return fake(tf.reduce_mean(image, (1, 2)) @ fake(tf.constant(weights), 4.0), 8.0)

    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": network(x)}, autograph=False)
    signature = module.serve.get_concrete_function(tf.TensorSpec((1, 8, 8, 3), tf.float32, name="x"))
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: signature})
    return folder


def set_up(converter: Any, setting: str) -> Any:
    tf, _ = tensorflow.load()
    if setting != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if setting == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if setting in ("int8", "int16x8"):
        wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [wide if setting == "int16x8" else tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        samples = np.random.default_rng(1).uniform(-1, 1, (4, 1, 8, 8, 3)).astype("float32")
        converter.representative_dataset = lambda: ({"x": sample} for sample in samples)
    return converter


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_way_of_quantizing_gives_the_same_bytes(saved: dict[str, Path], setting: str) -> None:
    tf, _ = tensorflow.load()
    theirs = tf.lite.TFLiteConverter.from_saved_model(str(saved["plain"]), signature_keys=[SIGNATURE])
    ours = saved_model_converter(saved["plain"], SIGNATURE)
    assert convert(set_up(ours, setting)) == convert(set_up(theirs, setting))


def test_a_model_that_was_trained_for_quantization_is_recognized(saved: dict[str, Path]) -> None:
    tf, _ = tensorflow.load()
    theirs = tf.lite.TFLiteConverter.from_saved_model(str(saved["trained"]), signature_keys=[SIGNATURE])
    content = convert(set_up(saved_model_converter(saved["trained"], SIGNATURE), "dynamic"))
    assert content == convert(set_up(theirs, "dynamic"))
    interpreter = tf.lite.Interpreter(model_content=content)
    assert any(np.int8 == tensor["dtype"] for tensor in interpreter.get_tensor_details() if len(tensor["shape"]) == 4)


def test_a_folder_without_a_saved_model_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="saved_model"):
        saved_model_converter(tmp_path, SIGNATURE)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_objects_that_steps_share_give_what_rereading_gives(saved: dict[str, Path], setting: str) -> None:
    ours = convert(set_up(saved_model_converter(saved["plain"], SIGNATURE), setting))
    reread = set_up(saved_model_converter(saved["plain"], SIGNATURE), setting).convert()
    assert ours == write(read(bytes(reread)))


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_file_is_read_into_objects_once(
    saved: dict[str, Path], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorflow.lite.tools import flatbuffer_utils as module

    reads = 0
    original = module.convert_bytearray_to_object

    def counted(content: bytes) -> Any:
        nonlocal reads
        reads += 1
        return original(content)

    monkeypatch.setattr(module, "convert_bytearray_to_object", counted)
    convert(set_up(saved_model_converter(saved["plain"], SIGNATURE), setting))
    assert reads == 1
