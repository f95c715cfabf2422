"""Large weights, which go beside the graph while it is converted, and come back where they belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..support.onnx_models import agree


def weight(seed: int, *shape: int) -> Any:
    import tensorflow as tf

    return tf.Variable(np.random.default_rng(seed).normal(0, 0.05, shape).astype(np.float32))


def test_large_weights_are_where_they_belong_whatever_uses_them(tmp_path: Path) -> None:
    import tensorflow as tf

    kernel, table, shared, added, scale = (
        weight(0, 3, 3, 8, 1024),
        weight(1, 300, 256),
        weight(2, 1024, 128),
        weight(3, 1, 4, 4, 8192),
        weight(4, 1024),
    )

    def serve(x: Any, ids: Any) -> dict[str, Any]:
        scaled = tf.reduce_mean(tf.nn.conv2d(x, kernel, 1, "SAME") * scale, (1, 2))
        both = tf.matmul(scaled, shared) + tf.reduce_mean(shared)  # a matrix, and a tensor like any other
        looked = tf.matmul(tf.gather(table, ids), table, transpose_b=True)
        grown = tf.concat([x] * 1024, -1) + added
        return {"y": both, "looked": looked, "grown": tf.reduce_mean(grown, (1, 2))}

    artifact = agree(serve, {"x": ((1, 4, 4, 8), "float32"), "ids": ((1, 5), "int32")}, tmp_path)
    assert artifact.path is not None
    file = onnx.load(artifact.path)
    assert not any(initializer.doc_string for initializer in file.graph.initializer)
    # Small changes of the answers would not tell whether it is the weights' own numbers.
    weights = [numpy_helper.to_array(initializer) for initializer in file.graph.initializer]
    assert any(np.array_equal(value, shared.numpy()) for value in weights)
    assert any(np.array_equal(value, table.numpy()) for value in weights)


def test_attention_over_two_axes_becomes_products_of_matrices(tmp_path: Path) -> None:
    import tf_keras as keras

    layer = keras.layers.MultiHeadAttention(2, 4, attention_axes=(1, 2))
    x = keras.Input((3, 4, 8))
    model = keras.Model(x, layer(x, x))
    artifact = agree(lambda x: {"y": model(x, training=False)}, {"x": ((1, 3, 4, 8), "float32")}, tmp_path)
    operators = {op.name for op in artifact.ops}
    assert "Einsum" not in operators and operators & {"MatMul", "Gemm"}
