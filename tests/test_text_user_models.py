"""Finished models of the user's with TextVectorization inside: cut at their token ids, files and tokenizer agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof import export
from edgeproof.core.artifact import Artifact
from edgeproof.core.events import Silent
from edgeproof.core.model import Model, load_model
from edgeproof.core.recipe import Export
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.core.variant import Variant
from edgeproof.train.foreign.adopt import adopt
from edgeproof.train.frameworks import load

from .text_models import sentences

pytestmark = pytest.mark.slow
WORDS = 40
TEXTS = [*sentences(12, 5)[0], "Größe!", "don't stop, goal - match."]
MODES: dict[str, dict[str, Any]] = {
    "int": {"output_mode": "int", "output_sequence_length": 10},
    "pairs": {"output_mode": "int", "output_sequence_length": 12, "ngrams": 2},
    "multi_hot": {"output_mode": "multi_hot"},
    "tf_idf": {"output_mode": "tf_idf"},
    "open": {"output_mode": "int"},
    "recurrent": {"output_mode": "int", "output_sequence_length": 10},
}


def vectorizing(mode: str) -> Any:
    """A small classifier of texts, as the Keras tutorials build them."""
    _, keras = load()
    keras.utils.set_random_seed(1)
    given = keras.Input((1,), dtype="string", name="text")
    layer = keras.layers.TextVectorization(max_tokens=WORDS, **MODES[mode])
    layer.adapt(sentences(60)[0])
    x = layer(given)
    if MODES[mode]["output_mode"] == "int":
        last = keras.layers.LSTM(5) if mode == "recurrent" else keras.layers.GlobalAveragePooling1D()
        x = last(keras.layers.Embedding(WORDS, 6)(x))
    return keras.Model(given, keras.layers.Dense(2, activation="softmax")(x))


def answers(model: Model, artifact: Artifact, texts: list[str]) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter  # builtin operators alone

    assert artifact.status == "ok", artifact.reason
    assert model.tokenizer is not None
    tokenizer, run = open_tokenizer(model.tokenizer.folder), Interpreter(str(artifact.path)).get_signature_runner()
    feeds = [{name: np.array(v, np.int32) for name, v in tokenizer.feed(text).items()} for text in texts]
    return np.concatenate([next(iter(run(**feed).values())) for feed in feeds])


@pytest.mark.parametrize("mode", list(MODES))
def test_a_keras_file_with_text_vectorization_gives_a_file_of_token_ids(mode: str, tmp_path: Path) -> None:
    tf, _ = load()
    keras_model = vectorizing(mode)
    keras_model.save(str(tmp_path / "model.keras"))
    model = adopt(tmp_path / "model.keras", name="m", workspace=tmp_path / "ws", listener=Silent())
    assert model == load_model(tmp_path / "ws") and model.tokenizer is not None and model.text_model is not None
    assert model.tokenizer.kind == "words" and model.tokenizer.parity["rate"] == 1.0
    # A mean over all places depends on their number: only then must the ids be cut to the text.
    assert model.provenance["padded"] is (mode != "open")
    assert model.input.lengths == ("" if "output_sequence_length" in MODES[mode] else "lens")
    artifact = export.export(model, Variant.parse("tflite:float32"), options=Export(), folder=tmp_path)
    expected = np.concatenate([keras_model(tf.constant([[text]]), training=False).numpy() for text in TEXTS])
    np.testing.assert_allclose(answers(model, artifact, TEXTS), expected, atol=1e-5)
