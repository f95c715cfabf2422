"""Translates runtimes' error messages into reasons and remedies that users can act on."""

from __future__ import annotations

import re

from ..core.extras import EXTRAS
from ..core.remedies import OVERFLOW, Origin, Remedy
from ..core.sanitize import shorten

_OTHER_SHAPE = "give samples of the file's shape; for texts, put MODEL.tokenizer/ and the sidecar (.json) back"
_DRIVER = "install the GPU's Vulkan driver; without a GPU, SwiftShader emulates one (docs/accelerators.md)"
# (pattern in the runtime's message, reason, remedy); the pattern's groups replace the numbers in braces.
MESSAGES: tuple[tuple[str, str, str | Remedy], ...] = (
    (
        r"(the file (?:does not take|takes) \d+ samples at a time(?:: |, ).{1,200})",
        "{0}",
        "take this number out of evaluate.latency.batch: the file is made for one sample at a time",
    ),
    (
        r"Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'",
        "needs operator FULLY_CONNECTED version 12 (per-channel weights), which {runtime} {version} does not have",
        Remedy(
            ("tflite:dynamic-conv", "tflite:dynamic-per-tensor", "tflite:int8"),
            also=("run it on litert", "name the runtime in a recipe, which then makes files for it (`runtime`)"),
        ),
    ),
    (
        r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'",
        "needs operator {0} version {1}, which {runtime} {version} does not have",
        "use a newer runtime, or another scheme; `edgeproof inspect` lists the file's operators",
    ),
    (
        r"Didn't find op for builtin opcode '(\w+)'\s*\n",
        "needs operator {0}, which {runtime} does not have",
        "replace the operator in the model, or add a kernel of your own to the firmware, which is not proved here",
    ),
    (
        r"Failed to get registration from op code CUSTOM",
        "needs a custom operator, which {runtime} does not have",
        "replace the operator in the model, or add a kernel of your own to the firmware, which is not proved here",
    ),
    (
        r"(?:\S+\.cc(?::\d+)? )?([^\n]{1,200}?)\.?\s*\nNode (\w+) \(number \d+\) failed to (?:prepare|invoke)",
        "operator {1} of {runtime} does not compute this: {0}",
        Remedy(("tflite:int8",), also=("use float32 where the chip has the memory",)),
    ),
    (
        r"Requested: \d+, available \d+, missing: \d+",
        "needs an arena of more than 256 MiB, which no microcontroller has",
        "use a smaller model",
    ),
    (
        r"no_integer_overflow_from_quantization",
        "{runtime} refuses the file's scales: an accumulator could overflow",
        OVERFLOW,
    ),
    (
        r"Encountered unresolved custom op: (\S+?)\.",
        "needs the custom operator {0}, which {runtime} does not have",
        "export without that operator, or use a runtime built with it",
    ),
    (
        r"Select TensorFlow op\(s\), included in the given model",
        "needs TensorFlow operators (Flex), which {runtime} does not have",
        "export with builtin operators only",
    ),
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "has ONNX IR version {0}; {runtime} {version} reads up to {1}",
        "update onnxruntime or lower export.onnx_opset",
    ),
    (
        r"CUDAExecutionProvider: (.{1,300})",
        "ONNX Runtime does not start CUDA: {0}",
        "install the CUDA and cuDNN libraries that onnxruntime-gpu asks for, e.g. pip install "
        "'onnxruntime-gpu[cuda,cudnn]'",
    ),
    (
        r"WebGpuExecutionProvider: (.{1,300})",
        "ONNX Runtime finds no GPU: {0}",
        _DRIVER,
    ),
    (
        r"this build of onnxruntime has no (\w+)",
        "onnxruntime {version} is a build without {0}",
        "install the version that `edgeproof devices` names",
    ),
    (
        r"(LiteRT finds no GPU.{0,300})",
        "{0}",
        _DRIVER,
    ),
    (
        r"Element type (\w+) is not supported",
        "its inputs or outputs are {0}: LiteRT.js has tensors of float32, int32 and uint8 alone",
        Remedy(("tflite:int8", "tflite:int8-uint8io")),
    ),
    (
        r"the input (.{0,200}?) has no fixed shape: (\[[\d, -]+\])",
        "its input {0} has the shape {1}, any size where it says -1: LiteRT.js takes fixed shapes alone",
        "make it with a fixed batch (keras.Input(…, batch_size=1)), or of the Keras model with `edgeproof export`",
    ),
    (
        r"Failed to load model from buffer",
        "{runtime} does not read the file: it is damaged, or no .tflite",
        "check it with edgeproof inspect, and make it again",
    ),
    (
        r"(the browser finds no GPU)",
        "{0}",
        "run it on litert-js, or in the browser of a device with a GPU; edgeproof doctor browser says what is there",
    ),
    (
        r"(OpenVINO finds no \w+ here; it has .{1,200})",
        "{0}",
        "install the device's driver; `edgeproof devices` says which",
    ),
    (
        r"(TensorFlow finds no GPU here)",
        "{0}",
        "pip install 'tensorflow[and-cuda]', on a machine with an NVIDIA driver",
    ),
    (
        r"(the accelerator runs none of the file's \d+ operators)",
        "{0}: all of it would be the CPU's",
        "run it on the CPU, or use another scheme: `edgeproof inspect` lists the file's operators",
    ),
    (
        r"Exception from src/inference\S+\n(?:Exception from \S+\n|Check '.*?' failed at \S+\n)*([^\n]{1,300})",
        "OpenVINO {version} does not take the file: {0}",
        "choose another scheme, or another runtime; `edgeproof inspect` lists the file's operators",
    ),
    (
        r"Op type not registered 'TFText>(\w+)'",
        "needs TensorFlow Text's operator {0}, but tensorflow_text is not installed, or not for this TensorFlow",
        EXTRAS["text"].remedy,
    ),
    (
        r"Op type not registered '([^']+)'",
        "needs TensorFlow's operator {0}, which this TensorFlow does not have",
        "install the package that has the operator; Edgeproof imports only tensorflow_text",
    ),
    (
        r"(?s)^(?:\w+: )?(.{1,200}?)\.?\s*Node number \d+ \((\w+)\) failed to (?:prepare|invoke)",
        "operator {1} of {runtime} {version} does not compute this: {0}",
        "choose another scheme, or another runtime; `edgeproof inspect` lists the file's operators",
    ),
    (
        r"(?s)(the tokenizer does not open: .{1,300})",
        "{0}",
        "copy the folder MODEL.tokenizer/ again, as export wrote it",
    ),
    (
        r"(the file takes inputs .{1,200}, and is given .{1,200})$",
        "{0}",
        "give samples with one field for each of the file's inputs, with the input's name",
    ),
    (
        r"Cannot set tensor: Dimension mismatch\. Got (\d+) but expected (\d+) for dimension (\d+) of input",
        "the file takes {1} values along dimension {2} of an input, and is given {0}",
        _OTHER_SHAPE,
    ),
    (
        r"(?s)Got invalid dimensions for input: (\S+) .*?index: (\d+) Got: (\d+) Expected: (\d+)",
        "the file takes {3} values along dimension {1} of its input {0}, and is given {2}",
        _OTHER_SHAPE,
    ),
    (
        r"(the file has no output .{1,300})",
        "{0}",
        "name one of its outputs (`output` of the recipe's model)",
    ),
    (
        r"(the answer holds \w+, not numbers)",
        "{0}",
        "name an output that holds numbers (`output` of the recipe's model)",
    ),
    (
        r"(the answer's size changes: .{1,100})",
        "{0}",
        "answers are compared value by value: name an output of a fixed size (`output` of the recipe's model)",
    ),
    (
        r"(?:this package of (\S+) has no profiler|(\S+) has no profiler that Python can reach)",
        "{runtime} has no profiler that Python can reach",
        "profile a .tflite on local/litert and an .onnx on local/onnxruntime; other kernels may run there",
    ),
    (
        r"(.{0,60}(?:version of LiteRT|LiteRT ends with|LiteRT's CompiledModel|LiteRT makes no profiler).{0,100})",
        "{0}: {runtime} {version} cannot be profiled",
        "profile with ai-edge-litert 2.3, whose profiler is known",
    ),
)


def explain(reason: str, runtime: str, version: str, origin: Origin = "") -> tuple[str, str]:
    """Return (reason, remedy) for a runtime's message about a file whose model has that `origin`.

    An unknown message is shortened and returned without a remedy.
    """
    for pattern, meaning, remedy in MESSAGES:
        if match := re.search(pattern, reason):
            words = shorten(meaning.format(*match.groups(), runtime=runtime, version=version), 400)
            return words, remedy.words(origin) if isinstance(remedy, Remedy) else remedy
    return shorten(reason.strip().split("\n")[0], 300), ""
