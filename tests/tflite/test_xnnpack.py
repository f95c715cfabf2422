"""XNNPACK's operators and those of the graph: what is fused is left out, and what the runtime says decides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeproof.tflite.xnnpack import align, may_be

GEMM, CONV, DEPTH = (
    "Fully Connected (NC, QS8, QC8W) GEMM",
    "Convolution (NHWC, F32) IGEMM",
    "Convolution (NHWC, QC8) DWConv",
)


def test_fused_and_added_operators_have_no_partner() -> None:
    graph = ["PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    executed = ["Convert (NC)", CONV, DEPTH, GEMM, "Add (ND)", "Mean (ND) Reduce", "Static Reshape (NC)", GEMM,
                "Softmax (NC, F32)"]  # fmt: skip
    assert align([(name, None) for name in executed], graph) == [None, 1, 2, 3, 4, 5, None, 6, 7]


def test_what_the_runtime_says_is_kept_and_bounds_the_others() -> None:
    graph = ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]
    executed = [(GEMM, None), ("DEPTHWISE_CONV_2D", 3), (GEMM, None)]
    assert align(executed, graph) == [0, 3, 4], "the last one lies behind node 3"
    assert align([("DEPTHWISE_CONV_2D", 3), (GEMM, None), ("CONV_2D", 0)], graph) == [3, 4, 0]


def test_names_of_xnnpack() -> None:
    assert may_be(DEPTH) == ("DEPTHWISE_CONV_2D",)
    assert may_be("Something New (NC)") == may_be("") == ()


NAMES = st.lists(st.sampled_from([GEMM, CONV, DEPTH, "Add (ND)", "Convert (NC)", "?"]), max_size=12)
OPS = st.lists(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "PAD", "QUANTIZE"]), max_size=12)


@given(NAMES, OPS)
def test_pairs_rise_and_may_be_the_same(names: list[str], graph: list[str]) -> None:
    nodes = align([(name, None) for name in names], graph)
    found = [(name, node) for name, node in zip(names, nodes, strict=True) if node is not None]
    assert [node for _, node in found] == sorted({node for _, node in found})
    assert all(graph[node] in may_be(name) for name, node in found)


def test_graphs_beyond_all_classifiers_are_not_aligned() -> None:
    assert align([(GEMM, None)] * 3000, ["CONV_2D"] * 3000) == [None] * 3000
