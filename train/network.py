"""Image backbones: pixels → preprocessing → backbone → global average pooling; and the head on top.

This is one flat functional Keras model that takes RGB 0–255 as float32. So does every exported file, and callers need
not know the preprocessing of the backbone's family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.model import pixel_scale
from ..frameworks.network_format import PREPROCESS
from ..frameworks.tensorflow import load
from .families import Preprocessing
from .head import apply_head
from .hub.pixel_ranges import Pixels

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
    """A backbone without a head, or, if `answers`, a complete classifier with its own classes.

    `model` maps (batch, size, size, 3) float32 pixels to (batch, features) float32, or to probabilities (batch,
    classes). It starts frozen: nothing in it is trainable. `layers` are the layers that ``train.fine_tune.layers``
    counts, bottom first, without the preprocessing. `whole_layers` are the layers that phase two trains
    entirely instead (``trainable = true``): in training mode, with their regularization losses. `preprocessing`
    names the operation on the pixels; `facts` are further entries for the provenance. `module` is the `hub.KerasLayer`
    of a backbone that is not built of Keras' own layers.
    """

    model: Any
    layers: tuple[Any, ...]
    preprocessing: str
    answers: bool = False
    whole_layers: tuple[Any, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    module: Any = None

    @property
    def features(self) -> int:
        """Length of the feature vector."""
        return int(self.model.output_shape[-1])


@contextmanager
def precision(*, mixed: bool) -> Iterator[None]:
    """Build Keras layers in float16 with float32 variables (`mixed`), or in float32."""
    _, keras = load()
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16" if mixed else "float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)


def assemble(backbone: Any, preprocessing: Preprocessing, size: int) -> Base:
    """Place `backbone` between preprocessing and pooling as a flat model, and freeze it."""
    _, keras = load()
    image = keras.Input((size, size, 3), name="image")
    pixels = preprocess(image, preprocessing)
    # Calling `call` itself, not the model, applies the layers one by one: a flat model, not one inside another.
    activations = backbone.call(pixels)
    if 0 in activations.shape[1:]:
        raise InputError(f"{backbone.name} leaves nothing of a picture of {size} pixels", "choose a larger image_size")
    return pooled(image, activations, backbone.layers[1:], preprocessing)


def pooled(image: Any, activations: Any, layers: Sequence[Any], preprocessing: Preprocessing) -> Base:
    """Return the frozen backbone from `image` to `activations`, averaged over height and width."""
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
    layer = keras.layers.Conv2D(3, 1, name=PREPROCESS, dtype="float32", trainable=False)
    mapped = layer(image)
    layer.set_weights([matrix.reshape(1, 1, 3, 3), bias])
    return mapped


def ranged(image: Any, pixels: Pixels) -> Any:
    """Map a Keras tensor (batch, h, w, 3) of RGB 0–255 to the range that the model expects."""
    if pixels.span is None:
        return affine(image, *AFFINE[pixels.mode])
    factor, offset = pixel_scale(*pixels.span)
    return image if (factor, offset) == (1.0, 0.0) else affine(image, _EYE * factor, np.full(3, offset))


def attach_head(base: Base, head: Any) -> Any:
    """Return the complete model: `base`, followed by the layers of `head` (`head.new_head`), with the output
    ``probabilities`` (batch, classes) float32."""
    _, keras = load()
    return keras.Model(base.model.input, apply_head(head, base.model.output), name="classifier")


def pool_by_maximum(base: Base) -> Base | None:
    """Return `base` with global maximum pooling instead of average pooling; None if the backbone returns vectors, and
    nothing is pooled here."""
    _, keras = load()
    last = base.model.layers[-1]
    kinds = {
        keras.layers.GlobalAveragePooling2D: keras.layers.GlobalMaxPooling2D,
        keras.layers.GlobalAveragePooling1D: keras.layers.GlobalMaxPooling1D,
    }
    if type(last) not in kinds or base.answers:
        return None
    features = kinds[type(last)](name=last.name, dtype="float32")(last.get_input_at(-1))  # of its last call
    model = keras.Model(base.model.input, features, name="base")
    model.trainable = False
    return replace(base, model=model)
