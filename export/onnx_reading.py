"""Reads an ``.onnx`` file without onnx and without a runtime: inputs, outputs, operators, opset, properties.

Field numbers from onnx.proto (ONNX 1.17; fields are only ever added). Weights are skipped, so a file of gigabytes costs
no more than its graph.
"""

from __future__ import annotations

import mmap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ..core.artifact import TensorSpec
from ..core.errors import InputError
from ..core.protobuf import Message

# TensorProto.DataType, as numpy or ml_dtypes call them.
# fmt: off
DTYPES = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "object", "bool", "float16",
    "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz",
    "float8_e5m2", "float8_e5m2fnuz", "uint4", "int4", "float4_e2m1fn",
)
# fmt: on
_TEXT = 10_000
_INT8 = DTYPES.index("int8")
# Operators that multiply 8-bit integers, of ONNX and of ONNX Runtime. Others do so as well where QuantizeLinear and
# DequantizeLinear stand around them, which the runtime then fuses.
_INTEGER = {
    "MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "QGemm", "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QAttention",
}  # fmt: skip


@dataclass(frozen=True)
class OnnxGraph:
    """Contents of a file. `operators` counts (operator, domain); `opsets` has the version of each domain.

    `signed_sums`: products of 8-bit integers are summed, with signed weights (`core.variant.X86_SUMS`).
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Counter[tuple[str, str]]
    opsets: dict[str, int]
    properties: dict[str, str]
    signed_sums: bool = False


def read_onnx(path: Path) -> OnnxGraph:
    """Read an ``.onnx`` file. Raises InputError when it holds no graph; damage raises ValueError or IndexError."""
    if not path.stat().st_size:
        raise InputError(f"{path} is empty", "make or copy it again")
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _model(Message(memoryview(content)), path)


def _model(message: Message, path: Path) -> OnnxGraph:
    opsets: dict[str, int] = {}
    properties: dict[str, str] = {}
    operators: Counter[tuple[str, str]] = Counter()
    weights: dict[str, int] = {}
    read_by: dict[str, set[str]] = {}
    edges: dict[int, list[TensorSpec]] = {11: [], 12: []}
    for number, value in message.fields():
        if not isinstance(value, Message):
            continue
        if number == 7:
            for inner, part in value.fields():
                if not isinstance(part, Message):
                    continue
                if inner == 1:
                    node = part.grouped()
                    operator = node.text(4, _TEXT)
                    operators[operator, node.text(7, _TEXT)] += 1
                    if operator in _INTEGER or operator == "DequantizeLinear":
                        read_by.setdefault(operator, set()).update(node.texts(1))
                    elif operator == "Constant":
                        for attribute in node.parts(5):
                            for tensor in attribute.parts(5):  # its value
                                weights.update((name, tensor.grouped().number(2)) for name in node.texts(2))
                elif inner == 5:
                    weight = part.grouped()
                    weights[weight.text(8, _TEXT)] = weight.number(2)
                elif inner in edges:
                    edges[inner].append(_tensor(part))
        elif number == 8:
            fields = value.grouped()
            opsets[fields.text(1, _TEXT)] = fields.number(2)
        elif number == 14:
            fields = value.grouped()
            properties[fields.text(1, _TEXT)] = fields.text(2, _TEXT)
    if not operators:  # any empty or foreign protocol buffer parses as a model without a graph
        raise InputError(f"{path} is not an ONNX model", "expected a graph with operators")
    inputs = tuple(spec for spec in edges[11] if spec.name not in weights)
    signed = {name for name, dtype in weights.items() if dtype == _INT8}
    # Weights alone may be integers, of a file that computes in float: then nothing is quantized while it runs.
    summing = {op for op in read_by if op in _INTEGER or ("QuantizeLinear", "") in operators}
    signed_sums = any(not signed.isdisjoint(read_by[op]) for op in summing)
    return OnnxGraph(inputs, tuple(edges[12]), operators, opsets, properties, signed_sums)


def _tensor(message: Message) -> TensorSpec:
    """Return an input or output; open or named dimensions are -1."""
    fields = message.grouped()
    dtype, shape = 0, []
    for kind in fields.parts(2):
        for part in kind.parts(1):
            tensor = part.grouped()
            dtype = tensor.number(1)
            shape = [side.grouped().number(1, -1) for sides in tensor.parts(2) for side in sides.parts(1)]
    name = DTYPES[dtype] if 0 <= dtype < len(DTYPES) else f"type {dtype}"
    return TensorSpec(fields.text(1, _TEXT), tuple(shape), name)
