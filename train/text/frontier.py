"""Finds where strings end in a text encoder's graph: the numeric tensors that the string part passes to the rest.

The graph is flattened first: calls are inlined, variables become constants. An operator belongs to the string part
if it reads text or a lookup table, or if only such operators read its results. Bookkeeping of ragged rows, which no
file format has, belongs to it too, as long as it is on integers. All else is the numeric part.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.sanitize import shorten
from ...frameworks.tensorflow import load

TEXT = "text"
# Operators on ragged rows: exact in the string part, but in no runtime. On embeddings (floats) they are replaced.
BOOKKEEPING = frozenset(
    {
        "RaggedGather", "RaggedRange", "RaggedTensorToSparse", "RaggedTensorToTensor", "RaggedCross",
        "RaggedTensorToVariant", "RaggedTensorFromVariant", "SparseToDense", "SparseSlice", "SparseConcat",
        "SparseReorder",
    }
)  # fmt: skip
TABLES = frozenset({"HashTable", "HashTableV2", "MutableHashTable", "MutableHashTableV2"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# Elementwise operators on integers.
SIMPLE = frozenset(
    {
        "Identity", "Cast", "Add", "AddV2", "Sub", "Mul", "FloorMod", "FloorDiv", "Maximum", "Minimum", "Equal",
        "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr", "LogicalNot", "Select",
        "SelectV2", "ZerosLike", "OnesLike", "Neg",
    }
)  # fmt: skip


class NoFrontier(Exception):  # noqa: N818 - a finding, which its catcher turns into a note
    """The encoder cannot be divided; the message says why."""


@dataclass(frozen=True)
class FlatEncoder:
    """A function of texts (n,) string as one graph without calls or variables.

    `definition` is its GraphDef, `graph` the same as a `tf.Graph`. `tables` maps placeholders to the tables and
    tokenizer models that stay outside the graph. `answer` is the name of its output tensor. `batch` is the number of
    texts it takes, None for any.
    """

    graph: Any
    definition: Any
    tables: dict[str, Any]
    answer: str
    batch: int | None = None


@dataclass(frozen=True)
class Frontier:
    """A flat graph divided: `strings` and `numbers` are names of operators, `crossing` tensors between them."""

    flat: FlatEncoder
    strings: frozenset[str]
    numbers: tuple[str, ...]
    crossing: tuple[str, ...]


def flatten(embed: Callable[[Any], Any], batch: int | None = None) -> FlatEncoder:
    """Return `embed`, a function of texts (n,) string, as a flat graph with its present weights. Raises NoFrontier.

    `batch` is the number of texts it takes, if that is fixed.
    """
    tf, _ = load()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = [tf.TensorSpec([batch], tf.string, name=TEXT)]
    function = tf.function(embed, input_signature=signature, autograph=False).get_concrete_function()
    if _holds_tables(function):
        function = tf.function(_without_calls(function), input_signature=signature, autograph=False)
        function = function.get_concrete_function()
    captures = {
        inner.name: outer
        for inner, outer in zip(function.inputs[1:], function.captured_inputs, strict=True)
        if outer.dtype in (tf.resource, tf.variant)
    }
    try:
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    except Exception as error:  # TensorFlow may raise any exception here
        raise NoFrontier(f"its variables cannot be made constants: {shorten(str(error), 200)}") from error
    left = {tensor.name for tensor in frozen.inputs[1:]}
    return FlatEncoder(
        frozen.graph,
        frozen.graph.as_graph_def(),
        {name: table for name, table in captures.items() if name in left},
        frozen.outputs[0].name,
        batch,
    )


def _holds_tables(function: Any) -> bool:
    """Whether functions create their own tables, as in TensorFlow 1: TensorFlow does not inline such functions."""
    library = function.graph.as_graph_def().library.function
    return any(node.op in TABLES for called in library for node in called.node_def)


def _without_calls(function: Any) -> Callable[[Any], Any]:
    """Return an equivalent of the concrete `function` in which the callees' operators replace the calls."""
    tf, _ = load()
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    library = {called.signature.name: called for called in function.graph.as_graph_def().library.function}

    def place(graph: Any, values: dict[str, Any], results: Sequence[Any]) -> list[Any]:
        needed = _ancestors([tensor.op for tensor in results])
        for op in graph.get_operations():
            if op.name not in needed or all(tensor.name in values for tensor in op.outputs):
                continue
            inputs = [values[tensor.name] for tensor in op.inputs]
            called = library.get(op.get_attr("f").name) if op.type in _CALLS else None
            if called is None:
                results_of_op = place_operator(op, inputs)
            else:
                inner = function_def_to_graph(called)
                names = {tensor.name: value for tensor, value in zip(inner.inputs, inputs, strict=True)}
                results_of_op = place(inner, names, inner.outputs)
            values |= {tensor.name: value for tensor, value in zip(op.outputs, results_of_op, strict=True)}
        return [values[tensor.name] for tensor in results]

    def replay(texts: Any) -> Any:
        traced = tf.compat.v1.get_default_graph()
        for variable in function.graph.variables:  # only watched variables become constants
            traced.watch_variable(variable)
        capture = traced.capture
        own = [texts, *map(capture, function.captured_inputs)]
        values = {tensor.name: value for tensor, value in zip(function.inputs, own, strict=True)}
        return place(function.graph, values, function.outputs)[0]

    return replay


def place_operator(op: Any, inputs: Sequence[Any]) -> list[Any]:
    """Place a copy of `op` on other inputs in the graph that is being traced; return its outputs."""
    tf, _ = load()
    definition = tf.compat.v1.GraphDef()
    versions = op.graph.graph_def_versions
    definition.versions.CopyFrom(versions)
    node = definition.node.add()
    node.CopyFrom(op.node_def)
    name = op.name.rsplit("/", 1)[-1].lstrip("_")
    node.name = name if name and not name[0].isdigit() else op.type.rsplit(">", 1)[-1]
    del node.input[:]
    node.input.extend(f"given_{at}:0" for at in range(len(inputs)))
    for key in [key for key in node.attr if key.startswith("_")]:
        del node.attr[key]
    if any(value.HasField("func") or value.list.func for value in dict(node.attr).values()):
        definition.library.CopyFrom(op.graph.as_graph_def().library)
    names = [f"{node.name}:{at}" for at in range(len(op.outputs))]
    if not names:
        return []
    feeds = {f"given_{at}:0": value for at, value in enumerate(inputs)}
    return list(tf.graph_util.import_graph_def(definition, input_map=feeds, return_elements=names, name="at"))


def find_frontier(flat: FlatEncoder) -> Frontier:
    """Divide a flat graph where its strings end. Raises NoFrontier when nothing numeric lies behind them."""
    tf, _ = load()
    answer = flat.graph.get_tensor_by_name(flat.answer)
    needed = _ancestors([answer.op])
    operations = [op for op in flat.graph.get_operations() if op.name in needed]  # in topological order
    # Values that depend on tables alone cannot be in files either.
    made_inside = [op.name for op in operations if op.type in TABLES]
    from_text = {TEXT, *(name.split(":")[0] for name in flat.tables), *made_inside}
    for op in operations:
        if any(tensor.op.name in from_text for tensor in op.inputs):
            from_text.add(op.name)
    touching = [
        op
        for op in operations
        if op.name in from_text and (_reads_strings(op, from_text) or _is_bookkeeping(op) or op.type == "Placeholder")
    ]
    strings = {name for name in _ancestors(touching) if name in from_text}
    made_by = answer.op
    while made_by.type == "Identity":
        made_by = made_by.inputs[0].op
    if made_by.name in strings:
        raise NoFrontier("its answer comes out of operators on text themselves: there is no network behind them")
    strings = _merged(operations, strings, from_text)
    numbers = [op for op in operations if op.name not in strings]
    crossing = _crossing(numbers, strings)
    if not crossing:
        raise NoFrontier("its answer does not depend on the text")
    texts = [name for name in crossing if flat.graph.get_tensor_by_name(name).dtype == tf.string]
    if texts:
        raise NoFrontier(f"text crosses into the network at {shorten(texts[0])}")
    return Frontier(flat, frozenset(strings), tuple(op.name for op in numbers), tuple(crossing))


def _crossing(numbers: Iterable[Any], strings: set[str]) -> list[str]:
    return list(dict.fromkeys(t.name for op in numbers for t in op.inputs if t.op.name in strings))


def _merged(operations: Sequence[Any], strings: set[str], from_text: set[str]) -> set[str]:
    """Move simple integer operators into the string part if fewer tensors cross behind them.

    Example: a table's result and a hash become one id, where(found != -1, found, hash + size).
    """
    simple = {
        op.name
        for op in operations
        if op.name in from_text and op.name not in strings and op.type in SIMPLE
        and all(tensor.dtype.is_integer or tensor.dtype.is_bool for tensor in (*op.inputs, *op.outputs))
    }  # fmt: skip
    for op in operations:
        if op.name not in simple:
            continue
        moved = {name for name in _ancestors([op], strings) if name in from_text} - strings
        if not moved <= simple:
            continue
        numbers = [other for other in operations if other.name not in strings]
        rest = [other for other in numbers if other.name not in moved]
        if len(_crossing(rest, strings | moved)) < len(_crossing(numbers, strings)):
            strings = strings | moved
    return strings


def reads(flat: FlatEncoder, name: str) -> Any:
    """Return the operator that computes the tensor called `name`."""
    return flat.graph.get_tensor_by_name(name).op


def _reads_strings(op: Any, from_text: set[str]) -> bool:
    tf, _ = load()
    outside = any(tensor.dtype == tf.resource for tensor in op.inputs)
    inside = any(tensor.dtype == tf.string and tensor.op.name in from_text for tensor in (*op.inputs, *op.outputs))
    return outside or inside


def _is_bookkeeping(op: Any) -> bool:
    return op.type in BOOKKEEPING and not any(tensor.dtype.is_floating for tensor in op.inputs)


def _ancestors(operations: Iterable[Any], boundary: Container[str] = ()) -> set[str]:
    """Return the names of these operators and of all whose results they need; control edges do not count.

    The search stops at the operators of `boundary`.
    """
    names: set[str] = set()
    waiting = list(operations)
    while waiting:
        op = waiting.pop()
        if op.name not in names:
            names.add(op.name)
            waiting += [tensor.op for tensor in op.inputs if tensor.op.name not in boundary]
    return names
