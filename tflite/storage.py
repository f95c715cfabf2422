"""How a TFLite file stores its numbers: the types of its weights, and the operators that still compute in float.

Tools silently leave operators in float that they have no integer kernel or no rule for. So their results are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from .objects import CASTS, blockwise, constant, operator_name, scales, tensors, type_name

# Operators with trained weights, and where among the inputs these stand. Recurrent ones have several: of the gates for
# the input and for the state, and of the projection (their order is that of the kernels in TensorFlow Lite).
_LSTM = (*range(1, 9), 16)
WEIGHTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"), (1,)),
    **dict.fromkeys(("EMBEDDING_LOOKUP", "BATCH_MATMUL"), (1,)),
    "GATHER": (0,),
    **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"), _LSTM),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16, *range(18, 26), 33),
    **dict.fromkeys(("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "SVDF"), (1, 2)),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6),
}
FLOATS = ("float32", "float16", "bfloat16")


def storage(model: Any) -> dict[str, Any]:
    """Return the types in which a file's ``ModelT`` stores its weights and computes.

    ``weights``: elements by type; ``scales``: quantized weight tensors by ``per-tensor``, ``per-channel``,
    ``blockwise``; ``integer_operators`` and ``float_operators``: their number (for float by name);
    ``float_islands``: groups of neighbouring float operators beside integer ones; ``fallen_back``: the operators of
    those islands that quantized values have to be made float for. Operators on other types (shapes, token ids) and
    those that only change the type are not counted.
    """
    weights: Counter[str] = Counter()
    granularity: Counter[str] = Counter()
    floats: Counter[str] = Counter()
    fallen: Counter[str] = Counter()
    integers, islands = 0, 0
    for graph in model.subgraphs:
        made_by = {index: op for op in graph.operators for index in op.outputs}
        seen: set[int] = set()
        for operator in graph.operators:
            name = operator_name(model, operator)
            for weight in _weights(model, graph, operator, made_by):
                if id(weight) in seen:
                    continue
                seen.add(id(weight))
                weights[type_name(weight)] += _elements(weight)
                if scales(weight):
                    kind = "blockwise" if blockwise(weight) else "per-channel" if scales(weight) > 1 else "per-tensor"
                    granularity[kind] += 1
            if name in CASTS:
                continue
            computes = _computes(model, graph, operator)
            integers += computes == "integer"
            floats[name] += computes == "float"
        for island in _islands(model, graph):
            islands += 1
            if any(_dequantized(model, graph, operator, made_by) for operator in island):
                fallen.update(operator_name(model, operator) for operator in island)
    return {
        "weights": dict(weights),
        "scales": dict(granularity),
        "integer_operators": integers,
        "float_operators": {name: count for name, count in sorted(floats.items()) if count},
        "float_islands": islands if integers else 0,
        "fallen_back": dict(sorted(fallen.items())),
    }


def counted(operators: dict[str, int]) -> str:
    """Return operators with their counts in words."""
    return ", ".join(f"{name} ×{count}" for name, count in operators.items())


def _weights(model: Any, graph: Any, operator: Any, made_by: dict[int, Any]) -> Iterator[Any]:
    """Yield the tensors in which an operator's weights are stored, through a DEQUANTIZE where there is one."""
    for place in WEIGHTS.get(operator_name(model, operator), ()):
        if place >= len(operator.inputs) or operator.inputs[place] < 0:
            continue
        index = operator.inputs[place]
        source = made_by.get(index)
        if source is not None and operator_name(model, source) in CASTS:
            index = source.inputs[0]
        tensor = graph.tensors[index]
        if constant(model, tensor) and tensor.shape is not None:
            yield tensor


def _elements(tensor: Any) -> int:
    count = 1
    for side in tensor.shape:
        count *= int(side)
    return count


def _computes(model: Any, graph: Any, operator: Any) -> str:
    """Return whether an operator's activations are ``float`` or quantized ``integer``, or ``other``."""
    flowing = [t for t in tensors(graph, [*operator.inputs, *operator.outputs]) if not constant(model, t)]
    if any(type_name(tensor) in FLOATS for tensor in flowing):
        return "float"
    return "integer" if any(scales(tensor) for tensor in flowing) else "other"


def _dequantized(model: Any, graph: Any, operator: Any, made_by: dict[int, Any]) -> bool:
    """Return whether an operator takes a dequantized activation."""
    for index in operator.inputs:
        source = made_by.get(index)
        if source is None or operator_name(model, source) != "DEQUANTIZE":
            continue
        if not constant(model, graph.tensors[source.inputs[0]]):
            return True
    return False


def _islands(model: Any, graph: Any) -> list[list[Any]]:
    """Return the groups of float operators that are connected by tensors."""
    islands: list[tuple[set[int], list[Any]]] = []
    for operator in graph.operators:
        if operator_name(model, operator) in CASTS or _computes(model, graph, operator) != "float":
            continue
        flowing = (index for index in (*operator.inputs, *operator.outputs) if index >= 0)
        touched = {int(index) for index in flowing if not constant(model, graph.tensors[index])}
        joined, apart = [operator], []
        for tensors_of, operators in islands:
            if tensors_of & touched:
                touched |= tensors_of
                joined = [*operators, *joined]
            else:
                apart.append((tensors_of, operators))
        islands = [*apart, (touched, joined)]
    return [operators for _, operators in islands]
