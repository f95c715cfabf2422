"""Profiles on real runtimes: each tells the operators of a file; what cannot be profiled says so."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.model import InputContract
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import open_runner
from edgeproof.devices.agent import profiler
from edgeproof.devices.runtimes import installed_versions

from ..conftest import TinyRun
from ..support.bundle_models import mean_colour_model

RUNS = 7


def profiled(artifact: Artifact, runtime: str, inputs: Path) -> Outcome:
    if not installed_versions()[runtime]:
        pytest.skip(f"{runtime} is not installed in this Python")
    return open_runner(artifact, Target("local", runtime), timeout_seconds=120).profile(inputs, runs=RUNS)


def rows_of(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.ok, outcome.reason
    assert len(outcome.data["runs_ms"]) == RUNS and all(spent > 0 for spent in outcome.data["runs_ms"])
    rows: list[dict[str, Any]] = outcome.data["operators"]
    assert all(time >= 0 for row in rows for time in row["us"])
    assert sum(np.median(row["us"]) for row in rows) <= 1000 * max(outcome.data["runs_ms"])
    return rows


@pytest.fixture
def colours(tmp_path: Path) -> Artifact:
    path = tmp_path / "colours.tflite"
    path.write_bytes(mean_colour_model())
    np.save(tmp_path / "x.npy", np.random.default_rng(1).random((16, 8, 8, 3), np.float32))
    return Artifact("colours", "colours", "tflite", "float32", path)


def test_litert_tells_the_operators_inside_xnnpack(colours: Artifact, tmp_path: Path) -> None:
    outcome = profiled(colours, "litert", tmp_path / "x.npy")
    rows = rows_of(outcome)
    assert [row["op"].partition(" (")[0] for row in rows] == ["Mean", "Multiply", "Softmax"]
    assert {row["kernel"] for row in rows} == {"xnnpack"} and all(len(row["us"]) == RUNS for row in rows)
    assert outcome.data["engine"].startswith("LiteRT") and outcome.data["kernels"] == "xnnpack"


def test_a_runtime_without_a_profiler_says_so(colours: Artifact, tmp_path: Path) -> None:
    outcome = profiled(colours, "tflite-runtime", tmp_path / "x.npy")
    assert outcome.status == "unsupported" and outcome.reason.startswith("tflite-runtime has no profiler")
    assert "local/litert" in outcome.remedy


def test_onnx_runtime_tells_shapes_too(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), "w")
    convolution = onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="first")
    value = lambda name, shape: onnx.helper.make_tensor_value_info(name, 1, shape)  # noqa: E731
    graph = onnx.helper.make_graph(
        [convolution], "g", [value("x", [1, 3, 8, 8])], [value("y", [1, 4, 6, 6])], [weights]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros((16, 3, 8, 8), np.float32))
    contract = InputContract("x", (1, 3, 8, 8), kind="tensor")
    artifact = Artifact("m", "m", "onnx", "float32", tmp_path / "m.onnx", contract=contract)
    rows = rows_of(profiled(artifact, "onnxruntime", tmp_path / "x.npy"))
    (row,) = (row for row in rows if row["op"] in ("Conv", "FusedConv"))
    assert row["shapes"]["outputs"] == [[1, 16, 6, 6]] and row["shapes"]["inputs"][:2] == [[1, 3, 8, 8], [16, 3, 3, 3]]
    assert row["kernel"] == "CPUExecutionProvider" and row["shapes"]["bytes"] > 4 * 16 * 36


@pytest.mark.slow
def test_tensorflow_tells_its_operators(tiny: TinyRun) -> None:
    rows = rows_of(profiled(tiny.artifact("savedmodel:float32"), "tensorflow", tiny.data.images("test")))
    assert any("Conv2D" in row["op"] for row in rows) and any("DepthwiseConv2d" in row["op"] for row in rows)
    assert not {"PartitionedCall", "StatefulPartitionedCall"} & {row["op"] for row in rows}, "they hold others"
    assert all(len(row["us"]) == RUNS for row in rows) and max(max(row["us"]) for row in rows) > 0


@pytest.mark.slow
def test_openvino_tells_means_without_the_warm_up(tiny: TinyRun) -> None:
    outcome = profiled(tiny.artifact("onnx:float32"), "openvino", tiny.data.images("test"))
    rows = rows_of(outcome)
    assert any(row["op"] == "Convolution" for row in rows) and all(len(row["us"]) == 1 for row in rows)
    assert "means" in outcome.data["engine"]


def test_what_runs_twice_in_a_run_is_one_row_and_what_misses_a_run_counts_nothing_there() -> None:
    table = profiler.Table()
    table.add([profiler.Event("a", "A", 2.0), profiler.Event("b", "B", 1.0), profiler.Event("a", "A", 3.0)])
    table.add([profiler.Event("a", "A", 4.0)])
    assert [(row["op"], row["us"]) for row in table.operators()] == [("A", [5.0, 4.0]), ("B", [1.0, 0.0])]
    with pytest.raises(profiler.Unsupported, match="told of no operator"):
        profiler.Table().operators()


def test_a_graph_beyond_reading_is_refused() -> None:
    table = profiler.Table()
    with pytest.raises(profiler.Unsupported, match="more than"):
        table.add([profiler.Event(str(i), "A", 1.0) for i in range(profiler.MOST_OPERATORS + 1)])


def events_of(records: bytes, number: int) -> list[profiler.Event]:
    """Return what is read of a library's records; the library is a stand-in."""
    import ctypes

    texts = {1: b"Add (ND)", 2: b"SOFTMAX", 3: b"Invoke", 4: b"TfLiteXNNPackDelegate"}

    def call(name: str, *arguments: Any) -> None:
        if name == "LiteRtGetNumProfilerEvents":
            arguments[1]._obj.value = number
        else:
            ctypes.memmove(arguments[2], records, len(records))

    model: Any = object.__new__(profiler._LiteRt)
    model.c = SimpleNamespace(**{name: getattr(ctypes, name) for name in ("c_int", "c_ubyte", "byref")})
    model.c.string_at = texts.__getitem__
    model.profiler, model.call = None, call
    return list(model.events())


def record(tag: int, kind: int, elapsed: int, node: int, graph: int, *, middle: int) -> bytes:
    return struct.pack("<Qi4xQQ", tag, kind, 0, elapsed) + bytes(middle) + struct.pack("<QQi4x", node, graph, 0)


def test_records_of_events_are_read_whatever_their_middle_part_is() -> None:
    for middle in (32, 48, 64):
        told = (
            (3, 1, 90, 0, 0),
            (1, 8, 7, 0, 0),
            (2, 2, 5, 71, 0),
            (1, 4, 8, 0, 0),
            (4, 2, 50, 75, 0),
            (2, 2, 6, 3, 1),
        )
        rows = [record(*one, middle=middle) for one in told]
        found = events_of(b"".join(rows), len(rows))
        assert [(e.key, e.microseconds, e.row["kernel"], e.row["node"]) for e in found] == [
            ("1/0", 7.0, "xnnpack", None), ("node 71", 5.0, "builtin", 71), ("2/0", 8.0, "xnnpack", None),
        ], "the whole call, the delegate's node and other graphs are no rows; each part counts from 0"  # fmt: skip


def test_records_of_another_form_are_refused() -> None:
    with pytest.raises(profiler.Unsupported, match="another format"):
        events_of(bytes(range(1, 100)), 3)
