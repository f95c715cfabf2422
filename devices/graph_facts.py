"""What a job says about a ``.tflite`` file's graph to a runtime that does not tell it itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.artifact import Artifact
from ..tflite.graph import Graph, Tensor, read_graph

# Operators with a state that lasts across runs: variables, and the fused recurrent layers of the converter.
_STATEFUL = frozenset(
    {"VAR_HANDLE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM",
     "BIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF"}
)  # fmt: skip


def graph_facts(artifact: Artifact, *, operators: bool) -> dict[str, Any]:
    """Return the ``graph`` of the agent's job; an empty dictionary for other formats and for files that cannot be read.

    ``inputs`` and ``outputs`` are lists of ``{name, tensor, scale, zero_point}`` in the file's order: the signature's
    name, the tensor's own, and its quantization (scale 0: none). ``stateful``: whether a run may depend on earlier
    ones. With `operators` also those: a list of [operator, names of its tensors].
    """
    if artifact.format != "tflite" or artifact.path is None:
        return {}
    try:
        graph = read_graph(artifact.path)
    except Exception:  # a damaged file: the runtime says what is wrong with it
        return {}
    facts = {
        "inputs": _edges(graph.inputs),
        "outputs": _edges(graph.outputs),
        "stateful": any(node.op in _STATEFUL for node in graph.nodes),
    }
    return {**facts, "operators": _operators(graph)} if operators else facts


def _edges(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    return [
        {"name": t.name, "tensor": t.stored_name or t.name, "scale": t.scale or 0.0, "zero_point": t.zero_point or 0}
        for t in tensors
    ]


def _operators(graph: Graph) -> list[list[Any]]:
    return [[node.op, [tensor.name for tensor in (*node.inputs, *node.outputs)]] for node in graph.nodes]
