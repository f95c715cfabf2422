"""What a person can do about a file that cannot be made or answers badly, for the model at hand.

A model that a run trained can be trained further and may start from another backbone. Somebody else's SavedModel or
Keras file cannot, but TensorFlow's converter reads it. A supplied ``.tflite`` takes neither: only what
ai-edge-quantizer makes. So a remedy says what helps, and its words depend on where the model is from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .errors import StageError
from .model import Model
from .variant import QUANTIZER, Variant

# `""`: not known, as of a file without a sidecar. It is then treated as a supplied .tflite, of which least is possible.
Origin = Literal["trained", "external", "tflite", ""]

# How TensorFlow's converter is asked for.
_CONVERTER: dict[Origin, str] = {
    "trained": "with TensorFlow's converter (export.maker = 'converter')",
    "external": "with TensorFlow's converter (--maker converter)",
    "tflite": "of the SavedModel or Keras file that it was converted from",
    "": "of the SavedModel or Keras file that it was converted from",
}


@dataclass(frozen=True)
class Remedy:
    """Ways out: other `schemes` (variants, the nearest first), another `model`, and what helps `also` in any case.

    `by_converter` are variants that only TensorFlow's converter makes well of such a model. `model` says what another
    one would have or lack, e.g. ``without that operator``.
    """

    schemes: tuple[str, ...] = ()
    by_converter: tuple[str, ...] = ()
    model: str = ""
    also: tuple[str, ...] = ()

    def words(self, origin: Origin, without: str = "") -> str:
        """Return the remedy for a model of this origin, as one sentence; `without` is the variant that there is."""
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


# Of scales whose accumulator could overflow, whoever refuses them: 16-bit kernels take biases of 32 bits at the product
# of two scales; the others have room for extreme ranges.
OVERFLOW = Remedy(
    ("tflite:int8", "tflite:dynamic", "tflite:float16"),
    also=("train the model: weights that nobody trained have such ranges",),
)


class CannotMakeError(StageError):
    """A file cannot be made in its scheme, and what helps depends on where the model is from."""

    def __init__(self, message: str, ways: Remedy) -> None:
        super().__init__(message, ways.words(""))
        self.ways = ways


def can_be_made(name: str, origin: Origin) -> bool:
    """Return whether a variant can be made of a model of this origin."""
    scheme = Variant.parse(name).scheme
    if origin == "trained":
        return True
    if origin == "external":
        return not (scheme.training or scheme.searched)
    return name == "tflite:float32" or (QUANTIZER in scheme.makers and not scheme.searched)


def origin_of(model: Model) -> Origin:
    """Return where a frozen model is from: a run's training, or somebody else's file frozen as it is."""
    return "trained" if model.train_seconds else "external"


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
