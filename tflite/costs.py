"""What a graph's operators cost, from their shapes alone: multiply-accumulates, and bytes read and written."""

from __future__ import annotations

from math import prod

from .graph import Node, Tensor

_BITS = {
    "int2": 2, "int4": 4, "uint4": 4, "bool": 8, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "float16": 16,
    "bfloat16": 16, "int32": 32, "uint32": 32, "float32": 32, "int64": 64, "uint64": 64, "float64": 64,
    "complex64": 64, "complex128": 128,
}  # fmt: skip

_RECURRENT = ("LSTM", "RNN", "SVDF")


def macs(node: Node) -> int | None:
    """Return the multiply-accumulates of an operator; None where a shape or the operator is not known.

    Operators without products of sums (additions, activations, poolings) have none.
    """
    if node.custom or not node.outputs or not _known(*node.inputs, *node.outputs):
        return None
    shapes = [tensor.shape for tensor in node.inputs]
    out = node.outputs[0].shape
    if node.op == "CONV_2D":  # weights: outputs, height, width, inputs of a group
        return prod(out) * prod(shapes[1][1:])
    if node.op == "CONV_3D":  # weights: depth, height, width, inputs, outputs
        return prod(out) * prod(shapes[1][:-1])
    if node.op == "DEPTHWISE_CONV_2D":  # weights: 1, height, width, outputs
        return prod(out) * prod(shapes[1][1:3])
    if node.op == "TRANSPOSE_CONV":  # inputs: shape of the output, weights (outputs, height, width, inputs), values
        return prod(shapes[2]) * prod(shapes[1][:3])
    if node.op == "FULLY_CONNECTED":  # weights: outputs, inputs
        return prod(out) * shapes[1][-1]
    if node.op == "BATCH_MATMUL":  # one of the last two sides of the first factor is the output's, the other is summed
        rows, columns = (*shapes[0][-2:], 1)[:2]
        return prod(out) * (columns if len(out) < 2 or rows == out[-2] else rows)
    if any(name in node.op for name in _RECURRENT):
        # Each step multiplies with each matrix of weights once; the values are (batch or time, time or batch, …).
        steps = prod(shapes[0][:-1]) if "SEQUENCE" in node.op else shapes[0][0]
        return steps * sum(prod(shape) for shape in shapes[1:] if len(shape) == 2)
    return 0


def size(node: Node) -> int | None:
    """Return the bytes of an operator's inputs, weights and outputs; None where one is not known."""
    tensors = (*node.inputs, *node.outputs)
    if not _known(*tensors) or any(tensor.dtype not in _BITS for tensor in tensors):
        return None
    return sum((prod(tensor.shape) * _BITS[tensor.dtype] + 7) // 8 for tensor in tensors)


def _known(*tensors: Tensor) -> bool:
    return all(not tensor.dynamic and all(side >= 0 for side in tensor.shape) for tensor in tensors)
