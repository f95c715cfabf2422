"""Rebuilds Hub modules of a known architecture as flat Keras networks with the modules' variables.

A module is a graph: it has no layers to quantize or to prune. The known architectures are EfficientNet-Lite, and those
of tf.keras.applications that TFMOT can quantize. A module is identified by its number of variables and of parameters.
Its variables are assigned by name, or, with the names of another library, by kind and order. The caller compares the
answers, which shows whether the assignment is right.
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

# Variables and parameters of tf.keras.applications without the classification layer, counted on tf_keras 2.21.
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

# The kind of a variable by the last part of its name, in Keras, TF-Slim and this project's EfficientNet-Lite.
KINDS = {
    "kernel": "kernel", "weights": "kernel", "depthwise_kernel": "kernel", "depthwise_weights": "kernel",
    "pointwise_kernel": "kernel", "bias": "bias", "biases": "bias", "gamma": "gamma", "beta": "beta",
    "moving_mean": "mean", "mean": "mean", "moving_variance": "variance", "var": "variance", "variance": "variance",
}  # fmt: skip
# Scopes of TF-Slim (research/slim/nets/mobilenet) and the corresponding layers of tf.keras.applications.
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


class UnavailableNetworkError(Exception):
    """There is no network to train, only the frozen graph; the message says why."""


@dataclass(frozen=True)
class Variable:
    """A module's variable: its full name and its value."""

    name: str
    value: NDArray[Any]

    @property
    def kind(self) -> str:
        """The kind of the variable; empty if its name does not say."""
        return KINDS.get(self.name.rsplit("/", 1)[-1], "")


def rebuild(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Iterator[Any]:
    """Yield Keras networks (batch, size, size, 3) → (batch, classes) that a stored module may be, most likely first.

    `described` and `arrays` are of the format `frameworks.network_format`, kind ``module``. Raises
    UnavailableNetworkError if there is none.
    """
    if described["answers"] or described["gives"] != "values":
        raise UnavailableNetworkError("the module has its own classes, which no known architecture computes")
    values = [arrays[name] for name in sorted(arrays) if name.isdecimal()]
    variables = [Variable(name, value) for name, value in zip(described["names"], values, strict=True)]
    size = int(described["size"])
    backbone = _candidate(variables, size)
    if backbone is None:
        parameters = sum(variable.value.size for variable in variables)
        raise UnavailableNetworkError(
            f"its architecture is unknown ({len(variables)} variables, {parameters:,} parameters)"
        )
    network = _assemble(backbone, described, arrays, size)
    fitting = list(_assignments(backbone, variables))
    if not fitting:
        raise UnavailableNetworkError(
            f"it has as many parameters as {backbone.name}, but its variables do not fit that architecture"
        )
    for weights in fitting:
        backbone.set_weights(weights)
        yield network


def _candidate(variables: Sequence[Variable], size: int) -> Any:
    """Return the backbone (batch, size, size, 3) → (batch, h, w, channels) with these parameters of variables and
    parameters, weights not yet set; None if there is none."""
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
    """Yield the possible weights of the backbone: assigned by name, by the module's order of variables, and by the
    natural order of their names."""
    yield from _filled(backbone, variables, lambda v: "/".join(_keras_name(v.name).split("/")[-2:]),
                       lambda name: "/".join(name.split("/")[-2:]))  # fmt: skip
    for order in (variables, sorted(variables, key=lambda v: _natural(v.name))):
        yield from _filled(backbone, order, lambda v: v.kind, lambda name: KINDS.get(name.rsplit("/", 1)[-1], "?"))


def _filled(
    backbone: Any, order: Sequence[Variable], of_variable: Callable[[Variable], str], of_weight: Callable[[str], str]
) -> Iterator[list[NDArray[Any]]]:
    """Yield the weights, if there is a variable for each: the first unused one with the same mark and shape."""
    unused: dict[tuple[str, tuple[int, ...]], list[NDArray[Any]]] = {}
    for variable in order:
        unused.setdefault((of_variable(variable), variable.value.shape), []).append(variable.value)
    values = []
    for weight in backbone.weights:
        queue = unused.get((of_weight(weight.name.split(":")[0]), tuple(weight.shape)))
        if not queue:
            return
        values.append(queue.pop(0))
    yield values


def _keras_name(name: str) -> str:
    """Return Keras' name of a variable of MobileNet V1 or V2 with TF-Slim's name; other names are unchanged."""
    for pattern, keras_layer in SLIM:
        if match := re.search(pattern, name):
            layer = keras_layer(*(group or "" for group in match.groups()))
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
    """Add preprocessing before `backbone`, and pooling and head behind it."""
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
