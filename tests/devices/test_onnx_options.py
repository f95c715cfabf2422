"""What ``.onnx`` files need of their runtimes: options of a session, and several samples at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeproof as ep
from edgeproof.core.artifact import Artifact
from edgeproof.core.target import Target
from edgeproof.devices import open_runner
from edgeproof.devices.runtimes import installed_versions
from edgeproof.export.in_process import onnxruntime

from ..support.quick import ONCE


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


def test_a_file_with_an_open_batch_is_timed_with_several_samples_on_each_runtime(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size]) for name, size in (("x", 4), ("y", 2)))
    weights = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weights, "w")])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    samples = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    targets = [f"local/{runtime}" for runtime in ("onnxruntime", "openvino") if installed_versions()[runtime]]
    made = ep.evaluate(
        path, (samples, samples @ weights), targets, out=tmp_path / "run", task="regression",
        latency={**ONCE, "batch": [1, 8]},
    )  # fmt: skip
    rows = {row.target: row for row in made.results.measurements}
    assert set(rows) == {target + batch for target in targets for batch in ("", ":batch=8")}
    assert all(row.status == "ok" and row.latency_ms is not None for row in rows.values()), rows
