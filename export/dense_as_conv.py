"""Dynamic-range files for runtimes before 2.17: dense layers written as 1×1 convolutions.

Dense layers with int8 weights, float activations and a scale for each output are version 12 of FULLY_CONNECTED, which
TFLite 2.17 was the first to have. A 1×1 convolution of one pixel computes the same, and with such weights is version 5
of CONV_2D, which TFLite has had since 2.4. So the weights keep their scales, at the cost of two reshapes per layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import StageError
from ..tflite.objects import operator_name, read, scales, set_versions, type_name
from ..tflite.writer import write


def dense_as_conv(content: bytes) -> bytes:
    """Return the dynamic-range file `content` with its per-channel dense layers as convolutions.

    A file without such layers comes back as it is. Raises StageError where a layer's shape is not fixed.
    """
    model = read(content)
    changed = False
    for graph in model.subgraphs:
        operators = []
        for operator in graph.operators:
            if _is_hybrid_per_channel(model, graph, operator):
                operators += _as_convolution(model, graph, operator)
                changed = True
            else:
                operators.append(operator)
        graph.operators = operators
    if not changed:
        return content
    set_versions(model)
    return write(model)


def _is_hybrid_per_channel(model: Any, graph: Any, operator: Any) -> bool:
    if operator_name(model, operator) != "FULLY_CONNECTED":
        return False
    flowing, weights = graph.tensors[operator.inputs[0]], graph.tensors[operator.inputs[1]]
    return type_name(flowing) == "float32" and type_name(weights) == "int8" and scales(weights) > 1


def _as_convolution(model: Any, graph: Any, operator: Any) -> list[Any]:
    """Return the three operators that replace a dense layer: rows become images of one pixel, and rows again."""
    from ai_edge_litert import schema_py_generated as schema

    source, output = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    weights = _own(graph, schema, operator.inputs[1])
    outs, ins = (int(side) for side in graph.tensors[weights].shape)
    elements = int(np.prod(source.shape))
    if min((*source.shape, *output.shape), default=0) < 1 or elements % ins:
        raise StageError(
            f"the dense layer {_text(output.name)} has no fixed shape", "use tflite:dynamic-per-tensor, or tflite:int8"
        )
    rows = elements // ins
    graph.tensors[weights].shape = np.array([outs, 1, 1, ins], np.int32)
    pixels = _tensor(graph, schema, f"{_text(output.name)}/pixels", (rows, 1, 1, ins))
    answers = _tensor(graph, schema, f"{_text(output.name)}/conv", (rows, 1, 1, outs))
    bias = operator.inputs[2] if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None
    if bias is None:
        bias = _constant(model, graph, schema, f"{_text(output.name)}/bias", np.zeros(outs, np.float32))
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
    convolution = schema.OperatorT()
    convolution.opcodeIndex = _code(model, schema, schema.BuiltinOperator.CONV_2D)
    convolution.inputs = np.array([pixels, weights, bias], np.int32)
    convolution.outputs = np.array([answers], np.int32)
    convolution.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = options
    return [
        _reshape(model, graph, schema, operator.inputs[0], pixels),
        convolution,
        _reshape(model, graph, schema, answers, operator.outputs[0]),
    ]


def _own(graph: Any, schema: Any, index: int) -> int:
    """Return a tensor of the same values that no other operator uses; its scales stay along axis 0."""
    if sum(list(operator.inputs).count(index) for operator in graph.operators) == 1:
        return index
    copy = schema.TensorT()
    copy.__dict__.update(graph.tensors[index].__dict__)
    graph.tensors.append(copy)
    return len(graph.tensors) - 1


def _reshape(model: Any, graph: Any, schema: Any, source: int, target: int) -> Any:
    shape = np.asarray(graph.tensors[target].shape, np.int32)
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    operator = schema.OperatorT()
    operator.opcodeIndex = _code(model, schema, schema.BuiltinOperator.RESHAPE)
    new_shape = _constant(model, graph, schema, f"{_text(graph.tensors[target].name)}/shape", shape)
    operator.inputs, operator.outputs = np.array([source, new_shape], np.int32), np.array([target], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = options
    return operator


def _tensor(graph: Any, schema: Any, name: str, shape: tuple[int, ...], type_: str = "FLOAT32", buffer: int = 0) -> int:
    """Add a tensor and return its index. Buffer 0 is empty in every file."""
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name.encode(), np.array(shape, np.int32)
    tensor.type, tensor.buffer = getattr(schema.TensorType, type_), buffer
    tensor.hasRank = True
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _constant(model: Any, graph: Any, schema: Any, name: str, values: Any) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return _tensor(graph, schema, name, values.shape, values.dtype.name.upper(), len(model.buffers) - 1)


def _code(model: Any, schema: Any, builtin: int) -> int:
    """Return the index of an operator code, added with version 1 if it is missing."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _text(name: Any) -> str:
    return bytes(name or b"").decode("utf-8", "replace")
