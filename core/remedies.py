"""Remedies for a file that cannot be made or is inaccurate, depending on the model's origin.

A model that a run trained can be trained further, or start from another backbone. An external SavedModel or Keras file
cannot, but TensorFlow's converter reads it. Of a supplied ``.tflite`` only ai-edge-quantizer makes files. So a remedy
lists what helps, and its wording depends on the model's origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .errors import StageError
from .maker import CONVERTER, MAKERS, QUANTIZER
from .model import Model
from .variant import Variant

# `""`: unknown, for a file without a sidecar. It is treated as a supplied .tflite, which has the fewest options.
Origin = Literal["trained", "external", "tflite", ""]

# How to use TensorFlow's converter.
_CONVERTER: dict[Origin, str] = {
    "trained": f"with {MAKERS[CONVERTER].title} (export.maker = '{CONVERTER}')",
    "external": f"with {MAKERS[CONVERTER].title} (--maker {CONVERTER})",
    "tflite": "of the SavedModel or Keras file that it was converted from",
    "": "of the SavedModel or Keras file that it was converted from",
}


@dataclass(frozen=True)
class Remedy:
    """Options: other `schemes` (variants, the most similar first), another `model`, and what `also` helps in any case.

    `by_converter` are variants that only TensorFlow's converter makes well of such a model. `model` describes another
    model, e.g. ``without that operator``.
    """

    schemes: tuple[str, ...] = ()
    by_converter: tuple[str, ...] = ()
    model: str = ""
    also: tuple[str, ...] = ()

    def words(self, origin: Origin, without: str = "") -> str:
        """Return the remedy for a model of this origin, as one sentence; `without` is the variant to leave out."""
        return ", or ".join(self._ways(origin, [name for name in self.schemes if name != without]))

    def _ways(self, origin: Origin, schemes: list[str]) -> Iterator[str]:
        possible = [name for name in schemes if can_be_made(name, origin)]
        if possible:
            yield f"use {_joined(possible)}"
        others = [name for name in schemes if not possible and can_be_made(name, "external")]
        if others := [*others, *self.by_converter]:
            yield f"make {_joined(others)} {_CONVERTER[origin]}"
        if self.model and origin == "trained":
            yield f"choose a backbone {self.model}"
        elif self.model:
            yield f"change the model to one {self.model}" + ("" if origin == "external" else ", and convert it again")
        yield from self.also


# For scales with which an accumulator could overflow: 16-bit kernels store biases in 32 bits at the product of two
# scales; the other schemes can represent extreme ranges.
OVERFLOW = Remedy(
    ("tflite:int8", "tflite:dynamic", "tflite:float16"),
    also=("train the model: untrained weights have such ranges",),
)


class CannotMakeError(StageError):
    """A file cannot be made in its scheme; the remedy depends on the model's origin."""

    def __init__(self, message: str, ways: Remedy) -> None:
        super().__init__(message, ways.words(""))
        self.ways = ways


def can_be_made(name: str, origin: Origin) -> bool:
    """Return whether a variant can be made from a model of this origin."""
    scheme = Variant.parse(name).scheme
    if origin == "trained":
        return True
    if origin == "external":
        return not (scheme.training or scheme.searched)
    return name == "tflite:float32" or (QUANTIZER in scheme.makers and not scheme.searched)


def origin_of(model: Model) -> Origin:
    """Return the origin of a frozen model: ``trained`` by a run, or ``external``."""
    return "trained" if model.train_seconds else "external"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
