"""Reads ``saved_model.pb`` without TensorFlow: what can be called, with which shapes, and which operators would run.

A parser of protobuf's wire format for the few messages that matter (field numbers from tensorflow/core/protobuf/
saved_model.proto, meta_graph.proto, saved_object_graph.proto and tensorflow/core/framework/graph.proto,
function.proto, node_def.proto, attr_value.proto). It makes the checks possible before anything is started, and before
a file from a stranger is given to TensorFlow. Fields that stand twice are all read, so nothing hides behind the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...core.errors import InputError
from ...core.names import shorten
from ...core.protobuf import fields

LIMIT_BYTES = 2 << 30  # protobuf's own limit
HUB_V1 = "tfhub_module.pb"
FLOAT32 = 1  # tensorflow/core/framework/types.proto, DT_FLOAT
STRING = 7  # DT_STRING
_INIT = "__saved_model_init_op"
SERVING, TRAINING = "serve", "train"  # tensorflow/python/saved_model/tag_constants.py
UNTAGGED = "none"  # what a user writes for the graph without tags


@dataclass(frozen=True)
class Node:
    """A node of a graph. `calls` are the functions that its attributes name, `texts` its string attributes."""

    name: str
    op: str
    inputs: tuple[str, ...]
    calls: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """A function of a graph's library."""

    name: str
    arguments: tuple[str, ...]
    nodes: tuple[Node, ...]


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

    `callables` are the functions that objects offer; `children` the names below the root object: ``__call__``,
    ``trainable_variables`` and so on in Hub's reusable SavedModels. `restore` is the saver's restore node.
    """

    tags: frozenset[str] = frozenset()
    nodes: tuple[Node, ...] = ()
    functions: dict[str, Function] = field(default_factory=dict)
    gradients: tuple[tuple[str, str], ...] = ()
    signatures: dict[str, Signature] = field(default_factory=dict)
    callables: frozenset[str] = frozenset()
    children: frozenset[str] = frozenset()
    restore: str = ""
    initializers: tuple[str, ...] = ()


@dataclass(frozen=True)
class SavedModel:
    """A SavedModel's graphs. `hub_v1`: it is in the TF1 Hub format. `tags` are those that the user asks for."""

    folder: Path
    graphs: tuple[MetaGraph, ...]
    hub_v1: bool
    tags: str = ""

    @property
    def main(self) -> MetaGraph:
        """The graph that is loaded: the one with the wanted tags; without any, the one that is made to serve.

        That is the only graph, unless it is made for training; the one tagged ``serve`` alone; the only one with
        ``serve`` among its tags; the one without tags (the TF1 Hub format's own). Raises InputError where none of
        these is there, or the wanted tags are not.
        """
        if self.tags:
            wanted = frozenset() if self.tags == UNTAGGED else frozenset(filter(None, self.tags.split(",")))
            found = [graph for graph in self.graphs if graph.tags == wanted]
            if not found:
                raise InputError(
                    f"{self.folder} has no graph with the tags {shorten(self.tags)!r}",
                    f"it has: {self.shown_tags} (--tags, in a recipe the model's key tags)",
                )
            return found[0]
        if len(self.graphs) == 1 and TRAINING not in self.graphs[0].tags - {SERVING}:
            return self.graphs[0]
        serving = [graph for graph in self.graphs if SERVING in graph.tags]
        exact = [graph for graph in serving if graph.tags == {SERVING}]
        untagged = [graph for graph in self.graphs if not graph.tags]
        for found in (exact, serving):
            if len(found) == 1:
                return found[0]
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
        graphs = tuple(_meta_graph(part) for part in _parts(content, 2))
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        graphs = ()
        reason: Exception | None = error
    else:
        reason = None
    if not graphs:
        raise InputError(f"{path} is damaged, or not a SavedModel", "get or export the model anew") from reason
    return SavedModel(folder, graphs, (folder / HUB_V1).is_file(), tags)


# --- fields of a message -----------------------------------------------------------------------------------------


def _parts(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for found, value in fields(message) if found == number and isinstance(value, memoryview))


def _texts(message: memoryview, number: int) -> tuple[str, ...]:
    return tuple(bytes(part).decode("utf-8", "replace") for part in _parts(message, number))


def _text(message: memoryview, number: int) -> str:
    return next(iter(reversed(_texts(message, number))), "")


def _entries(message: memoryview, number: int) -> Iterator[tuple[str, memoryview]]:
    """Yield the entries of a map field."""
    for entry in _parts(message, number):
        for value in _parts(entry, 2):
            yield _text(entry, 1), value


# --- the messages ------------------------------------------------------------------------------------------------


def _meta_graph(message: memoryview) -> MetaGraph:
    nodes: list[Node] = []
    functions: dict[str, Function] = {}
    gradients: list[tuple[str, str]] = []
    for graph in _parts(message, 2):
        nodes += [_node(part) for part in _parts(graph, 1)]
        for library in _parts(graph, 2):
            functions |= {f.name: f for f in (_function(part) for part in _parts(library, 1))}
            gradients += [(_text(part, 1), _text(part, 2)) for part in _parts(library, 2)]
    signatures = {name: _signature(part) for name, part in _entries(message, 5)}
    objects = list(_parts(message, 7))
    first = [next(_parts(part, 1), None) for part in objects]
    collections = [collection for name, collection in _entries(message, 4) if name.endswith(("init_op", "main_op"))]
    initializers = tuple(text for c in collections for nodes_ in _parts(c, 1) for text in _texts(nodes_, 1))
    started = tuple(t.node for name, s in signatures.items() if name == _INIT for t in s.outputs.values())
    return MetaGraph(
        tags=frozenset(tag for info in _parts(message, 1) for tag in _texts(info, 4)),
        nodes=tuple(nodes),
        functions=functions,
        gradients=tuple(gradients),
        signatures=signatures,
        callables=frozenset(name for part in objects for name, _ in _entries(part, 2)),
        children=frozenset(_text(child, 2) for root in first if root is not None for child in _parts(root, 1)),
        restore=next((_text(saver, 3) for saver in _parts(message, 3)), ""),
        initializers=initializers + started,
    )


def _node(message: memoryview) -> Node:
    calls: list[str] = []
    texts: list[str] = []
    for _, value in _entries(message, 5):
        texts += _texts(value, 2)
        functions = list(_parts(value, 10))
        for several in _parts(value, 1):
            texts += _texts(several, 2)
            functions += _parts(several, 9)
        calls += [_text(function, 1) for function in functions]
    return Node(_text(message, 1), _text(message, 2), _texts(message, 3), tuple(calls), tuple(texts))


def _function(message: memoryview) -> Function:
    signature = list(_parts(message, 1))
    return Function(
        name=next((_text(part, 1) for part in signature), ""),
        arguments=tuple(_text(argument, 1) for part in signature for argument in _parts(part, 2)),
        nodes=tuple(_node(part) for part in _parts(message, 3)),
    )


def _signature(message: memoryview) -> Signature:
    return Signature(
        {name: _tensor(part) for name, part in _entries(message, 1)},
        {name: _tensor(part) for name, part in _entries(message, 2)},
    )


def _tensor(message: memoryview) -> Tensor:
    shape: tuple[int, ...] | None = None
    for part in _parts(message, 3):
        sides = [next((value for number, value in fields(d) if number == 1), 0) for d in _parts(part, 2)]
        unknown = any(value for number, value in fields(part) if number == 3)
        shape = None if unknown else tuple(_signed(side) for side in sides if isinstance(side, int))
    dtype = next((value for number, value in fields(message) if number == 2 and isinstance(value, int)), 0)
    return Tensor(shape, dtype, _text(message, 1))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
