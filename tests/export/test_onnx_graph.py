"""ONNX from functions that call functions: all are inlined, whatever TensorFlow marks them with, also within loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.export.onnx_graph import flat_graph, optimized
from edgeproof.frameworks.meta_graph import read_interface, read_meta_graph

from ..support.onnx_models import agree, frozen

pytestmark = pytest.mark.slow
X = {"x": ((1, 6, 6, 4), "float32")}
KERNEL = np.random.default_rng(5).normal(size=(3, 3, 2, 4)).astype(np.float32)


def compiled(x: Any) -> Any:
    """A grouped convolution in a compiled function, as Keras 3 writes it."""
    import tensorflow as tf

    return tf.function(lambda a: tf.nn.conv2d(a, KERNEL, 1, "SAME"), jit_compile=True, autograph=False)(x)


def apart(x: Any) -> Any:
    """A function that is not to be inlined, with a constant that waits for a convolution."""
    import tensorflow as tf

    def body(a: Any) -> Any:
        y = compiled(a)
        with tf.control_dependencies([y]):
            factor = tf.identity(tf.constant([2.0, 3.0, 4.0, 5.0])) + tf.cast(tf.shape(y)[3], tf.float32)
        return y * factor, a

    marks = {"_noinline": True}
    result, same = tf.function(body, experimental_attributes=marks, autograph=False)(x)
    return result + same


def looped(x: Any) -> Any:
    import tensorflow as tf

    rounds = tf.cast(tf.reduce_sum(tf.abs(x)), tf.int32) % 5 + 1
    return tf.while_loop(lambda i, _: i < rounds, lambda i, y: (i + 1, compiled(y) * 0.1 + x), (0, x))[1]


def branched(x: Any) -> Any:
    import tensorflow as tf

    return tf.cond(tf.reduce_sum(x) > 0, lambda: compiled(x), lambda: apart(x) - 1.0)


def depthwise(x: Any) -> Any:
    import tensorflow as tf

    filters = np.random.default_rng(6).normal(size=(3, 3, 4, 2)).astype(np.float32)
    return tf.function(
        lambda a: tf.nn.depthwise_conv2d(a, filters, [1, 2, 2, 1], "SAME"), jit_compile=True, autograph=False
    )(x)


def test_calls_are_inlined_however_they_are_marked(tmp_path: Path) -> None:
    bodies = {"y": compiled, "apart": apart, "looped": looped, "branched": branched, "depthwise": depthwise}
    agree(lambda x: {name: body(x) for name, body in bodies.items()}, X, tmp_path)


def test_no_call_and_no_control_input_is_left(tmp_path: Path) -> None:
    model = frozen(lambda x: {"y": looped(apart(x)) + branched(x)}, X, tmp_path)
    meta = read_meta_graph(model.saved_model)
    flat = flat_graph(meta, read_interface(meta))
    for graph in (flat.definition, optimized(flat).definition):
        bodies = [graph.node, *(function.node_def for function in graph.library.function)]
        nodes = [node for body in bodies for node in body]
        assert {"Conv2D", "Placeholder"} <= {node.op for node in nodes}
        assert not [node.name for node in nodes if "PartitionedCall" in node.op]
        assert not [tensor for node in nodes for tensor in node.input if tensor.startswith("^")]


def test_a_hub_module_in_a_keras_model_becomes_onnx(tmp_path: Path) -> None:
    """The module is a function of its own in the frozen model, its layers in order by control inputs."""
    import tensorflow as tf
    import tensorflow_hub as hub
    import tf_keras as keras

    layers = keras.layers
    module = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
        ]
    )
    tf.saved_model.save(module, str(tmp_path / "module"))
    layer = hub.KerasLayer(str(tmp_path / "module"), trainable=True)
    model = keras.Sequential([keras.Input((16, 16, 3)), layer, layers.Dense(3, activation="softmax")])
    agree(lambda image: {"y": model(image, training=False)}, {"image": ((1, 16, 16, 3), "float32")}, tmp_path)


def test_inputs_and_outputs_may_be_each_other_or_constant(tmp_path: Path) -> None:
    import tensorflow as tf

    def serve(x: Any, unused: Any) -> dict[str, Any]:
        del unused
        return {"y": x * 2.0, "same": tf.identity(x), "fixed": tf.constant([[1.0, 2.0]]), "y2": x * 2.0}

    agree(serve, {"x": ((1, 3), "float32"), "unused": ((1, 2), "float32")}, tmp_path)


def test_a_placeholder_with_a_default_is_its_default_and_no_input(tmp_path: Path) -> None:
    import tensorflow as tf

    def scaled(x: Any) -> Any:  # as the batch norm momentum of TensorFlow 1's Hub modules stands in their graphs
        return {"y": x * tf.raw_ops.PlaceholderWithDefault(input=tf.constant(3.0), shape=[])}

    artifact = agree(scaled, X, tmp_path)
    assert [tensor.name for tensor in artifact.inputs] == ["x"]
