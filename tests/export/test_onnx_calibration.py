"""``onnx:int8``: the method of calibration is the one whose file is nearest to the float file on held-out samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof.core.variant import SCHEMES
from edgeproof.export import onnx_schemes
from edgeproof.export.ranges import MIN_MAX


def sensors() -> bytes:
    """A dense network of 8 inputs and one answer."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    shapes = {"w1": (8, 16), "b1": (16,), "w2": (16, 1), "b2": (1,)}
    weights = [
        numpy_helper.from_array(random.normal(0, 0.5, shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second"),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, 8)), ("y", (1, 1)))]
    graph = helper.make_graph(nodes, "sensors", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_samples_of_few_values_keep_their_tails() -> None:
    import onnxruntime

    content, values = sensors(), np.random.default_rng(1).normal(size=(600, 1, 8)).astype(np.float32)
    model, facts = onnx_schemes.convert(content, SCHEMES["onnx"]["int8"], lambda: ({"x": row} for row in values[:200]))
    assert facts["method"] == MIN_MAX
    errors = {row["method"]: row["error"] for row in facts["methods"]}
    average = next(method for method in errors if "average" in method)
    assert errors[average] > 3 * errors[MIN_MAX] and facts["float_agreement"]["samples"] == 200

    def answers(file: bytes) -> Any:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return np.array([session.run(None, {"x": row})[0].item() for row in values[200:]])

    expected = answers(content)
    assert np.sqrt(np.mean((answers(model) - expected) ** 2)) < 0.1 * expected.std()
