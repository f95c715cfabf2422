"""Refuses a SavedModel that may do more than compute, unless it is trusted.

TensorFlow runs whatever the graph says (https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md: "models are
programs"). So the operator of every node of every graph and function must only compute (`operators`), whether the node
would run or not. Three uses of files are normal and allowed: the saver, which every SavedModel has and only
TensorFlow's loader calls; and, for the model's own assets alone (`assets`), tables of words and ``ReadFile``. This is a
filter, not a sandbox: the kernels of operators may have bugs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..core.sanitize import shorten
from .assets import Sources, bodies, escaping
from .operators import ATTRIBUTES, COMPUTING, READS_ASSET, SAVER, SAVER_WRITES, refusal
from .saved_model import Function, MetaGraph, Node, SavedModel, read
from .tf1 import has_references

_LISTED = 5


def check_security(folder: Path, *, trust: bool, where: str) -> None:
    """Raise InputError when the SavedModel at `folder` has operators that may do more than compute, unless `trust`.

    `where` begins the message, e.g. ``model 'm'``. Reads the graph without TensorFlow.
    """
    if trust:
        return
    saved = read(folder)
    if problems := _listed(saved, recognized=True):
        raise InputError(
            f"{where}: the SavedModel {folder} does more than computing: {'; '.join(problems)}",
            "if you know where it comes from and why it does that, set trust = true (--trust)",
        )
    if problems := _listed(saved, recognized=False):
        raise InputError(
            f"{where}: the SavedModel {folder} has operators that are none of TensorFlow's or tensorflow_text's that "
            f"only compute: {'; '.join(problems)}",
            "other packages' operators are not supported. If a package that is installed here brings them, and you "
            "know where the model comes from, set trust = true (--trust)",
        )


def dangerous(folder: Path) -> list[str]:
    """Return up to five operators, with their nodes, of the SavedModel at `folder` that may do more than compute."""
    saved = read(folder)
    return (_listed(saved, recognized=True) + _listed(saved, recognized=False))[:_LISTED]


def _listed(saved: SavedModel, *, recognized: bool) -> list[str]:
    """Return the first findings without repeats: `recognized` operators that do more than compute, or unknown ones."""
    problems: dict[str, None] = {}
    for graph in saved.graphs:
        # As TensorFlow's loader decides; the loader of TensorFlow 1 loads a graph with references (`tf1`).
        restored = len(saved.graphs) == 1 and graph.has_objects and not has_references(graph)
        findings = _Graph(graph, restored=restored).findings(recognized=recognized)
        for text in [*(escaping(saved.folder, graph) if recognized else ()), *findings]:
            problems[text] = None
            if len(problems) == _LISTED:
                return list(problems)
    return list(problems)


@dataclass(frozen=True)
class _Reach:
    """Names of the nodes of the main graph, and of the functions, that can run."""

    nodes: set[str]
    functions: set[str]

    def holds(self, function: Function | None, node: Node) -> bool:
        return node.name in self.nodes if function is None else function.name in self.functions


class _Graph:
    """One graph of a SavedModel, with the nodes and functions that can run."""

    def __init__(self, graph: MetaGraph, *, restored: bool) -> None:
        self.graph = graph
        roots = [t.node for signature in graph.signatures.values() for t in signature.outputs.values()]
        started = {_bare(name) for name in graph.initializers}
        answering = _ancestors(graph.nodes, [root for root in roots if _bare(root) not in started])
        run = _ancestors(graph.nodes, [*roots, *graph.initializers])
        restoring = _ancestors(graph.nodes, [graph.restore] if graph.restore else [])
        self.running = _Reach(run, _called(graph, run, offered=True))
        self.restoring = _Reach(restoring, _called(graph, restoring, offered=False))
        self.sources = Sources(graph, restored=restored, answering=answering)

    def findings(self, *, recognized: bool) -> Iterator[str]:
        for function, nodes in bodies(self.graph):
            for node in nodes:
                if node.op in COMPUTING or node.op in self.graph.functions:
                    continue
                why = self._why_not(function, node)
                if why is not None and bool(why) == recognized:
                    operator = f"{shorten(node.op, 40)} ({shorten(node.name, 80)})"
                    yield f"{operator} {why}" if why else operator

    def _why_not(self, function: Function | None, node: Node) -> str | None:
        """Return why a node is refused; empty if its operator is unknown, None if the node is harmless."""
        if node.op in SAVER:
            writes = node.op in SAVER_WRITES and self.restoring.holds(function, node)
            return "reads or writes files" if writes or self.running.holds(function, node) else None
        if node.op in READS_ASSET:
            if self.sources.harmless(function, node, READS_ASSET[node.op]):
                return None
            return "reads a file that is none of the model's assets"
        if node.op in ATTRIBUTES:
            name, allowed = ATTRIBUTES[node.op]
            values = [text for key, text in node.texts if key == name and text and not allowed.match(text)]
            return f"has {name} = {shorten(values[0], 60)!r}" if values else None
        return refusal(node.op)


def _references(node: Node) -> tuple[str, ...]:
    """Names of functions that a node may call: in an attribute, or as its operator."""
    return (node.op, *node.calls)


def _ancestors(nodes: tuple[Node, ...], roots: Iterable[str]) -> set[str]:
    """Names of the nodes that must run for `roots`, control inputs included."""
    by_name = {node.name: node for node in nodes}
    waiting, seen = [_bare(root) for root in roots], set()
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in seen:
            seen.add(name)
            waiting += [_bare(source) for source in by_name[name].inputs]
    return seen


def _bare(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]


def _called(graph: MetaGraph, nodes: set[str], *, offered: bool) -> set[str]:
    """Names of the functions that can run: those of the model's objects, those that `nodes` call, and their callees."""
    gradients: dict[str, list[str]] = {}
    for name, gradient in graph.gradients:
        gradients.setdefault(name, []).append(gradient)
    waiting = [name for node in graph.nodes if node.name in nodes for name in _references(node)]
    waiting += graph.callables if offered else ()
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in graph.functions and name not in seen:
            seen.add(name)
            waiting += gradients.get(name, [])
            waiting += [called for node in graph.functions[name].nodes for called in _references(node)]
    return seen
