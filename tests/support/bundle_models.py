"""Small .tflite files made by hand, whose answers depend on every pixel."""

from __future__ import annotations

from typing import Any

import numpy as np


def mean_colour_model(size: int = 8, outlying: bool = False, batch: int = 1) -> bytes:
    """Return a file that answers softmax(scale × mean of R, G, B) for float32 pictures (batch, size, size, 3).

    With `outlying` its weights stand behind the flatbuffer, as files of more than 2 GB have them.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], kind: int, buffer: int) -> Any:
        new = schema.TensorT()
        new.name, new.shape, new.type, new.buffer = name.encode(), shape, kind, buffer
        return new

    def operator(code: int, inputs: list[int], outputs: list[int], kind: int, options: Any) -> Any:
        new = schema.OperatorT()
        new.opcodeIndex, new.inputs, new.outputs = code, inputs, outputs
        new.builtinOptionsType, new.builtinOptions = kind, options
        return new

    def opcode(builtin: int, version: int) -> Any:
        new = schema.OperatorCodeT()
        new.builtinCode = new.deprecatedBuiltinCode = builtin
        new.version = version
        return new

    options, builtin, types = schema.BuiltinOptions, schema.BuiltinOperator, schema.TensorType
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("image", [batch, size, size, 3], types.FLOAT32, 0),
        tensor("axes", [2], types.INT32, 1),
        tensor("mean", [batch, 3], types.FLOAT32, 0),
        tensor("weights", [1, 3], types.FLOAT32, 2),
        tensor("scaled", [batch, 3], types.FLOAT32, 0),
        tensor("scores", [batch, 3], types.FLOAT32, 0),
    ]
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.operators = [
        operator(0, [0, 1], [2], options.ReducerOptions, schema.ReducerOptionsT()),
        operator(1, [2, 3], [4], options.MulOptions, schema.MulOptionsT()),
        operator(2, [4], [5], options.SoftmaxOptions, softmax),
    ]
    graph.inputs, graph.outputs = [0], [5]
    weights = np.array([[1.0, 2.0, 4.0]], "float32").tobytes()
    buffers = [schema.BufferT() for _ in range(3)]
    buffers[1].data = np.frombuffer(np.array([1, 2], "int32").tobytes(), "uint8")
    if outlying:
        buffers[2].offset, buffers[2].size = 1 << 20, len(weights)
    else:
        buffers[2].data = np.frombuffer(weights, "uint8")
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [opcode(builtin.MEAN, 1), opcode(builtin.MUL, 1), opcode(builtin.SOFTMAX, 1)]
    model.subgraphs, model.buffers = [graph], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    content = bytes(builder.Output())
    return content.ljust(1 << 20, b"\0") + weights if outlying else content
