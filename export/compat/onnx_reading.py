"""What an ``.onnx`` file says of itself, read without onnx and without a runtime: edges, operators, opset, properties.

Field numbers from onnx.proto (ONNX 1.17; fields are only ever added). Weights are stepped over, so a file of gigabytes
costs no more than its graph.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.artifact import TensorSpec
from ...core.errors import InputError
from ...core.protobuf import fields

# TensorProto.DataType, as numpy or ml_dtypes call them.
# fmt: off
DTYPES = (
    "undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "object", "bool", "float16",
    "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz",
    "float8_e5m2", "float8_e5m2fnuz", "uint4", "int4", "float4_e2m1fn",
)
# fmt: on
_TEXT = 10_000


@dataclass(frozen=True)
class OnnxGraph:
    """What a file holds. `operators` counts (operator, domain); `opsets` has the version of each domain."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Counter[tuple[str, str]]
    opsets: dict[str, int]
    properties: dict[str, str]


def read_onnx(path: Path) -> OnnxGraph:
    """Read an ``.onnx`` file. Raises InputError when it holds no graph; damage raises ValueError or IndexError."""
    if not path.stat().st_size:
        raise InputError(f"{path} is empty", "make or copy it again")
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _model(memoryview(content), path)


def _model(message: memoryview, path: Path) -> OnnxGraph:
    opsets: dict[str, int] = {}
    properties: dict[str, str] = {}
    operators: Counter[tuple[str, str]] = Counter()
    weights: set[str] = set()
    edges: dict[int, list[TensorSpec]] = {11: [], 12: []}
    for number, value in fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == 7:
            for inner, part in fields(value):
                if not isinstance(part, memoryview):
                    continue
                if inner == 1:
                    operators[_text(part, 4), _text(part, 7)] += 1
                elif inner == 5:
                    weights.add(_text(part, 8))
                elif inner in edges:
                    edges[inner].append(_tensor(part))
        elif number == 8:
            opsets[_text(value, 1)] = _number(value, 2)
        elif number == 14:
            properties[_text(value, 1)] = _text(value, 2)
    if not operators:  # any empty or foreign protocol buffer parses as a model without a graph
        raise InputError(f"{path} is not an ONNX model", "expected a graph with operators")
    inputs = tuple(spec for spec in edges[11] if spec.name not in weights)
    return OnnxGraph(inputs, tuple(edges[12]), operators, opsets, properties)


def _tensor(message: memoryview) -> TensorSpec:
    """Return an input or output; sides that are left open, or named, are -1."""
    dtype, shape = 0, []
    for kind in _parts(message, 2):
        for tensor in _parts(kind, 1):
            dtype = _number(tensor, 1)
            shape = [_side(side) for sides in _parts(tensor, 2) for side in _parts(sides, 1)]
    known = DTYPES[dtype] if 0 <= dtype < len(DTYPES) else f"type {dtype}"
    return TensorSpec(_text(message, 1), tuple(shape), known)


def _side(message: memoryview) -> int:
    return next((value for number, value in fields(message) if number == 1 and isinstance(value, int)), -1)


def _parts(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for found, value in fields(message) if found == number and isinstance(value, memoryview))


def _number(message: memoryview, number: int) -> int:
    """Return the last number of a field, as protobuf takes it; 0 where there is none."""
    found = 0
    for at, value in fields(message):
        if at == number and isinstance(value, int):
            found = value
    return found


def _text(message: memoryview, number: int) -> str:
    """Return the last text of a field, as protobuf takes it."""
    text = b""
    for part in _parts(message, number):
        text = bytes(part[:_TEXT])
    return text.decode("utf-8", "replace")
