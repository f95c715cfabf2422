"""EfficientNet-Lite 0–4 as a table, without a framework, for training and further training.

EfficientNet (arXiv 1905.11946, table 1) without squeeze-and-excitation and with ReLU6; its stem and head are not
widened, its first and last stages are not repeated more often
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

EPSILON = 1e-3
STEM, HEAD = 32, 1280
# Repeats, expansion, kernel side, stride, channels of EfficientNet-B0's stages.
STAGES = ((1, 1, 3, 1, 16), (2, 6, 3, 2, 24), (2, 6, 5, 2, 40), (3, 6, 3, 2, 80), (3, 6, 5, 1, 112), (4, 6, 5, 2, 192),
          (1, 6, 3, 1, 320))  # fmt: skip


@dataclass(frozen=True)
class Block:
    """An inverted residual block: expansion, kernel side, stride, channels in and out."""

    expand: int
    kernel: int
    stride: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Lite:
    """Width and depth of a variant, as multiples of B0's."""

    width: float
    depth: float

    def blocks(self) -> list[Block]:
        """Return its blocks, from the stem to the head."""
        blocks, inputs = [], STEM
        for stage, (repeats, expand, kernel, stride, channels) in enumerate(STAGES):
            inner = 0 < stage < len(STAGES) - 1
            outputs = _round(channels * self.width)
            for number in range(math.ceil(repeats * self.depth) if inner else repeats):
                blocks.append(Block(expand, kernel, 1 if number else stride, inputs, outputs))
                inputs = outputs
        return blocks

    @property
    def count(self) -> tuple[int, int]:
        """The numbers of variables and of parameters, batch norms' statistics included."""
        convolutions = [9 * 3 * STEM + 4 * STEM]
        blocks = self.blocks()
        for block in blocks:
            wide, outputs = block.inputs * block.expand, block.outputs
            convolutions += [block.inputs * wide + 4 * wide] if block.expand > 1 else []
            convolutions += [block.kernel * block.kernel * wide + 4 * wide, wide * outputs + 4 * outputs]
        convolutions.append(blocks[-1].outputs * HEAD + 4 * HEAD)
        return 5 * len(convolutions), sum(convolutions)


LITE = {
    "lite0": Lite(1.0, 1.0),
    "lite1": Lite(1.0, 1.1),
    "lite2": Lite(1.1, 1.2),
    "lite3": Lite(1.2, 1.4),
    "lite4": Lite(1.4, 1.8),
}


def _round(channels: float) -> int:
    """Round to a multiple of eight that is at least 90% of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
