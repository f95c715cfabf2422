"""Which operators of a graph XNNPACK's operators are: its profile names them in words of its own, and fuses some.

Both are in the order of execution, so the two sequences are aligned: as many pairs as possible that may be the same
operator, in order. What has no partner was added by XNNPACK (a conversion), or fused into a neighbour (a padding).
"""

from __future__ import annotations

from collections.abc import Sequence

# The beginning of XNNPACK's name → what it may be in a graph. A 1×1 convolution is a fully connected operator there.
_MAY_BE: dict[str, tuple[str, ...]] = {
    "Fully Connected": ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"),
    "Dynamic Fully Connected": ("FULLY_CONNECTED", "BATCH_MATMUL"),
    "Batch Matrix Multiply": ("BATCH_MATMUL", "FULLY_CONNECTED"),
    "Convolution": ("CONV_2D",),
    "Deconvolution": ("TRANSPOSE_CONV",),
    "Add": ("ADD",),
    "Subtract": ("SUB",),
    "Multiply": ("MUL",),
    "Divide": ("DIV",),
    "Maximum": ("MAXIMUM", "RELU"),
    "Minimum": ("MINIMUM",),
    "Squared Difference": ("SQUARED_DIFFERENCE",),
    "Mean": ("MEAN", "AVERAGE_POOL_2D"),
    "Sum": ("SUM", "MEAN"),
    "Global Average Pooling": ("MEAN", "AVERAGE_POOL_2D"),
    "Average Pooling": ("AVERAGE_POOL_2D", "MEAN"),
    "Max Pooling": ("MAX_POOL_2D",),
    "Convert": ("QUANTIZE", "DEQUANTIZE", "CAST"),
    "Copy": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CONCATENATION", "SPLIT"),
    "Static Reshape": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    "Slice": ("SLICE", "STRIDED_SLICE", "SPLIT"),
    "Constant Pad": ("PAD", "PADV2"),
    "Clamp": ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "MINIMUM", "MAXIMUM"),
    "Softmax": ("SOFTMAX",),
    "Sigmoid": ("LOGISTIC",),
    "HardSwish": ("HARD_SWISH",),
    "Tanh": ("TANH",),
    "ELU": ("ELU",),
    "GELU": ("GELU",),
    "Leaky ReLU": ("LEAKY_RELU",),
    "PReLU": ("PRELU",),
    "Exp": ("EXP",),
    "Log": ("LOG",),
    "Abs": ("ABS",),
    "Negate": ("NEG",),
    "Floor": ("FLOOR",),
    "Ceiling": ("CEIL",),
    "Bankers Rounding": ("ROUND",),
    "Square Root": ("SQRT",),
    "Reciprocal Square Root": ("RSQRT",),
    "Square": ("SQUARE",),
    "Transpose": ("TRANSPOSE",),
    "Resize Bilinear": ("RESIZE_BILINEAR",),
    "Depth To Space": ("DEPTH_TO_SPACE",),
    "Space To Depth": ("SPACE_TO_DEPTH",),
}
# Sequences whose product is larger are not aligned: it would take seconds, and such graphs are no classifiers.
_MOST = 4_000_000


def align(executed: Sequence[tuple[str, int | None]], graph: Sequence[str]) -> list[int | None]:
    """Return for each executed operator, (name, node if the runtime says it), its node in the `graph` of operators.

    Between two operators whose nodes are known only nodes between these are considered.
    """
    nodes: list[int | None] = [node for _, node in executed]
    start, before = 0, -1
    for stop, (_, after) in enumerate((*executed, ("", len(graph)))):
        if after is None or after <= before:  # one that is out of the graph's order bounds nothing
            continue
        names = [name if node is None else "" for name, node in executed[start:stop]]
        for i, node in _pairs(names, graph[before + 1 : after]):
            nodes[start + i] = before + 1 + node
        start, before = stop + 1, after
    return nodes


def may_be(name: str) -> tuple[str, ...]:
    """Return what an operator of XNNPACK may be in a graph; nothing for one that is not known."""
    plain = name.partition(" (")[0]
    if plain == "Convolution" and "DWConv" in name:
        return ("DEPTHWISE_CONV_2D",)
    return _MAY_BE.get(plain, ())


def _pairs(names: Sequence[str], graph: Sequence[str]) -> list[tuple[int, int]]:
    """Return the longest sequence of rising pairs (index of a name, index of a node) that may be the same operator."""
    if len(names) * len(graph) > _MOST:
        return []
    options = [frozenset(may_be(name)) for name in names]
    best = [[0] * (len(graph) + 1) for _ in range(len(names) + 1)]
    for i in range(len(names) - 1, -1, -1):
        for j in range(len(graph) - 1, -1, -1):
            both = best[i + 1][j + 1] + 1 if graph[j] in options[i] else 0
            best[i][j] = max(both, best[i + 1][j], best[i][j + 1])
    pairs, i, j = [], 0, 0
    while i < len(names) and j < len(graph):
        if graph[j] in options[i] and best[i][j] == best[i + 1][j + 1] + 1:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs
