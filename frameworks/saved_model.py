"""Reads ``saved_model.pb`` without TensorFlow: signatures and functions, their shapes, and all operators.

A parser of protobuf's wire format for the few messages that matter (field numbers from tensorflow/core/protobuf/
saved_model.proto, meta_graph.proto, saved_object_graph.proto and tensorflow/core/framework/graph.proto,
function.proto, node_def.proto, attr_value.proto). So a
file can be checked before anything is started and before TensorFlow sees it. Repeated fields are all read, so that
nothing hides behind the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.errors import InputError
from ..core.protobuf import Message
from ..core.sanitize import shorten

LIMIT_BYTES = 2 << 30  # protobuf's own limit
HUB_V1 = "tfhub_module.pb"
FLOAT32 = 1  # tensorflow/core/framework/types.proto, DT_FLOAT
STRING = 7  # DT_STRING
_INIT = "__saved_model_init_op"
_ASSETS = "saved_model_assets"  # the collection in files of TensorFlow 1; tensorflow/python/saved_model/constants.py
_ASSET_OBJECT = 5  # saved_object_graph.proto, SavedObject.asset
SERVING, TRAINING = "serve", "train"  # tensorflow/python/saved_model/tag_constants.py
UNTAGGED = "none"  # what a user writes for the graph without tags


@dataclass(frozen=True)
class Node:
    """A node of a graph. `calls` are the functions that its attributes name, `texts` its text attributes by name."""

    name: str
    op: str
    inputs: tuple[str, ...]
    calls: tuple[str, ...]
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Function:
    """A function of a graph's library. `plain`: each argument is one tensor, and no other function has its name."""

    name: str
    arguments: tuple[str, ...]
    nodes: tuple[Node, ...]
    plain: bool = True


@dataclass(frozen=True)
class Tensor:
    """An input or output of a signature: `shape` is None where the rank is unknown, -1 where a side is; `dtype` as
    in types.proto; `node` is the tensor's name in the graph."""

    shape: tuple[int, ...] | None
    dtype: int
    node: str


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature by name."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(frozen=True)
class MetaGraph:
    """One graph of a SavedModel; TF2 has one, the TF1 Hub format one per set of tags.

    `bound` maps the functions of objects to a flag for each tensor bound to their last arguments: whether it is the
    path of an asset. `children` are the names below the root object: ``__call__``, ``trainable_variables`` and so on in
    Hub's reusable SavedModels. `restore` is the saver's restore node. `assets` are pairs: the node that holds an
    asset's path, and the name of its file below ``assets/``. `has_defaults`: the file sets a default value for some
    signature's input.
    """

    tags: frozenset[str] = frozenset()
    nodes: tuple[Node, ...] = ()
    functions: dict[str, Function] = field(default_factory=dict)
    gradients: tuple[tuple[str, str], ...] = ()
    signatures: dict[str, Signature] = field(default_factory=dict)
    bound: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    children: frozenset[str] = frozenset()
    restore: str = ""
    initializers: tuple[str, ...] = ()
    assets: tuple[tuple[str, str], ...] = ()
    has_objects: bool = False
    has_defaults: bool = False

    @property
    def callables(self) -> frozenset[str]:
        """The functions of objects."""
        return frozenset(self.bound)


@dataclass(frozen=True)
class SavedModel:
    """A SavedModel's graphs. `hub_v1`: it is in the TF1 Hub format. `tags` are the tags that the user requests."""

    folder: Path
    graphs: tuple[MetaGraph, ...]
    hub_v1: bool
    tags: str = ""

    @property
    def main(self) -> MetaGraph:
        """The graph to load: the one with the requested tags; without `tags`, the serving graph.

        The serving graph is, in this order: the only graph, unless it is a training graph; the one tagged ``serve``
        alone; the only one with ``serve`` among its tags; the one without tags (the TF1 Hub format). Raises InputError
        if there is none of these, or none with the requested tags.
        """
        if self.tags:
            tags = frozenset() if self.tags == UNTAGGED else frozenset(filter(None, self.tags.split(",")))
            candidates = [graph for graph in self.graphs if graph.tags == tags]
            if not candidates:
                raise InputError(
                    f"{self.folder} has no graph with the tags {shorten(self.tags)!r}",
                    f"it has: {self.shown_tags} (--tags, in a recipe the model's key tags)",
                )
            return candidates[0]
        if len(self.graphs) == 1 and TRAINING not in self.graphs[0].tags - {SERVING}:
            return self.graphs[0]
        serving = [graph for graph in self.graphs if SERVING in graph.tags]
        exact = [graph for graph in serving if graph.tags == {SERVING}]
        untagged = [graph for graph in self.graphs if not graph.tags]
        for candidates in (exact, serving):
            if len(candidates) == 1:
                return candidates[0]
        if untagged and not serving:
            return untagged[0]
        raise InputError(
            f"{self.folder} holds graphs with the tags {self.shown_tags}, and it is not clear which is made to serve",
            f"choose one with --tags (in a recipe: the model's key tags), e.g. --tags {_tags(self.graphs[0])}",
        )

    @property
    def shown_tags(self) -> str:
        """The tags of each graph, as ``--tags`` takes them."""
        return "; ".join(_tags(graph) for graph in self.graphs)

    @property
    def callable(self) -> bool:
        """Whether the model itself can be called, as Hub's reusable SavedModels can."""
        return "__call__" in self.main.children and not self.hub_v1

    @property
    def signatures(self) -> dict[str, Signature]:
        """The signatures that can be used, without TensorFlow's own."""
        return {name: s for name, s in self.main.signatures.items() if not name.startswith("__")}


def _tags(graph: MetaGraph) -> str:
    return ",".join(sorted(graph.tags)) or UNTAGGED


def read(folder: Path, tags: str = "") -> SavedModel:
    """Read ``folder/saved_model.pb``; `tags` says which of several graphs is meant, see `SavedModel.main`.

    Raises InputError when it is missing, too large, or no SavedModel.
    """
    path = folder / "saved_model.pb"
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise InputError(f"{path} is larger than any SavedModel's graph can be")
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        graphs = tuple(_meta_graph(part) for part in Message(content).parts(2))
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        graphs = ()
        reason: Exception | None = error
    else:
        reason = None
    if not graphs:
        raise InputError(f"{path} is damaged, or not a SavedModel", "get or export the model again") from reason
    return SavedModel(folder, graphs, (folder / HUB_V1).is_file(), tags)


# --- the messages ------------------------------------------------------------------------------------------------


def _meta_graph(message: Message) -> MetaGraph:
    fields = message.grouped()
    nodes: list[Node] = []
    functions: dict[str, Function] = {}
    gradients: list[tuple[str, str]] = []
    for graph in fields.parts(2):
        nodes += [_node(part) for part in graph.parts(1)]
        for library in graph.parts(2):
            for part in library.parts(1):
                _add(functions, _function(part))
            pairs = [part.grouped() for part in library.parts(2)]
            gradients += [(pair.text(1), pair.text(2)) for pair in pairs]
    signatures = {name: _signature(part) for entry in fields.parts(5) for name, part in entry.grouped().entry()}
    collections = [(name, part) for entry in fields.parts(4) for name, part in entry.grouped().entry()]
    started = tuple(t.node for name, s in signatures.items() if name == _INIT for t in s.outputs.values())
    named = [part for name, part in collections if name.endswith(("init_op", "main_op"))]
    initializers = tuple(text for part in named for inner in part.parts(1) for text in inner.grouped().texts(1))
    listed = [value for name, part in collections if name == _ASSETS for many in part.parts(5)
              for one in many.parts(1) for value in one.parts(2)]  # fmt: skip
    objects = _Objects(fields.parts(7))
    savers = fields.parts(3)
    return MetaGraph(
        tags=frozenset(tag for info in fields.parts(1) for tag in info.grouped().texts(4)),
        nodes=tuple(nodes),
        functions=functions,
        gradients=tuple(gradients),
        signatures=signatures,
        bound=objects.bound,
        children=objects.children,
        restore=savers[-1].grouped().text(3) if savers else "",
        initializers=initializers + started,
        assets=tuple(_asset(part) for part in [*fields.parts(6), *listed]),
        has_objects=bool(fields.parts(7)),
        has_defaults=any(part.grouped().parts(4) for entry in fields.parts(5) for part in entry.parts(2)),
    )


def _add(functions: dict[str, Function], new: Function) -> None:
    """Add a function. Two with one name are merged, with the nodes of both: nothing hides behind the last one."""
    old = functions.get(new.name)
    functions[new.name] = new if old is None else replace(new, nodes=old.nodes + new.nodes, plain=False)


def _asset(message: Message) -> tuple[str, str]:
    """Return the tensor that holds an asset's path, and the asset's file name."""
    fields = message.grouped()
    return next((part.grouped().text(1) for part in reversed(fields.parts(1))), "").split(":")[0], fields.text(2)


class _Objects:
    """The parts of an object graph that are read: functions with their bound tensors, and the root's children."""

    def __init__(self, graphs: list[Message]) -> None:
        self.bound: dict[str, tuple[bool, ...]] = {}
        children: set[str] = set()
        for graph in graphs:
            assets: list[bool] = []
            for number, node in enumerate(graph.parts(1)):
                fields = node.grouped()
                assets.append(bool(fields.parts(_ASSET_OBJECT)))
                if number == 0:
                    children |= {child.grouped().text(2) for child in fields.parts(1)}
            for name, function in graph.entries(2):
                bound = function.grouped().numbers(2)
                self.bound[name] = tuple(at < len(assets) and assets[at] for at in bound)
        self.children = frozenset(children)


def _node(message: Message) -> Node:
    fields = message.grouped()
    calls: list[str] = []
    texts: list[tuple[str, str]] = []
    for entry in fields.parts(5):
        text_parts: list[Message] = []
        for value in entry.parts(2):
            for number, part in value.fields():
                if number == 2 and isinstance(part, Message):
                    text_parts.append(part)
                elif number == 10 and isinstance(part, Message):
                    calls.append(part.grouped().text(1))
                elif number == 1 and isinstance(part, Message):
                    inner = part.grouped()
                    text_parts += inner.parts(2)
                    calls += [function.grouped().text(1) for function in inner.parts(9)]
        if text_parts:
            name = entry.grouped().text(1)
            texts += [(name, part.text()) for part in text_parts]
    name, op = fields.text(1), fields.text(2)
    if not name or not op:
        raise ValueError("a node has no name, or no operator")
    return Node(name, op, fields.texts(3), tuple(calls), tuple(texts))


def _function(message: Message) -> Function:
    fields = message.grouped()
    signatures = [part.grouped() for part in fields.parts(1)]
    arguments = [argument.grouped() for signature in signatures for argument in signature.parts(2)]
    return Function(
        name=next((name for signature in reversed(signatures) if (name := signature.text(1))), ""),
        arguments=tuple(argument.text(1) for argument in arguments),
        nodes=tuple(_node(part) for part in fields.parts(3)),
        plain=not any(argument.text(5) or argument.text(6) for argument in arguments),
    )


def _signature(message: Message) -> Signature:
    return Signature(
        {name: _tensor(part) for name, part in message.entries(1)},
        {name: _tensor(part) for name, part in message.entries(2)},
    )


def _tensor(message: Message) -> Tensor:
    fields = message.grouped()
    shape: tuple[int, ...] | None = None
    for part in fields.parts(3):
        inner = part.grouped()
        sides = tuple(_signed(side.grouped().number(1)) for side in inner.parts(2))
        shape = None if inner.number(3) else sides
    return Tensor(shape, fields.number(2), fields.text(1))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
