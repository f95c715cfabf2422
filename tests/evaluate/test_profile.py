"""Profiles: operators of a runtime become rows with costs, kinds and findings; a hiccup counts little."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import from_json, read_json, to_json
from edgeproof.core.measurement import Kind
from edgeproof.core.profile import OperatorTime, Profile
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.evaluate.onnx_costs import macs
from edgeproof.evaluate.profile import kinds, profile, save
from edgeproof.evaluate.profile_findings import findings
from edgeproof.report.profile_table import profile_summary
from edgeproof.tflite.graph import Node, Tensor

from ..support.bundle_models import mean_colour_model


@dataclass(frozen=True)
class Scripted:
    """A runner whose profile is written here."""

    artifact: Artifact
    outcome: Outcome
    kind: Kind = "measured"

    @property
    def target(self) -> Target:
        return Target("local", "litert")

    def identity(self) -> dict[str, Any]:
        return {"cpu": "mine"}

    def profile(self, inputs: Path, *, runs: int, threads: int = 1) -> Outcome:
        return self.outcome

    load = infer = time = serve = profile


def told(*rows: tuple[str, str, int | None, list[float]], **more: Any) -> Outcome:
    operators = [
        {"op": op, "name": "", "kernel": kernel, "node": node, "shapes": None, "us": us}
        for op, kernel, node, us in rows
    ]
    data = {"operators": operators, "runs_ms": [1.0, 1.2, 1.1], "engine": "scripted", "kernels": "xnnpack", **more}
    return Outcome("ok", data=data)


@pytest.fixture
def file(tmp_path: Path) -> Artifact:
    path = tmp_path / "m.tflite"
    path.write_bytes(mean_colour_model())
    return Artifact("m--tflite-float32", "m", "tflite", "float32", path)


def made(file: Artifact, outcome: Outcome) -> Profile:
    found = profile(Scripted(file, outcome), Path("x.npy"), samples="test samples")  # type: ignore[arg-type]
    assert isinstance(found, Profile)
    return found


def test_rows_have_what_the_graph_says_and_a_hiccup_does_not_count(file: Artifact) -> None:
    found = made(file, told(("Mean (ND) Reduce", "xnnpack", None, [10.0, 11.0, 9.0, 10.0, 5000.0, 10.0, 10.0, 10.0]),
                            ("Multiply (ND)", "xnnpack", None, [30.0] * 8),
                            ("Copy (NC, X32)", "xnnpack", None, [0.0] * 8)))  # fmt: skip
    mean, product, copy = found.operators
    assert (mean.op, product.op) == ("MEAN", "MUL") and copy.op == "Copy (NC, X32)"
    assert mean.ms == pytest.approx(0.010, abs=5e-4) and mean.low and mean.high
    assert mean.low <= mean.ms <= mean.high < 0.012
    assert product.macs == 0 and product.bytes == 4 * (3 + 3 + 3) and copy.macs is None
    assert product.name, "the tensor that it computes"
    assert sum(row.share for row in found.operators) == pytest.approx(1)
    assert found.run_ms == 1.1 and found.operators_ms == pytest.approx(0.04, abs=5e-4)
    assert found.without_time == 1, "the softmax is in no row"
    assert [kind.op for kind in found.kinds] == ["MUL", "MEAN", "Copy (NC, X32)"]
    assert from_json(Profile, to_json(found)) == found


def test_a_runtime_without_a_profiler_is_an_outcome(file: Artifact) -> None:
    refused = Outcome("unsupported", "no profiler", "elsewhere")
    assert profile(Scripted(file, refused), Path("x"), samples="") is refused  # type: ignore[arg-type]


def test_figures_and_node_data_are_written(file: Artifact, tmp_path: Path) -> None:
    found = made(file, told(("Multiply (ND)", "xnnpack", None, [30.0]), ("?", "xnnpack", None, [10.0])))
    summary = save(replace(found, artifact="../<x>"), tmp_path)
    assert summary.path.startswith("profile/") and (tmp_path / summary.path).is_file()
    assert len(from_json(Profile, read_json(tmp_path / summary.path)).operators) == 2
    viewer = json.loads((tmp_path / summary.model_explorer).read_text())
    (product, _) = found.operators
    assert product.low is None and product.high is None, "a single figure, such as OpenVINO's mean, has no quartiles"
    console = Console(file=io.StringIO(), width=200)
    console.print(*profile_summary(found))
    assert "0.0300 ms │         – │" in console.file.getvalue()  # type: ignore[attr-defined]
    assert viewer["main"]["results"] == {product.name: {"value": 75.0}}
    steps = [threshold["value"] for threshold in viewer["main"]["thresholds"]]
    assert steps == sorted(steps) and steps[-1] == 100
    unknown = save(replace(found, operators=found.operators[1:]), tmp_path / "other")
    assert unknown.model_explorer == "" and not list((tmp_path / "other").rglob("*explorer*"))


def row(op: str, kernel: str, ms: float, *, runtime_op: str = "", node: int | None = None, **more: Any) -> OperatorTime:
    return OperatorTime(0, op, runtime_op or op, kernel, "", node, ms, ms, ms, ms, **more)  # the sum is one millisecond


def test_kinds_add_up_and_an_unknown_cost_stays_unknown() -> None:
    rows = [row("A", "x", 0.2, macs=5, bytes=7), row("A", "x", 0.2, macs=6, bytes=None), row("A", "y", 0.6, macs=1)]
    first, second = kinds(rows)
    assert (first.kernel, first.count, first.ms) == ("y", 1, 0.6)
    assert (second.macs, second.bytes, second.count, second.share) == (11, None, 2, 0.4)


def flowing(op: str, *dtypes: str, name: str = "t", made_of: str = "x") -> Node:
    values = Tensor(made_of, (1, 4), dtypes[0])
    return Node(
        op, 1, (values, *(Tensor("w", (4, 4), d, constant=True) for d in dtypes[1:])), (Tensor(name, (1, 4), "int8"),)
    )


def test_operators_that_fell_back_are_named_with_their_types() -> None:
    nodes = [flowing("CONV_2D", "int8", "int8"), flowing("DEPTHWISE_CONV_2D", "float32", "int8")]
    rows = [row("CONV_2D", "xnnpack", 0.3, node=0), row("DEPTHWISE_CONV_2D", "builtin", 0.6, node=1),
            row("ADD", "xnnpack", 0.1)]  # fmt: skip
    (sentence,) = findings(rows, nodes, run_ms=1.0)
    assert sentence == (
        "XNNPACK leaves 1 of 3 operators to the runtime's own kernels, which take 60.0 % of the time: 1 × "
        "DEPTHWISE_CONV_2D (float32 values, int8 weights); it runs the rest in 2 separate parts"
    )
    (alone,) = findings([row("CONV_2D", "builtin", 1.0, node=0)], nodes, 1.0)
    assert alone.startswith("XNNPACK runs none of the 1 operators") and "1 × CONV_2D (int8 values)" in alone
    assert findings([row("CONV_2D", "xnnpack", 0.99), row("SOFTMAX", "builtin", 0.01)], nodes, 1.0) == ()


def test_times_that_the_clock_does_not_resolve_are_said_to_be_rough() -> None:
    short = [row("CONV_2D", "xnnpack", 0.0009), row("SOFTMAX", "xnnpack", 0.0006)]
    assert findings(short, [], 0.0) == (
        "100.0 % of the time is of operators shorter than the microsecond that the profiler's clock resolves: their "
        "times and shares are rough",
    )
    assert findings([*short, row("ADD", "xnnpack", 0.5)], [], 0.0) == ()


def test_conversions_between_operators_are_told_from_those_at_the_edges() -> None:
    nodes = [
        flowing("QUANTIZE", "float32", name="a", made_of="input"),
        flowing("DEQUANTIZE", "int8", name="b", made_of="a"),
        flowing("ELU", "float32", name="c", made_of="b"),
        flowing("QUANTIZE", "float32", name="d", made_of="c"),
        flowing("DEQUANTIZE", "int8", name="output", made_of="d"),
    ]
    rows = [row(n.op, "xnnpack", 0.2, node=i) for i, n in enumerate(nodes)]
    (sentence,) = findings(rows, nodes, 1.0)
    assert "4 conversions between number types (QUANTIZE, DEQUANTIZE) take 80.0 % of the time" in sentence
    assert "2 of them lie inside the graph" in sentence
    (onnx,) = findings([row("DequantizeLinear", "CPU", 0.5), row("Conv", "CPU", 0.5)], (), 1.0)
    assert "1 of them lie inside the graph" in onnx


def test_run_time_quantization_layouts_and_the_rest_are_said() -> None:
    rows = [row("FULLY_CONNECTED", "xnnpack", 0.5, runtime_op="Fully Connected (NC, QDU8, F32, QC8W) GEMM"),
            row("Transpose", "CPU", 0.5)]  # fmt: skip
    dynamic, layout, outside = findings(rows, (), run_ms=2.0)
    assert dynamic.startswith("1 operator quantizes its inputs while it runs")
    assert layout.startswith("1 operator only reorders values")
    assert outside.startswith("operators take 1.00 ms of a profiled run of 2.00 ms")


@pytest.mark.parametrize(
    ("op", "inputs", "output", "expected"),
    [
        ("Conv", [[1, 3, 8, 8], [16, 3, 3, 3], [16]], [1, 16, 4, 4], 16 * 16 * 27),
        ("QLinearConv", [[1, 3, 8, 8], [], [], [16, 3, 3, 3], [16]], [1, 16, 4, 4], 16 * 16 * 27),
        ("ConvTranspose", [[1, 3, 4, 4], [3, 8, 2, 2]], [1, 8, 8, 8], 48 * 32),
        ("MatMul", [[2, 3, 5], [5, 7]], [2, 3, 7], 2 * 3 * 7 * 5),
        ("Gemm", [[5, 3], [5, 7]], [3, 7], 3 * 7 * 5),
        ("LSTM", [[6, 1, 4], [1, 32, 4], [1, 32, 8]], [6, 1, 1, 8], 6 * (128 + 256)),
        ("Relu", [[1, 5]], [1, 5], 0),
        ("Attention", [[1, 5]], [1, 5], None),
        ("Conv", [[1, 3, 8, 8]], [1, 16, 4, 4], None),
    ],
)
def test_multiply_accumulates_of_onnx(
    op: str, inputs: list[list[int]], output: list[int], expected: int | None
) -> None:
    assert macs(op, inputs, [output]) == expected
    assert macs(op, [], []) is None
