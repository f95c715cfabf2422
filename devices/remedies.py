"""What runtimes say when they refuse a file, in words a person can act on. The table is the knowledge."""

from __future__ import annotations

import re
import sys

from ..core.names import shorten

# (pattern in the runtime's message, what it means, what to do); groups of the pattern fill the braces.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'",
        "needs operator FULLY_CONNECTED version 12 (per-channel weights), which {runtime} {version} does not have",
        "set export.dense_per_channel = false (it may cost accuracy: measure it), use tflite:int8, or run it on litert",
    ),
    (
        r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'",
        "needs operator {0} version {1}, which {runtime} {version} does not have",
        "use a newer runtime, or another scheme; `edgeproof inspect` lists the file's operators",
    ),
    (
        r"no_integer_overflow_from_quantization",
        "{runtime} refuses the file's scales: an accumulator could overflow",
        "the model's ranges are extreme (is it trained?); calibrate with more samples or choose another scheme",
    ),
    (
        r"Encountered unresolved custom op: (\S+?)\.",
        "needs the custom operator {0}, which {runtime} does not carry",
        "export without that operator, or use a runtime built with it",
    ),
    (
        r"Select TensorFlow op\(s\), included in the given model",
        "needs TensorFlow operators (Flex), which {runtime} does not carry",
        "export with builtin operators only",
    ),
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "has ONNX IR version {0}; {runtime} {version} reads up to {1}",
        "update onnxruntime or lower export.onnx_opset",
    ),
)

_EXTRAS = {
    "litert": "litert",
    "tflite-runtime": "tflite-runtime",
    "onnxruntime": "onnxruntime",
    "tensorflow": "train",
}


def explain(reason: str, runtime: str, version: str) -> tuple[str, str]:
    """Return (reason, remedy) for a runtime's message; a message that is not known is shortened and kept."""
    for pattern, meaning, remedy in _KNOWN:
        if found := re.search(pattern, reason):
            return meaning.format(*found.groups(), runtime=runtime, version=version), remedy
    return shorten(reason.strip().split("\n")[0], 300), ""


def not_installed(runtime: str) -> tuple[str, str]:
    """Return (reason, remedy) for a runtime that this Python does not have."""
    if runtime == "tflite-runtime" and sys.version_info >= (3, 12):
        return (
            f"tflite-runtime 2.14 has no wheel for Python {sys.version_info.major}.{sys.version_info.minor}",
            "run edgeproof in Python 3.10 or 3.11 to prove files on tflite-runtime",
        )
    return f"{runtime} is not installed in this environment", f"pip install 'edgeproof[{_EXTRAS[runtime]}]'"
