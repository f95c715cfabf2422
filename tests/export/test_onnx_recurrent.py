"""Recurrent layers, loops and detectors in ONNX: the operators that runtimes are fast at, and TensorFlow's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ..support.onnx_models import agree, exported, model_at

pytestmark = pytest.mark.slow
STEPS = {"x": ((1, 7, 3), "float32")}


def layer(name: str) -> Any:
    import tf_keras as keras

    layers = keras.layers
    built: dict[str, Any] = {
        "stacked": lambda x: layers.GRU(4)(
            layers.LSTM(5, return_sequences=True)(layers.GRU(5, return_sequences=True)(x))
        ),
        "SimpleRNN": layers.SimpleRNN(5),
        "Bidirectional": layers.Bidirectional(layers.LSTM(4)),
        "masked": lambda x: layers.LSTM(4)(layers.Masking()(x)),
    }
    keras.utils.set_random_seed(1)
    x = keras.Input((7, 3))
    return keras.Model(x, built[name](x))


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("SimpleRNN", {"Loop": 1}),
        ("Bidirectional", {"LSTM": 1}),
        ("stacked", {"LSTM": 1, "GRU": 2}),
        ("masked", {"Loop": 1}),
    ],
)
def test_recurrent_layers_become_onnx_and_the_same_file_each_time(
    tmp_path: Path, name: str, operators: dict[str, int]
) -> None:
    model = layer(name)
    artifact = agree(lambda x: {"y": model(x, training=False)}, STEPS, tmp_path)
    counts = {op.name: op.count for op in artifact.ops if op.name in ("LSTM", "GRU", "Loop", "RNN")}
    assert counts == operators
    assert [i.name for i in artifact.inputs] == ["x"] and [o.name for o in artifact.outputs] == ["y"]
    if name in ("stacked", "masked"):
        assert exported(model_at(tmp_path, STEPS)).sha256 == artifact.sha256


def test_a_state_goes_in_and_comes_out(tmp_path: Path) -> None:
    import tf_keras as keras

    cell = keras.layers.GRU(4, return_state=True)

    def serve(x: Any, state: Any) -> dict[str, Any]:
        y, new = cell(x, initial_state=state)
        return {"y": y, "state_out": new}

    agree(serve, {"x": ((1, 1, 3), "float32"), "state": ((1, 4), "float32")}, tmp_path)


def test_detectors_end_in_suppression_of_overlapping_boxes(tmp_path: Path) -> None:
    import tensorflow as tf

    def boxes(x: Any) -> tuple[Any, Any]:
        centre, size = tf.sigmoid(x[0, :, :2]), 0.3 * tf.sigmoid(x[0, :, 2:4]) + 0.05
        return tf.concat([centre - size, centre + size], 1), tf.sigmoid(x[0, :, 4])

    def serve(x: Any) -> dict[str, Any]:
        places, scores = boxes(x)
        indices, valid = tf.image.non_max_suppression_padded(places, scores, 6, 0.4, 0.1, pad_to_max_output_size=True)
        combined = tf.image.combined_non_max_suppression(places[None, :, None], scores[None, :, None], 5, 6, 0.4, 0.1)
        return {"y": tf.gather(places, indices), "valid": valid, "boxes": combined[0], "count": combined[3]}

    agree(serve, {"x": ((1, 15, 5), "float32")}, tmp_path)
