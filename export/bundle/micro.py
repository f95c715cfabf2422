"""For microcontrollers: the file as a C array, the operators to register in the resolver, and the memory to reserve.

The runtime is TensorFlow Lite for Microcontrollers. It reads int8 files with int8 at the edges, and has no file system.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.artifact import Artifact, Operator
from ...tflite.micro_operators import resolver_method
from ...tflite.objects import operator_name, read, type_name

# No microcontroller has room for more, and the C text would be six times that.
MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Micro:
    """Facts that a microcontroller's program needs. `arena_bytes` is an estimate."""

    methods: tuple[str, ...]
    missing: tuple[str, ...]
    arena_bytes: int
    activation_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it as bundle.json has it."""
        return {
            "resolver": list(self.methods),
            "unknown_operators": list(self.missing),
            "arena": {"kind": "estimated", "bytes": self.arena_bytes, "activations": self.activation_bytes},
        }


def is_for_micro(artifact: Artifact, size: int) -> bool:
    """Whether an artifact is of the kind that microcontrollers run: one int8 input, int8 outputs, small enough."""
    edges = {tensor.dtype for tensor in (*artifact.inputs, *artifact.outputs)}
    return artifact.format == "tflite" and len(artifact.inputs) == 1 and edges == {"int8"} and size <= MAX_BYTES


def describe(tflite: bytes, operators: Sequence[Operator]) -> Micro:
    """Return the resolver's methods and the memory for a file that `inspect` could read."""
    names = sorted({operator.name for operator in operators})
    activations, persistent = _memory(tflite)
    return Micro(
        methods=tuple(method for name in names if (method := resolver_method(name))),
        missing=tuple(name for name in names if not resolver_method(name)),
        arena_bytes=-(-(activations + persistent) // 1024) * 1024,
        activation_bytes=activations,
    )


def _memory(tflite: bytes) -> tuple[int, int]:
    """Return the bytes for activations and for the interpreter's own data.

    The first is the peak of live tensors, each aligned to 16 bytes and alive from its writing operator to the last
    that reads it. The second was fitted to what tflite-micro's recording allocator reports for MobileNetV2 files on a
    64-bit host: 24 bytes a tensor, 160 an operator, 8 a channel of a convolution, 2.5 KiB in all. On both, the sum is
    within 2 % above the truth; a 32-bit chip needs less, an optimised kernel with buffers of its own (CMSIS-NN) more.
    """
    model = read(tflite)
    graph = model.subgraphs[0]
    born = dict.fromkeys(graph.inputs, 0)
    dies = dict(born)
    channels = 0
    for step, operator in enumerate(graph.operators):
        dies.update({index: step for index in operator.inputs if index in born})
        for index in operator.outputs:
            born[index] = dies[index] = step
        if operator_name(model, operator) in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            channels += int(graph.tensors[operator.outputs[0]].shape[-1])
    dies.update({index: len(graph.operators) for index in graph.outputs})

    def size(index: int) -> int:
        tensor = graph.tensors[index]
        return -(-math.prod(int(side) for side in tensor.shape) * _WIDTHS.get(type_name(tensor), 4) // 16) * 16

    steps = range(len(graph.operators))
    activations = max((sum(size(i) for i in born if born[i] <= step <= dies[i]) for step in steps), default=0)
    return activations, 24 * len(graph.tensors) + 160 * len(graph.operators) + 8 * channels + 2560


_WIDTHS = {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "uint16": 2, "float16": 2, "int64": 8, "uint64": 8}


@dataclass(frozen=True)
class MicroCode:
    """What a bundle's C++ for microcontrollers says, read back from its text.

    `array` is the model; `registered` are the methods that the resolver calls, in their order, and `room` the number of
    operators that it has room for. `run` and `value` are the functions that run a sample and give a value of its
    answer, `count` the constant with the number of values.
    """

    array: bytes
    registered: tuple[str, ...]
    room: int
    run: str
    value: str
    count: str


def micro_code(folder: Path) -> MicroCode:
    """Read the code for microcontrollers back from a bundle's folder."""
    data = (folder / "micro" / "model_data.cc").read_text(encoding="utf-8")
    code = next((folder / "micro").glob("*_micro.cc")).read_text(encoding="utf-8")
    return MicroCode(
        array=bytes(int(value, 16) for value in re.findall(r"0x([0-9a-f]{2}),", data)),
        registered=tuple(re.findall(r"^  if \(resolver\.(\w+)\(\) != kTfLiteOk\)", code, re.MULTILINE)),
        room=int(re.findall(r"MicroMutableOpResolver<(\d+)>", code)[0]),
        run=re.findall(r"^(?:bool|int) (Run|Classify)\(const ", code, re.MULTILINE)[0],
        value=re.findall(r"^float (Value|Score)\(int ", code, re.MULTILINE)[0],
        count=re.findall(r"^constexpr int (kScores|kValues) = ", code, re.MULTILINE)[0],
    )


def c_array(content: bytes) -> Iterator[str]:
    """Return the lines of a C array's initializer, sixteen bytes each."""
    for start in range(0, len(content), 16):
        yield "    " + " ".join(f"0x{byte:02x}," for byte in content[start : start + 16])
