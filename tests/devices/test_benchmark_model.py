# ruff: noqa: E501 (lines are as the tool prints them)
"""benchmark_model: what it printed in several versions is understood, and samples become the bytes that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.target import Target
from edgeproof.devices import open_runner
from edgeproof.devices.adb.benchmark_model import (
    Input,
    OutputError,
    Stats,
    cause,
    flags,
    read_profile,
    read_report,
)
from edgeproof.devices.adb.value_files import ValueFileError, answer_of, answers_of, pack, shapes_of
from edgeproof.evaluate.bench import Plan, burst_of
from edgeproof.tflite.graph import Graph, Tensor, read_graph

from ..support.micro_files import dense

# What users published of it: the lines that are read. (text, init, first, warm-up, runs, grown in MB, applied, placed)
PRINTED: dict[str, tuple[str, float, float, Stats, Stats, float | None, str, dict[str, Any] | None]] = {
    # yuenshome.github.io, issue 77 (2019, arm64-v8a)
    "2019": (
        "STARTING!\nInitialized session in 9.933ms\nRunning benchmark for at least 4 iterations and at least 0.5 seconds\n"
        "count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944\n\n"
        "Running benchmark for at least 10 iterations and at least 1 seconds\n"
        "count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39\n\n"
        "Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6\n",
        9933, 127425, Stats(7, 76605.9, (127425, 66709)), Stats(15, 66767.6, (66753, 66800)), None, "", None,
    ),
    # tensorflow, issue 43541 (2020, GPU of a phone)
    "2020, GPU": (
        "INFO: Created TensorFlow Lite delegate for GPU.\nINFO: Initialized OpenCL-based API.\n"
        "INFO: Created 1 GPU delegate kernels.\nExplicitly applied GPU delegate, and the model graph will be completely "
        "executed by the delegate.\nThe input model file size (MB): 7.07479\nInitialized session in 870.557ms.\n"
        "count=4 first=130565 curr=120829 min=117370 max=130565 avg=122373 std=4930\n\n"
        "count=50 first=119212 curr=118055 min=113737 max=124776 avg=119375 std=1948\n\n"
        "Inference timings in us: Init: 870557, First inference: 130565, Warmup (avg): 122373, Inference (avg): 119375\n"
        "Peak memory footprint (MB): init=0 overall=12.8672\n",
        870557, 130565, Stats(4, 122373, (130565, 120829)), Stats(50, 119375, (119212, 118055)), 12.8672, "GPU (OpenCL)",
        {"delegated": 65, "operators": 65, "partitions": 1, "adapter": "GPU (OpenCL)"},
    ),
    # tensorflow, issue 56301 (2022, NNAPI, the app's log)
    "2022, NNAPI": (
        "05-30 15:16:44.857  3380  3380 I tflite  : Explicitly applied NNAPI delegate, and the model graph will be "
        "partially executed by the delegate w/ 44 delegate kernels.\n"
        "05-30 15:16:45.362  3380  3380 I tflite  : count=40 first=32942 curr=12594 min=11340 max=32942 avg=12581.9 std=3331\n"
        "05-30 15:16:46.365  3380  3380 I tflite  : count=75 first=12840 curr=11853 min=11787 max=13649 avg=12167.6 std=325\n"
        "05-30 15:16:46.366  3380  3380 I tflite  : Inference timings in us: Init: 126059, First inference: 32942, Warmup "
        "(avg): 12581.9, Inference (avg): 12167.6\n",
        126059, 32942, Stats(40, 12581.9, (32942, 12594)), Stats(75, 12167.6, (12840, 11853)), None, "NNAPI", None,
    ),
    # tensorflow, issue 61946 (2023)
    "2023": (
        "INFO: STARTING!\nINFO: Initialized session in 0.53ms.\n"
        "INFO: count=5 first=124020 curr=116061 min=115177 max=124020 avg=117225 std=3412\n\n"
        "INFO: count=50 first=121183 curr=115199 min=111222 max=121324 avg=116066 std=1906\n\n"
        "INFO: Inference timings in us: Init: 530, First inference: 124020, Warmup (avg): 117225, Inference (avg): 116066\n"
        "INFO: Memory footprint delta from the start of the tool (MB): init=3.75 overall=12.1914\n",
        530, 124020, Stats(5, 117225, (124020, 116061)), Stats(50, 116066, (121183, 115199)), 12.1914, "", None,
    ),
    # With percentiles (from 2024 on); the delegates' lines are those of a Galaxy's log, discuss.ai.google.dev, 27507.
    "2024, GPU and XNNPACK": (
        "INFO: Replacing 29 out of 65 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions for the "
        "whole graph.\nINFO: Initialized OpenCL-based API.\nINFO: Explicitly applied GPU delegate, and the model graph will "
        "be partially executed by the delegate w/ 1 delegate kernels.\nINFO: Replacing 35 out of 37 node(s) with delegate "
        "(TfLiteXNNPackDelegate) node, yielding 2 partitions for the whole graph.\n"
        "INFO: count=3 first=235158 curr=180000 min=180000 max=235158 avg=211669 std=23000 p5=180000 median=219849 p95=235158\n"
        "INFO: count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 median=141253 "
        "p95=187533\n"
        "INFO: Inference timings in us: Init: 92318, First inference: 235158, Warmup (avg): 211669, Inference (avg): 145528\n"
        "INFO: Memory footprint delta from the start of the tool (MB): init=54.2852 overall=73.4102\n",
        92318, 235158, Stats(3, 211669, (235158, 219849, 180000)), Stats(25, 145528, (187533, 140990)), 73.4102,
        "GPU (OpenCL)", {"delegated": 29, "operators": 65, "partitions": 3, "adapter": "GPU (OpenCL)"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("version", PRINTED)
def test_what_the_tool_printed_in_several_versions(version: str) -> None:
    text, init, first, warmup, runs, grown, applied, placed = PRINTED[version]
    report = read_report(text, 65)
    assert (report.init, report.first, report.warmup, report.runs) == (init, first, warmup, runs)
    assert report.grown == (None if grown is None else int(grown * (1 << 20))) and report.peak is None
    assert report.applied == applied and report.placed == placed


@pytest.mark.parametrize(
    ("line", "times"),
    [
        ("count=3 first=30 curr=20 min=20 max=30 avg=24.3333 std=4 p5=20 median=23 p95=30", (30, 23, 20)),
        ("count=3 first=23 curr=30 min=20 max=30 avg=24.3333 std=4 p5=20 median=23 p95=30", (23, 20, 30)),
        ("count=3 first=20 curr=20 min=20 max=30 avg=23.3333 std=4 p5=20 median=20 p95=30", (20, 30, 20)),
        ("count=3 first=30 curr=20 min=20 max=30 avg=24.3333 std=4", (30, pytest.approx(23, abs=0.01), 20)),
        ("count=3 curr=20(all same) p5=20 median=20 p95=20", (20, 20, 20)),
        ("count=1 curr=1234 p5=1234 median=1234 p95=1234", (1234,)),
        ("count=2 first=5 curr=9 min=5 max=9 avg=7 std=2", (5, 9)),
        ("count=50 first=5 curr=9 min=2 max=19 avg=1.2e+01 std=2", (5, 9)),
    ],
)
def test_of_three_runs_each_time_is_told(line: str, times: tuple[float, ...]) -> None:
    report = read_report(
        f"count=0\nINFO: {line}\nMemory footprint (MB): init=-1 overall=-1\n".replace("count=0", "count=1 curr=7"), 3
    )
    assert report.runs.times == times and report.first == 7 and report.grown is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "STARTING!\nERROR: Failed to load model\n",
        "count=1 curr=5\n",
        "count=1 curr=5\ncount=3 first=10 curr=20 min=1 max=3 avg=9 std=1 p5=1 median=2 p95=3\n",
        "count=1 curr=99999999999999999999999999\ncount=1 curr=5\n",
    ],
)
def test_what_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(OutputError):
        read_report(text, 1)


def test_operators_are_read_from_tables_of_several_versions() -> None:
    # tensorflow's README of the tool (times of 2018), with names that have no number of a node
    old = (
        "============================== Run Order ==============================\n"
        "\t             [node type]\t  [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n"
        "\t                 CONV_2D\t    0.000\t    4.269\t    4.269\t  0.107%\t  0.107%\t     0.000\t        0\t[MobilenetV1/Conv2d_0/Relu6]\n"
        "\t       DEPTHWISE_CONV_2D\t    4.270\t    2.150\t    2.150\t  0.054%\t  0.161%\t     0.000\t        0\t[MobilenetV1/Conv2d_1]\n"
        "\n============================== Top by Computation Time ==============================\n"
        "\t             [node type]\t  [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n"
        "\t                 CONV_2D\t   25.0\t    9.9\t    9.9\t  1%\t  1%\t     0.000\t        0\t[another]\n"
    )
    rows = read_profile(old)
    assert [(row.op, row.ms, row.node, row.delegated) for row in rows] == [
        ("CONV_2D", 4.269, None, False), ("DEPTHWISE_CONV_2D", 2.15, None, False),
    ]  # fmt: skip
    # As of 2022: a node's number stands behind its name, and XNNPACK tells its own operators.
    new = (
        "INFO: Profiling Info for Benchmark Initialization:\n" + old + "INFO: Operator-wise Profiling Info for Regular "
        "Benchmark Runs:\n============================== Run Order ==============================\n"
        "\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n"
        "\t   TfLiteXNNPackDelegate\t   10.000\t    9.000\t 90.0%\t 90.0%\t     0.000\t        1\t[Identity, a:b]:65\n"
        "\t                 SOFTMAX\t    1.000\t    1.000\t 10.0%\t100.0%\t     0.000\t        1\t[Identity]:64\n"
        "\nNumber of nodes executed: 2\nDelegate internal: \n"
        "============================== Run Order ==============================\n"
        "\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n"
        "\t        DelegateOpInvoke\t    8.500\t    8.500\t 99.0%\t 99.0%\t     0.000\t        1\tDelegate/Convolution (NHWC, F32) GEMM:0\n"
        "\n"
    )
    assert [(row.op, row.ms, row.node, row.delegated) for row in read_profile(new)] == [
        ("SOFTMAX", 1.0, 64, False), ("Convolution (NHWC, F32) GEMM", 8.5, None, True),
    ]  # fmt: skip
    # tensorflow, issue 53138: a delegate that tells nothing of its own is one operator.
    gpu = new.partition("Delegate internal")[0].replace("TfLiteXNNPackDelegate", "TfLiteGpuDelegateV2")
    assert [row.op for row in read_profile(gpu)] == ["TfLiteGpuDelegateV2", "SOFTMAX"]
    with pytest.raises(OutputError, match="without its profiler"):
        read_profile("STARTING!\n")


def test_the_cause_of_a_failure_is_the_line_that_says_more() -> None:
    assert cause("STARTING!\nERROR: Didn't find op for builtin opcode 'GELU' version '2'\nERROR: Registration failed.\n"
                 "ERROR: Failed to initialize the interpreter\nERROR: Benchmarking failed.\n").startswith("Didn't find op")  # fmt: skip
    assert cause("INFO: x\nF: The size of in0 is 3 bytes. It should be 12 bytes.\n\n").endswith("12 bytes.")
    assert cause("") == ""


def test_the_flags_are_the_tool_s_and_names_of_inputs_are_ours() -> None:
    inputs = [Input("in0", (1, 8, 8, 3), "in0"), Input("in1", (1,), "in1")]
    given = flags("m", inputs, delegate="", xnnpack=False, threads=2, runs=3, warmup_runs=1, warmup_seconds=0.2,
                  most_seconds=600, more={"output_filepath": "out"})  # fmt: skip
    assert "--input_layer=in0,in1" in given and "--input_layer_shape=1,8,8,3:1" in given
    assert "--input_layer_value_files=in0:in0,in1:in1" in given and "--use_xnnpack=false" in given
    assert {"--num_runs=3", "--min_secs=0", "--warmup_min_secs=0.2", "--num_threads=2", "--output_filepath=out"} <= set(
        given
    )
    gpu = flags("m", inputs, delegate="GPU", xnnpack=True, threads=1, runs=1, warmup_runs=0, warmup_seconds=0,
                most_seconds=1)  # fmt: skip
    assert "--use_gpu=true" in gpu and not any("xnnpack" in one for one in gpu)


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_the_bytes_of_samples_are_what_the_agent_feeds(scheme: str, tmp_path: Path) -> None:
    """The same file and the same samples, once by the agent and once by bytes in LiteRT, give the same answers."""
    from ai_edge_litert.interpreter import Interpreter

    artifact: Artifact = dense(tmp_path / "m.tflite", scheme)
    assert artifact.path is not None
    graph = read_graph(artifact.path)
    samples = np.random.default_rng(2).normal(0, 1, (5, *graph.inputs[0].shape[1:])).astype(np.float32)
    np.save(tmp_path / "x.npy", samples)
    ((content, size),) = pack(graph, {"kind": "tensor", "input": ""}, tmp_path / "x.npy", 1, 5)
    assert len(content) == 4 * size and size == samples[0].size * np.dtype(graph.inputs[0].dtype).itemsize
    interpreter, outputs = Interpreter(str(artifact.path)), []
    interpreter.allocate_tensors()
    for start in range(0, len(content), size):
        (edge,) = interpreter.get_input_details()
        value = np.frombuffer(content[start : start + size], edge["dtype"]).reshape(edge["shape"])
        interpreter.set_tensor(edge["index"], value)
        interpreter.invoke()
        outputs += [interpreter.get_tensor(one["index"]).tobytes() for one in interpreter.get_output_details()]
    answers = answer_of(graph, "").read(b"".join(outputs), 4)
    runner = open_runner(artifact, Target("local", "litert"))
    assert runner.infer(tmp_path / "x.npy", tmp_path / "y.npy", 1, 5).ok
    np.testing.assert_allclose(answers, np.load(tmp_path / "y.npy"), atol=1e-6)
    with pytest.raises(ValueFileError, match="bytes"):
        answer_of(graph, "").read(b"x", 4)


def graph(inputs: list[Tensor], outputs: list[Tensor]) -> Graph:
    return Graph(tuple(inputs), tuple(outputs), (), (), {})


def test_several_inputs_and_outputs_are_found_by_name_and_stored_in_their_own_type(tmp_path: Path) -> None:
    two = graph(
        [Tensor("b", (1, 2), "uint8", scale=0.5, zero_point=1), Tensor("a", (-1, 3), "float32", dynamic=(0,))],
        [Tensor("x", (1, 2), "int8", scale=0.5, zero_point=-1), Tensor("y", (1, 1), "float32")],
    )
    samples = np.zeros(2, dtype=[("a", np.float32, 3), ("b", np.float32, 2)])
    samples["b"] = [[1.0, 300.0], [-5.0, 0.0]]
    np.save(tmp_path / "x.npy", samples)
    packed = pack(two, {"kind": "tensor", "input": ""}, tmp_path / "x.npy", 0, 2)
    assert [(bytes(content), size) for content, size in packed] == [(bytes([3, 255, 0, 1]), 2), (bytes(24), 12)]
    assert shapes_of(two) == [(1, 2), (1, 3)]
    content = np.int8([1, -3]).tobytes() + np.float32([7]).tobytes()
    assert answer_of(two, "x").read(content, 1).tolist() == [[1.0, -1.0]]
    assert answer_of(two, "y").read(content, 1).tolist() == [[7.0]]
    both = answers_of(two, {"answer": "", "answers": [["y", 2], ["x", 2]]})
    assert both.size == 6 and both.read(content, 1).tolist() == [[7.0, 0.0, 1.0, -1.0]]
    assert answers_of(two, {"answer": "y"}).read(content, 1).tolist() == [[7.0]]
    with pytest.raises(ValueFileError, match="x holds 2 values, and at most 1 are judged"):
        answers_of(two, {"answer": "", "answers": [["x", 1]]})
    with pytest.raises(ValueFileError, match="no output z; it has x, y"):
        answer_of(two, "z")
    for feed, words in (
        ({"kind": "string", "input": "a"}, "strings"),
        ({"kind": "tensor", "input": ""}, "takes"),
    ):
        np.save(tmp_path / "plain.npy", np.zeros((2, 3), np.float32))
        with pytest.raises(ValueFileError, match=words):
            pack(two, feed, tmp_path / "plain.npy", 0, 2)
    with pytest.raises(ValueFileError, match="without dimensions"):
        shapes_of(graph([Tensor("s", (), "float32")], []))
    with pytest.raises(ValueFileError, match="no fixed shape"):
        answer_of(graph([], [Tensor("boxes", (1, -1), "float32", dynamic=(1,))]), "")
    with pytest.raises(ValueFileError, match="boxes has no fixed shape"):
        answers_of(graph([], [Tensor("boxes", (), "float32")]), {"answer": "", "answers": [["boxes", 4000]]})
    with pytest.raises(ValueFileError, match="there are no samples"):
        pack(two, {"kind": "tensor", "input": ""}, tmp_path / "plain.npy", 2, 9)


def test_a_server_that_warms_up_before_each_burst_says_how_many_runs_it_tells() -> None:
    process = {"warmup_ms": [10.0]}
    assert burst_of(process, Plan(), 0.06) == (6, 1, 7)
    assert burst_of({**process, "runs_each": 3}, Plan(), 0.06) == (3, 0, 8)
    assert burst_of({**process, "runs_each": 3}, Plan(min_runs=50), 0.06) == (3, 0, 17)
