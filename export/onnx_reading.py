"""Reads an ``.onnx`` file without onnx and without a runtime: inputs, outputs, operators, opset, properties.

Field numbers from onnx.proto (ONNX 1.17; fields are only ever added). Weights are skipped, so a file of gigabytes costs
no more than its graph; but for those of 8 bits where it counts how large they are.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.artifact import TensorSpec
from ..core.errors import InputError
from ..core.protobuf import Fields, Message

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
_WITH_GRAPHS = {"If", "Loop", "Scan", "SequenceMap"}


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
    graph = _Graph()
    for number, value in message.fields():
        if not isinstance(value, Message):
            continue
        if number == 7:
            graph.read(value)
        elif number == 8:
            fields = value.grouped()
            opsets[fields.text(1, _TEXT)] = fields.number(2)
        elif number == 14:
            fields = value.grouped()
            properties[fields.text(1, _TEXT)] = fields.text(2, _TEXT)
    if not graph.operators:  # any empty or foreign protocol buffer parses as a model without a graph
        raise InputError(f"{path} is not an ONNX model", "expected a graph with operators")
    inputs = tuple(spec for spec in graph.edges[11] if spec.name not in graph.weights)
    return OnnxGraph(inputs, tuple(graph.edges[12]), graph.operators, opsets, properties, graph.signed_sums)


class _Graph:
    """A graph with those inside its nodes: its inputs (11) and outputs (12), and the operators and weights of all."""

    def __init__(self) -> None:
        self.edges: dict[int, list[TensorSpec]] = {11: [], 12: []}
        self.operators: Counter[tuple[str, str]] = Counter()
        self.weights: dict[str, Fields] = {}
        self._read_by: dict[str, set[str]] = {}

    def read(self, message: Message) -> None:
        """Read a model's graph."""
        edges: Mapping[int, list[TensorSpec]] = self.edges
        graphs = [message]
        while graphs:  # not by recursion: a hostile file nests graphs as deep as it likes
            for number, part in graphs.pop().fields():
                if not isinstance(part, Message):
                    continue
                if number == 1:
                    graphs += self._node(part.grouped())
                elif number == 5:
                    weight = part.grouped()
                    self.weights[weight.text(8, _TEXT)] = weight
                elif number in edges:
                    edges[number].append(_tensor(part))
            edges = {}  # those of an inner graph are no inputs and outputs of the file

    def _node(self, node: Fields) -> list[Message]:
        """Take a node in; return the graphs in it."""
        operator = node.text(4, _TEXT)
        self.operators[operator, node.text(7, _TEXT)] += 1
        if operator in _INTEGER or operator == "DequantizeLinear":
            self._read_by.setdefault(operator, set()).update(node.texts(1))
        inner: list[Message] = []
        if operator == "Constant" or operator in _WITH_GRAPHS:
            for attribute in map(Message.grouped, node.parts(5)):
                for value in attribute.parts(5) if operator == "Constant" else ():
                    self.weights.update((name, value.grouped()) for name in node.texts(2))
                inner += [*attribute.parts(6), *attribute.parts(11)]
        return inner

    @property
    def signed_sums(self) -> bool:
        """Whether products of 8-bit integers are summed whose pairs may not fit 16 bits."""
        # Weights alone may be integers, of a file that computes in float: then nothing is quantized while it runs.
        summing = [op for op in self._read_by if op in _INTEGER or ("QuantizeLinear", "") in self.operators]
        read = {name for op in summing for name in self._read_by[op]}
        return any(_is_wide(weight) for name, weight in self.weights.items() if name in read)


def _is_wide(weight: Fields) -> bool:
    """Whether a tensor is of int8 and has, or may have, values of 8 bits: with 7, two products fit (2 × 255 × 64)."""
    if weight.number(2) != _INT8:
        return False
    import numpy as np

    if content := weight.parts(9):
        values = np.frombuffer(content[-1].view, np.int8)
    else:  # a few are written as numbers; what is in another file may have any
        values = np.array([number & 0xFF for number in weight.numbers(5)], np.uint8).view(np.int8)
        if not values.size:
            return True
    return bool(values.size) and max(int(values.max()), -int(values.min())) > 64


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
