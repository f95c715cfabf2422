"""Builds Hub modules again as flat Keras networks, where the architecture is known, from the variables they brought.

A module is a graph: it runs, but it has no layers to quantize or to prune. What is known are EfficientNet-Lite, and of
tf.keras.applications what TFMOT can quantize. A module is recognised by how many variables and numbers it has; its
variables are put in place by their names, or, where another library named them, by their kinds in their order. Whether
that was right is not believed but measured: the caller compares the answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...frameworks.efficientnet_lite import LITE
from ...frameworks.network_format import PREPROCESS
from ...frameworks.tensorflow import load
from .efficientnet_lite import efficientnet_lite

# Variables and numbers of tf.keras.applications without the classification layer, as counted on tf_keras 2.21.
APPLICATIONS: dict[tuple[int, int], tuple[str, dict[str, float]]] = {
    (135, 218_544): ("MobileNet", {"alpha": 0.25}),
    (135, 829_536): ("MobileNet", {"alpha": 0.5}),
    (135, 1_832_976): ("MobileNet", {"alpha": 0.75}),
    (135, 3_228_864): ("MobileNet", {"alpha": 1.0}),
    (260, 410_208): ("MobileNetV2", {"alpha": 0.35}),
    (260, 706_224): ("MobileNetV2", {"alpha": 0.5}),
    (260, 1_382_064): ("MobileNetV2", {"alpha": 0.75}),
    (260, 2_257_984): ("MobileNetV2", {"alpha": 1.0}),
    (260, 3_766_048): ("MobileNetV2", {"alpha": 1.3}),
    (260, 4_363_712): ("MobileNetV2", {"alpha": 1.4}),
    (318, 23_587_712): ("ResNet50", {}),
    (624, 42_658_176): ("ResNet101", {}),
    (930, 58_370_944): ("ResNet152", {}),
    (26, 14_714_688): ("VGG16", {}),
    (32, 20_024_384): ("VGG19", {}),
    (376, 21_802_784): ("InceptionV3", {}),
    (234, 20_861_480): ("Xception", {}),
    (604, 7_037_504): ("DenseNet121", {}),
}

# How the last part of a variable's name says what it is, in Keras, TF-Slim and our own EfficientNet-Lite.
KINDS = {
    "kernel": "kernel", "weights": "kernel", "depthwise_kernel": "kernel", "depthwise_weights": "kernel",
    "pointwise_kernel": "kernel", "bias": "bias", "biases": "bias", "gamma": "gamma", "beta": "beta",
    "moving_mean": "mean", "mean": "mean", "moving_variance": "variance", "var": "variance", "variance": "variance",
}  # fmt: skip
# Scopes of TF-Slim (research/slim/nets/mobilenet) and the layers of tf.keras.applications that they are.
SLIM: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"MobilenetV2/Conv/", lambda: "Conv1"),
    (r"MobilenetV2/Conv_1/", lambda: "Conv_1"),
    (r"MobilenetV2/expanded_conv/(depthwise|project)/", lambda part: f"expanded_conv_{part}"),
    (r"MobilenetV2/expanded_conv_(\d+)/(expand|depthwise|project)/", lambda block, part: f"block_{block}_{part}"),
    (r"MobilenetV1/Conv2d_0/", lambda: "conv1"),
    (r"MobilenetV1/Conv2d_(\d+)_depthwise/", lambda block: f"conv_dw_{block}"),
    (r"MobilenetV1/Conv2d_(\d+)_pointwise/", lambda block: f"conv_pw_{block}"),
)
_NUMBER = re.compile(r"(\d+)")


class UnknownError(Exception):
    """The network cannot be had, only the frozen graph; the message says why."""


@dataclass(frozen=True)
class Variable:
    """A module's variable: its whole name, its value."""

    name: str
    value: NDArray[Any]

    @property
    def kind(self) -> str:
        """What it is; empty where the name does not tell."""
        return KINDS.get(self.name.rsplit("/", 1)[-1], "")


def rebuild(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Iterator[Any]:
    """Yield Keras networks (batch, size, size, 3) → (batch, classes) that a kept module may be, likeliest first.

    `described` and `arrays` are what `train.kept` wrote of kind ``module``. Raises UnknownError, in words, when there
    is none.
    """
    if described["answers"] or described["gives"] != "values":
        raise UnknownError("the module keeps classes of its own, which no known architecture says how to compute")
    values = [arrays[name] for name in sorted(arrays) if name.isdecimal()]
    variables = [Variable(name, value) for name, value in zip(described["names"], values, strict=True)]
    size = int(described["size"])
    backbone = _candidate(variables, size)
    if backbone is None:
        numbers = sum(variable.value.size for variable in variables)
        raise UnknownError(f"its architecture is not known to us ({len(variables)} variables, {numbers:,} numbers)")
    network = _assemble(backbone, described, arrays, size)
    fitting = list(_assignments(backbone, variables))
    if not fitting:
        raise UnknownError(f"it has as many numbers as {backbone.name}, but its variables do not fit that architecture")
    for weights in fitting:
        backbone.set_weights(weights)
        yield network


def _candidate(variables: Sequence[Variable], size: int) -> Any:
    """Return the backbone (batch, size, size, 3) → (batch, h, w, channels) that has these many variables and numbers,
    weights not yet set; None where there is none."""
    _, keras = load()
    count = (len(variables), sum(variable.value.size for variable in variables))
    for name, lite in LITE.items():
        if lite.count == count:
            return efficientnet_lite(name, size)
    if count not in APPLICATIONS:
        return None
    name, options = APPLICATIONS[count]
    return getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(size, size, 3), **options)


def _assignments(backbone: Any, variables: Sequence[Variable]) -> Iterator[list[NDArray[Any]]]:
    """Yield the ways to fill the backbone's weights, in their order: by names, in the order in which the module lists
    its variables, and in that of its names, numbers counted as numbers."""
    yield from _filled(backbone, variables, lambda v: "/".join(_keras_name(v.name).split("/")[-2:]),
                       lambda name: "/".join(name.split("/")[-2:]))  # fmt: skip
    for order in (variables, sorted(variables, key=lambda v: _natural(v.name))):
        yield from _filled(backbone, order, lambda v: v.kind, lambda name: KINDS.get(name.rsplit("/", 1)[-1], "?"))


def _filled(
    backbone: Any, order: Sequence[Variable], of_variable: Callable[[Variable], str], of_weight: Callable[[str], str]
) -> Iterator[list[NDArray[Any]]]:
    """Yield the weights, if each finds a variable of its own with the same mark and shape: the first that is left."""
    rest: dict[tuple[str, tuple[int, ...]], list[NDArray[Any]]] = {}
    for variable in order:
        rest.setdefault((of_variable(variable), variable.value.shape), []).append(variable.value)
    found = []
    for weight in backbone.weights:
        queue = rest.get((of_weight(weight.name.split(":")[0]), tuple(weight.shape)))
        if not queue:
            return
        found.append(queue.pop(0))
    yield found


def _keras_name(name: str) -> str:
    """Return TF-Slim's name of a variable of MobileNet V1 or V2 as Keras has it; others stay as they are."""
    for pattern, ours in SLIM:
        if found := re.search(pattern, name):
            layer = ours(*(group or "" for group in found.groups()))
            part = name.rsplit("/", 1)[-1]
            if "/BatchNorm/" in name:
                norm = layer.replace("Conv1", "bn_Conv1") if layer == "Conv1" else f"{layer}_{_suffix(layer)}"
                return f"{norm}/{part}"
            return f"{layer}/{'depthwise_kernel' if 'depthwise' in part else 'kernel'}"
    return name


def _suffix(layer: str) -> str:
    return "bn" if layer == "Conv_1" or layer.startswith("conv") else "BN"


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in _NUMBER.split(name)]


def _assemble(backbone: Any, described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], size: int) -> Any:
    """Put preprocessing before and pooling and head behind `backbone`."""
    _, keras = load()
    image = pixels = keras.Input((size, size, 3), name="image")
    set_later: list[tuple[Any, list[NDArray[Any]]]] = []
    if f"{PREPROCESS}/kernel" in arrays:
        affine = keras.layers.Conv2D(3, 1, name=PREPROCESS, trainable=False)
        pixels = affine(image)
        set_later.append((affine, [arrays[f"{PREPROCESS}/kernel"], arrays[f"{PREPROCESS}/bias"]]))
    largest = described.get("pooling", "avg") == "max"
    pool = keras.layers.GlobalMaxPooling2D if largest else keras.layers.GlobalAveragePooling2D
    features = pool(name="pool")(backbone(pixels))
    for name, activation in (*described.get("hidden", ()), ("probabilities", "softmax")):
        kernel, bias = arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        dense = keras.layers.Dense(len(bias), activation=activation, name=name)
        features = dense(features)
        set_later.append((dense, [kernel, np.asarray(bias)]))
    for layer, weights in set_later:
        layer.set_weights(weights)
    return keras.Model(image, features, name="rebuilt")
