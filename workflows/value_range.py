"""What a finished file without a sidecar wants the values of a picture in: read off the file, or told by the user.

An evaluation that feeds 0–255 to a file that wants −1 to 1 gives a figure, and a wrong one. So it is said, before there
is one, what is fed and how that is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from ..core.artifact import Artifact, TensorSpec
from ..core.errors import InputError
from ..core.model import InputContract, plain_name
from ..core.progress import Listener
from ..export import inspect

PIXELS = (0.0, 255.0)
# The ranges that models are trained with. A scale that was calibrated comes this close to one, as a share of its width.
_USUAL = (PIXELS, (0.0, 1.0), (-1.0, 1.0), (-128.0, 127.0))
_NEAR = 0.02
_LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}
_REMEDY = "say which values it wants with --value-range LO,HI, e.g. 0,1 or -1,1"


@dataclass(frozen=True)
class _ValueRange:
    """A range, and how it is known."""

    low: float
    high: float
    by: str

    @property
    def words(self) -> str:
        return f"{self.low:g} to {self.high:g} (by {self.by})"


def with_value_range(artifact: Artifact, requested: tuple[float, float] | None, listener: Listener) -> Artifact:
    """Return an artifact of pictures with the values it takes in its contract; one with a contract stays as it is.

    In this order: what was `requested`, the file's metadata, the scale of its quantized input. `listener` hears what is
    fed unless that is plainly 0–255, and what speaks against it. Raises InputError for a range that is none, and for
    metadata that give each channel a range of its own.
    """
    if requested is not None and not (
        requested[0] < requested[1] and isfinite(requested[0]) and isfinite(requested[1])
    ):
        raise InputError(f"the value range {requested[0]:g},{requested[1]:g} is none", "e.g. --value-range 0,1")
    if artifact.contract is not None:
        if requested not in (None, (artifact.contract.low, artifact.contract.high)):
            listener.note("warning", f"--value-range is not for {artifact.id}: its sidecar says what it takes")
        return artifact
    if artifact.path is None or not _takes_a_picture(artifact.inputs):
        return artifact
    tensor = artifact.inputs[0]
    stated = [one for one in (_by_metadata(artifact, requested is None), _by_scale(tensor)) if one is not None]
    name = artifact.path.name
    if requested is not None:
        chosen = _ValueRange(*requested, "--value-range")
    elif stated:
        chosen = stated[0]
    else:
        listener.note(
            "warning",
            f"{name} does not say which values it wants: it is given pixels of 0 to 255, and the figures are wrong "
            "if it wants others",
            remedy=_REMEDY,
        )
        return artifact
    if against := [other for other in stated if not _same(other, chosen)]:
        ranges = " and ".join(other.words for other in against)
        listener.note("warning", f"{name} is given pixels as {chosen.words}, but it takes {ranges}", remedy=_REMEDY)
    elif not _same(chosen, _ValueRange(*PIXELS, "")):
        listener.note("warning", f"{name} is given pixels as values from {chosen.words}, not 0 to 255")
    contract = InputContract(_plain_name(tensor.name), tensor.shape, tensor.dtype, chosen.low, chosen.high)
    return replace(artifact, contract=contract)


def _takes_a_picture(inputs: Sequence[TensorSpec]) -> bool:
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[3] == 3


def _plain_name(name: str) -> str:
    return plain_name(name)


def _by_metadata(artifact: Artifact, alone: bool) -> _ValueRange | None:
    """Return what TFLite metadata say: (pixel - mean) / std. `alone`: nothing else says it, so they must be plain."""
    if artifact.path is None or artifact.format != "tflite":
        return None
    tensors = inspect(artifact.path).metadata.get("inputs", ())
    normal = tensors[0].get("normalization") if tensors and isinstance(tensors[0], Mapping) else None
    if not isinstance(normal, Mapping):
        return None
    means, stds = (_numbers(normal.get(key)) for key in ("mean", "std"))
    if not means or not stds or 0 in stds:
        return None
    if len({*means}) > 1 or len({*stds}) > 1:
        if not alone:
            return None
        raise InputError(
            f"{artifact.path}: its metadata give each channel a mean and std of its own ({means}, {stds}), and "
            "pictures are given in one range",
            "put that into the model and export it again; or give the range that comes nearest with --value-range",
        )
    return _snapped((PIXELS[0] - means[0]) / stds[0], (PIXELS[1] - means[0]) / stds[0], "its metadata")


def _by_scale(tensor: TensorSpec) -> _ValueRange | None:
    """Return the real values that a quantized input can hold."""
    limits = _LIMITS.get(tensor.dtype)
    if limits is None or not tensor.scale:
        return None
    low, high = (tensor.scale * (side - (tensor.zero_point or 0)) for side in limits)
    return _snapped(low, high, "the scale of its input")


def _snapped(low: float, high: float, by: str) -> _ValueRange:
    """Return a range, as the usual one where it is all but that."""
    for usual in _USUAL:
        if max(abs(low - usual[0]), abs(high - usual[1])) <= _NEAR * (usual[1] - usual[0]):
            return _ValueRange(*usual, by)
    return _ValueRange(low, high, by)


def _same(one: _ValueRange, other: _ValueRange) -> bool:
    width = max(one.high - one.low, other.high - other.low)
    return max(abs(one.low - other.low), abs(one.high - other.high)) <= _NEAR * width


def _numbers(value: Any) -> list[float]:
    return [float(one) for one in value] if isinstance(value, list | tuple) else []
