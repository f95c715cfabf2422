"""EfficientNet-Lite 0–4 (`frameworks.efficientnet_lite`) in Keras layers, weights not yet set."""

from __future__ import annotations

from typing import Any

from ...frameworks.efficientnet_lite import EPSILON, HEAD, LITE, STEM
from ...frameworks.tensorflow import load


def efficientnet_lite(name: str, size: int) -> Any:
    """Return the features (batch, size, size, 3) → (batch, h, w, 1280) of one of `LITE`.

    Layers have the names of ``package:efficientnet_lite0``: stem, block_0/expand, block_0/depthwise, ….
    """
    _, keras = load()
    layers = keras.layers

    def unit(x: Any, name: str, layer: Any, *, activate: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(layer(x))
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if activate else x

    def convolution(name: str, filters: int, kernel: int, stride: int = 1) -> Any:
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)

    image = keras.Input((size, size, 3))
    x = unit(image, "stem", convolution("stem", STEM, 3, 2))
    for number, block in enumerate(LITE[name].blocks()):
        before, called = x, f"block_{number}"
        if block.expand > 1:
            x = unit(x, f"{called}_expand", convolution(f"{called}_expand", block.inputs * block.expand, 1))
        depthwise = layers.DepthwiseConv2D(
            block.kernel, block.stride, padding="same", use_bias=False, name=f"{called}_depthwise"
        )
        x = unit(x, f"{called}_depthwise", depthwise)
        x = unit(x, f"{called}_project", convolution(f"{called}_project", block.outputs, 1), activate=False)
        if block.stride == 1 and block.inputs == block.outputs:
            x = layers.Add(name=f"{called}_add")([x, before])
    x = unit(x, "head", convolution("head", HEAD, 1))
    return keras.Model(image, x, name=f"efficientnet_{name}")
