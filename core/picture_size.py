"""The size of the pictures that a model takes: one side for square RGB pictures, else height, width and channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

# A side in pixels (square, RGB), or (height, width, channels). In JSON the latter is a list.
Size: TypeAlias = int | Sequence[int]

# Pillow's mode of a picture with that many channels: grey is ITU-R 601 luma, alpha is 255 where a picture has none.
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}
LAYOUTS = ("NHWC", "NCHW")
PICTURE = "one picture (1, height, width, channels) with 1 channel (grey), 3 (RGB) or 4 (RGBA)"


def size_of(height: int, width: int, channels: int) -> int | tuple[int, int, int]:
    """Return the size of pictures of `height` × `width` pixels; that of square RGB pictures is their side."""
    return height if height == width and channels == 3 else (height, width, channels)


def sides(size: Size) -> tuple[int, int, int]:
    """Return height, width and channels of a size."""
    if isinstance(size, int):
        return size, size, 3
    height, width, channels = size
    return height, width, channels


def is_picture(shape: Sequence[int], *, layouts: Sequence[str] = ("NHWC",)) -> bool:
    """Return whether an input of `shape` may take one picture, in one of `layouts`, all of its sides fixed."""
    fits = len(shape) == 4 and shape[0] in (1, -1) and min(shape[1:]) > 0
    return fits and layout_of(shape) in layouts and sides_of(shape)[2] in MODES


def layout_of(shape: Sequence[int]) -> str:
    """Return where the channels are in a picture's shape: ``NHWC`` or ``NCHW``.

    A shape says it itself: no picture is 1, 3 or 4 pixels wide.
    """
    return "NCHW" if shape[3] not in MODES and shape[1] in MODES else "NHWC"


def sides_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return height, width and channels of a picture's shape, of either layout."""
    _, first, second, third = shape
    return (second, third, first) if layout_of(shape) == "NCHW" else (first, second, third)


def describe_size(size: Size) -> str:
    """Return a size in words: ``96 × 32, grey`` (width × height), and of RGB pictures the pixels alone."""
    height, width, channels = sides(size)
    return f"{width} × {height}" + ("" if channels == 3 else f", {COLOURS[channels]}")
