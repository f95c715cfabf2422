"""Adds tensors, constants, operators and signatures to a file's objects (`objects.read`), before `writer.write`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def add_tensor(graph: Any, name: bytes, shape: Sequence[int], dtype: str, buffer: int = 0) -> int:
    """Add a tensor to a subgraph and return its index. `dtype` as in numpy; buffer 0 is empty in every file."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.shape = name, np.array(shape, np.int32)
    tensor.type, tensor.buffer = type_number(dtype), buffer
    tensor.hasRank = True
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def type_number(dtype: str) -> int:
    """Return the schema's number of a tensor's type, by its name in numpy."""
    from ai_edge_litert import schema_py_generated as schema

    return int(getattr(schema.TensorType, dtype.upper()))


def add_constant(model: Any, graph: Any, name: bytes, values: NDArray[Any]) -> int:
    """Add a tensor that holds `values`, and return its index."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype(values.dtype.newbyteorder("<")).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return add_tensor(graph, name, values.shape, values.dtype.name, len(model.buffers) - 1)


def new_operator(
    model: Any,
    name: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    options: tuple[str, Mapping[str, Any]] | None = None,
    *,
    version: int | None = 1,
) -> Any:
    """Return an operator, e.g. ``ADD``, between tensors; its place in the subgraph is the caller's to choose.

    `options` are the table's name, e.g. ``AddOptions``, and the fields to set. `version`: see `operator_code`.
    """
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex = operator_code(model, name, version)
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    if options is not None:
        table, fields = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
        operator.builtinOptions = getattr(schema, f"{table}T")()
        for field, value in fields.items():
            setattr(operator.builtinOptions, field, value)
    return operator


def operator_code(model: Any, name: str, version: int | None) -> int:
    """Return the index of the code of a builtin operator in `version`, added if it is missing.

    None takes any version, and adds 1: for `objects.set_versions`, which raises it to what the operator needs.
    """
    from ai_edge_litert import schema_py_generated as schema

    builtin = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        # Codes above 127 do not fit the old field; the new one is 0 in files from before it existed.
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and version in (None, code.version):
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version or 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def sign(model: Any, key: bytes | str, inputs: Mapping[int, bytes | str], outputs: Mapping[int, bytes | str]) -> None:
    """Give the main graph its only signature: the names of tensors by their index."""
    from ai_edge_litert import schema_py_generated as schema

    def entries(names: Mapping[int, bytes | str]) -> list[Any]:
        maps = []
        for index, name in names.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            maps.append(entry)
        return maps

    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, 0
    signature.inputs, signature.outputs = entries(inputs), entries(outputs)
    model.signatureDefs = [signature]
