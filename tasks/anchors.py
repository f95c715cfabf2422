"""Anchors: the boxes that raw encodings are relative to, made from parameters, and the boxes that they decode to.

An anchor is a row of its centre's y and x, its height and its width, in shares of the picture, as
``TFLite_Detection_PostProcess`` takes them.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.boxes import MOST_ANCHORS, AnchorDecoding
from ..core.errors import InputError

Floats: TypeAlias = NDArray[np.float64]
# Exponents beyond this are no sizes of boxes, and would overflow; MediaPipe cuts logits at 100.
MOST_EXPONENT, _MOST_LOGIT = 50.0, 100.0
_ROW = 4 * 4  # bytes of a row


@dataclass(frozen=True)
class AnchorGrid:
    """The parameters of an SSD's anchors, by the names that they have in MediaPipe and the TF Object Detection API.

    ``SsdAnchorsCalculatorOptions`` of MediaPipe (mediapipe/calculators/tflite/ssd_anchors_calculator.proto) and
    ``SsdAnchorGenerator`` (object_detection/protos/ssd_anchor_generator.proto) have the same anchors in the same order.
    """

    strides: tuple[int, ...]
    num_layers: int = 0
    min_scale: float = 0.2
    max_scale: float = 0.95
    aspect_ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 0.3333)
    interpolated_scale_aspect_ratio: float = 1.0
    reduce_boxes_in_lowest_layer: bool = False
    fixed_anchor_size: bool = False
    anchor_offset_x: float = 0.5
    anchor_offset_y: float = 0.5
    input_size_height: int = 0
    input_size_width: int = 0

    def __post_init__(self) -> None:
        """Raise InputError for parameters that make no anchors."""
        wrong = ""
        if not self.strides or min(self.strides) < 1:
            wrong = "strides are pixels of the input from one anchor to the next, one or more of at least 1"
        elif self.num_layers not in (0, len(self.strides)):
            wrong = f"num_layers is {self.num_layers}, and there are {len(self.strides)} strides"
        elif not 0 < self.min_scale <= self.max_scale <= 10:
            wrong = f"min_scale {self.min_scale:g} and max_scale {self.max_scale:g} are no shares of the input in order"
        elif not self.aspect_ratios or not all(0 < ratio <= 100 for ratio in self.aspect_ratios):
            wrong = "aspect_ratios are width by height, one or more above 0"
        elif not 0 <= self.interpolated_scale_aspect_ratio <= 100:
            wrong = "interpolated_scale_aspect_ratio is width by height, or 0 for no such anchor"
        elif not (abs(self.anchor_offset_x) <= 1 and abs(self.anchor_offset_y) <= 1):
            wrong = "anchor_offset_x and anchor_offset_y are shares of a stride"
        elif min(self.input_size_height, self.input_size_width) < 0:
            wrong = "input_size_height and input_size_width are pixels"
        if wrong:
            raise InputError(
                f"--anchors: {wrong}",
                "give the parameters of the model's own anchors, e.g. strides=16:32:64:128:256:512,"
                "reduce_boxes_in_lowest_layer=true",
            )

    def rows(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the anchors (N, 4) float32 of an input of `size` (height, width) pixels.

        Raises InputError for more than `MOST_ANCHORS`.
        """
        height, width = self.input_size_height or size[0], self.input_size_width or size[1]
        layers = []
        first, total = 0, 0
        while first < len(self.strides):
            last = first  # layers of one stride are merged: their anchors lie beside each other at each place
            while last < len(self.strides) and self.strides[last] == self.strides[first]:
                last += 1
            sizes = [one for layer in range(first, last) for one in self._sizes(layer)]
            down, across = math.ceil(height / self.strides[first]), math.ceil(width / self.strides[first])
            total += down * across * len(sizes)
            if total > MOST_ANCHORS:
                raise InputError(f"--anchors makes more than {MOST_ANCHORS:,} anchors", "give greater strides")
            layers.append(self._placed(down, across, np.array(sizes)))
            first = last
        return np.concatenate(layers).astype(np.float32)

    def _sizes(self, layer: int) -> list[tuple[float, float]]:
        """Return height and width of a layer's anchors."""
        scale = self._scale(layer)
        if layer == 0 and self.reduce_boxes_in_lowest_layer:
            given = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            given = [(scale, ratio) for ratio in self.aspect_ratios]
            if self.interpolated_scale_aspect_ratio > 0:
                following = 1.0 if layer == len(self.strides) - 1 else self._scale(layer + 1)
                given.append((math.sqrt(scale * following), self.interpolated_scale_aspect_ratio))
        if self.fixed_anchor_size:
            return [(1.0, 1.0)] * len(given)
        return [(scale / math.sqrt(ratio), scale * math.sqrt(ratio)) for scale, ratio in given]

    def _scale(self, layer: int) -> float:
        if len(self.strides) == 1:
            return (self.min_scale + self.max_scale) / 2
        return self.min_scale + (self.max_scale - self.min_scale) * layer / (len(self.strides) - 1)

    def _placed(self, down: int, across: int, sizes: Floats) -> Floats:
        y, x = np.meshgrid(
            (np.arange(down) + self.anchor_offset_y) / down,
            (np.arange(across) + self.anchor_offset_x) / across,
            indexing="ij",
        )
        centres = np.repeat(np.stack([y, x], axis=-1).reshape(-1, 2), len(sizes), axis=0)
        return np.concatenate([centres, np.tile(sizes, (down * across, 1))], axis=1)


def packed(anchors: NDArray[Any]) -> str:
    """Return anchors (N, 4) as `AnchorDecoding.anchors` has them."""
    return base64.b64encode(zlib.compress(anchors.astype("<f4").tobytes(), 9)).decode("ascii")


def unpacked(decoding: AnchorDecoding) -> Floats:
    """Return the anchors (count, 4). Raises ValueError where they are not what `packed` returned."""
    try:
        stream = zlib.decompressobj()
        content = stream.decompress(base64.b64decode(decoding.anchors, validate=True), decoding.count * _ROW + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"its anchors cannot be read: {error}") from error
    if len(content) != decoding.count * _ROW:
        raise ValueError(f"its anchors are not {decoding.count} rows of four numbers")
    return np.frombuffer(content, "<f4").reshape(-1, 4).astype(np.float64)


def decoded(encodings: NDArray[Any], decoding: AnchorDecoding) -> Floats:
    """Return boxes (n, N, 4) [ymin, xmin, ymax, xmax] in shares, of encodings (n, N, 4 or more).

    The arithmetic is that of ``TFLite_Detection_PostProcess``
    (tensorflow/lite/kernels/detection_postprocess.cc, DecodeCenterSizeBoxes); MediaPipe's with ``sizes`` linear
    (mediapipe/calculators/tensor/tensors_to_detections_calculator.cc, DecodeBoxes).
    """
    anchors = unpacked(decoding)
    values = encodings[..., [0, 1, 2, 3] if decoding.order == "yxhw" else [1, 0, 3, 2]] / np.array(decoding.scales)
    centres = values[..., :2] * anchors[:, 2:] + anchors[:, :2]
    sizes = np.exp(np.minimum(values[..., 2:], MOST_EXPONENT)) if decoding.sizes == "exp" else values[..., 2:]
    half = sizes * anchors[:, 2:] / 2
    return np.concatenate([centres - half, centres + half], axis=-1)


def best_classes(values: NDArray[Any], scores: str, background: str) -> tuple[Floats, Floats]:
    """Return the highest score of each candidate and its class (n, N), of scores (n, N, columns)."""
    shares = values
    if scores == "softmax":
        shares = np.exp(values - values.max(axis=-1, keepdims=True))
        shares = shares / shares.sum(axis=-1, keepdims=True)
    elif scores == "sigmoid" or (not scores and (values.min(initial=0) < 0 or values.max(initial=1) > 1)):
        shares = 1 / (1 + np.exp(-np.clip(values, -_MOST_LOGIT, _MOST_LOGIT)))
    if background != "none":
        shares = shares[..., 1:] if background == "first" else shares[..., :-1]
    return shares.max(axis=-1), shares.argmax(axis=-1).astype(np.float64)


def checked_anchors(anchors: NDArray[Any], where: str) -> NDArray[np.float32]:
    """Return anchors (N, 4) float32. Raises InputError that names the row, for what are no anchors."""
    form = "give rows of ycenter, xcenter, height, width in shares of the picture, one for each encoded box"
    if anchors.ndim != 2 or anchors.shape[1] != 4 or anchors.dtype.kind not in "iuf" or not len(anchors):
        raise InputError(f"{where} has the shape {anchors.shape} of {anchors.dtype}, and is no list of anchors", form)
    if len(anchors) > MOST_ANCHORS:
        raise InputError(f"{where} has {len(anchors):,} rows", f"at most {MOST_ANCHORS:,} anchors are read")
    with np.errstate(over="ignore"):
        rows = anchors.astype(np.float32)
    wrong = ~np.isfinite(rows).all(axis=1) | (rows[:, 2:] <= 0).any(axis=1)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(f"{where}: row {at} (from 0) has no height or width above 0: {_shown(anchors[at])}", form)
    if np.median(rows[:, 2:]) > 2:
        raise InputError(f"{where} has anchors in pixels, such as {_shown(anchors[0])} in row 0", form)
    return rows


def _shown(row: Sequence[Any] | NDArray[Any]) -> str:
    return "[" + ", ".join(f"{float(value):g}" for value in row) + "]"
