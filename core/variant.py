"""Schemes and variants: how numbers are stored, and in which format. What is supported is a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from .errors import InputError
from .maker import CONVERTER, ORT_QUANTIZER, QUANTIZER, TF2ONNX, TFMOT

DENSE_FALLBACKS = ("dynamic-conv", "dynamic-per-tensor")


@dataclass(frozen=True)
class Arithmetic:
    """What a file computes in, and how far its answers may be from others without being wrong.

    `kernels`: ``float``, ``dynamic`` (integers, of activations that are quantized while it runs) or ``integer`` (by
    ranges that calibration or training found). `between_runtimes`: what two runtimes may differ by, as a share of the
    standard deviation of the answers over the samples: in the median over the samples, and on any one (root mean
    squares of an answer's values). `from_float` is the largest distance from the float model's answers that a right
    file has (root of the summed squares, as a part of theirs); None where quantization alone may move them as far.
    """

    kernels: Literal["float", "dynamic", "integer"]
    between_runtimes: tuple[float, float]
    from_float: float | None = None


# Between runtimes, measured with LiteRT 2.3 and tflite-runtime 2.14 on 300 pictures and a trained MobileNetV2: float16
# weights 4e-7 and int16 activations 9e-4 at most; int8, whose kernels round otherwise, 0.023 in the median and 0.39 at
# most, 96 % of the top classes the same. These are the largest of ten probabilities' differences; as root mean squares,
# in parts of the standard deviation that sure answers have (0.3), int8 is at about 0.04 and 0.6. float32 differs by
# 1.8e-6 between processors and on a GPU by 1.1e-5; on a device that computes in halves by more. From the float model,
# right files are within 1e-5 in float32 and 1e-2 in float16; float16 of an untrained network may be further away.
FLOAT = Arithmetic("float", (1e-3, 1e-2), 0.01)
HALF = Arithmetic("float", (1e-2, 1e-1), 0.5)
UNPACKED = Arithmetic("float", (5e-2, 5e-1))  # weights are integers, and become float before they are used
DYNAMIC = Arithmetic("dynamic", (1e-1, 1.0))
INT8 = Arithmetic("integer", (1.2e-1, 1.0))
INT16 = Arithmetic("integer", (1e-2, 1e-1))


# Measured on an x86 processor with AVX2 alone (MobileNetV2 at 96 px, 1,000 pictures, ONNX Runtime 1.32; the float file
# 86.1 %): 77.4 % with the defaults, 86.3 % with the option, which costs time (2.1 and 3.2 ms). Weights of 7 bits, which
# need no option, were right on 84.9 % (2.8 ms), unsigned ones on 85.7 % (3.0 ms). Source: ONNX Runtime's pull request
# 12088.
X86_SUMS = (
    'ONNX Runtime needs the session option "session.x64quantprecision" = "1": without it, x86 processors that lack VNNI'
    " cut off sums of products, and the file may answer otherwise than it was measured. A file that is refused with it,"
    " because nodes share a tensor, was measured without"
)


@dataclass(frozen=True)
class Training:
    """What a float model goes through before it is converted: `words` for it, and its `table` in ``[quantize]``.

    `maker` names the tool, a row of `core.maker.MAKERS`.
    """

    words: str
    table: str
    maker: str = TFMOT


TRAININGS = {
    "qat": Training("quantization-aware training", "qat"),
    "pruned": Training("pruning", "prune"),
    "clustered": Training("weight clustering", "cluster"),
}


@dataclass(frozen=True)
class Scheme:
    """How a file stores numbers, and what making it takes. The row says all of a scheme; nothing reads its name.

    `io` is the dtype of inputs and outputs. `calibrated` schemes read samples of the training data to find the
    ranges of activations. `makers` name the tools that make it, rows of `core.maker.MAKERS`; where there are several,
    the file that measures better is taken. `training` names what the float model goes through first, one of
    `TRAININGS`. `searched` schemes are found step by step, each step measured.

    Settings of the tools: `scales` of weights are one for each channel, for a whole tensor, for a whole tensor of dense
    layers only, or for every 32 weights. `float_allowed`: operators without an integer kernel stay in float.
    `dense_as_conv`: dense layers become 1×1 convolutions.

    Where a runtime is too old for the file, `fallbacks` are made instead, the nearest first; `dense_fallbacks` where it
    lacks nothing but the file's dense layers. `as_fallback` says what such a file changes. `colour` is the palette's.
    `caution` says what an app has to do for the file to answer as it was measured.
    """

    name: str
    weights: str
    activations: str
    arithmetic: Arithmetic
    summary: str
    io: str = "float32"
    calibrated: bool = False
    makers: tuple[str, ...] = (CONVERTER,)
    training: str = ""
    searched: bool = False
    scales: Literal["per-channel", "per-tensor", "dense-per-tensor", "block-32"] = "per-channel"
    float_allowed: bool = False
    dense_as_conv: bool = False
    fallbacks: tuple[str, ...] = ("float16", "int8", "float32")
    dense_fallbacks: tuple[str, ...] = ()
    as_fallback: str = ""
    colour: str = "other"
    caution: str = ""

    @property
    def weight_bits(self) -> int:
        """How many bits a weight takes."""
        return int(self.weights.lstrip("float").lstrip("int"))

    @property
    def activation_bits(self) -> int:
        """How many bits an activation takes."""
        return int(self.activations.lstrip("float").lstrip("int"))


def _tflite() -> Iterator[Scheme]:
    both, quantizer = (CONVERTER, QUANTIZER), (QUANTIZER,)
    yield Scheme("float32", "float32", "float32", FLOAT, "no quantization", colour="float32")
    words = "half the size; computes in float"
    yield Scheme("float16", "float16", "float32", HALF, words, colour="float16")
    yield from _tflite_dynamic(both)
    yield from _tflite_int8(both)
    words, instead = "int8 weights, int16 activations", ("int8", "float16")
    yield Scheme(
        "int16x8", "int8", "int16", INT16, words, calibrated=True, makers=both, fallbacks=instead, colour="int16x8"
    )
    for bits in ("int8", "int4"):
        yield Scheme(
            f"weight-{bits}", bits, "float32", UNPACKED, f"{bits} weights, computes in float", makers=quantizer,
            fallbacks=("float16", "dynamic-conv"), colour="int4",
        )  # fmt: skip
    words, instead = "int4 weights, activations quantized while it runs", ("dynamic-conv", "int8")
    int4 = Scheme("int4", "int4", "float32", DYNAMIC, words, makers=quantizer, fallbacks=instead, colour="int4")
    yield int4
    yield replace(int4, name="int4-block32", summary=f"{words}; a scale for every 32 weights", scales="block-32")
    yield from _tflite_trained()


def _tflite_dynamic(both: tuple[str, ...]) -> Iterator[Scheme]:
    """Of these, what old runtimes lack are dense layers with a scale for each channel: 1×1 convolutions in their place,
    and a single scale, are older."""
    words = "int8 weights, activations quantized while it runs"
    dynamic = Scheme("dynamic", "int8", "float32", DYNAMIC, words, colour="dynamic")
    yield replace(dynamic, makers=both, dense_fallbacks=DENSE_FALLBACKS)
    yield replace(
        dynamic, name="dynamic-conv", summary=f"{words}; dense layers as 1×1 convolutions", dense_as_conv=True,
        as_fallback="dense layers stored as 1×1 convolutions, whose scales for each channel are older",
    )  # fmt: skip
    yield replace(
        dynamic, name="dynamic-per-tensor", summary=f"{words}; one scale for a whole dense layer",
        scales="dense-per-tensor", as_fallback="one scale for a whole dense layer instead of one for each channel",
    )  # fmt: skip


def _tflite_int8(both: tuple[str, ...]) -> Iterator[Scheme]:
    words = "int8 inside, float32 at the edges"
    int8 = Scheme("int8", "int8", "int8", INT8, words, calibrated=True, makers=both, colour="int8")
    yield int8
    plain = replace(int8, makers=(CONVERTER,))
    words = "int8 all through, for microcontrollers and NPUs"
    yield replace(plain, name="int8-int8io", io="int8", summary=words, colour="int8io")
    yield replace(plain, name="int8-uint8io", io="uint8", summary="int8 inside, uint8 at the edges", colour="int8io")
    words = "int8 with one scale for each layer's weights, for hardware without per-channel scales"
    yield replace(plain, name="int8-per-tensor", summary=words, scales="per-tensor")
    words = "int8 where there is an integer kernel, float elsewhere"
    yield replace(plain, name="int8-fallback", summary=words, float_allowed=True)
    words = "int8, but the layers that lose most stay in float (or 16 bits), one by one until the budget is kept"
    yield replace(int8, name="int8-mixed", summary=words, searched=True)


def _tflite_trained() -> Iterator[Scheme]:
    words = "int8, after training that knows of the quantization"
    qat = Scheme("qat-int8", "int8", "int8", INT8, words, training="qat", colour="qat")
    yield qat
    yield replace(qat, name="qat-int8-int8io", summary=f"{words}; int8 at the edges", io="int8")
    for training, done in (("pruned", "the smallest weights set to zero"), ("clustered", "weights of few values")):
        yield Scheme(f"{training}-float32", "float32", "float32", FLOAT, done, training=training)
        words = f"{done}; then dynamic"
        yield Scheme(
            f"{training}-dynamic", "int8", "float32", DYNAMIC, words, training=training, dense_fallbacks=DENSE_FALLBACKS
        )
        words = f"{done}; then int8"
        yield Scheme(f"{training}-int8", "int8", "int8", INT8, words, calibrated=True, training=training)


def _onnx() -> Iterator[Scheme]:
    tf2onnx, quantizer = (TF2ONNX,), (ORT_QUANTIZER,)
    yield Scheme("float32", "float32", "float32", FLOAT, "no quantization", makers=tf2onnx, colour="float32")
    words = "half the size; float32 at the edges"
    yield Scheme("float16", "float16", "float16", HALF, words, makers=tf2onnx, colour="float16")
    words = "int8 weights, activations quantized while it runs"
    yield Scheme("dynamic", "int8", "float32", DYNAMIC, words, makers=quantizer, colour="dynamic")
    words = "int8 inside (QDQ), float32 at the edges"
    yield Scheme(
        "int8", "int8", "int8", INT8, words, calibrated=True, makers=quantizer, colour="int8", caution=X86_SUMS
    )


_FROZEN = Scheme(
    "float32", "float32", "float32", FLOAT, "the frozen model that everything is made from", colour="float32"
)
SCHEMES: dict[str, dict[str, Scheme]] = {
    "savedmodel": {_FROZEN.name: _FROZEN},
    "tflite": {scheme.name: scheme for scheme in _tflite()},
    "onnx": {scheme.name: scheme for scheme in _onnx()},
}


def find_scheme(name: str) -> Scheme | None:
    """Return the first scheme of that name, whatever its format; None for one of another version of edgeproof."""
    return next((schemes[name] for schemes in SCHEMES.values() if name in schemes), None)


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
            every = [f"{f}:{s}" for f, schemes in SCHEMES.items() if f != "savedmodel" for s in schemes]
            close = get_close_matches(str(self), every, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise InputError(f"unknown variant {str(self)!r}", f"{hint}Known: {', '.join(every)}")

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
