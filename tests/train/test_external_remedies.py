"""What is advised about a file that is not taken is done here, and then it is taken and answers as it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.errors import InputError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks import tensorflow
from edgeproof.train.external import identify, import_model

from ..support.external_imports import run_tflite

pytestmark = pytest.mark.slow


def take(path: Path, folder: Path) -> Model:
    return import_model(path, name="m", workspace=folder, listener=Silent())


def answer(model: Model, inputs: Any) -> Any:
    tf, _ = tensorflow.load()
    signature = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    return signature(**{model.provenance["inputs"][0]["name"]: tf.constant(inputs)})[model.answer].numpy()


def test_a_model_that_had_seen_no_data_is_called_once_and_saved_again(tmp_path: Path) -> None:
    _, keras = tensorflow.load()
    model = keras.Sequential([keras.layers.Dense(2)])
    model.save(str(tmp_path / "m.keras"))
    with pytest.raises(InputError, match="before it was called with data") as caught:
        take(tmp_path / "m.keras", tmp_path / "model")
    assert "model(x)" in caught.value.remedy
    ones = np.ones((1, 3), np.float32)
    expected = model(ones).numpy()
    model.save(str(tmp_path / "m.keras"))
    np.testing.assert_allclose(answer(take(tmp_path / "m.keras", tmp_path / "model"), ones), expected, rtol=1e-5)


def test_ragged_inputs_are_made_dense_on_the_same_layers(tmp_path: Path) -> None:
    _, keras = tensorflow.load()
    pool, dense = keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)
    for kind, given in (("ragged", keras.Input((None, 3), ragged=True)), ("dense", keras.Input((4, 3)))):
        keras.Model(given, dense(pool(given))).save(str(tmp_path / f"{kind}.keras"))
    with pytest.raises(InputError, match="ragged") as caught:
        take(tmp_path / "ragged.keras", tmp_path / "model")
    assert "dense inputs" in caught.value.remedy
    values = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    outputs = answer(take(tmp_path / "dense.keras", tmp_path / "model"), values)
    np.testing.assert_allclose(outputs, values.mean(1) @ dense.kernel.numpy(), rtol=1e-5)


def test_a_lambda_layer_is_exported_as_a_saved_model_where_it_was_made(tmp_path: Path) -> None:
    _, keras = tensorflow.load()
    given = keras.Input((3,), name="x")
    model = keras.Model(given, keras.layers.Lambda(lambda x: x * 3.0)(given))
    model.save(str(tmp_path / "m.keras"))
    with pytest.raises(InputError, match="carries Python code") as caught:
        identify(tmp_path / "m.keras", trust=False)
    assert "model.export" in caught.value.remedy
    model.export(str(tmp_path / "m"))
    outputs = answer(take(tmp_path / "m", tmp_path / "model"), np.ones((1, 3), np.float32))
    np.testing.assert_allclose(outputs, [[3, 3, 3]])


def test_a_model_of_texts_is_saved_without_its_text_layers(tmp_path: Path) -> None:
    _, keras = tensorflow.load()
    words = keras.layers.TextVectorization(output_sequence_length=4, vocabulary=["good", "bad"])
    rest = [keras.layers.Embedding(4, 3), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)]
    text_input, numbers = keras.Input((1,), dtype="string"), keras.Input((4,), dtype="int32", name="ids")
    x, y = words(text_input), numbers
    for layer in rest:
        x, y = layer(x), layer(y)
    keras.Model(text_input, x).save(str(tmp_path / "texts.keras"))
    keras.Model(numbers, y).save(str(tmp_path / "ids.keras"))
    texts = take(tmp_path / "texts.keras", tmp_path / "texts")
    refused = export(texts, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    if refused.status == "ok":
        pytest.skip("it was cut at its text layers, and nothing needs to be advised")
    assert "backbone" not in refused.remedy and "without its text layers" in refused.remedy
    ids = take(tmp_path / "ids.keras", tmp_path / "ids")
    file = export(ids, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    assert file.path is not None, file.reason
    outputs = run_tflite(file.path, {"ids": np.array([[2, 3, 0, 0]], np.int32)})[ids.answer]
    np.testing.assert_allclose(outputs, answer(texts, [b"good bad"]), rtol=1e-4, atol=1e-6)
