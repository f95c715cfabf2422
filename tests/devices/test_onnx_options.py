"""What ``.onnx`` files need of their runtimes: options of a session, and several samples at a time."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeproof as ep
from edgeproof.core.artifact import Artifact
from edgeproof.core.target import Target
from edgeproof.core.variant import SCHEMES
from edgeproof.devices import open_runner
from edgeproof.devices.runtimes import installed_versions
from edgeproof.export import onnx_schemes
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
    assert ("without session.x64quantprecision" in loaded.data["kernels"]) == shared  # ONNX Runtime 1.32 refuses it
    assert onnxruntime(path.read_bytes())({"x": np.ones((1, 8), np.float32)})["y"].shape == (1, 8)


def test_a_bundle_runs_a_file_whose_nodes_share_a_tensor(tmp_path: Path) -> None:
    import onnxruntime

    names = runpy.run_path(str(Path(ep.__file__).parent / "export" / "bundle" / "templates" / "model.py"))
    quantized_twice(tmp_path / "m.onnx", shared=True)
    run = names["Model"]._onnx(object(), onnxruntime, str(tmp_path / "m.onnx"))
    assert run([np.ones((1, 8), np.float32)])[0].shape == (1, 8)


def normalized_first() -> bytes:
    """Return a network whose batch norm is before its activation, so that no convolution takes it in."""
    random = np.random.default_rng(0)
    held = {
        "w0": random.normal(size=(4, 3, 3, 3)), "w1": random.normal(size=(2, 4, 1, 1)),
        **{f"{name}{i}": random.uniform(0.5, 1.5, 4) for i in range(2) for name in ("scale", "bias", "mean", "var")},
    }  # fmt: skip
    nodes = [helper.make_node("Conv", ["x", "w0"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r0"])]
    for i in range(2):
        constants = [f"{name}{i}" for name in ("scale", "bias", "mean", "var")]
        nodes += [
            helper.make_node("BatchNormalization", [f"r{i}", *constants], [f"n{i}"]),
            helper.make_node("Relu", [f"n{i}"], [f"r{i + 1}"]),
        ]
    nodes.append(helper.make_node("Conv", ["r2", "w1"], ["y"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 8, 8])
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_onnx_int8_of_a_network_with_batch_norm_loads_with_the_option_for_x86(tmp_path: Path) -> None:
    path, inputs = tmp_path / "m.onnx", tmp_path / "x.npy"
    values = np.random.default_rng(1).normal(size=(8, 1, 3, 8, 8)).astype(np.float32)
    made, _ = onnx_schemes.convert(normalized_first(), SCHEMES["onnx"]["int8"], lambda: ({"x": x} for x in values))
    path.write_bytes(made)
    np.save(inputs, values[0])
    loaded = open_runner(Artifact("m", "m", "onnx", "int8", path), Target("local", "onnxruntime")).load(inputs)
    assert loaded.ok and loaded.data["kernels"] == "CPUExecutionProvider", loaded
    assert [node.op_type for node in onnx.load(path).graph.node].count("BatchNormalization") == 2


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
