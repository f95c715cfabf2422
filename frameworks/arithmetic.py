"""Rewrites integer look-ups, counts and buckets in a graph as plain arithmetic.

Keras's preprocessing layers (IntegerLookup, CategoryEncoding, Discretization) become operators that TFLite, ONNX or
both lack, and tables that no file can hold. Comparisons and sums compute exactly the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tensorflow import load

LARGEST_TABLE = 100_000  # keys that each number is compared with
_LOOKUP, _COUNT, _BUCKET = "LookupTableFindV2", "DenseBincount", "Bucketize"

Table = tuple[NDArray[Any], NDArray[Any]]


def tables_of(function: Any) -> dict[str, Table]:
    """Return (keys, values) of the integer tables of a concrete function, by the name of the input that passes each."""
    tf, _ = load()
    names = [tensor.name.split(":")[0] for tensor in function.inputs]
    outside = function.captured_inputs
    finds = _find_types(function)
    tables = {}
    for name, handle in zip(names[len(names) - len(outside) :], outside, strict=True):
        if handle.dtype != tf.resource:
            continue
        for keys, values in finds:
            try:
                table = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=keys, Tvalues=values)
            except tf.errors.OpError:  # a variable, or a table of other types
                continue
            if 0 < len(table[0]) <= LARGEST_TABLE:
                tables[name] = (table[0].numpy(), table[1].numpy())
    return tables


def _find_types(function: Any) -> list[tuple[Any, Any]]:
    """Return the types of (integer) keys and values of the look-ups in a function."""
    tf, _ = load()
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for inner in definition.library.function for node in inner.node_def)]
    pairs = {(node.attr["Tin"].type, node.attr["Tout"].type) for node in nodes if node.op == _LOOKUP}
    types = [(tf.as_dtype(keys), tf.as_dtype(values)) for keys, values in sorted(pairs)]
    return [(keys, values) for keys, values in types if keys.is_integer]


def as_arithmetic(frozen: Any, tables: dict[str, Table]) -> Any:
    """Return the graph of a frozen function with its look-ups in `tables`, its counts and buckets as arithmetic.

    Operators with a computed size or default are left unchanged.
    """
    tf, _ = load()
    definition = frozen.graph.as_graph_def()
    names = [tensor.name.split(":")[0] for tensor in (*frozen.outputs, *frozen.inputs)]
    remaining = [name for name in dict.fromkeys(names) if name not in tables]
    for operators in ((_LOOKUP, _BUCKET), (_COUNT,)):
        if not any(node.op in operators for node in definition.node):
            continue
        with tf.Graph().as_default() as graph:  # imported again, so that shapes behind replaced look-ups are inferred
            tf.graph_util.import_graph_def(definition, name="")
        definition = _rewritten(tf, graph, definition, tables, operators)
        library = definition.library
        definition = tf.compat.v1.graph_util.extract_sub_graph(definition, remaining)
        definition.library.CopyFrom(library)
    return definition


def _rewritten(tf: Any, graph: Any, definition: Any, tables: dict[str, Table], operators: tuple[str, ...]) -> Any:
    nodes = {node.name: node for node in definition.node}
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(definition)
    del result.node[:]
    for node in definition.node:
        build = _builder(tf, graph, nodes, node, tables) if node.op in operators else None
        if build is None:
            result.node.append(node)
        else:
            result.node.extend(_spliced(tf, node, *build))
    return result


# The input tensor, its type, and the function that computes the result from it.
_Build = tuple[str, Any, Callable[[Any], Any]]


def _builder(tf: Any, graph: Any, nodes: dict[str, Any], node: Any, tables: dict[str, Table]) -> _Build | None:
    if node.op == _LOOKUP:
        table, default = tables.get(_source(nodes, node.input[0])), _constant(tf, nodes, node.input[2])
        if table is None or default is None or default.size != 1:
            return None
        keys = table[0]
        values = np.concatenate([table[1], np.asarray(default.reshape(1), table[1].dtype)])

        def find(x: Any) -> Any:
            same = tf.equal(tf.expand_dims(x, -1), keys)
            place = tf.argmax(tf.cast(same, tf.int32), -1, output_type=tf.int32)
            return tf.gather(tf.constant(values), tf.where(tf.reduce_any(same, -1), place, len(keys)))

        return node.input[1], tf.as_dtype(node.attr["Tin"].type), find
    if node.op == _COUNT:
        size, weights = _size(tf, nodes, node.input[1]), _constant(tf, nodes, node.input[2])
        rank = graph.get_operation_by_name(node.name).inputs[0].shape.rank
        if size is None or weights is None or weights.size or rank not in (1, 2):
            return None
        dtype, binary = tf.as_dtype(node.attr["T"].type), node.attr["binary_output"].b

        def tally(x: Any) -> Any:
            hot = tf.one_hot(x, size, dtype=dtype)
            return (tf.reduce_max if binary else tf.reduce_sum)(hot, axis=rank - 1)

        return node.input[0], tf.as_dtype(node.attr["Tidx"].type), tally
    if node.op == _BUCKET:
        bounds, dtype = list(node.attr["boundaries"].list.f), tf.as_dtype(node.attr["T"].type)

        def bucket(x: Any) -> Any:
            above = tf.greater_equal(tf.expand_dims(tf.cast(x, tf.float32), -1), tf.constant(bounds, tf.float32))
            return tf.reduce_sum(tf.cast(above, tf.int32), -1)

        return node.input[0], dtype, bucket
    return None


def _source(nodes: dict[str, Any], tensor: str) -> str:
    """Return the name of the node that computes a tensor; Identity nodes are skipped."""
    name = tensor.split(":", maxsplit=1)[0]
    while name in nodes and nodes[name].op == "Identity":
        name = nodes[name].input[0].split(":")[0]
    return name


def _constant(tf: Any, nodes: dict[str, Any], tensor: str) -> NDArray[Any] | None:
    node = nodes.get(_source(nodes, tensor))
    if node is None or node.op != "Const":
        return None
    return np.asarray(tf.make_ndarray(node.attr["value"].tensor))


def _size(tf: Any, nodes: dict[str, Any], tensor: str) -> int | None:
    """Return the number of bins if it does not depend on the data: a constant, or min(limit, max(least, …))."""
    node, constant = nodes.get(_source(nodes, tensor)), _constant(tf, nodes, tensor)
    if constant is not None:
        return int(constant)
    if node is None or node.op != "Minimum":
        return None
    for most, other in (node.input[:2], reversed(node.input[:2])):
        limit, inner = _constant(tf, nodes, most), nodes.get(_source(nodes, other))
        if limit is None or inner is None or inner.op != "Maximum":
            continue
        least = [value for one in inner.input[:2] if (value := _constant(tf, nodes, one)) is not None]
        if least and int(least[0]) >= int(limit):
            return int(limit)
    return None


def _spliced(tf: Any, node: Any, source: str, dtype: Any, build: Callable[[Any], Any]) -> list[Any]:
    """Return nodes that compute `build` of the tensor `source`; the last has the name of `node`."""
    prefix = f"{node.name}/arithmetic"
    graph = tf.Graph()
    with graph.as_default():
        placeholder = tf.compat.v1.placeholder(dtype, name="given")
        result = build(placeholder).op.name
    renamed = []
    for inner in graph.as_graph_def().node:
        if inner.name == "given":
            continue
        for at, tensor in enumerate(inner.input):
            inner.input[at] = source if tensor == "given" else f"{prefix}/{tensor}"
        inner.name = f"{prefix}/{inner.name}"
        renamed.append(inner)
    with tf.Graph().as_default() as last:
        kind = graph.get_tensor_by_name(f"{result}:0").dtype
        tf.identity(tf.compat.v1.placeholder(kind, name="given"), name="last")
    end = next(one for one in last.as_graph_def().node if one.name == "last")
    end.name = node.name
    end.input[:] = [f"{prefix}/{result}", *(tensor for tensor in node.input if tensor.startswith("^"))]
    return [*renamed, end]
