"""Colours of classes, where answers are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def palette(classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return a colour for each class (…, 3): hues a golden angle apart, so that neighbours differ."""
    hue = (classes * 0.61803398875 + 0.58) % 1 * 6
    rising = 1 - np.abs(hue % 2 - 1)
    of = np.stack([np.ones_like(hue), rising, np.zeros_like(hue)], axis=-1)
    # Which of (full, rising, none) red, green and blue are, in each sixth of the circle.
    order = np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0], [1, 2, 0], [0, 2, 1]])[hue.astype(int) % 6]
    return np.asarray(55 + 185 * np.take_along_axis(of, order, axis=-1), np.uint8)
