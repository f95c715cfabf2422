"""Which files the graph of a SavedModel may read: its own assets, whose paths the loader gives to the graph.

A path is traced back from the operator that reads the file to its source. The source must be an asset, or an input of
the model, whose value comes from the user. A path that the graph contains or computes was chosen by the model's
author, and may be any file of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath

from ..core.sanitize import shorten
from .saved_model import Function, MetaGraph, Node

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_PASSES_ON = frozenset({"Identity"})


def escaping(folder: Path, graph: MetaGraph) -> Iterator[str]:
    """Yield the assets whose names or links lead out of the SavedModel at `folder`."""
    # A cache may store all files of a model elsewhere and link to them; then the graph is there too.
    homes = (folder.resolve(), (folder / "saved_model.pb").resolve().parent)
    for _, name in graph.assets:
        parts = PurePosixPath(name).parts
        path = (folder / "assets" / name).resolve() if "\0" not in name else Path("/")
        outside = not any(path.is_relative_to(home) for home in homes)
        if not parts or name.startswith("/") or ".." in parts or ":" in parts[0] or outside:
            yield f"the asset {shorten(name, 80)!r} leads to a file that is no part of the model"


class Sources:
    """Traces paths back through a graph and its functions.

    `restored`: TensorFlow's loader runs the functions of objects and binds them to assets, and the main graph is not
    run. Otherwise it runs the main graph, and passes asset paths while tables are initialized, but not while the nodes
    named in `answering` compute a signature's outputs.
    """

    def __init__(self, graph: MetaGraph, *, restored: bool, answering: set[str]) -> None:
        self._graph = graph
        self._main = frozenset(name for name, _ in graph.assets)
        self._restored = restored
        self._answering = answering
        self._gradients = {name for pair in graph.gradients for name in pair[1:]}
        self._asset_arguments: dict[tuple[str, int], bool] = {}

    def harmless(self, function: Function | None, node: Node, at: int) -> bool:
        """Whether the data input `at` of a node (of `function`, or of the main graph) is a path that may be read."""
        inputs = [name for name in node.inputs if not name.startswith("^")]
        if at >= len(inputs):
            return False
        by_name = self._by_name(function)
        name, seen = _bare(inputs[at]), set[str]()
        while name in by_name and by_name[name].op in _PASSES_ON and by_name[name].inputs and name not in seen:
            seen.add(name)
            name = _bare(by_name[name].inputs[0])
        if function is not None:
            return (
                name not in by_name
                and function.plain
                and name in function.arguments
                and self._argument(function, function.arguments.index(name))
            )
        source = by_name.get(name)
        if source is None:
            return False
        if name in self._main:
            return self._restored or node.name not in self._answering
        return source.op == "Placeholder" and not self._graph.has_defaults

    def _argument(self, function: Function, at: int) -> bool:
        """Whether every caller of a function passes an asset's path as argument `at`."""
        key = (function.name, at)
        if key not in self._asset_arguments:
            self._asset_arguments[key] = False  # a recursive call adds no other source
            self._asset_arguments[key] = self._always_asset(function, at)
        return self._asset_arguments[key]

    def _always_asset(self, function: Function, at: int) -> bool:
        if function.name in self._gradients:
            return False
        bound = self._graph.bound.get(function.name, ())
        place = at - (len(function.arguments) - len(bound))
        if not (bound[place] if place >= 0 else not self._graph.has_defaults):
            return False
        return all(
            (node.op in _CALLS or node.op == function.name) and self.harmless(caller, node, at)
            for caller, node in self._callers.get(function.name, ())
            if caller is not None or not self._restored
        )

    @cached_property
    def _callers(self) -> dict[str, list[tuple[Function | None, Node]]]:
        callers: dict[str, list[tuple[Function | None, Node]]] = {}
        for function, nodes in bodies(self._graph):
            for node in nodes:
                for name in {node.op, *node.calls} & self._graph.functions.keys():
                    callers.setdefault(name, []).append((function, node))
        return callers

    def _by_name(self, function: Function | None) -> dict[str, Node]:
        key = "" if function is None else function.name
        if key not in self._bodies:
            nodes = self._graph.nodes if function is None else function.nodes
            self._bodies[key] = {node.name: node for node in nodes}
        return self._bodies[key]

    @cached_property
    def _bodies(self) -> dict[str, dict[str, Node]]:
        return {}


def bodies(graph: MetaGraph) -> Iterator[tuple[Function | None, Iterable[Node]]]:
    """Yield the nodes of the main graph (with None) and of each function."""
    yield None, graph.nodes
    for function in graph.functions.values():
        yield function, function.nodes


def _bare(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]
