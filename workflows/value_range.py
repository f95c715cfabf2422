"""The pixel range of a file without a sidecar: read from the file, or given by the user.

An evaluation that feeds 0–255 to a file that expects −1 to 1 gives wrong figures. So the fed range and its origin are
reported first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from ..core.artifact import Artifact, TensorSpec
from ..core.errors import InputError
from ..core.model import InputContract, plain_name
from ..core.picture_size import COLOURS, LAYOUTS, is_picture, layout_of, sides_of
from ..core.pixels import Channels
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..export import inspect
from .samples import Samples

PIXELS = (0.0, 255.0)
NO_CHANNELS = Channels()
# The usual ranges of models. A calibrated scale is this close to one of them, as a share of its width.
_USUAL = (PIXELS, (0.0, 1.0), (-1.0, 1.0), (-128.0, 127.0))
_NEAR = 0.02
_LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}
_REMEDY = "give the range that it expects with --value-range LO,HI, e.g. 0,1 or -1,1"


@dataclass(frozen=True)
class _ValueRange:
    """A range of pixel values, and its origin in words."""

    low: float
    high: float
    by: str

    @property
    def words(self) -> str:
        return f"{self.low:g} to {self.high:g} (by {self.by})"


def with_value_range(
    artifact: Artifact,
    requested: tuple[float, float] | None,
    listener: Listener,
    channels: Channels = NO_CHANNELS,
) -> Artifact:
    """Return an image artifact with its pixel range in a contract; an artifact with a contract is not changed.

    In this order: `requested`, the file's metadata, the scale of its quantized input. `channels` are what is said of
    them; without, the metadata's mean and std of each. `listener` gets the fed range unless it is 0–255, and
    contradictions. Raises InputError for an invalid range, and for channels that the file does not have.
    """
    requested = channels.span(requested)
    if requested is not None and not (
        requested[0] < requested[1] and isfinite(requested[0]) and isfinite(requested[1])
    ):
        raise InputError(f"the value range {requested[0]:g},{requested[1]:g} is none", "e.g. --value-range 0,1")
    if artifact.contract is not None:
        if requested not in (None, (artifact.contract.low, artifact.contract.high)):
            listener.note("warning", f"--value-range is not for {artifact.id}: its sidecar says what it takes")
        elif channels != NO_CHANNELS and channels.of(artifact.contract) != artifact.contract:
            words = "--channel-order, --mean and --std are not for"
            listener.note("warning", f"{words} {artifact.id}: its sidecar says what it takes")
        return artifact
    if artifact.path is None or not _takes_a_picture(artifact):
        return artifact
    tensor = artifact.inputs[0]
    metadata, by_channel = _by_metadata(artifact)
    if by_channel is not None and requested is None and not channels.mean and not channels.std:
        requested, channels = PIXELS, replace(by_channel, order=channels.order)
        words = "is given pixels by the mean and std of each channel in its metadata"
        listener.note("warning", f"{artifact.path.name} {words}")
    by_scale = None if channels.mean or channels.std else _by_scale(tensor)
    stated = [one for one in (metadata, by_scale) if one is not None]
    name = artifact.path.name
    if requested is not None:
        chosen = _ValueRange(*requested, "--value-range")
    elif stated:
        chosen = stated[0]
    else:
        listener.note(
            "warning",
            f"{name} does not define its pixel range: it is given pixels of 0 to 255, and the figures are wrong "
            "if it expects another range",
            remedy=_REMEDY,
        )
        if layout_of(tensor.shape) == "NHWC" and channels == NO_CHANNELS:
            return artifact
        chosen = _ValueRange(*PIXELS, "default")  # its contract says where the channels are
    if against := [other for other in stated if not _same(other, chosen)]:
        ranges = " and ".join(other.words for other in against)
        listener.note("warning", f"{name} is given pixels as {chosen.words}, but it takes {ranges}", remedy=_REMEDY)
    elif not _same(chosen, _ValueRange(*PIXELS, "")):
        listener.note("warning", f"{name} is given pixels as values from {chosen.words}, not 0 to 255")
    colour = COLOURS[sides_of(tensor.shape)[2]]
    contract = InputContract(_plain_name(tensor.name), tensor.shape, tensor.dtype, chosen.low, chosen.high, colour)
    return replace(artifact, contract=channels.of(contract))


def as_pictures(
    artifact: Artifact, source: Data | Samples | None, requested: tuple[float, float] | None, listener: Listener
) -> Artifact:
    """Return a file without a contract that takes a picture with one, where `source` holds pictures, or for a range.

    Its range is found as `with_value_range` does. Raises InputError where a range is requested and it takes no picture.
    """
    schemes = ("folder", "images", "masks", "coco", "idx", "keras", "tfds", "builtin")
    held = isinstance(source, Data) and source.source.partition(":")[0] in schemes
    if requested is not None and artifact.contract is None and not _takes_a_picture(artifact):
        raise InputError(f"--value-range is for pictures, which {artifact.id} does not take", "leave it out")
    if not (held or requested) or (artifact.contract is None and not _takes_a_picture(artifact)):
        return artifact
    ranged = with_value_range(artifact, requested, listener)
    if ranged.contract is not None:
        return ranged
    tensor = artifact.inputs[0]
    colour = COLOURS[sides_of(tensor.shape)[2]]
    return replace(
        artifact, contract=InputContract(_plain_name(tensor.name), tensor.shape, tensor.dtype, colour=colour)
    )


def _takes_a_picture(artifact: Artifact) -> bool:
    return len(artifact.inputs) == 1 and is_picture(artifact.inputs[0].shape, layouts=LAYOUTS)


def _plain_name(name: str) -> str:
    return plain_name(name)


def _by_metadata(artifact: Artifact) -> tuple[_ValueRange | None, Channels | None]:
    """Return the range by TFLite metadata, (pixel - mean) / std, or the channels where each has its own numbers."""
    if artifact.path is None or artifact.format != "tflite":
        return None, None
    tensors = inspect(artifact.path).metadata.get("inputs", ())
    normal = tensors[0].get("normalization") if tensors and isinstance(tensors[0], Mapping) else None
    if not isinstance(normal, Mapping):
        return None, None
    means, stds = (_numbers(normal.get(key)) for key in ("mean", "std"))
    if not means or not stds or 0 in stds:
        return None, None
    if len({*means}) > 1 or len({*stds}) > 1:
        count = sides_of(artifact.inputs[0].shape)[2]
        if {len(means), len(stds)} - {1, count}:
            raise InputError(
                f"{artifact.path}: its metadata give {len(means)} means and {len(stds)} stds to {count} channels",
                "give what it expects with --value-range LO,HI, or with --mean and --std",
            )
        return None, Channels("", *(tuple(one * (count // len(one))) for one in (means, stds)))
    return _snapped((PIXELS[0] - means[0]) / stds[0], (PIXELS[1] - means[0]) / stds[0], "its metadata"), None


def _by_scale(tensor: TensorSpec) -> _ValueRange | None:
    """Return the range of real values that a quantized input can hold."""
    limits = _LIMITS.get(tensor.dtype)
    if limits is None or not tensor.scale:
        return None
    low, high = (tensor.scale * (side - (tensor.zero_point or 0)) for side in limits)
    return _snapped(low, high, "the scale of its input")


def _snapped(low: float, high: float, by: str) -> _ValueRange:
    """Return a range, rounded to a usual one if it is close to it."""
    for usual in _USUAL:
        if max(abs(low - usual[0]), abs(high - usual[1])) <= _NEAR * (usual[1] - usual[0]):
            return _ValueRange(*usual, by)
    return _ValueRange(low, high, by)


def _same(one: _ValueRange, other: _ValueRange) -> bool:
    width = max(one.high - one.low, other.high - other.low)
    return max(abs(one.low - other.low), abs(one.high - other.high)) <= _NEAR * width


def _numbers(value: Any) -> list[float]:
    return [float(one) for one in value] if isinstance(value, list | tuple) else []
