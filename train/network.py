"""Builds the network: pixels → preprocessing → backbone → global average pooling, and then the head on top of it.

The whole is one flat functional Keras model that takes RGB 0–255 as float32, so that whatever is exported from it
does too, and nobody downstream has to know which arithmetic the backbone's family wants.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, StageError
from ..core.progress import Listener
from ..core.recipe import ModelSpec
from ..core.sanitize import shorten
from ..frameworks.tensorflow import load
from .backbones import HUB_PACKAGE, parse, weights_path
from .families import Preprocessing, family_of
from .head import apply_head
from .packaged import mobilenet_v2_on

DOWNLOAD_SECONDS = 30

# ImageNet's statistics as imagenet_utils.preprocess_input has them: RGB of 0–1, and BGR of 0–255.
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_BGR_MEAN = np.array([103.939, 116.779, 123.68])
_EYE = np.eye(3)

# Each mode as one affine map of a pixel, y = x · matrix + bias: a 1×1 convolution of fixed weights. That is one
# operator in every format (a reversed strided slice is not), and quantizes per channel with an int32 bias.
AFFINE: MappingProxyType[str, tuple[NDArray[Any], NDArray[Any]]] = MappingProxyType(
    {
        "tf": (_EYE / 127.5, -np.ones(3)),
        "caffe": (_EYE[::-1], -_BGR_MEAN),
        "torch": (_EYE / (255 * _DEVIATION), -_MEAN / _DEVIATION),
    }
)


@dataclass(frozen=True)
class Base:
    """A backbone without a head, or, where `answers`, a whole classifier that keeps its own classes.

    `model` maps (batch, size, size, 3) float32 pixels to (batch, features) float32, or to probabilities (batch,
    classes). It starts frozen: nothing in it is trainable. `layers` are those of which ``train.fine_tune.layers``
    counts the top ones, bottom first, without the preprocessing. `whole` are the layers that phase two trains
    entirely instead (``trainable = true``): in training mode, with their regularization losses. `preprocessing`
    names what was done to the pixels; `facts` are what else is worth recording. `module` is the `hub.KerasLayer` of a
    backbone that is not made of Keras' own layers.
    """

    model: Any
    layers: tuple[Any, ...]
    preprocessing: str
    answers: bool = False
    whole: tuple[Any, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    module: Any = None

    @property
    def features(self) -> int:
        """Length of the feature vector."""
        return int(self.model.output_shape[-1])


def build_base(
    spec: ModelSpec,
    *,
    folder: Path,
    mixed: bool = False,
    classes: int | None = None,
    samples: NDArray[Any] | None = None,
    listener: Listener | None = None,
) -> Base:
    """Build the backbone of `spec` with its weights, at its image size. `mixed` computes in float16 (for GPUs), where
    the backbone is made of Keras layers.

    `samples` (N, size, size, 3) uint8 are real images, on which it is found out what somebody else's model gives;
    `classes` is how many classes the data have. Raises InputError for an unknown name, weights that do not fit, or a
    model that cannot be used so, StageError when something cannot be fetched.
    """
    _, keras = load()
    scheme, name = parse(spec.backbone)
    if scheme == "hub":
        from .hub.image import build_hub_base

        return build_hub_base(spec, folder=folder, classes=classes, samples=samples, listener=listener)
    if scheme == "file":
        from .external.backbone import build_file_base

        base: Base = build_file_base(spec, folder, classes=classes, samples=samples, listener=listener)
        return base
    if scheme == "package" and name == HUB_PACKAGE:
        from .hub.image import build_packaged_base

        return build_packaged_base(spec, classes=classes, samples=samples, listener=listener)
    preprocessing: Preprocessing = "torch" if scheme == "package" else family_of(name).preprocessing
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16" if mixed else "float32")
    try:
        if scheme == "package":
            image = keras.Input((spec.image_size, spec.image_size, 3), name="image")
            activations, layers = mobilenet_v2_on(preprocess(image, preprocessing))
            return _pooled(image, activations, layers, preprocessing)
        return assemble(_application(spec, name, folder), preprocessing, spec.image_size)
    finally:
        keras.mixed_precision.set_global_policy(policy)


def made_of_keras_layers(spec: ModelSpec) -> bool:
    """Whether the backbone is built here of Keras layers, so that their precision can be chosen."""
    scheme, name = parse(spec.backbone)
    return scheme in ("keras", "package") and name != HUB_PACKAGE


def assemble(backbone: Any, preprocessing: Preprocessing, size: int) -> Base:
    """Put `backbone` between preprocessing and pooling, flat, and freeze it."""
    _, keras = load()
    image = keras.Input((size, size, 3), name="image")
    pixels = preprocess(image, preprocessing)
    # Calling `call` itself, not the model, applies the layers one by one: a flat model, not one inside another.
    activations = backbone.call(pixels)
    if 0 in activations.shape[1:]:
        raise InputError(f"{backbone.name} leaves nothing of a picture of {size} pixels", "choose a larger image_size")
    return _pooled(image, activations, backbone.layers[1:], preprocessing)


def _pooled(image: Any, activations: Any, layers: Sequence[Any], preprocessing: Preprocessing) -> Base:
    _, keras = load()
    features = keras.layers.GlobalAveragePooling2D(name="pool", dtype="float32")(activations)
    model = keras.Model(image, features, name="base")
    model.trainable = False
    return Base(model, tuple(layers), preprocessing)


def preprocess(image: Any, mode: Preprocessing) -> Any:
    """Apply a family's `preprocess_input` to a Keras tensor (batch, h, w, 3) of RGB 0–255, inside the model."""
    if mode == "inside":
        return image
    return affine(image, *AFFINE[mode])


def affine(image: Any, matrix: NDArray[Any], bias: NDArray[Any]) -> Any:
    """Map each pixel of a Keras tensor (batch, h, w, 3) to y = x · `matrix` (3, 3) + `bias` (3,)."""
    _, keras = load()
    layer = keras.layers.Conv2D(3, 1, name="preprocess", dtype="float32", trainable=False)
    mapped = layer(image)
    layer.set_weights([matrix.reshape(1, 1, 3, 3), bias])
    return mapped


def attach_head(base: Base, head: Any) -> Any:
    """Return the whole model: `base` and behind it the layers of `head` (`head.new_head`), which ends in
    ``probabilities`` (batch, classes) float32."""
    _, keras = load()
    return keras.Model(base.model.input, apply_head(head, base.model.output), name="classifier")


def pool_by_maximum(base: Base) -> Base | None:
    """Return `base` with the largest activation of each channel for its features instead of their average; None where
    the backbone gives vectors and nothing is pooled here."""
    _, keras = load()
    last = base.model.layers[-1]
    kinds = {
        keras.layers.GlobalAveragePooling2D: keras.layers.GlobalMaxPooling2D,
        keras.layers.GlobalAveragePooling1D: keras.layers.GlobalMaxPooling1D,
    }
    if type(last) not in kinds or base.answers:
        return None
    features = kinds[type(last)](name=last.name, dtype="float32")(last.get_input_at(-1))  # where it was called last
    model = keras.Model(base.model.input, features, name="base")
    model.trainable = False
    return replace(base, model=model)


def _application(spec: ModelSpec, name: str, folder: Path) -> Any:
    _, keras = load()
    build = getattr(keras.applications, name)
    arguments: dict[str, Any] = {"include_top": False, "input_shape": (spec.image_size, spec.image_size, 3)}
    if spec.alpha is not None:
        arguments["alpha"] = spec.alpha
    if spec.weights == "imagenet":
        with _explain_download(spec):
            return build(weights="imagenet", **arguments)
    backbone = build(weights=None, **arguments)
    if (path := weights_path(spec, folder)) is not None:
        _load_file(backbone, path)
    return backbone


@contextmanager
def _explain_download(spec: ModelSpec) -> Iterator[None]:
    """Turn a download that fails, or never ends, into an error that names the ways that need no network."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        yield
    except Exception as error:  # keras.utils.get_file raises a bare Exception
        if "URL fetch failure" not in str(error) and not isinstance(error, OSError):
            raise
        raise StageError(
            f"model {spec.name!r}: the ImageNet weights of {spec.backbone} could not be fetched: "
            f"{shorten(str(error), 300)}",
            "without a network choose one of: backbone = 'package:mobilenet_v2' (weights that an installed package "
            "carries); weights = 'FILE' (a .h5 or .keras file of this backbone); weights = 'none' (a random start); "
            "or copy the file that Keras asked for into ~/.keras/models",
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _load_file(backbone: Any, path: Path) -> None:
    """Load a file of weights, whole or not at all.

    A file that Keras finds to be of exactly this backbone is taken as it is. A legacy HDF5 file that holds more,
    such as the classification layer, is taken by layer names, provided that it has every layer of the backbone.
    """
    try:
        backbone.load_weights(str(path))
        return
    except Exception as error:  # Keras, h5py and zipfile each have their own
        reason: Exception = error
    try:
        if path.suffix == ".h5":
            _load_by_name(backbone, path)
            return
    except Exception as error:
        reason = error
    raise InputError(
        f"the weights in {path} do not fit {backbone.name}: {shorten(str(reason), 300)}",
        "check that the file was saved from this backbone with the same alpha; weights = 'none' starts at random",
    ) from reason


def _load_by_name(backbone: Any, path: Path) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        group = file.get("model_weights", file)
        for layer in backbone.layers:
            if not layer.weights:
                continue
            if layer.name not in group:
                raise ValueError(f"there is no layer {layer.name!r} in the file")
            stored = group[layer.name]
            layer.set_weights([np.asarray(stored[name]) for name in stored.attrs["weight_names"]])
