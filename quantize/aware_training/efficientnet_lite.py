"""EfficientNet-Lite 0–4 in Keras layers, weights not yet set.

EfficientNet (arXiv 1905.11946, table 1) without squeeze-and-excitation and with ReLU6; its stem and head are not
widened, its first and last stages are not repeated more often
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...frameworks.tfmot import load

EPSILON = 1e-3
STEM, HEAD = 32, 1280
# Repeats, expansion, kernel side, stride, channels of EfficientNet-B0's stages.
STAGES = ((1, 1, 3, 1, 16), (2, 6, 3, 2, 24), (2, 6, 5, 2, 40), (3, 6, 3, 2, 80), (3, 6, 5, 1, 112), (4, 6, 5, 2, 192),
          (1, 6, 3, 1, 320))  # fmt: skip


@dataclass(frozen=True)
class Lite:
    """How much wider and deeper than B0."""

    width: float
    depth: float

    def blocks(self) -> list[tuple[int, int, int, int, int]]:
        """Return expansion, kernel side, stride, channels in and out of each block."""
        made, inputs = [], STEM
        for stage, (repeats, expand, kernel, stride, channels) in enumerate(STAGES):
            inner = 0 < stage < len(STAGES) - 1
            outputs = _round(channels * self.width)
            for number in range(math.ceil(repeats * self.depth) if inner else repeats):
                made.append((expand, kernel, 1 if number else stride, inputs, outputs))
                inputs = outputs
        return made

    @property
    def count(self) -> tuple[int, int]:
        """Variables and numbers, batch norms' statistics included."""
        convolutions = [9 * 3 * STEM + 4 * STEM]
        for expand, kernel, _, inputs, outputs in self.blocks():
            wide = inputs * expand
            convolutions += [inputs * wide + 4 * wide] if expand > 1 else []
            convolutions += [kernel * kernel * wide + 4 * wide, wide * outputs + 4 * outputs]
            last = outputs
        convolutions.append(last * HEAD + 4 * HEAD)
        return 5 * len(convolutions), sum(convolutions)


LITE = {
    "lite0": Lite(1.0, 1.0),
    "lite1": Lite(1.0, 1.1),
    "lite2": Lite(1.1, 1.2),
    "lite3": Lite(1.2, 1.4),
    "lite4": Lite(1.4, 1.8),
}


def _round(channels: float) -> int:
    """Channels are multiples of eight, and never more than a tenth fewer than asked for."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def efficientnet_lite(name: str, size: int) -> Any:
    """Return the features (batch, size, size, 3) → (batch, h, w, 1280) of one of `LITE`.

    Layers are called as in ``package:efficientnet_lite0``: stem, block_0/expand, block_0/depthwise, ….
    """
    _, keras, _ = load()
    layers = keras.layers

    def unit(x: Any, name: str, layer: Any, *, activate: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=EPSILON, name=f"{name}_bn")(layer(x))
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if activate else x

    def convolution(name: str, filters: int, kernel: int, stride: int = 1) -> Any:
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)

    image = keras.Input((size, size, 3))
    x = unit(image, "stem", convolution("stem", STEM, 3, 2))
    for number, (expand, kernel, stride, inputs, outputs) in enumerate(LITE[name].blocks()):
        before, block = x, f"block_{number}"
        if expand > 1:
            x = unit(x, f"{block}_expand", convolution(f"{block}_expand", inputs * expand, 1))
        depthwise = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{block}_depthwise")
        x = unit(x, f"{block}_depthwise", depthwise)
        x = unit(x, f"{block}_project", convolution(f"{block}_project", outputs, 1), activate=False)
        if stride == 1 and inputs == outputs:
            x = layers.Add(name=f"{block}_add")([x, before])
    x = unit(x, "head", convolution("head", HEAD, 1))
    return keras.Model(image, x, name=f"efficientnet_{name}")
