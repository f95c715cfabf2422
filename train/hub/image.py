"""A Hub image module as a backbone: RGB 0–255 → the module's range → `hub.KerasLayer` → a feature vector, or classes.

The kind of the module's output is determined on real samples. With a new head, probabilities are replaced by their
logarithm: a softmax pushes all classes but the likeliest towards zero, where a linear head cannot separate them; the
logarithm restores the logits up to a constant per image, which is equivalent for a linear head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.progress import Listener
from ...core.recipe import ModelSpec
from ...frameworks.tensorflow import load
from ..network import Base, ranged
from ..source import ImageRequest, check_head, check_keys, check_pixels, name_of
from .fetch import already_here, identify, resolve
from .handles import check_recipe_handle
from .module import Module, check_hub_installed, check_module, kind_of
from .pixel_ranges import Pixels, pixels_of

SMALLEST = 1e-7  # added before the logarithm; about float32's resolution of a probability near one
NOISE_SAMPLES = 4
# The keys of [[model]] that apply here, in addition to those of every model.
_EVERY = frozenset({"name", "backbone", "image_size", "resize"})
_KEYS = frozenset(
    {"sha256", "tags", "signature", "output", "arguments", "value_range", "preprocessing", "trainable", "head", "trust"}
)
UNSTEADY = 1e-4  # of the largest output; parallel kernels differ in the last bits only


class HubModules:
    """``hub:HANDLE``: a source of backbones, see `source.ImageSource`."""

    packages = ("tensorflow-hub",)

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check keys, the extra ``hub`` and the handle; a local module must fit the recipe."""
        check_keys(spec, _EVERY | _KEYS)
        check_hub_installed()
        check_pixels(spec)
        check_head(spec)
        handle = name_of(spec)
        check_recipe_handle(handle, spec.sha256, folder, f"model {spec.name!r}")
        if (local := already_here(handle, spec.sha256, folder)) is not None:
            check_module(spec, local)

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The identity of the handle; a URL is identified by itself and the recipe's hash."""
        chosen = {key: getattr(spec, key) for key in sorted(_KEYS - {"sha256"})}
        weights = identify(name_of(spec), spec.sha256, folder)
        return {"backbone": spec.backbone, "image_size": spec.image_size, **chosen, "weights": weights}

    def mixes(self, spec: ModelSpec) -> bool:
        """False: a module's types are fixed."""
        return False

    def build(self, spec: ModelSpec, request: ImageRequest) -> Base:
        """Fetch the module and build it as `base_of` does.

        Raises InputError as `check_module`, StageError when it cannot be fetched.
        """
        handle = name_of(spec)
        pixels = pixels_of(spec, handle)
        if not pixels.why:
            request.listener.note(
                "info",
                f"model {spec.name!r}: the pixel range of this module is not known; Hub's convention is used, 0–1 "
                "(change it with value_range in the recipe)",
            )
        path = resolve(handle, sha256=spec.sha256, folder=request.folder, listener=request.listener)
        return base_of(spec, path, pixels, request)


def base_of(spec: ModelSpec, path: Path, pixels: Pixels, request: ImageRequest) -> Base:
    """Build the SavedModel at `path` as a `Base`. Without samples, noise replaces images."""
    tf, keras = load()
    module = Module(spec, path)
    size, samples = spec.image_size, request.samples
    if samples is None or not len(samples):
        samples = np.random.default_rng(0).integers(0, 256, (NOISE_SAMPLES, size, size, 3), np.uint8)
    image = keras.Input((size, size, 3), name="image")
    mapped = ranged(image, pixels)
    pictures = keras.Model(image, mapped)(samples.astype(np.float32), training=False)
    answers = np.asarray(module.apply(pictures))
    _check_steady(answers, np.asarray(module.apply(pictures)), spec)
    values = _flat(answers, spec, len(samples))
    kind = kind_of(values)
    if kind == "scores" and spec.head == "new":
        kind = "values"  # features may also be between 0 and 1; only for a classifier does this mean probabilities
    output = module.apply(mapped)
    if answers.ndim == 4:
        output = keras.layers.GlobalAveragePooling2D(name="pool", dtype="float32")(output)
    if tuple(output.shape[1:]) != values.shape[1:]:  # not known from the graph, so the output decides
        output = keras.layers.Reshape(values.shape[1:], name="features")(output)
    facts = {"gives": kind, "pixels": pixels.name}
    if module.call.signature:
        facts["signature"] = module.call.signature
    if spec.head == "own":
        output = _own(output, kind, values.shape[1], request.classes, spec, request.listener)
    elif kind == "probabilities":
        output = tf.math.log(tf.maximum(output, SMALLEST))
    model = keras.Model(image, output, name="base")
    model.trainable = False
    return Base(
        model,
        (),
        pixels.name,
        answers=spec.head == "own",
        whole_layers=(module.layer,) if spec.trainable else (),
        facts=facts,
        module=module.layer,
    )


def _check_steady(first: NDArray[Any], second: NDArray[Any], spec: ModelSpec) -> None:
    """Raise InputError for a module whose outputs on the same images differ: it cannot be trained on or verified."""
    if not np.allclose(first, second, rtol=UNSTEADY, atol=UNSTEADY * float(np.abs(first).max(initial=0.0))):
        raise InputError(
            f"model {spec.name!r}: the module answers differently each time: it draws random numbers during inference",
            "save it again for inference (training=False), without augmentation layers such as RandomFlip; a Keras "
            "model's own .keras file can be given instead",
        )


def _flat(answers: NDArray[Any], spec: ModelSpec, samples: int) -> NDArray[Any]:
    """Return the module's output on the samples as (N, features), averaged over height and width if it has them."""
    where = f"model {spec.name!r}"
    if answers.ndim not in (2, 4) or len(answers) != samples or answers.dtype.kind != "f" or not answers.size:
        raise InputError(
            f"{where}: the module's output has shape {tuple(answers.shape)} and type {answers.dtype} for {samples} "
            "images; expected float numbers, (images, features) or (images, height, width, features)",
            "choose another output with output = '…', or another module",
        )
    if not np.isfinite(answers).all():
        raise InputError(
            f"{where}: the module's output is not finite on real images", "check value_range and preprocessing"
        )
    return answers.mean(axis=(1, 2)) if answers.ndim == 4 else answers


def _own(output: Any, kind: str, own: int, classes: int | None, spec: ModelSpec, listener: Listener) -> Any:
    """Return the probabilities of the module's own classes. Raises InputError when their number is not the data's."""
    tf, keras = load()
    where = f"model {spec.name!r}"
    if classes is not None and own != classes:
        background = (
            f"; it was trained with a background class at index 0, which the data lack ({classes} + 1)"
            if own == classes + 1
            else ""
        )
        raise InputError(
            f"{where}: the module has {own} classes of its own, the data have {classes}{background}",
            "use head = 'new', or give data with exactly the module's classes in its order",
        )
    listener.note(
        "warning",
        f"{where} keeps the module's own classes: its class number i is taken to be the data's label number i",
    )
    if kind == "probabilities":
        return output
    if kind == "scores":
        message = "the module scores each class independently (0–1); the scores are normalized to a sum of 1"
        listener.note("info", f"{where}: {message}")
        return output / tf.reduce_sum(output, axis=-1, keepdims=True)
    return keras.layers.Softmax(name="probabilities", dtype="float32")(output)
