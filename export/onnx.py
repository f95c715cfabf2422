"""ONNX: one frozen SavedModel in, the file's bytes out, with the SavedModel's own input and output names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice, permutations
from math import factorial
from typing import Any

from ..core.errors import StageError
from ..core.model import Model
from ..core.recipe import Export
from ..core.sanitize import shorten
from ..frameworks.meta_graph import Interface, read_interface, read_meta_graph
from .onnx_graph import FlatGraph, flat_graph, optimized, unused
from .onnx_handlers import HANDLERS
from .onnx_rewrites import needs_rewriting, rewritten
from .onnx_weights import Weights, put_into, taken_from_onnx

# Parts of node names that come from nested functions and from tf2onnx's numbering.
_MADE_UP = re.compile(r"(?:Stateful)?PartitionedCall(?:_\d+)?/|__\d+")


def convert(model: Model, options: Export) -> bytes:
    """Return the ``.onnx`` file of `model`: its signature's inputs and outputs, the answer first among these.

    Raises StageError for operators without an ONNX counterpart, whatever tf2onnx raises, and ValueError when an input
    and an output have the same name.
    """
    import onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    weights = Weights()
    meta = weights.taken_from(read_meta_graph(model.saved_model))
    signature = read_interface(meta)
    interface = Interface(
        signature.inputs, tuple(sorted(signature.outputs, key=lambda name: (name != model.answer, name)))
    )
    if both := sorted(set(interface.inputs) & set(interface.outputs)):
        raise ValueError(f"an input and an output are both called {both[0]!r}, which an ONNX file cannot have")
    graph = flat_graph(meta, interface)
    weights.hide(graph.definition)
    graph = optimized(graph)
    weights.show(graph.definition)
    del meta
    try:
        with _steady_order(), _optimize_in_place(), _few_einsum_orders():
            proto, contents = _convert(graph, weights, options)
    except StageError:
        raise
    except Exception:  # an optimizer failed halfway: without the patch, tf2onnx skips that optimizer
        with _steady_order(), _few_einsum_orders():
            proto, contents = _convert(graph, weights, options)
    del graph, weights
    _rename(proto.graph, interface.inputs, interface.outputs)
    _name_by_place(proto)
    # The oldest format version that holds these operators: older engines then read the file too.
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    proto.producer_name = "edgeproof"
    proto.graph.doc_string = ""
    put_into(proto.graph, contents)
    content = bytes(proto.SerializeToString())
    del proto
    onnx.checker.check_model(content)
    return content


def _convert(graph: FlatGraph, weights: Weights, options: Export) -> tuple[Any, list[bytes]]:
    """Return tf2onnx's ``ModelProto`` of a graph, and the weights that `taken_from_onnx` removed from it.

    Raises StageError naming the operators that it cannot write.
    """
    import tensorflow as tf
    from tf2onnx import optimizer, tfonnx

    with _extended_mapping() as failures, tf.Graph().as_default() as imported, tf.device("/cpu:0"):
        tf.import_graph_def(graph.definition, name="")
        converted = tfonnx.process_tf_graph(
            _rewritten(imported),
            continue_on_error=True,  # to report all failures, not just the first
            opset=options.onnx_opset,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            const_node_values=weights.named,
        )
        converted = optimizer.optimize_graph(converted)
        contents = taken_from_onnx(converted)
        proto = converted.make_model("edgeproof")
    # A failed operator in the body of a loop may be gone: loops are rewritten as one.
    if left := sorted({node.op_type for node in _nodes(proto.graph)} & failures.keys()):
        raise _explained({name: failures[name] for name in left})
    return proto, contents


def _rewritten(graph: Any) -> Any:
    """Return a graph rewritten by the rules of `onnx_rewrites`, with the loop bodies that it calls."""
    import tensorflow as tf

    if not needs_rewriting(graph):
        return graph
    copy, functions = tf.Graph(), graph.as_graph_def()
    del functions.node[:]
    with copy.as_default():
        tf.import_graph_def(functions, name="")
    rewritten(graph, copy)
    return copy


def _rewritten_body(graph: Any) -> Any:
    """Return a function's graph rewritten by the rules of `onnx_rewrites`; loops and branches are such functions."""
    from tensorflow.python.framework.func_graph import FuncGraph

    if not needs_rewriting(graph):
        return graph
    copy = FuncGraph(graph.name)
    tensors = rewritten(graph, copy)
    copy.inputs = [tensors[tensor.name] for tensor in graph.inputs]
    copy.outputs = [tensors[tensor.name] for tensor in graph.outputs]
    return copy


def _explained(failures: Mapping[str, str]) -> StageError:
    """Return the error for operators that tf2onnx has no rule for (no reason), or whose rule failed."""
    unknown = [name for name, reason in failures.items() if not reason]
    if unknown:
        return StageError(
            f"no ONNX counterpart for {', '.join(f'tf.{name}' for name in unknown)}",
            "use a TFLite variant, or a model without that operator",
        )
    reasons = "; ".join(f"tf.{name}: {reason}" for name, reason in failures.items())
    return StageError(f"ONNX cannot express this use of {shorten(reasons, 300)}", "use a TFLite variant")


@contextmanager
def _extended_mapping() -> Iterator[dict[str, str]]:
    """Within this block tf2onnx reports operators that it has no rule for, and rules that failed (name → reason).

    It also uses our rules: `onnx_handlers`, and in the bodies of loops and branches `onnx_rewrites`.
    """
    from tf2onnx import tf_loader, tfonnx

    failures: dict[str, str] = {}
    mapping, body = tfonnx.tensorflow_onnx_mapping, tf_loader.function_def_to_graph

    def recording(rule: Any, name: str) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            try:
                return rule(*arguments, **options)
            except Exception as error:
                failures[name] = f"{error}" or type(error).__name__
                raise

        return wrapped

    def extended(graph: Any, rules: Mapping[str, Any], *more: Any, **options: Any) -> Any:
        ours: dict[str, Any] = {name: (rule, {}) for name, rule in HANDLERS.items()}
        wrapped = {name: (recording(rule, name), settings) for name, (rule, settings) in {**rules, **ours}.items()}
        mapped, unmapped, errors = mapping(graph, wrapped, *more, **options)
        for name in unmapped:
            failures.setdefault(name, "")
        return mapped, unmapped, errors

    tfonnx.tensorflow_onnx_mapping = extended
    tf_loader.function_def_to_graph = lambda *arguments, **options: _rewritten_body(body(*arguments, **options))
    try:
        yield failures
    finally:
        tfonnx.tensorflow_onnx_mapping, tf_loader.function_def_to_graph = mapping, body


@contextmanager
def _steady_order() -> Iterator[None]:
    """Within this block sets of tf2onnx's nodes are ordered by first insertion.

    Otherwise they are ordered by memory address, and now and then an optimizer that iterates over such a set meets a
    pattern before another has made it, and skips it: one conversion in six gave another file.
    """
    from tf2onnx.graph import Graph, Node

    before, numbers, consumers = Node.__hash__, count(), Graph.find_output_consumers

    def number(node: Any) -> int:
        if "order" not in node.__dict__:
            node.order = next(numbers)
        return int(node.order)

    Node.__hash__ = number
    # It keeps their names in a set, whose order differs between processes.
    Graph.find_output_consumers = lambda *which: sorted(consumers(*which), key=lambda node: node.name)
    try:
        yield
    finally:
        Node.__hash__, Graph.find_output_consumers = before, consumers


@contextmanager
def _optimize_in_place() -> Iterator[None]:
    """Within this block tf2onnx does not write the weights again for each of its dozen optimizers.

    It copies the graph before each one, to restore it on failure, and updates its protocol buffers after each one,
    although nothing reads them before the last. Replaced parts of a protocol buffer keep their memory: a text model of
    77 MB took 6.6 GB.
    """
    from tf2onnx import optimizer
    from tf2onnx.graph import Graph

    optimize, update = optimizer.optimize_graph, Graph.update_proto

    def in_place(graph: Any, catch_errors: bool = True, optimizers: Any = None) -> Any:
        del catch_errors  # it is what the copies are for
        Graph.update_proto = lambda *_: None
        try:
            return optimize(graph, False, optimizers)
        finally:
            Graph.update_proto = update

    optimizer.optimize_graph = in_place
    try:
        yield
    finally:
        optimizer.optimize_graph = optimize


@contextmanager
def _few_einsum_orders() -> Iterator[None]:
    """Within this block tf2onnx tries 120 orders of the letters of an einsum, evenly chosen, instead of all.

    It writes each order as a model and computes the cost of its transpositions. Five letters have 120 orders; attention
    over two axes has seven letters, and their 5,040 orders took two minutes.
    """
    from tf2onnx.optimizer import einsum_optimizer

    before = einsum_optimizer.permutations

    def some(letters: Sequence[str]) -> Iterator[tuple[str, ...]]:
        return islice(permutations(letters), 0, None, max(1, factorial(len(letters)) // 120))

    einsum_optimizer.permutations = some
    try:
        yield
    finally:
        einsum_optimizer.permutations = before


def _rename(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the graph's inputs and outputs the signature's names (tf2onnx names outputs after nodes)."""
    values = [*graph.input, *graph.output]
    new = dict(zip((value.name for value in values), (*inputs, *outputs), strict=True))
    tensors = {tensor for node in _nodes(graph) for tensor in (*node.input, *node.output)}
    tensors |= {weight.name for weight in graph.initializer}
    for name in tensors.intersection(new.values()) - new.keys():
        new[name] = unused(f"{name}_inside", tensors)
    for value in (*values, *graph.value_info, *graph.initializer):
        value.name = new.get(value.name, value.name)
    for node in _nodes(graph):
        node.output[:] = [new.get(tensor, tensor) for tensor in node.output]
        node.input[:] = [new.get(tensor, tensor) for tensor in node.input]


def _nodes(graph: Any) -> Iterator[Any]:
    """Return the nodes of a graph and of the graphs nested in them, which use its tensors by name."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for nested in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(nested)


def _name_by_place(proto: Any) -> None:
    """Name nodes, tensors and weights by their position in the graph, and order the weights by it.

    tf2onnx numbers what it inserts as it goes, and keeps an arbitrary name of weights that it merges: without this, a
    model gives a different file each time.
    """
    graph = proto.graph
    fixed = {value.name for value in (*graph.input, *graph.output)}
    _name_graph(graph, {name: name for name in fixed}, set(), set(fixed))
    graph.name = "edgeproof"
    _number_open_sides(graph, {})


def _name_graph(graph: Any, names: dict[str, str], waiting: set[str], used: set[str]) -> None:
    """Rename the contents of a graph: `names` are the new names visible to it, to which its own are added.

    `waiting` are the weights of the enclosing graphs, named at their first use. `used` are all new names.
    """
    inner = {weight.name for weight in graph.initializer} - names.keys()
    waiting |= inner
    for node in graph.node:
        node.name = unused(_MADE_UP.sub("", node.name) or node.op_type, used)
        for position, tensor in enumerate(node.input):
            if tensor in waiting and tensor not in names:
                names[tensor] = unused(f"{node.name}/weight_{position}", used)
        for attribute in node.attribute:
            for nested in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _name_nested(nested, node.name, names, waiting, used)
        for position, tensor in enumerate(node.output):
            if tensor and tensor not in names:  # an output that is not used has no name
                names[tensor] = unused(f"{node.name}:{position}", used)
    for node in graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
    for tensor in sorted(inner - names.keys()):  # it is the graph's own result
        names[tensor] = unused("weight", used)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    order = {name: place for place, name in enumerate(names.values())}
    for values in (graph.initializer, graph.value_info):
        ordered = sorted(values, key=lambda value: (order.get(value.name, len(order)), value.name))
        copies = [type(value).FromString(value.SerializeToString()) for value in ordered]
        del values[:]
        values.extend(copies)


def _number_open_sides(graph: Any, numbers: dict[str, str]) -> None:
    """Name the sides of tensors whose length tf2onnx does not know in the order of their first use."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.HasField("dim_param"):
                side.dim_param = numbers.setdefault(side.dim_param, f"side_{len(numbers) + 1}")
    for node in graph.node:
        for attribute in node.attribute:
            for nested in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _number_open_sides(nested, numbers)


def _name_nested(graph: Any, owner: str, names: dict[str, str], waiting: set[str], used: set[str]) -> None:
    """Rename the contents of a loop's or branch's graph. Its own names are visible in it alone."""
    own = {value.name for value in graph.input} | {weight.name for weight in graph.initializer}
    own |= {tensor for node in graph.node for tensor in node.output}
    scope = {old: new for old, new in names.items() if old not in own}
    for position, value in enumerate(graph.input):
        scope[value.name] = unused(f"{owner}/input_{position}", used)
    _name_graph(graph, scope, {name for name in waiting if name not in own}, used)
    graph.name = owner
    # Weights of the enclosing graphs that it was the first to use.
    names.update({old: new for old, new in scope.items() if old in waiting and old not in own})
