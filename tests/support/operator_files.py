"""Files of one operator, and the old runtime that is installed beside this environment."""

from __future__ import annotations

from typing import Any

import flatbuffers
import pytest

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

OLD_LITERT = "1.0.1"


def built(model: Any) -> bytes:
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def one_operator(name: str, version: int, dtype: str = "FLOAT32") -> bytes:
    """A file that names one operator in one version, and has one tensor of a type: enough for a runtime to judge."""
    number = getattr(schema.BuiltinOperator, name)
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = b"x", [8], getattr(schema.TensorType, dtype)
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return built(model)
