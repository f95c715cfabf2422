"""Dynamic-range files for runtimes before 2.17: dense layers written as 1×1 convolutions.

Dense layers with int8 weights, float activations and a scale for each output are version 12 of FULLY_CONNECTED, which
TFLite 2.17 was the first to have. A 1×1 convolution of one pixel computes the same, and with such weights is version 5
of CONV_2D, which TFLite has had since 2.4. So the weights keep their scales, at the cost of two reshapes per layer.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..core.errors import StageError
from ..tflite.edit import add_constant, add_tensor, new_operator
from ..tflite.objects import name_of, operator_name, read, scales, set_versions, type_name
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
    weights = _own(graph, operator.inputs[1])
    name = name_of(output)
    outs, ins = (int(side) for side in graph.tensors[weights].shape)
    elements = int(np.prod(source.shape))
    if min((*source.shape, *output.shape), default=0) < 1 or elements % ins:
        raise StageError(f"the dense layer {name} has no fixed shape", "use tflite:dynamic-per-tensor, or tflite:int8")
    rows = elements // ins
    graph.tensors[weights].shape = np.array([outs, 1, 1, ins], np.int32)
    pixels = add_tensor(graph, f"{name}/pixels".encode(), (rows, 1, 1, ins), "float32")
    answers = add_tensor(graph, f"{name}/conv".encode(), (rows, 1, 1, outs), "float32")
    bias = operator.inputs[2] if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None
    if bias is None:
        bias = add_constant(model, graph, f"{name}/bias".encode(), np.zeros(outs, np.float32))
    options = {
        "padding": schema.Padding.VALID,
        **dict.fromkeys(("strideW", "strideH", "dilationWFactor", "dilationHFactor"), 1),
        "fusedActivationFunction": operator.builtinOptions.fusedActivationFunction,
    }
    places = [pixels, weights, bias], [answers]
    convolution = new_operator(model, "CONV_2D", *places, ("Conv2DOptions", options), version=None)
    return [
        _reshape(model, graph, operator.inputs[0], pixels),
        convolution,
        _reshape(model, graph, answers, operator.outputs[0]),
    ]


def _own(graph: Any, index: int) -> int:
    """Return a tensor of the same values that no other operator uses; its scales stay along axis 0."""
    if sum(list(operator.inputs).count(index) for operator in graph.operators) == 1:
        return index
    graph.tensors.append(copy.copy(graph.tensors[index]))
    return len(graph.tensors) - 1


def _reshape(model: Any, graph: Any, source: int, target: int) -> Any:
    shape = np.asarray(graph.tensors[target].shape, np.int32)
    new_shape = add_constant(model, graph, f"{name_of(graph.tensors[target])}/shape".encode(), shape)
    options = ("ReshapeOptions", {"newShape": shape})
    return new_operator(model, "RESHAPE", [source, new_shape], [target], options, version=None)
