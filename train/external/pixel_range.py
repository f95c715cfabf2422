"""Derives the pixel range of a Keras model from the preprocessing layers at its start."""

from __future__ import annotations

from typing import Any

import numpy as np

from .code import layers

Range = tuple[float, float]

# Layers that may precede the preprocessing without changing the range: models, shapes.
_TRANSPARENT = {
    "Functional", "Model", "Sequential", "InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Cropping2D",
    "Identity", "DTypePolicy", "Policy", "FloatDTypePolicy", "__keras_tensor__",
}  # fmt: skip
_ONLY_TRAINING = ("Random", "Gaussian", "Dropout", "SpatialDropout")


def pixel_range(config: Any) -> Range | None:
    """Return the pixel range that the model of this configuration expects, None if unknown.

    Only a ``Rescaling`` or a ``Normalization`` with its own numbers at the very beginning determines it. A scale that
    brings 255 to a few units is meant for 0–255; one near one (or above) for small numbers, of -1–1 where it adds as
    much as it multiplies. A mean above two is one of 0–255.
    """
    for kind, settings in layers(config):
        if kind in _TRANSPARENT or kind.startswith(_ONLY_TRAINING):
            continue
        try:
            if kind == "Rescaling":
                return _of_rescaling(_largest(settings["scale"]), _largest(settings.get("offset", 0.0)))
            if kind == "Normalization" and settings.get("mean") is not None and not settings.get("invert"):
                return (0.0, 255.0) if _largest(settings["mean"]) > 2 else (0.0, 1.0)
        except (KeyError, TypeError, ValueError):
            return None
        return None
    return None


def _largest(value: Any) -> float:
    if isinstance(value, dict):  # how Keras writes arrays
        value = value["config"]["value"]
    return float(np.asarray(value, np.float64).max())


def _of_rescaling(scale: float, offset: float) -> Range | None:
    if 0.001 <= scale <= 0.02:
        return 0.0, 255.0
    if 0.1 <= scale <= 10 or scale >= 100:
        return (-1.0, 1.0) if offset > 0 and abs(offset - scale) < 0.01 * scale else (0.0, 1.0)
    return None
