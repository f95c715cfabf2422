"""A ``.tflite`` file as a graph of tensors and operators, with constants as real values. Runs nothing.

Field names and enumerations are those of TFLite's schema (``ai_edge_litert.schema_py_generated``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import InputError
from ...tflite.objects import CASTS, activation, constant, name_of, operator_name, read, text, type_name
from ...tflite.values import BITS, Floats, real_values, scales_of

# The axis along which a weight has one scale for each output channel, by operator (TFLite's quantization spec).
CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0, "CONV_3D": 4}


@dataclass(frozen=True)
class Tensor:
    """A tensor: its index, name, static shape, type (the schema's name) and quantization.

    value = `scale` × (stored - `zero_point`); both have one entry, or one for each index along `axis`.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Floats | None = None
    zero_point: NDArray[np.int64] | None = None
    axis: int = 0

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod([max(side, 1) for side in self.shape]))

    @property
    def is_float(self) -> bool:
        """Whether its values are stored without quantization."""
        return self.dtype in ("FLOAT32", "FLOAT16")

    @property
    def integer_range(self) -> tuple[int, int]:
        """Lowest and highest stored integer; ai-edge-quantizer and the converter both use the whole range."""
        bits = BITS[self.dtype.lower()]
        return (0, 2**bits - 1) if self.dtype.startswith("UINT") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    @property
    def limits(self) -> tuple[float, float] | None:
        """Lowest and highest value that a quantized activation can represent; None without a single scale."""
        if self.scale is None or self.zero_point is None or len(self.scale) != 1 or self.dtype.lower() not in BITS:
            return None
        low, high = self.integer_range
        scale, zero = float(self.scale[0]), int(self.zero_point[0])
        return scale * (low - zero), scale * (high - zero)


@dataclass(frozen=True)
class Op:
    """An operator: its position in the graph, name, tensors (-1 is an omitted input) and fused activation."""

    position: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str = ""


@dataclass
class Graph:
    """The main graph of a file. `model` is the schema's object, which `isolate` rewrites; `path` is the file."""

    path: Path
    model: Any
    tensors: list[Tensor]
    ops: list[Op]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_names: dict[int, str] = field(default_factory=dict)
    output_names: dict[int, str] = field(default_factory=dict)

    def output_name(self, index: int) -> str:
        """Return what an output is called: by the signature, without one by the tensor's own name."""
        return self.output_names.get(index, self.tensors[index].name)

    @cached_property
    def producer(self) -> dict[int, Op]:
        """The operator that computes a tensor, by the tensor's index."""
        return {index: op for op in self.ops for index in op.outputs}

    @cached_property
    def consumers(self) -> dict[int, list[Op]]:
        """The operators that read a tensor, by the tensor's index."""
        readers: dict[int, list[Op]] = {}
        for op in self.ops:
            for index in dict.fromkeys(op.inputs):
                readers.setdefault(index, []).append(op)
        return readers

    def source(self, index: int) -> int:
        """Return the tensor before the casts that lead to `index`."""
        while (op := self.producer.get(index)) is not None and op.name in CASTS:
            index = op.inputs[0]
        return index

    def is_read(self, index: int) -> bool:
        """Whether an operator or the caller reads a tensor: what a loop gives and nobody reads has no values."""
        return index in self.consumers or index in self.outputs

    def is_constant(self, index: int) -> bool:
        """Whether a tensor's values are stored in the file, before casts if there are any."""
        if index < 0:
            return False
        return constant(self.model, self.model.subgraphs[0].tensors[self.source(index)])

    def constant(self, index: int) -> Floats:
        """Return a constant tensor's real values (shape of the tensor) float32. Raises ValueError if not constant."""
        return real_values(self.model, self.model.subgraphs[0], self.source(index))


def read_graph(path: Path) -> Graph:
    """Read a ``.tflite`` file. Raises InputError if it is no such file, or damaged."""
    try:
        return _graph(path, read(path.read_bytes(), str(path)))
    except InputError:
        raise
    except Exception as error:  # a foreign file may raise anything in its reader
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error}", "export or copy it again") from error


def _graph(path: Path, model: Any) -> Graph:
    main = model.subgraphs[0]
    ops = [
        Op(
            position,
            operator_name(model, op),
            tuple(int(i) for i in (op.inputs if op.inputs is not None else ())),
            tuple(int(i) for i in (op.outputs if op.outputs is not None else ())),
            activation(op),
        )
        for position, op in enumerate(main.operators)
    ]
    signature = model.signatureDefs[0] if model.signatureDefs else None
    return Graph(
        path,
        model,
        [_tensor(index, tensor) for index, tensor in enumerate(main.tensors)],
        ops,
        tuple(int(i) for i in main.inputs),
        tuple(int(i) for i in main.outputs),
        {m.tensorIndex: text(m.name) for m in signature.inputs} if signature else {},
        {m.tensorIndex: text(m.name) for m in signature.outputs} if signature else {},
    )


def _tensor(index: int, tensor: Any) -> Tensor:
    quantization = tensor.quantization
    scale, zero = scales_of(tensor) or (None, None)
    return Tensor(
        index,
        name_of(tensor),
        tuple(int(side) for side in (tensor.shape if tensor.shape is not None else ())),
        type_name(tensor).upper(),
        scale,
        zero,
        int(quantization.quantizedDimension) if quantization is not None else 0,
    )
