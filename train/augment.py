"""Random augmentation of training images, drawn per image from the seed, independent of batches and restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.recipe_training import Augment
from ..frameworks.tensorflow import load

DRAWS = 7  # flip, rotate, shift x, shift y, zoom, brightness, contrast


@dataclass(frozen=True)
class Changes:
    """The augmentation of a batch of n images.

    `transforms` (n, 8) float32 maps output pixels to input pixels as TensorFlow's projective transforms do;
    `gain` (n,) float32 multiplies values, `contrast` (n,) float32 stretches them around the image's mean.
    """

    transforms: NDArray[Any]
    gain: NDArray[Any]
    contrast: NDArray[Any]


class Augmenter:
    """Draws the augmentation of one pass over a data set of `count` images, and applies it."""

    def __init__(self, augment: Augment, *, count: int, height: int, width: int, seed: tuple[int, ...]) -> None:
        self.augment = augment
        self.height, self.width = height, width
        self._draws = np.random.default_rng(seed).random((count, DRAWS), dtype=np.float32)

    def changes(self, index: NDArray[Any]) -> Changes:
        """Return the changes of the images at `index` (n,) of the data set."""
        a = self.augment
        flip, rotate, right, down, zoom, light, contrast = (2 * self._draws[index].T - 1).astype(np.float64)
        angle = 2 * np.pi * a.rotate * rotate
        scale = 1 / (1 + a.zoom * zoom)
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        middle_x, middle_y = (self.width - 1) / 2, (self.height - 1) / 2
        # input = R · (output - middle) + middle + shift
        rows = [
            [cos, -sin, middle_x - cos * middle_x + sin * middle_y + a.shift * self.width * right],
            [sin, cos, middle_y - sin * middle_x - cos * middle_y + a.shift * self.height * down],
        ]
        if a.flip:  # of the output: x becomes width - 1 - x
            mirrored = flip < 0
            for row in rows:
                row[2] = np.where(mirrored, row[2] + row[0] * (self.width - 1), row[2])
                row[0] = np.where(mirrored, -row[0], row[0])
        zeros = np.zeros(len(index))
        return Changes(
            np.stack([*rows[0], *rows[1], zeros, zeros], axis=1).astype(np.float32),
            (1 + a.brightness * light).astype(np.float32),
            (1 + a.contrast * contrast).astype(np.float32),
        )


def apply(images: Any, transforms: Any, gain: Any, contrast: Any) -> Any:
    """Return `images` (n, h, w, 3) of 0–255, changed, as a float32 tensor of the same shape and range.

    Bilinear; pixels beyond the border repeat the nearest border pixel. Works inside ``tf.function``.
    """
    tf, _ = load()
    pixels = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
    pixels = (pixels - mean) * contrast[:, None, None, None] + mean
    return tf.clip_by_value(pixels * gain[:, None, None, None], 0.0, 255.0)


def apply_to_maps(maps: Any, transforms: Any, border: int) -> Any:
    """Return maps of classes (n, h, w) int32 with the geometry of `apply`, by nearest neighbour; `border` beyond."""
    tf, _ = load()
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(maps[..., None], tf.float32),
        transforms=transforms,
        output_shape=tf.shape(maps)[1:3],
        fill_value=float(border),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return tf.cast(moved[..., 0], tf.int32)
