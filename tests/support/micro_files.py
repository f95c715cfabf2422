"""Small ``.tflite`` files for microcontrollers and NPUs, made by hand: no TensorFlow is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.model import InputContract
from edgeproof.export import inspect, save

from .operator_files import built

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}
FEATURES, CLASSES = 16, 4


class File:
    """A file of one subgraph, tensor by tensor and operator by operator."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes, self.model.buffers = 3, [], [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: list[int], kind: str, scale: float = 0.0, values: Any = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), shape, TYPES[kind], 0
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values, kind).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, name: str, inputs: list[int], output: int) -> None:
        number = getattr(schema.BuiltinOperator, name)
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes), inputs, [output]
        if name in ("FULLY_CONNECTED", "SUB"):
            title = {"FULLY_CONNECTED": "FullyConnectedOptions", "SUB": "SubOptions"}[name]
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, title)
            operator.builtinOptions = getattr(schema, f"{title}T")()
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)

    def custom(self, name: str, inputs: list[int], outputs: list[int], options: bytes) -> None:
        code = schema.OperatorCodeT()
        number = schema.BuiltinOperator.CUSTOM
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.customCode, code.version = name.encode(), 1
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.model.operatorCodes), inputs, outputs
        operator.customOptions = np.frombuffer(options, np.uint8)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)

    def write(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        self.graph.inputs, self.graph.outputs = inputs, outputs
        path.write_bytes(built(self.model))
        return path


def dense(path: Path, scheme: str, then: str = "") -> Artifact:
    """A layer of `FEATURES` inputs and `CLASSES` outputs: ``float32``, ``int8``, or ``dynamic``; then one operator."""
    kind, file, rng = "int8" if scheme == "int8" else "float32", File(), np.random.default_rng(3)
    scales = (0.02, 0.01, 0.05) if kind == "int8" else (0.0, 0.0, 0.0)
    weights = rng.integers(-127, 128, (CLASSES, FEATURES))
    x = file.tensor("x", [1, FEATURES], kind, scales[0])
    if scheme == "float32":
        w = file.tensor("w", [CLASSES, FEATURES], "float32", values=weights * 0.01)
    else:
        w = file.tensor("w", [CLASSES, FEATURES], "int8", 0.01, weights)
    bias = (
        ("int32", scales[0] * scales[1], [500, 0, 0, -500]) if kind == "int8" else ("float32", 0.0, [0.1, 0, 0, -0.1])
    )
    b = file.tensor("b", [CLASSES], *bias)
    y = file.tensor("y", [1, CLASSES], kind, scales[2])
    file.operator("FULLY_CONNECTED", [x, w, b], y)
    if then:
        z = file.tensor("z", [1, CLASSES], kind, scales[2])
        file.operator(then, [y], z)
        y = z
    return described(file.write(path, [x], [y]), scheme, InputContract("x", (1, FEATURES), kind="tensor"))


def dense_int8_inside(path: Path) -> Artifact:
    """The layer of ``int8``, between float32 edges."""
    file, rng = File(), np.random.default_rng(3)
    given = file.tensor("x", [1, FEATURES], "float32")
    x, y = file.tensor("x8", [1, FEATURES], "int8", 0.02), file.tensor("y8", [1, CLASSES], "int8", 0.05)
    w = file.tensor("w", [CLASSES, FEATURES], "int8", 0.01, rng.integers(-127, 128, (CLASSES, FEATURES)))
    b = file.tensor("b", [CLASSES], "int32", 0.0002, [500, 0, 0, -500])
    answer = file.tensor("y", [1, CLASSES], "float32")
    file.operator("QUANTIZE", [given], x)
    file.operator("FULLY_CONNECTED", [x, w, b], y)
    file.operator("DEQUANTIZE", [y], answer)
    return described(file.write(path, [given], [answer]), "int8", InputContract("x", (1, FEATURES), kind="tensor"))


def difference(path: Path) -> Artifact:
    """``left - right``: two inputs, of which the second one's name comes first in the alphabet."""
    file = File()
    left, right = (file.tensor(name, [1, CLASSES], "float32") for name in ("left", "about_right"))
    y = file.tensor("y", [1, CLASSES], "float32")
    file.operator("SUB", [left, right], y)
    return described(file.write(path, [left, right], [y]), "float32")


def described(path: Path, scheme: str, contract: InputContract | None = None) -> Artifact:
    contents = inspect(path)
    artifact = Artifact(
        path.stem, "m", "tflite", scheme, path, sha256=sha256_file(path), bytes=path.stat().st_size, contract=contract,
        labels=tuple("abcd"), ops=contents.ops, inputs=contents.inputs, outputs=contents.outputs,
    )  # fmt: skip
    save(artifact, path.parent)
    return artifact


def features(path: Path, samples: int = 40) -> Path:
    np.save(path, np.random.default_rng(5).normal(0, 1, (samples, FEATURES)).astype(np.float32))
    return path
