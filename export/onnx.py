"""ONNX: one frozen SavedModel in, the file's bytes out, with the SavedModel's own input and output names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from ..core.model import Model
from ..core.recipe import Export


def convert(model: Model, options: Export) -> bytes:
    """Return the ``.onnx`` file of `model`: its signature's inputs and outputs, the answer first among these.

    Raises whatever tf2onnx raises, and ValueError when an input and an output have one name.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    signature = tf.saved_model.load(str(model.saved_model)).signatures["serving_default"]
    arguments = signature.structured_input_signature[1]
    inputs = sorted(arguments)
    outputs = sorted(signature.structured_outputs, key=lambda name: (name != model.answer, name))
    if both := sorted(set(inputs) & set(outputs)):
        raise ValueError(f"an input and an output are both called {both[0]!r}, which an ONNX file cannot have")
    # Names of TensorFlow's making: it changes those that it finds improper.
    specs = [tf.TensorSpec(arguments[n].shape, arguments[n].dtype, name=f"input_{i}") for i, n in enumerate(inputs)]

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator]
    def serve(*arrays: Any) -> Any:
        answers = signature(**dict(zip(inputs, arrays, strict=True)))
        return [answers[name] for name in outputs]

    def make() -> Any:
        return tf2onnx.convert.from_function(serve, input_signature=specs, opset=options.onnx_opset)[0]

    try:
        with _steady_order(), _optimize_in_place():
            proto = make()
    except Exception:  # an optimizer failed halfway: its own way is to go on without that one
        with _steady_order():
            proto = make()
    _drop_captures(proto, len(inputs))
    _rename(proto.graph, inputs, outputs)
    _name_by_place(proto)
    # The oldest format version that holds these operators: older engines then read the file too.
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    proto.producer_name = "edgeproof"
    proto.graph.doc_string = ""
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


@contextmanager
def _steady_order() -> Iterator[None]:
    """Within this block sets of tf2onnx's nodes have the order in which these were first put into one.

    Otherwise it is that of their addresses in memory, and now and then an optimizer that goes through such a set meets
    a pattern before another has made it, and leaves it: one conversion in six gave another file.
    """
    from tf2onnx.graph import Node

    before, numbers = Node.__hash__, count()

    def number(node: Any) -> int:
        if "order" not in node.__dict__:
            node.order = next(numbers)
        return int(node.order)

    Node.__hash__ = number
    try:
        yield
    finally:
        Node.__hash__ = before


@contextmanager
def _optimize_in_place() -> Iterator[None]:
    """Within this block tf2onnx does not write the weights anew for each of its dozen optimizers.

    It copies the graph before each, to go back to when one fails, and brings its protocol buffers up to date after
    each, which nothing reads before the last; what is replaced in a protocol buffer keeps its memory. A text model of
    77 MB took 6.6 GB so.
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


def _drop_captures(proto: Any, inputs: int) -> None:
    """Remove the inputs behind the first `inputs`: constants of the function, which tf2onnx has already put inside."""
    used = {tensor for node in proto.graph.node for tensor in node.input}
    inside = {weight.name for weight in proto.graph.initializer}
    captured = [value.name for value in proto.graph.input[inputs:]]
    if missing := [name for name in captured if name in used - inside]:
        raise ValueError(f"the SavedModel is not frozen: {missing[0]} is neither an input nor a constant")
    del proto.graph.input[inputs:]


def _rename(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the graph's inputs and outputs the signature's names (tf2onnx names outputs after nodes)."""
    values = [*graph.input, *graph.output]
    new = dict(zip((value.name for value in values), (*inputs, *outputs), strict=True))
    tensors = {tensor for node in _nodes(graph) for tensor in (*node.input, *node.output)}
    tensors |= {weight.name for weight in graph.initializer}
    for name in tensors.intersection(new.values()) - new.keys():
        new[name] = _unused(f"{name}_inside", tensors)
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
    """Name nodes, tensors and weights after where they stand in the graph, and order the weights so.

    tf2onnx numbers what it inserts as it goes and keeps any one name of weights that it merges: without this, one
    model gives a different file each time.
    """
    if any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        return  # a nested graph may use any of them by name
    weights = {weight.name: weight for weight in proto.graph.initializer}
    fixed = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    names: dict[str, str] = {name: name for name in fixed}
    used: set[str] = set(fixed)
    for node in proto.graph.node:
        node.name = _unused(re.sub(r"__\d+", "", node.name.replace("PartitionedCall/", "")) or node.op_type, used)
        for position, tensor in enumerate(node.input):
            if tensor in weights:
                names.setdefault(tensor, f"{node.name}/weight_{position}")
        for position, tensor in enumerate(node.output):
            if tensor:  # an output that nobody asked for has no name
                names.setdefault(tensor, f"{node.name}:{position}")
    for node in proto.graph.node:
        node.input[:] = [names.get(tensor, tensor) for tensor in node.input]
        node.output[:] = [names.get(tensor, tensor) for tensor in node.output]
    for value in proto.graph.value_info:
        value.name = names.get(value.name, value.name)
    for weight in weights.values():
        weight.name = names.get(weight.name, weight.name)
    by_name = {weight.name: weight.SerializeToString() for weight in weights.values()}
    kind = type(next(iter(weights.values()))) if weights else None
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(
        kind.FromString(by_name[name]) for name in names.values() if kind and name in by_name
    )


def _unused(name: str, used: set[str]) -> str:
    """Return `name`, numbered if it is taken, and take it."""
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    used.add(candidate)
    return candidate
