"""Files changed as objects: what is added runs in LiteRT, and constants are read as what they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeproof.tflite.edit import add_constant, add_tensor, new_operator, operator_code, sign
from edgeproof.tflite.objects import operator_name, read
from edgeproof.tflite.values import real_values, stored_values
from edgeproof.tflite.writer import write

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")


def empty() -> tuple[Any, Any]:
    """A model with one empty subgraph."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], [schema.BufferT()], []
    graph.tensors, graph.operators = [], []
    return model, graph


def quantized(model: Any, graph: Any, values: Any, dtype: str, scale: list[float], zero: list[int], axis: int) -> int:
    index = add_constant(model, graph, b"w", np.asarray(values))
    tensor = graph.tensors[index]
    tensor.type = getattr(schema.TensorType, dtype)
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = scale, zero
    tensor.quantization.quantizedDimension = axis
    return index


def test_what_is_added_runs_under_the_names_of_its_signature() -> None:
    from ai_edge_litert.interpreter import Interpreter

    model, graph = empty()
    x, y = (add_tensor(graph, name, (1, 3), "float32") for name in (b"x", b"y"))
    three = add_constant(model, graph, b"three", np.float32([[1, 2, 3]]))
    graph.operators.append(new_operator(model, "ADD", [x, three], [y], ("AddOptions", {})))
    graph.inputs, graph.outputs = [x], [y]
    sign(model, b"serving_default", {x: b"numbers"}, {y: "sums"})
    runner = Interpreter(model_content=write(model)).get_signature_runner("serving_default")
    np.testing.assert_array_equal(runner(numbers=np.float32([[1, 1, 1]]))["sums"], [[2, 3, 4]])


def test_an_operator_code_is_added_once_a_version() -> None:
    model, _ = empty()
    codes = [operator_code(model, name, version) for name, version in (("ADD", 1), ("ADD", 2), ("ADD", 1), ("MUL", 1))]
    assert codes == [0, 1, 0, 2] and operator_code(model, "ADD", None) == 0
    added = new_operator(model, "BROADCAST_TO", [], [], version=None)  # above 127: not in the old field
    assert operator_name(model, added) == "BROADCAST_TO" and model.operatorCodes[-1].deprecatedBuiltinCode == 127


def test_constants_are_what_they_stand_for() -> None:
    model, graph = empty()
    rows = [[1, -2], [3, 4]]
    single = quantized(model, graph, np.int8(rows), "INT8", [0.5], [1], 0)
    channels = quantized(model, graph, np.int8(rows), "INT8", [1.0, 10.0], [0, 0], 1)
    packed = quantized(model, graph, np.uint8([0xE1, 0x43]), "INT4", [2.0], [0], 0)
    graph.tensors[packed].shape = np.int32([2, 2])
    np.testing.assert_array_equal(real_values(model, graph, single), [[0, -1.5], [1, 1.5]])
    np.testing.assert_array_equal(real_values(model, graph, channels), [[1, -20], [3, 40]])
    np.testing.assert_array_equal(stored_values(model, graph.tensors[packed]), rows)
    np.testing.assert_array_equal(real_values(read_again(model, graph), graph, packed), np.multiply(rows, 2))
    flowing = add_tensor(graph, b"flowing", (1,), "float32")
    with pytest.raises(ValueError, match="flowing holds no constant"):
        real_values(model, graph, flowing)


def test_blocks_of_weights_have_scales_of_their_own() -> None:
    model, graph = empty()
    weights = quantized(model, graph, np.int8([[1, 2, 3, 4]]), "INT8", [], [], 0)
    details = schema.BlockwiseQuantizationT()
    details.scales, details.blockSize = add_constant(model, graph, b"scales", np.float32([[1, 100]])), 2
    graph.tensors[weights].quantization.details = details
    graph.tensors[weights].quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    np.testing.assert_array_equal(real_values(model, graph, weights), [[1, 2, 300, 400]])


def read_again(model: Any, graph: Any) -> Any:
    """The model as it is read from its file."""
    graph.inputs = graph.outputs = np.int32([])
    return read(write(model))
