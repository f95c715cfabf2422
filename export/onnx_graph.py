"""A frozen SavedModel as one flat TensorFlow graph, the input of tf2onnx.

tf2onnx knows operators and loops, and no calls of functions. A SavedModel is little else: its signature calls the
frozen function, a Hub module is a function in that, and Keras compiles layers into functions of their own (grouped
convolutions, models under ``jit_compile``). TensorFlow's inlining leaves some of these as they are: those marked as not
to be inlined or to be compiled, and those within the bodies of loops and branches. So it is done here, on the
definitions of the functions, where it is a matter of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.model import SIGNATURE
from ..frameworks.meta_graph import Interface

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# Operators that make resources outside the graph: a graph with one is not frozen.
_RESOURCES = ("VarHandleOp", "Variable", "VariableV2", "HashTableV2", "MutableHashTableV2")


@dataclass(frozen=True)
class FlatGraph:
    """A ``GraphDef`` whose placeholders are ``input_0`` … and whose results are ``output_0`` …, in the given order."""

    definition: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def flat_graph(meta: Any, interface: Interface) -> FlatGraph:
    """Return the signature's graph with all function calls inlined and without control inputs.

    Loops and branches stay, as operators with functions; the calls within these are inlined too. Raises ValueError
    when the graph needs a variable or a table.
    """
    from tensorflow.core.framework import graph_pb2

    signature = meta.signature_def[SIGNATURE]
    renamed = {signature.inputs[name].name: f"input_{index}" for index, name in enumerate(interface.inputs)}
    main = _main(meta.graph_def, renamed, [signature.outputs[name].name for name in interface.outputs])
    library = _Library(meta.graph_def.library.function)
    body = library.flatten(main)
    if resource := next((node for node in body.nodes if node.op in _RESOURCES), None):
        raise ValueError(f"the SavedModel is not frozen: {resource.name} is neither an input nor a constant")
    definition = graph_pb2.GraphDef()
    definition.versions.CopyFrom(meta.graph_def.versions)
    for index, name in enumerate(interface.inputs):
        node = definition.node.add(name=f"input_{index}", op="Placeholder")
        node.attr["dtype"].type = signature.inputs[name].dtype
        node.attr["shape"].shape.CopyFrom(signature.inputs[name].tensor_shape)
    ports = {node.name: _ports(node) for node in body.nodes}
    for node in body.nodes:
        node.input[:] = [_flat_name(tensor, ports) for tensor in node.input]
        if node.op == "PlaceholderWithDefault":
            _take_default(node)
        definition.node.append(node)
    for index, (name, tensor) in enumerate(zip(interface.outputs, body.returns, strict=True)):
        node = definition.node.add(name=f"output_{index}", op="Identity", input=[_flat_name(tensor, ports)])
        node.attr["T"].type = signature.outputs[name].dtype
    definition.library.function.extend(library.reachable(body.nodes))
    return FlatGraph(
        definition,
        tuple(f"input_{index}:0" for index in range(len(interface.inputs))),
        tuple(f"output_{index}:0" for index in range(len(interface.outputs))),
    )


def _take_default(node: Any) -> None:
    """Replace a placeholder that is not fed by its default; tf2onnx would make it an input of the file."""
    node.op = "Identity"
    node.attr["T"].type = node.attr["dtype"].type
    del node.attr["dtype"], node.attr["shape"]


def optimized(graph: FlatGraph) -> FlatGraph:
    """Return `graph` with its constants folded by TensorFlow. tf2onnx relies on it: ONNX needs many as attributes.

    TensorFlow adds control inputs, which tf2onnx refuses. The results do not depend on them: without variables the
    order of operators follows from their tensors.
    """
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    config.graph_options.infer_shapes = True
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers.extend(("constfold", "dependency"))
    rewrites.min_graph_nodes = -1  # small graphs too
    # Quantization operators around weights must stay there.
    rewrites.experimental_disable_folding_quantization_emulation = True
    meta = meta_graph_pb2.MetaGraphDef()
    meta.graph_def.CopyFrom(graph.definition)
    meta.collection_def["train_op"].node_list.value.extend((*graph.inputs, *graph.outputs))
    definition = tf_optimizer.OptimizeGraph(config, meta)
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        for node in nodes:
            node.input[:] = [tensor for tensor in node.input if not tensor.startswith("^")]
    return FlatGraph(definition, graph.inputs, graph.outputs)


@dataclass
class _Body:
    """A function's nodes, named as in a ``FunctionDef``: a tensor is ``argument`` or ``node:output:number``."""

    arguments: list[str]
    nodes: list[Any]
    returns: list[str]


def _main(graph: Any, renamed: Mapping[str, str], results: Iterable[str]) -> _Body:
    """Return the nodes of a ``GraphDef`` that `results` need; the tensors named in `renamed` are the arguments."""
    nodes = {node.name: node for node in graph.node}

    def inner(tensor: str) -> str:
        name, _, port = tensor.partition(":")
        if (argument := renamed.get(f"{name}:{port or 0}")) is not None:
            return argument
        return f"{name}:{_ports(nodes[name])[int(port or 0)]}"

    copies = []
    for node in graph.node:
        copy = _copy(node)
        copy.input[:] = [inner(tensor) for tensor in node.input if not tensor.startswith("^")]
        copies.append(copy)
    return _pruned(_Body(list(renamed.values()), copies, [inner(tensor) for tensor in results]))


class _Library:
    """The functions of a graph, each inlined once, at its first use."""

    def __init__(self, functions: Iterable[Any]) -> None:
        self._functions = {function.signature.name: function for function in functions}
        self._flat: dict[str, _Body] = {}

    def flatten(self, body: _Body) -> _Body:
        """Return `body` with all its calls replaced by the nodes of the called functions."""
        nodes: list[Any] = []
        replaced: dict[str, str] = {}
        used = {node.name for node in body.nodes} | set(body.arguments)
        for node in body.nodes:
            name = node.attr["f"].func.name if node.op in _CALLS else node.op
            if name not in self._functions:
                nodes.append(node)
                continue
            called = self._body(name)
            names = {inner.name: unused(f"{node.name}/{inner.name}", used) for inner in called.nodes}
            # Without control inputs, which stand last, the inputs are the arguments.
            values = dict(zip(called.arguments, node.input, strict=True))

            def outer(tensor: str, names: Mapping[str, str] = names, values: Mapping[str, str] = values) -> str:
                name, colon, port = tensor.partition(":")
                return names[name] + colon + port if colon else values[tensor]

            for inner in called.nodes:
                copy = _copy(inner)
                copy.name = names[inner.name]
                copy.input[:] = [outer(tensor) for tensor in inner.input]
                nodes.append(copy)
            # A call of the function by its own name has the function's outputs; others number theirs.
            outputs = self._functions[name].signature.output_arg
            ports = [f"output:{i}" if node.op in _CALLS else f"{o.name}:0" for i, o in enumerate(outputs)]
            replaced |= {f"{node.name}:{port}": outer(t) for port, t in zip(ports, called.returns, strict=True)}

        def resolve(tensor: str) -> str:
            while tensor in replaced:  # what a call returns may be what another gave it
                tensor = replaced[tensor]
            return tensor

        for node in nodes:
            node.input[:] = [resolve(tensor) for tensor in node.input]
        return _pruned(_Body(body.arguments, nodes, [resolve(tensor) for tensor in body.returns]))

    def reachable(self, nodes: Iterable[Any]) -> Iterator[Any]:
        """Return the functions that the loops and branches among `nodes` name, inlined, and those that these name."""
        waiting, done = [name for node in nodes for name in _named(node)], set()
        while waiting:
            name = waiting.pop(0)
            if name in done or not name:
                continue
            done.add(name)
            body = self._body(name)
            function = type(self._functions[name])()
            function.signature.CopyFrom(self._functions[name].signature)
            for place, attributes in self._functions[name].arg_attr.items():
                function.arg_attr[place].CopyFrom(attributes)
            function.node_def.extend(body.nodes)
            for output, tensor in zip(function.signature.output_arg, body.returns, strict=True):
                function.ret[output.name] = tensor
            waiting += [inner for node in body.nodes for inner in _named(node)]
            yield function

    def _body(self, name: str) -> _Body:
        if name not in self._flat:
            function = self._functions[name]
            nodes = []
            for node in function.node_def:
                copy = _copy(node)
                copy.input[:] = [tensor for tensor in node.input if not tensor.startswith("^")]
                nodes.append(copy)
            arguments = [argument.name for argument in function.signature.input_arg]
            returns = [function.ret[output.name] for output in function.signature.output_arg]
            self._flat[name] = self.flatten(_pruned(_Body(arguments, nodes, returns)))
        return self._flat[name]


def _pruned(body: _Body) -> _Body:
    """Return `body` with only the nodes that its results need, in their order."""
    nodes = {node.name: node for node in body.nodes}
    waiting, needed = list(body.returns), set()
    while waiting:
        name = waiting.pop().partition(":")[0]
        if name in nodes and name not in needed:
            needed.add(name)
            waiting += nodes[name].input
    return _Body(body.arguments, [node for node in body.nodes if node.name in needed], body.returns)


def _copy(node: Any) -> Any:
    """Return a copy of a node without TensorFlow's internal notes: devices, compilation, gradients, shapes."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.device = ""
    for name in [name for name in copy.attr if name.startswith("_")]:
        del copy.attr[name]
    return copy


def _named(node: Any) -> list[str]:
    """Return the names of the functions in a node's attributes."""
    names = []
    for attribute in node.attr.values():
        kind = attribute.WhichOneof("value")
        if kind == "func":
            names.append(attribute.func.name)
        elif kind == "list":
            names += [function.name for function in attribute.list.func]
    return names


def _ports(node: Any) -> list[str]:
    """Return a node's outputs as a ``FunctionDef`` calls them (``output:number``), in their order."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None:
        raise ValueError(f"TensorFlow has no operator {node.op}")
    ports = []
    for output in definition.output_arg:
        if output.number_attr:
            count = node.attr[output.number_attr].i
        elif output.type_list_attr:
            count = len(node.attr[output.type_list_attr].list.type)
        else:
            count = 1
        ports += [f"{output.name}:{number}" for number in range(count)]
    return ports


def _flat_name(tensor: str, ports: Mapping[str, list[str]]) -> str:
    """Return a tensor's name in a ``GraphDef``.

    A node's first output has no number: TensorFlow's constant folding otherwise writes control inputs of tensors.
    """
    name, _, port = tensor.partition(":")
    number = ports[name].index(port) if port else 0
    return f"{name}:{number}" if number else name


def unused(name: str, used: set[str]) -> str:
    """Return `name`, numbered if it is in use, and add it to `used`."""
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    used.add(candidate)
    return candidate
