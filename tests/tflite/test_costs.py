"""Multiply-accumulates and bytes of operators, against sums by hand."""

from __future__ import annotations

import pytest

from edgeproof.tflite.costs import macs, size
from edgeproof.tflite.graph import Node, Tensor


def node(op: str, *shapes: tuple[int, ...], out: tuple[int, ...], dtype: str = "float32", **more: bool) -> Node:
    inputs = tuple(Tensor(f"in{i}", shape, dtype, constant=i > 0) for i, shape in enumerate(shapes))
    return Node(op, 1, inputs, (Tensor("out", out, dtype),), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (node("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), (16,), out=(1, 4, 4, 16)), 4 * 4 * 16 * 3 * 3 * 3),
        (node("CONV_2D", (1, 8, 8, 4), (16, 3, 3, 2), out=(1, 8, 8, 16)), 8 * 8 * 16 * 3 * 3 * 2),  # two groups
        (node("DEPTHWISE_CONV_2D", (1, 8, 8, 16), (1, 3, 3, 16), out=(1, 8, 8, 16)), 8 * 8 * 16 * 9),
        (node("TRANSPOSE_CONV", (4,), (8, 2, 2, 3), (1, 4, 4, 3), out=(1, 8, 8, 8)), 4 * 4 * 3 * 8 * 2 * 2),
        (node("CONV_3D", (1, 4, 4, 4, 3), (2, 2, 2, 3, 5), out=(1, 3, 3, 3, 5)), 27 * 5 * 8 * 3),
        (node("FULLY_CONNECTED", (1, 20), (10, 20), (10,), out=(1, 10)), 200),
        (node("FULLY_CONNECTED", (4, 20), (10, 20), out=(4, 10)), 800),
        (node("BATCH_MATMUL", (2, 3, 5), (2, 5, 7), out=(2, 3, 7)), 2 * 3 * 5 * 7),
        (node("BATCH_MATMUL", (2, 5, 3), (2, 5, 7), out=(2, 3, 7)), 2 * 3 * 5 * 7),  # the first is transposed
        (node("UNIDIRECTIONAL_SEQUENCE_LSTM", (1, 6, 4), (8, 4), (8, 8), (8,), out=(1, 6, 8)), 6 * (8 * 4 + 8 * 8)),
        (node("ADD", (1, 8), (1, 8), out=(1, 8)), 0),
        (node("CONV_2D", (1, 8, 8, 3), (16, 3, 3, 3), out=(-1, 4, 4, 16)), None),
        (node("MINE", (1, 8), out=(1, 8), custom=True), None),
    ],
)
def test_multiply_accumulates(operator: Node, expected: int | None) -> None:
    assert macs(operator) == expected


def test_bytes_are_those_of_everything_read_and_written() -> None:
    operator = node("FULLY_CONNECTED", (1, 20), (10, 20), out=(1, 10))
    assert size(operator) == 4 * (20 + 200 + 10)
    packed = Node("FULLY_CONNECTED", 1, (Tensor("x", (1, 5), "int8"), Tensor("w", (3, 5), "int4")))
    assert size(packed) == 5 + 8, "two int4 values in a byte"
    assert size(node("ADD", (1, 2), out=(1, 2), dtype="string")) is None
    open_shape = Node("ADD", 1, (Tensor("x", (1, 5), "int8", dynamic=(0,)),), (Tensor("y", (1, 5), "int8"),))
    assert size(open_shape) is macs(open_shape) is None
