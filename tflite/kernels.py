"""The runtime that a graph's nodes need, and where a file's operator versions are too low.

Some files state less than they need: they load in old runtimes, and then fail at a later step, or give wrong results.
Each rule here was observed on a real file in real runtimes.
"""

from __future__ import annotations

from .graph import Node
from .operator_versions import needed_version
from .runtime_versions import STOCK_CUSTOM, VERSIONS, Since, highest

# The TFLite converter writes version 1 for convolutions and dense layers of int16 activations with int8 weights, whose
# kernels came with 2.3 (Google's table has that for versions 4, 5 and 7, which are meant for them). ADD and SUB of any
# two scales came with 2.4: a 16x8 file of MobileNetV2, all operators of which are in 1.14 by their versions, is refused
# by TensorFlow Lite 2.3 ("input1_scale_is_pot was not true") and runs in 2.4.
_INT16 = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), Since("2.3.0", "1.0.0")),
    **dict.fromkeys(("ADD", "SUB"), Since("2.4.0", "1.0.0")),
}

# Float activations and 8-bit weights that have a scale for each channel. ai-edge-quantizer 0.10 writes version 1: the
# answers of such a MobileNetV2 agree with the float model's on all of 60 samples in LiteRT, and on 10 % in
# tflite-runtime 2.14, which uses the first scale for all channels.
_HYBRID = frozenset({"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"})

# With float activations and 4-bit weights: NaN in tflite-runtime 2.14, wrong answers in ai-edge-litert 1.0.1, right
# ones from 1.1.0 on, which is TensorFlow Lite 2.19.
_HYBRID_INT4 = Since("2.19.0", "1.1.0")


def computed_version(node: Node) -> int:
    """Return the operator version that computes a node correctly: the file's own number, or a higher one."""
    if node.op not in _HYBRID or _weights(node) != ("float32", "int8") or not node.inputs[1].per_channel:
        return node.version
    signature = {
        "inputs": ("float32", "int8"),
        "outputs": ("float32",),
        "arity": len(node.inputs),
        "per_channel": True,
        "scaled": True,
        "rescale": 0.0,
        "options": {},
    }
    return max(node.version, needed_version(node.op, signature))


def since(node: Node) -> Since:
    """Return the first runtimes that compute a node correctly; empty where the table does not know."""
    if node.custom:
        return Since("1.5.0", "1.0.0") if node.op in STOCK_CUSTOM else Since("", "")
    first = VERSIONS.get((node.op, computed_version(node)), Since("", ""))
    if node.op in _INT16 and node.inputs and node.inputs[0].dtype == "int16":
        return _later(first, _INT16[node.op])
    if node.op in _HYBRID and _weights(node) == ("float32", "int4"):
        return _later(first, _HYBRID_INT4)
    return first


def _weights(node: Node) -> tuple[str, str]:
    """Return the types of a node's activations and weights."""
    types = [tensor.dtype for tensor in node.inputs[:2]]
    return (types[0], types[1]) if len(types) == 2 else ("", "")


def _later(one: Since, other: Since) -> Since:
    return Since(highest([one.tflite, other.tflite]), highest([one.litert, other.litert]))
