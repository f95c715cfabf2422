"""``package:NAME`` for images: backbones whose weights are in an installed Python package.

A new one is an object with `Packaged`'s methods and a row of `MODELS`, beside its row of `packaged.PACKAGES`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from ..core.errors import InputError
from ..core.recipe import ModelSpec
from ..core.sanitize import shorten
from ..frameworks.tensorflow import check_installed, load
from .families import did_you_mean
from .hub import efficientnet_lite
from .hub.image import base_of
from .hub.module import check_hub_installed
from .network import Base, pooled, precision, preprocess
from .packaged import PACKAGES, mobilenet_v2_on, weights_file
from .source import ImageRequest, check_head, check_keys, check_size, name_of

_KEYS = frozenset({"name", "backbone", "image_size", "resize", "alpha", "weights"})
MINIMUM = 32  # MobileNetV2 and EfficientNet-Lite0 halve their input five times


class Packaged(Protocol):
    """One packaged model. `keys` are the keys of [[model]] that apply to it alone."""

    keys: frozenset[str]
    mixes: bool
    packages: tuple[str, ...]

    def check(self, spec: ModelSpec) -> None:
        """Raise InputError for settings that this model does not support."""
        ...

    def identity(self, spec: ModelSpec) -> dict[str, Any]:
        """Return what decides the result in addition to the weights' hash."""
        ...

    def build(self, spec: ModelSpec, request: ImageRequest) -> Base:
        """Build it."""
        ...


class MobileNetV2:
    """torchvision's weights in Keras' architecture."""

    keys: frozenset[str] = frozenset()
    mixes = True
    packages: tuple[str, ...] = ()

    def check(self, spec: ModelSpec) -> None:
        """Do nothing: there are no further checks."""

    def identity(self, spec: ModelSpec) -> dict[str, Any]:
        """Empty: only the weights decide the result."""
        return {}

    def build(self, spec: ModelSpec, request: ImageRequest) -> Base:
        """Build it flat, as a model of tf.keras.applications."""
        _, keras = load()
        with precision(mixed=request.mixed):
            image = keras.Input((spec.image_size, spec.image_size, 3), name="image")
            activations, layers = mobilenet_v2_on(preprocess(image, "torch"))
            return pooled(image, activations, layers, "torch")


class EfficientNetLite0:
    """A Hub SavedModel, built here from the package's weights."""

    keys = frozenset({"trainable", "head", "output"})
    mixes = False
    packages: tuple[str, ...] = ("tensorflow-hub",)
    outputs = ("feature_vector", "classification")  # of which Hub has one module each

    def check(self, spec: ModelSpec) -> None:
        """Check its output, and the extra ``hub``."""
        if spec.output not in ("", *self.outputs):
            raise InputError(
                f"model {spec.name!r}: {spec.backbone} has no output {shorten(spec.output)!r}",
                f"choose one of {', '.join(self.outputs)}; without output it is feature_vector",
            )
        check_head(spec)
        check_hub_installed()

    def identity(self, spec: ModelSpec) -> dict[str, Any]:
        """The output that was chosen."""
        return {"output": spec.output} if spec.output else {}

    def build(self, spec: ModelSpec, request: ImageRequest) -> Base:
        """Build it with its own head (ImageNet's classes), or as features for a new head; with
        ``output = "classification"`` these are the logits of ImageNet's classes."""
        classifies = spec.head == "own" or spec.output == "classification"
        path = efficientnet_lite.saved_model("classification" if classifies else "feature_vector", request.listener)
        spec = spec.model_copy(update={"output": ""})  # it selected the module, which has one output
        return base_of(spec, path, efficientnet_lite.PIXELS, request)


MODELS: dict[str, Packaged] = {"mobilenet_v2": MobileNetV2(), efficientnet_lite.NAME: EfficientNetLite0()}


class Packages:
    """A source of backbones: see `source.ImageSource`."""

    packages = tuple(sorted({name for model in MODELS.values() for name in model.packages}))

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check keys and image size, and that the package is installed with its verified file."""
        model, where = _model(spec), f"model {spec.name!r}"
        if spec.alpha not in (None, 1.0):
            raise InputError(f"{where}: {spec.backbone} has width 1.0 only, not alpha = {spec.alpha}", "remove alpha")
        if spec.weights != "imagenet":
            raise InputError(
                f"{where}: {spec.backbone} brings its own weights, but weights = {shorten(spec.weights)!r}",
                "remove weights, or choose backbone = 'keras:MobileNetV2'",
            )
        check_keys(spec, _KEYS | model.keys)
        check_size(spec, MINIMUM)
        check_installed()
        model.check(spec)
        weights_file(name_of(spec))

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The hash of the verified weights."""
        model, name = _model(spec), name_of(spec)
        weights_file(name)
        weights = {"sha256": PACKAGES[name].sha256, **model.identity(spec)}
        return {"backbone": spec.backbone, "alpha": spec.alpha, "image_size": spec.image_size, "weights": weights}

    def mixes(self, spec: ModelSpec) -> bool:
        """Whether the model is built of Keras layers."""
        return _model(spec).mixes

    def build(self, spec: ModelSpec, request: ImageRequest) -> Base:
        """Build the packaged model."""
        return _model(spec).build(spec, request)


def _model(spec: ModelSpec) -> Packaged:
    name = name_of(spec)
    if name not in MODELS:
        raise InputError(f"no package carries weights called {shorten(name)!r}", did_you_mean(name, tuple(MODELS)))
    return MODELS[name]
