"""Schemes and variants: how numbers are stored, and in which format. What is supported is a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from .errors import InputError

# The tools that make files: TensorFlow's TFLite converter, Google's ai-edge-quantizer (from a float .tflite), tf2onnx,
# and ONNX Runtime's own quantizer.
CONVERTER, QUANTIZER, TF2ONNX, ORT_QUANTIZER = "converter", "ai-edge-quantizer", "tf2onnx", "onnxruntime"


@dataclass(frozen=True)
class Scheme:
    """How a file stores numbers, and what making it takes.

    `io` is the dtype of inputs and outputs. `calibrated` schemes read samples of the training data to find the
    ranges of activations. `makers` are the tools that make it; where there are several, the file that measures better
    is taken. `training` names what the float model goes through first: ``qat``, ``pruned`` or ``clustered``.
    `searched` schemes are found step by step, each step measured.
    """

    name: str
    weights: str
    activations: str
    io: str = "float32"
    calibrated: bool = False
    summary: str = ""
    makers: tuple[str, ...] = (CONVERTER,)
    training: str = ""
    searched: bool = False


def _tflite() -> Iterator[Scheme]:
    both, quantizer = (CONVERTER, QUANTIZER), (QUANTIZER,)
    yield Scheme("float32", "float32", "float32", summary="no quantization")
    yield Scheme("float16", "float16", "float32", summary="half the size; computes in float")
    words = "int8 weights, activations quantized while it runs"
    yield Scheme("dynamic", "int8", "float32", summary=words, makers=both)
    yield Scheme("dynamic-conv", "int8", "float32", summary=f"{words}; dense layers as 1×1 convolutions")
    yield Scheme("dynamic-per-tensor", "int8", "float32", summary=f"{words}; one scale for a whole dense layer")
    yield Scheme("int8", "int8", "int8", calibrated=True, summary="int8 inside, float32 at the edges", makers=both)
    yield Scheme("int8-int8io", "int8", "int8", "int8", True, "int8 all through, for microcontrollers and NPUs")
    yield Scheme("int8-uint8io", "int8", "int8", "uint8", True, "int8 inside, uint8 at the edges")
    words = "int8 with one scale for each layer's weights, for hardware without per-channel scales"
    yield Scheme("int8-per-tensor", "int8", "int8", calibrated=True, summary=words)
    words = "int8 where there is an integer kernel, float elsewhere"
    yield Scheme("int8-fallback", "int8", "int8", calibrated=True, summary=words)
    words = "int8, but the layers that lose most stay in float (or 16 bits), one by one until the budget is kept"
    yield Scheme("int8-mixed", "int8", "int8", calibrated=True, summary=words, makers=both, searched=True)
    words = "int8 weights, int16 activations"
    yield Scheme("int16x8", "int8", "int16", calibrated=True, summary=words, makers=both)
    yield Scheme("weight-int8", "int8", "float32", summary="int8 weights, computes in float", makers=quantizer)
    yield Scheme("weight-int4", "int4", "float32", summary="int4 weights, computes in float", makers=quantizer)
    words = "int4 weights, activations quantized while it runs"
    yield Scheme("int4", "int4", "float32", summary=words, makers=quantizer)
    yield Scheme("int4-block32", "int4", "float32", summary=f"{words}; a scale for every 32 weights", makers=quantizer)
    words = "int8, after training that knows of the quantization"
    yield Scheme("qat-int8", "int8", "int8", summary=words, training="qat")
    yield Scheme("qat-int8-int8io", "int8", "int8", "int8", summary=f"{words}; int8 at the edges", training="qat")
    for training, done in (("pruned", "the smallest weights set to zero"), ("clustered", "weights of few values")):
        yield Scheme(f"{training}-float32", "float32", "float32", summary=done, training=training)
        yield Scheme(f"{training}-dynamic", "int8", "float32", summary=f"{done}; then dynamic", training=training)
        yield Scheme(f"{training}-int8", "int8", "int8", "float32", True, f"{done}; then int8", training=training)


def _onnx() -> Iterator[Scheme]:
    yield Scheme("float32", "float32", "float32", summary="no quantization", makers=(TF2ONNX,))
    yield Scheme("float16", "float16", "float16", summary="half the size; float32 at the edges", makers=(TF2ONNX,))
    words = "int8 weights, activations quantized while it runs"
    yield Scheme("dynamic", "int8", "float32", summary=words, makers=(ORT_QUANTIZER,))
    words = "int8 inside (QDQ), float32 at the edges"
    yield Scheme("int8", "int8", "int8", calibrated=True, summary=words, makers=(ORT_QUANTIZER,))


SCHEMES: dict[str, dict[str, Scheme]] = {
    "savedmodel": {
        "float32": Scheme("float32", "float32", "float32", summary="the frozen model that everything is made from"),
    },
    "tflite": {scheme.name: scheme for scheme in _tflite()},
    "onnx": {scheme.name: scheme for scheme in _onnx()},
}

SUFFIX = {"tflite": ".tflite", "onnx": ".onnx", "savedmodel": ""}


@dataclass(frozen=True, order=True)
class Variant:
    """Format and scheme, written ``tflite:int8``. Raises InputError for anything outside `SCHEMES`."""

    format: str
    """``savedmodel``, ``tflite`` or ``onnx``."""
    scheme_name: str
    """The scheme's name, e.g. ``int8``."""

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
