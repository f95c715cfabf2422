"""The LR-ASPP head (Howard et al. 2019, arXiv 1905.02244, section 6.4) on two maps of a backbone.

The deep map, of a sixteenth of the picture's side, goes through a 1×1 convolution, weighted by channel with a sigmoid
of its mean; it is resized to the shallow map, of an eighth, and both are added as values by class. The result gets the
picture's size. Here convolutions have a bias and no batch norm: small data sets and batches would spoil its statistics.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from ...core.errors import InputError
from ...core.recipe import ModelSpec
from ...frameworks.tensorflow import load
from ..network import Base

FILTERS = 128
SHALLOW, DEEP = 8, 16  # sides of the picture over those of the maps
OUTPUT = "probabilities"


class Cut(NamedTuple):
    """A backbone up to its two maps: `model` gives [shallow, deep]; `base` has the layers that can be fine-tuned."""

    model: Any
    base: Base


def cut(spec: ModelSpec, base: Base) -> Cut:
    """Return a backbone up to the last of its maps of an eighth and of a sixteenth of the picture's side.

    Raises InputError for a backbone that is not made of Keras layers, or has no such maps.
    """
    _, keras = load()
    maps = {
        stride: next((m for m in reversed(_outputs(base)) if tuple(m.shape[1:3]) == _side(base, stride)), None)
        for stride in (SHALLOW, DEEP)
    }
    if not base.layers or any(one is None for one in maps.values()):
        raise InputError(
            f"model {spec.name!r}: {spec.backbone} gives no maps of an eighth and a sixteenth of {spec.image_size} "
            "pixels, which a segmenter needs",
            "choose a keras: backbone such as keras:MobileNetV2, or package:mobilenet_v2, with an image_size of 32 × n",
        )
    model = keras.Model(base.model.input, [maps[SHALLOW], maps[DEEP]], name="maps")
    inside = {id(layer) for layer in model.layers}
    layers = tuple(layer for layer in base.layers if id(layer) in inside)
    return Cut(model, replace(base, layers=layers))


def _outputs(base: Base) -> list[Any]:
    """Return the tensors of four axes inside a backbone, bottom first."""
    found = []
    for layer in base.model.layers:
        outputs = layer.output if isinstance(layer.output, list) else [layer.output]
        found += [one for one in outputs if len(one.shape) == 4]
    return found


def _side(base: Base, stride: int) -> tuple[int, int]:
    height, width = base.model.input_shape[1:3]
    return -(-height // stride), -(-width // stride)


def new_lraspp(maps: Any, classes: int, *, activation: str, dropout: Any, size: int, seed: int) -> Any:
    """Return the head as a Keras model: [shallow, deep] → (n, size, size, classes), each pixel's `activation`.

    `maps` is `Cut.model`. Weights are drawn from `seed` (Glorot uniform, zeros). `dropout` is a layer of features, or
    None.
    """
    _, keras = load()
    layers = keras.layers

    def conv(units: int, name: str, number: int, activation: str | None = None, *, bias: bool = True) -> Any:
        start = keras.initializers.GlorotUniform(seed=seed + number)
        return layers.Conv2D(units, 1, activation=activation, use_bias=bias, kernel_initializer=start, name=name)

    low, high = maps.output
    shallow, deep = keras.Input(low.shape[1:], name="low"), keras.Input(high.shape[1:], name="high")
    wide = conv(FILTERS, "project", 1, "relu")(deep)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(deep)
    x = layers.Multiply(name="weighted")([wide, conv(FILTERS, "weight", 2, "sigmoid", bias=False)(mean)])
    if dropout is not None:
        x = dropout(x)
    x = layers.Resizing(*shallow.shape[1:3], name="to_low")(x)
    x = layers.Add(name="classes")([conv(classes, "of_high", 3)(x), conv(classes, "of_low", 4)(shallow)])
    x = layers.Resizing(size, size, name="to_picture")(x)
    answer = layers.Softmax(name=OUTPUT) if activation == "softmax" else layers.Activation("sigmoid", name=OUTPUT)
    return keras.Model([shallow, deep], answer(x), name="lraspp")
