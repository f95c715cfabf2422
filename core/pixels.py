"""How pixels become what a file takes: their range, the order of the channels, and a mean and a spread of each.

Steps, in this order: channels are put in the file's order; each value is pixel × step + low, with the numbers of its
channel; the channels come first where the file has them so. `agent.feed.Feed` repeats this on devices, where nothing of
this package is, and ``model.py`` in bundles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .model import InputContract
from .sanitize import shorten

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORDERS = ("rgb", "bgr")
_HINT = "e.g. --value-range 0,1 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"


@dataclass(frozen=True)
class Channels:
    """What a user states about a model's channels: their `order`, and the `mean` and `std` of each, in that order.

    The model takes (value - mean) / std of values in its range.
    """

    order: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.order not in ("", *ORDERS):
            raise InputError(f"the channel order is {shorten(self.order)!r}", f"known: {', '.join(ORDERS)}")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if not all(map(isfinite, numbers)) or (name == "std" and not all(number > 0 for number in numbers)):
                raise InputError(f"the {name} is {', '.join(f'{number:g}' for number in numbers)}", _HINT)

    def span(self, value_range: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return the range that the mean is in: the stated one, else 0 to 1. Raises InputError where it cannot be."""
        if value_range is not None or not (self.mean or self.std):
            return value_range
        if max(map(abs, (*self.mean, *self.std))) > 1:
            raise InputError("a mean or std is above 1, and the range of pixels is not said", "add --value-range 0,255")
        return 0.0, 1.0

    def of(self, contract: InputContract) -> InputContract:
        """Return the contract with these channels. Raises InputError for an input that has not as many."""
        if self == Channels():
            return contract
        if contract.kind != "image":
            raise InputError(
                f"the order, mean and std of channels are for pictures, and the model takes {contract.kind}s",
                "say the range of its pixels too, or leave --channel-order, --mean and --std out",
            )
        channels = contract.channels
        if self.order == "bgr" and channels != 3:
            raise InputError(f"the channel order is bgr, and the model takes {channels}", "leave --channel-order out")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (0, channels):
                raise InputError(f"the {name} has {len(numbers)} numbers, and the input {channels} channels", _HINT)
        colour = "BGR" if self.order == "bgr" else contract.colour
        return replace(contract, colour=colour, mean=self.mean, std=self.std)


def pixel_feed(contract: InputContract) -> dict[str, Any]:
    """Return how pixels become what a file of this contract takes: plain data, as `as_input` reads them."""
    about: dict[str, Any] = {"kind": "image", "input": contract.name, "low": contract.low, "high": contract.high}
    if contract.layout == "NCHW":
        about["layout"] = contract.layout
    if contract.colour == "BGR":
        about["order"] = [2, 1, 0]
    if (numbers := contract.by_channel) is not None:
        about |= {"steps": list(numbers[0]), "lows": list(numbers[1])}
    return about


def as_input(about: Mapping[str, Any], batch: NDArray[Any]) -> NDArray[Any]:
    """Return pixels (N, height, width, channels) as a file takes them, by `pixel_feed`; tensors as they are."""
    import numpy as np

    if about["kind"] != "image":
        return batch
    low, high = about.get("low", 0.0), about.get("high", 255.0)
    if "order" in about:
        batch = np.ascontiguousarray(batch[..., about["order"]])
    if "steps" in about:
        steps, lows = (np.array(about[name], np.float32) for name in ("steps", "lows"))
        batch = batch.astype(np.float32) * steps + lows
    elif (low, high) != (0.0, 255.0):
        batch = (batch.astype("float32") * ((high - low) / 255.0) + low).astype("float32")
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if about.get("layout") == "NCHW" else batch
