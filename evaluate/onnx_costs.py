"""Multiply-accumulates of the operators that ONNX Runtime executed, from the shapes that they had."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

Shapes = Sequence[Sequence[int]]

_CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger")
_PRODUCTS = (
    "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
)  # fmt: skip
_GENERAL = ("Gemm", "FusedGemm", "QGemm")
# These multiply, and their shapes alone do not say how much.
_UNKNOWN = (
    "Attention", "MultiHeadAttention", "GroupQueryAttention", "QAttention", "QOrderedAttention",
    "EmbedLayerNormalization", "Einsum", "MatMulNBits", "DeformConv",
)  # fmt: skip


def macs(op: str, inputs: Shapes, outputs: Shapes) -> int | None:
    """Return the multiply-accumulates of an executed operator; None where they are not known.

    Shapes are those of the inputs that were given and of the outputs. Other operators have none.
    """
    if op in _UNKNOWN or not inputs or not outputs:
        return None
    first, out = inputs[0], outputs[0]
    if op in _CONVOLUTIONS or op == "ConvTranspose":
        # The weights have as many sides as the values: (outputs, inputs of a group, …); or (inputs, outputs, …).
        weights = next((shape for shape in inputs[1:] if len(shape) == len(first) >= 3), None)
        if weights is None:
            return None
        return (prod(first) if op == "ConvTranspose" else prod(out)) * prod(weights[1:])
    if op in _PRODUCTS:
        return prod(out) * first[-1] if first else None
    if op in _GENERAL:
        return prod(out) * (prod(first) // out[0]) if out and out[0] else None
    if op in ("LSTM", "GRU", "RNN"):  # values (steps, batch, inputs); weights and recurrent weights have three sides
        return prod(first[:2]) * sum(prod(shape) for shape in inputs[1:3])
    return 0
