"""Keras's preprocessing layers inside a user's file: they answer as they did, and whole numbers in give every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.frameworks import tensorflow
from edgeproof.train.external import import_model

from ..support.external_imports import run_onnx, run_tflite

pytestmark = pytest.mark.slow

KERNEL = np.random.default_rng(2).normal(size=(6, 2)).astype(np.float32)


def lookup(keras: Any, mode: str) -> Any:
    return keras.layers.IntegerLookup(vocabulary=[10, 20, 30, -5], output_mode=mode)


# Layer, its inputs, and what comes out of it: computed by hand, as numbers of the columns of KERNEL that are added.
ROWS = {
    "lookup": (lambda k: lookup(k, "int"), [[20], [-5], [7]], [[2], [4], [0]]),
    "lookup one-hot": (lambda k: lookup(k, "one_hot"), [[20], [-5], [7]], [[2], [4], [0]]),
    "lookup multi-hot": (lambda k: lookup(k, "multi_hot"), [[20, 10, 20], [7, 30, 8]], [[1, 2], [0, 3]]),
    "lookup count": (lambda k: lookup(k, "count"), [[20, 10, 20], [7, 30, 8]], [[1, 2, 2], [0, 0, 3]]),
    "one-hot": (lambda k: k.layers.CategoryEncoding(5, "one_hot"), [[3], [0]], [[3], [0]]),
    "counts": (lambda k: k.layers.CategoryEncoding(5, "count"), [[3, 3], [0, 1]], [[3, 3], [0, 1]]),
    "buckets": (lambda k: k.layers.Discretization([-1.0, 0.0, 1.0]), [[0.0], [-3.0], [2.5]], [[2], [0], [3]]),
}


def built(keras: Any, name: str) -> tuple[Any, list[Any], Any]:
    """A model of the layer with a linear one behind it, one input a sample, and the right answers."""
    make, values, columns = ROWS[name]
    inputs = np.array(values, np.float32 if name == "buckets" else np.int64)
    given = keras.Input(inputs.shape[1:], dtype=str(inputs.dtype), name="x")
    x = make(keras)(given)
    if name in ("lookup", "buckets"):
        x = keras.layers.Flatten()(keras.layers.Embedding(6, 2, weights=[KERNEL])(x))
        x = keras.layers.Activation("linear", name="y")(x)
    else:
        x = keras.layers.Dense(2, name="y", use_bias=False)(x)
    model = keras.Model(given, x)
    if name not in ("lookup", "buckets"):
        model.layers[-1].set_weights([KERNEL[: model.layers[-1].kernel.shape[0]]])
    expected = [KERNEL[chosen].sum(0, keepdims=True) for chosen in columns]
    return model, [row[None] for row in inputs], expected


# A SavedModel is opened another way, whatever the layer: one with a table and one without.
@pytest.mark.parametrize(("kind", "name"), [*((".keras", name) for name in ROWS), ("", "lookup"), ("", "buckets")])
def test_whole_numbers_and_buckets_become_arithmetic_in_every_format(tmp_path: Path, kind: str, name: str) -> None:
    _, keras = tensorflow.load()
    model, inputs, expected = built(keras, name)
    path = tmp_path / f"m{kind}"
    model.save(str(path)) if kind else model.export(str(path))
    imported = import_model(path, name="m", workspace=tmp_path / "model", listener=Silent())
    assert imported.provenance["constant"]
    for text, run in (("tflite:float32", run_tflite), ("onnx:float32", run_onnx)):
        artifact = export(imported, Variant.parse(text), options=Export(), folder=tmp_path)
        assert artifact.path is not None, artifact.reason
        for values, answer in zip(inputs, expected, strict=True):
            outputs = run(artifact.path, {imported.provenance["inputs"][0]["name"]: values})[imported.answer]
            np.testing.assert_allclose(outputs, answer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("mode", "kind"), [("int", ""), ("tf_idf", ".keras")])
def test_texts_keep_their_tables_alive_and_answer_as_before(tmp_path: Path, mode: str, kind: str) -> None:
    tf, keras = tensorflow.load()
    texts = np.array(["a good film", "a bad one", "good good"])
    vectorize = keras.layers.TextVectorization(output_mode=mode)
    vectorize.adapt(texts)
    given = keras.Input((1,), dtype="string", name="x")
    x = vectorize(given)
    if mode == "int":
        x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 4)(x))
    model = keras.Model(given, keras.layers.Dense(2, name="y")(x))
    expected = model(tf.constant(texts[:, None])).numpy()
    path = tmp_path / f"m{kind}"
    model.save(str(path)) if kind else model.export(str(path))
    del model, vectorize
    imported = import_model(path, name="m", workspace=tmp_path / "model", listener=Silent())
    assert imported.text_model is not None  # the files are of what comes behind the token ids
    signature = tf.saved_model.load(str(imported.text_model)).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    outputs = [signature(**{name: tf.constant([text])})[imported.answer].numpy()[0] for text in texts]
    alike = len(texts) if mode == "tf_idf" else 2  # a shorter text in a batch is padded, and averaged so
    np.testing.assert_allclose(outputs[:alike], expected[:alike], rtol=1e-5, atol=1e-6)


def test_names_for_answers_come_out_of_a_table_of_numbers(tmp_path: Path) -> None:
    """Numbers in, a class's name out: the table becomes a list of names in both formats."""
    tf, keras = tensorflow.load()
    given = keras.Input((3,), name="x")
    scores = keras.layers.Dense(3, name="scores")(given)
    names = keras.layers.StringLookup(vocabulary=["no", "yes"], invert=True, name="names")(tf.argmax(scores, -1))
    model = keras.Model(given, [scores, names])
    model.get_layer("scores").set_weights([np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    model.save(str(tmp_path / "m.keras"))
    imported = import_model(tmp_path / "m.keras", name="m", workspace=tmp_path / "model", listener=Silent())
    for text, run in (("tflite:float32", run_tflite), ("onnx:float32", run_onnx)):
        artifact = export(imported, Variant.parse(text), options=Export(), folder=tmp_path)
        assert artifact.path is not None, artifact.reason
        answers = [run(artifact.path, {"x": one[None]})["names"][0] for one in np.eye(3, dtype=np.float32)]
        assert [word.decode() if isinstance(word, bytes) else word for word in answers] == ["[UNK]", "no", "yes"]
