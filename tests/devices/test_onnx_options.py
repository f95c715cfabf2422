"""Files that ONNX Runtime refuses with the option that Edgeproof sets are loaded without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeproof.core.artifact import Artifact
from edgeproof.core.target import Target
from edgeproof.devices import open_runner
from edgeproof.export.in_process import onnxruntime


def quantized_twice(path: Path, *, shared: bool) -> None:
    """Write a network of two layers whose int8 weights may be one tensor: x (1, 8) → y (1, 8), float32."""
    random = np.random.default_rng(0)
    weights = {name: random.integers(-127, 128, (8, 8)).astype(np.int8) for name in ("w0", "w1")}
    held = {"s": np.float32(0.01), "zu": np.uint8(128), "z0": np.int8(0), "z1": np.int8(0), **weights}
    nodes, values = [], "x"
    for layer in range(2):
        which = 0 if shared else layer
        nodes += [
            helper.make_node("QuantizeLinear", [values, "s", "zu"], [f"q{layer}"]),
            helper.make_node("DequantizeLinear", [f"q{layer}", "s", "zu"], [f"d{layer}"]),
            helper.make_node("DequantizeLinear", [f"w{which}", "s", f"z{which}"], [f"v{layer}"]),
            helper.make_node("MatMul", [f"d{layer}", f"v{layer}"], [f"m{layer}"]),
        ]
        values = f"m{layer}"
    nodes += [
        helper.make_node("QuantizeLinear", [values, "s", "zu"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "zu"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("shared", [False, True])
def test_a_file_whose_nodes_share_a_tensor_runs(shared: bool, tmp_path: Path) -> None:
    path, inputs = tmp_path / "m.onnx", tmp_path / "x.npy"
    quantized_twice(path, shared=shared)
    np.save(inputs, np.ones((1, 8), np.float32))
    loaded = open_runner(Artifact("m", "m", "onnx", "int8", path), Target("local", "onnxruntime")).load(inputs)
    assert loaded.ok, loaded.reason
    assert onnxruntime(path.read_bytes())({"x": np.ones((1, 8), np.float32)})["y"].shape == (1, 8)
