"""A file of a text model's form that answers with what it was fed: how many ids are real, and the ids, as floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.core.model import InputContract


def probe(length: int, *, signature: bool = True, output: str = "FLOAT32") -> bytes:
    """Return a ``.tflite``: ids (1, length) and lens (1,) int32 → (1, 1 + length); it has a weight."""
    import flatbuffers

    types, builtin, options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    model: Any = schema.ModelT()
    model.version, model.description = 3, b"probe"
    model.buffers = [schema.BufferT(), _buffer([1, 1]), _buffer([1] * length)]
    model.operatorCodes = [_code(kind) for kind in (builtin.RESHAPE, builtin.CONCATENATION, builtin.CAST, builtin.MUL)]
    result = [1, 1 + length]
    graph: Any = schema.SubGraphT()
    graph.name = b"main"
    graph.tensors = [
        _tensor("lens", [1], types.INT32),
        _tensor("ids", [1, length], types.INT32),
        _tensor("shape", [2], types.INT32, 1),
        _tensor("ones", [1, length], types.INT32, 2),
        _tensor("row", [1, 1], types.INT32),
        _tensor("same", [1, length], types.INT32),
        _tensor("all", result, types.INT32),
        _tensor("answer", result, getattr(types, output)),
    ]
    join, cast = schema.ConcatenationOptionsT(), schema.CastOptionsT()
    join.axis = 1
    cast.inDataType, cast.outDataType = types.INT32, getattr(types, output)
    graph.operators = [
        _operator(0, [0, 2], 4),
        _operator(3, [1, 3], 5, options.MulOptions, schema.MulOptionsT()),
        _operator(1, [4, 5], 6, options.ConcatenationOptions, join),
        _operator(2, [6], 7, options.CastOptions, cast),
    ]
    graph.inputs, graph.outputs = [0, 1], [7]
    model.subgraphs = [graph]
    if signature:
        signed: Any = schema.SignatureDefT()
        signed.signatureKey, signed.subgraphIndex = b"serving_default", 0
        signed.inputs = [_entry("lens", 0), _entry("ids", 1)]
        signed.outputs = [_entry("probabilities", 7)]
        model.signatureDefs = [signed]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def probe_artifact(folder: Path, length: int, name: str = "probe", labels: tuple[str, ...] | None = None) -> Artifact:
    """Write a probe into `folder` and return it as an artifact."""
    path = folder / f"{name}--tflite-float32.tflite"
    path.write_bytes(probe(length))
    ids, lens = TensorSpec("ids", (1, length), "int32"), TensorSpec("lens", (1,), "int32")
    result = TensorSpec("probabilities", (1, 1 + length), "float32")
    return Artifact(
        f"{name}--tflite-float32", name, "tflite", "float32", path,
        bytes=path.stat().st_size, inputs=(lens, ids), outputs=(result,),
        labels=tuple(f"place {n}" for n in range(1 + length)) if labels is None else labels,
        contract=InputContract("ids", (1, length), "int32", 0, 9e9, "", "", "text", "lens"),
        answer="probabilities", tokenizer=folder,
    )  # fmt: skip


def _buffer(values: list[int]) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.asarray(values, "<i4").tobytes(), np.uint8)
    return buffer


def _code(builtin: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    return code


def _tensor(name: str, shape: list[int], kind: int, buffer: int = 0) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), shape, kind, buffer
    return tensor


def _operator(code: int, inputs: list[int], output: int, kind: int = 0, options: Any = None) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def _entry(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry
