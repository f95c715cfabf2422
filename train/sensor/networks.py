"""``scratch:dense`` and ``scratch:conv1d``: small networks for tables of numbers and windows of a time series.

Both begin with the standardisation of their features (mean 0, standard deviation 1), which is learnt from the training
split and is part of the graph: an app feeds raw values. ``dense`` is dense layers with ReLU; ``conv1d`` convolutions
over the steps with ReLU, each of which is followed by a maximum over two steps (`ModelSpec.pool`), and the mean over
the steps that are left. A waveform (samples,) is steps of one feature; several convolutions and a larger maximum see
enough of it, as in Dai et al. 2017 (arXiv 1610.00087). A convolution over time is a `Conv2D` of height 1: converters
make fewer operators of it than of a `Conv1D`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...core.recipe import ModelSpec
from ...core.sanitize import shorten
from ...frameworks.tensorflow import load
from ..families import did_you_mean
from ..source import check_keys, name_of

DEFAULT_UNITS = {"dense": (32, 16), "conv1d": (16, 32)}
INPUT = "features"
_BLOCK = 64  # waveforms in memory at a time
_KEYS = frozenset({"name", "backbone", "units"})


@dataclass(frozen=True)
class NumberRequest:
    """What a network is built for: the training samples (N, …) float32, from which it learns the scale of features.

    `waves`: they are waveforms (N, samples), all values of which have one scale.
    """

    samples: NDArray[Any]
    seed: int
    waves: bool = False

    @property
    def features(self) -> NDArray[Any]:
        """The samples with the features as last axis."""
        return self.samples[..., None] if self.waves else self.samples


class SensorNetworks:
    """A source of backbones: see `source.BackboneSource`."""

    packages: tuple[str, ...] = ()

    def check(self, spec: ModelSpec, folder: Path) -> None:
        """Check the name and the keys."""
        name = name_of(spec)
        if name not in DEFAULT_UNITS:
            known = tuple(f"scratch:{one}" for one in DEFAULT_UNITS)
            raise InputError(
                f"there is no network for numbers {shorten(spec.backbone)!r}", did_you_mean(spec.backbone, known)
            )
        if spec.trainable:
            raise InputError(f"model {spec.name!r}: {spec.backbone} is always trained as a whole", "remove trainable")
        check_keys(spec, _KEYS | ({"kernel", "pool"} if name == "conv1d" else frozenset()))

    def identity(self, spec: ModelSpec, folder: Path) -> dict[str, Any]:
        """The recipe's settings: all else follows from the data."""
        pool = {} if spec.pool == ModelSpec.model_fields["pool"].default else {"pool": spec.pool}
        return {"backbone": spec.backbone, "units": list(_units(spec)), "kernel": spec.kernel, **pool}

    def build(self, spec: ModelSpec, request: NumberRequest) -> Any:
        """Return the untrained network as a Keras model: samples (n, …) → features (n, units[-1])."""
        shape = request.features.shape[1:]
        check_shape(spec, shape)
        _, keras = load()
        layers = keras.layers
        x = inputs = keras.Input(request.samples.shape[1:], name=INPUT)
        if request.waves:
            x = layers.Reshape(shape, name="steps")(x)
        mean, deviation = wave_scale(request.samples) if request.waves else scale(request.features)
        x = layers.Normalization(mean=mean, variance=deviation**2, name="standardised")(x)
        if name_of(spec) == "dense":
            if len(shape) > 1:
                x = layers.Flatten(name="flat")(x)
            for number, units in enumerate(_units(spec), 1):
                x = layers.Dense(units, "relu", kernel_initializer=_start(request, number), name=f"dense_{number}")(x)
            return keras.Model(inputs, x, name="dense")
        x = layers.Reshape((1, *shape), name="one_row")(x)
        for number, filters in enumerate(_units(spec), 1):
            x = layers.Conv2D(
                filters, (1, spec.kernel), padding="same", activation="relu",
                kernel_initializer=_start(request, number), name=f"conv_{number}",
            )(x)  # fmt: skip
            x = layers.MaxPooling2D((1, spec.pool), padding="same", name=f"maximum_{number}")(x)
        x = layers.GlobalAveragePooling2D(name="mean")(x)
        return keras.Model(inputs, x, name="conv1d")


def check_shape(spec: ModelSpec, shape: Sequence[int]) -> None:
    """Raise InputError for samples of a shape that the network does not take."""
    if name_of(spec) == "conv1d" and len(shape) != 2:
        raise InputError(
            f"model {spec.name!r}: scratch:conv1d takes windows (steps, features), and a sample is "
            f"{' × '.join(map(str, shape))}",
            "say how many rows of a table are a window (data.window), give arrays of shape (samples, steps, features), "
            "or choose scratch:dense",
        )
    if prod(shape) > 1 << 20:
        raise InputError(f"model {spec.name!r}: a sample has {prod(shape):,} numbers", "give smaller samples")


def scale(samples: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each feature (the last axis) of samples (N, …, features).

    The deviation of a feature that is nearly constant is 1, so that another value of it in use is no outlier of
    thousands.
    """
    flat = samples.reshape(-1, samples.shape[-1]).astype(np.float64)
    mean, deviation = flat.mean(axis=0), flat.std(axis=0)
    constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32)


def wave_scale(samples: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation (1,) of all values of waveforms (N, samples), read block by block."""
    total = square = 0.0
    for at in range(0, len(samples), _BLOCK):
        block = np.asarray(samples[at : at + _BLOCK], np.float64)
        total, square = total + block.sum(), square + np.square(block).sum()
    mean = total / samples.size
    deviation = np.sqrt(max(square / samples.size - mean**2, 0.0))
    return np.array([mean], np.float32), np.array([deviation if deviation > 1e-6 else 1.0], np.float32)


def coarse_features(samples: NDArray[Any]) -> list[int]:
    """Return the features of which an int8 input, one scale for all, would tell fewer than four values apart.

    The input of an int8 file has 255 steps from the least to the greatest value of all features. A feature whose
    standard deviation is under two of them is hardly seen.
    """
    flat = samples.reshape(-1, samples.shape[-1]).astype(np.float64)
    step = (max(flat.max(), 0) - min(flat.min(), 0)) / 255
    deviation = flat.std(axis=0)
    return np.flatnonzero((deviation > 0) & (deviation < 2 * step)).tolist()


def _units(spec: ModelSpec) -> tuple[int, ...]:
    return spec.units or DEFAULT_UNITS[name_of(spec)]


def _start(request: NumberRequest, number: int) -> Any:
    _, keras = load()
    return keras.initializers.GlorotUniform(seed=request.seed + 100 * number)
