"""Large weights beside the graph: converters copy a graph a dozen times, and its weights need not be copied with it.

They are removed from the SavedModel's graph (`Weights.taken_from`), hidden from TensorFlow where it would not compute
with them (`Weights.hide`, `Weights.show`), passed to tf2onnx by name, removed from its result (`taken_from_onnx`), and
put into the finished file (`put_into`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# Minimum size in bytes. TensorFlow and tf2onnx compute shapes and axes with small constants.
_LARGE = 2**18
_MARK = "edgeproof_weight"
# Operators that are not folded when one of their inputs is a weight.
_USERS = frozenset(
    ("MatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "DepthwiseConv2dNative", "GatherV2", "ResourceGather")
)
# Operators that TensorFlow folds into the weights of a preceding convolution.
_MOVED = frozenset(("Mul", "RealDiv", "Div"))


class Weights:
    """The contents of the large constants of a graph.

    `named` are those that the graph lacks, by the name of their node; tf2onnx takes such a table.
    """

    def __init__(self) -> None:
        self._contents: list[bytes] = []
        self.named: dict[str, bytes] = {}

    def taken_from(self, meta: Any) -> Any:
        """Return a ``MetaGraphDef`` without the contents of its large constants, which are marked and kept here."""
        for node in _constants(meta.graph_def):
            tensor = node.attr["value"].tensor
            if len(tensor.tensor_content) >= _LARGE:
                node.attr[_MARK].i = len(self._contents)
                self._contents.append(tensor.tensor_content)
                tensor.ClearField("tensor_content")
        # Cleared fields keep their memory until the message is freed.
        return type(meta).FromString(meta.SerializeToString())

    def hide(self, definition: Any) -> None:
        """Replace marked constants of a ``GraphDef`` by ones without contents, and restore the contents of the others.

        A constant needs its contents where TensorFlow may compute with it, and in loops and branches.
        """
        users = _Users(definition)
        inner = {node.name for function in definition.library.function for node in function.node_def}
        for node in definition.node:
            if _MARK in node.attr and node.name not in inner and users.only_apply(node.name):
                self.named[node.name] = self._contents[node.attr[_MARK].i]
                users.shorten_ways(node.name)
        for node in _constants(definition):
            if _MARK not in node.attr:
                continue
            tensor = node.attr["value"].tensor
            if node.name in self.named:
                node.op = "ImmutableConst"
                node.attr["shape"].shape.CopyFrom(tensor.tensor_shape)
                node.attr["memory_region_name"].s = b""
                del node.attr["value"]
            else:
                tensor.tensor_content = self._contents[node.attr[_MARK].i]
            del node.attr[_MARK]
        self._contents.clear()

    def show(self, definition: Any) -> None:
        """Turn hidden constants of a ``GraphDef`` back into constants, whose contents are in `named`."""
        for node in definition.node:
            if node.op == "ImmutableConst":
                node.op = "Const"
                tensor = node.attr["value"].tensor
                tensor.dtype = node.attr["dtype"].type
                tensor.tensor_shape.CopyFrom(node.attr["shape"].shape)
                del node.attr["shape"], node.attr["memory_region_name"]


class _Users:
    """The users of each tensor of a ``GraphDef`` in which a node's first output has no number."""

    def __init__(self, definition: Any) -> None:
        self._users: dict[str, list[Any]] = {}
        for node in definition.node:
            for tensor in node.input:
                self._users.setdefault(tensor, []).append(node)

    def only_apply(self, name: str) -> bool:
        """Return whether all users of the tensor `name` are operators that apply a weight to a tensor."""
        users = self._users.get(name, ())
        return bool(users) and all(
            self.only_apply(user.name) if user.op == "Identity" else self._applies(user) for user in users
        )

    def _applies(self, node: Any) -> bool:
        if node.op not in _USERS or len(set(node.input)) == 1:
            return False
        return node.op != "Conv2D" or all(user.op not in _MOVED for user in self._users.get(node.name, ()))

    def shorten_ways(self, name: str) -> None:
        """Connect users of `name` through identities directly to it, as constant folding does."""
        waiting = [user for user in self._users[name] if user.op == "Identity"]
        while waiting:
            between = waiting.pop()
            for user in self._users.get(between.name, ()):
                user.input[:] = [name if tensor == between.name else tensor for tensor in user.input]
                if user.op == "Identity":
                    waiting.append(user)


def taken_from_onnx(graph: Any) -> list[bytes]:
    """Remove the contents of large constants from a tf2onnx ``Graph``; their tensors' doc strings hold the indices."""
    from onnx import helper

    contents: list[bytes] = []
    for node in graph.get_nodes():
        if not node.is_const():
            continue
        tensor = node.get_attr_value("value")
        if len(tensor.raw_data) < _LARGE:
            continue
        contents.append(tensor.raw_data)
        light = type(tensor)(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=b"")
        light.doc_string = f"{len(contents) - 1}"
        node.set_attr("value", light)
        # The old message holds the contents too.
        node._op = helper.make_node(node.type, list(node.input), list(node.output), node.name, domain=node.domain)
        del tensor
    return contents


def put_into(graph: Any, contents: list[bytes]) -> None:
    """Put what `taken_from_onnx` returned into the weights of a ``GraphProto``, and empty the list."""
    for weight in graph.initializer:
        if weight.doc_string:
            number = int(weight.doc_string)
            weight.raw_data, contents[number] = contents[number], b""
            weight.ClearField("doc_string")


def _constants(definition: Any) -> Iterator[Any]:
    bodies: Iterable[Any] = (definition.node, *(function.node_def for function in definition.library.function))
    return (node for body in bodies for node in body if node.op == "Const")
