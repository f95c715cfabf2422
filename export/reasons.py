"""Tools' error messages, and what they mean for the user: a table of patterns, meanings and remedies."""

from __future__ import annotations

import re

from ..core.errors import EdgeproofError
from ..core.maker import MAKERS
from ..core.opset import OLDEST, WRITTEN
from ..core.remedies import OVERFLOW, CannotMakeError, Origin, Remedy
from ..core.sanitize import shorten

# (pattern in a tool's message, what it means, what to do); groups of the pattern fill the braces.
MESSAGES: tuple[tuple[str, str, Remedy], ...] = (
    (
        r"Quantization (?:to 16x8-bit )?not yet supported for op: '?(\w+)",
        "there is no integer kernel for {0}",
        Remedy(("tflite:int8-fallback", "tflite:dynamic", "tflite:float16"), model="without that operator"),
    ),
    (
        r"tf\.(\w+)\([^)]*complex<",
        "TFLite has no kernel that computes tf.{0} of complex numbers",
        Remedy(
            ("onnx:float32",),
            also=(
                "compute with real numbers (tf.abs, tf.math.real) right behind the Fourier transform, or give the "
                "file the spectrogram as its input",
            ),
        ),
    ),
    (
        r"tf\.(\w+).*(?:neither a custom op nor a flex op|is neither)",
        "operator tf.{0} has no TFLite kernel",
        Remedy(model="without that operator", also=("do that step in the app, outside of the model",)),
    ),
    (
        r"Max and min for dynamic tensors should be recorded during calibration: Failed for tensor (\S+)",
        "the converter wants a range for tensor {0}, and calibration recorded none (it records none for integers, "
        "such as token ids and their masks)",
        Remedy(("tflite:int8", "tflite:dynamic", "tflite:float16")),
    ),
    (
        r"No Op registered for (\w+) with domain_version",
        "operator tf.{0} has no ONNX counterpart",
        Remedy(("tflite:float32",), model="without that operator"),
    ),
    (
        r"(?i)exceeds maximum protobuf size|bigger than 2 ?GB",
        "the file would be larger than 2 GB, which the format cannot hold",
        Remedy(("tflite:float16", "tflite:dynamic", "tflite:int8"), model="with fewer weights"),
    ),
    (
        r"Unsupported onnx opset|Opset (\d+) is not supported",
        "tf2onnx does not write this opset",
        Remedy(also=(f"choose export.onnx_opset between {OLDEST} and {WRITTEN}",)),
    ),
    (
        r"`representative_dataset` must be specified",
        "the model holds no ranges of its activations, which quantization-aware training would have left in it",
        Remedy(("tflite:int8",), also=("train it again",)),
    ),
    (
        r"Missing QSVs \(min/max\) for tensor (\S+)",
        "calibration recorded no range for tensor {0}",
        Remedy(("tflite:dynamic", "tflite:weight-int8"), by_converter=("tflite:int8",)),
    ),
    (
        r"Failed to get quantization parameters for tensor: ([^\s.]+)",
        "ai-edge-quantizer finds no scale for tensor {0}",
        Remedy(("tflite:dynamic", "tflite:weight-int8"), by_converter=("tflite:int8",)),
    ),
    (
        r"Encountered unresolved custom op: (\S+?)\.",
        "its operator {0} is a custom one, and LiteRT, which runs the file to calibrate it, does not have it",
        Remedy(("tflite:dynamic", "tflite:weight-int8"), model="without that operator"),
    ),
    (
        r"no_integer_overflow_from_quantization",
        "LiteRT refuses the file's scales: an accumulator could overflow",
        OVERFLOW,
    ),
    (
        r"(tflite/\S+ .*failed to (?:prepare|invoke))",
        "the file was made, and LiteRT cannot run it: {0}",
        Remedy(("tflite:dynamic", "tflite:float16", "tflite:float32")),
    ),
    (
        r"gather index out of bounds",
        "the calibration samples hold token ids that the model's table does not have",
        Remedy(also=("calibrate with texts and the model's own tokenizer",)),
    ),
)


def explain(error: Exception, origin: Origin = "") -> tuple[str, str]:
    """Return (reason, remedy) for a model of `origin`. Messages are cut: a converter may dump the whole model."""
    if isinstance(error, CannotMakeError):
        return error.message, error.ways.words(origin)
    if isinstance(error, EdgeproofError):
        return error.message, error.remedy
    if isinstance(error, ModuleNotFoundError):
        for maker in MAKERS.values():
            if error.name in maker.extra.packages:
                return f"{error.name} is not installed here", maker.extra.remedy
    if isinstance(error, KeyError) and len(error.args) == 1:
        # Raised where the converter looks up a sample's inputs by name.
        return f"the calibration samples hold no values for input {error}", "calibrate with samples of all its inputs"
    text = str(error)
    for pattern, meaning, remedy in MESSAGES:
        if match := re.search(pattern, text):
            return meaning.format(*match.groups()), remedy.words(origin)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    message = next((line for line in lines if "error:" in line), lines[0] if lines else "no message")
    return (
        f"the converter failed: {type(error).__name__}: {shorten(message, 300)}",
        "the other variants are not affected; choose another scheme, or another `maker` where there is one",
    )
