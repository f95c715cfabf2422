"""Schemes and variants: how numbers are stored, and in which format. What is supported is a table."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from .errors import InputError


@dataclass(frozen=True)
class Scheme:
    """How a file stores numbers.

    `io` is the dtype of inputs and outputs. `calibrated` schemes read samples of the training data to find the
    ranges of activations.
    """

    name: str
    weights: str
    activations: str
    io: str = "float32"
    calibrated: bool = False
    summary: str = ""


SCHEMES: dict[str, dict[str, Scheme]] = {
    "savedmodel": {
        "float32": Scheme("float32", "float32", "float32", summary="the frozen model that everything is made from"),
    },
    "tflite": {
        s.name: s
        for s in (
            Scheme("float32", "float32", "float32", summary="no quantization"),
            Scheme("float16", "float16", "float32", summary="half the size; computes in float"),
            Scheme("dynamic", "int8", "float32", summary="int8 weights, activations quantized while it runs"),
            Scheme("int8", "int8", "int8", calibrated=True, summary="int8 inside, float32 at the edges"),
            Scheme("int8-int8io", "int8", "int8", "int8", True, "int8 all through, for microcontrollers and NPUs"),
            Scheme("int8-uint8io", "int8", "int8", "uint8", True, "int8 inside, uint8 at the edges"),
            Scheme("int16x8", "int8", "int16", calibrated=True, summary="int8 weights, int16 activations"),
        )
    },
    "onnx": {
        "float32": Scheme("float32", "float32", "float32", summary="no quantization"),
    },
}

SUFFIX = {"tflite": ".tflite", "onnx": ".onnx", "savedmodel": ""}


@dataclass(frozen=True, order=True)
class Variant:
    """Format and scheme, written ``tflite:int8``. Raises InputError for anything outside `SCHEMES`."""

    format: str
    scheme_name: str

    def __post_init__(self) -> None:
        if self.scheme_name not in SCHEMES.get(self.format, {}):
            known = [f"{f}:{s}" for f, schemes in SCHEMES.items() if f != "savedmodel" for s in schemes]
            close = get_close_matches(str(self), known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(f"unknown variant {str(self)!r}", f"{hint}Known: {', '.join(known)}")

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read ``format:scheme``."""
        format_, _, scheme = text.partition(":")
        return cls(format_, scheme)

    @property
    def scheme(self) -> Scheme:
        """The scheme's row in the table."""
        return SCHEMES[self.format][self.scheme_name]

    def __str__(self) -> str:
        return f"{self.format}:{self.scheme_name}"
