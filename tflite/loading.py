"""Whether a file loads and runs on a runtime, by the table of operator versions, before anything is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.artifact import Operator
from ..core.runtime import FAMILIES, RUNTIMES
from .graph import Graph, Node
from .kernels import computed_version, since
from .runtime_versions import NEWEST, OFFSETS, STOCK_CUSTOM, VERSIONS, Since, newest_version, order, type_since


@dataclass(frozen=True)
class Need:
    """Something that a file needs of a runtime: `what` in words, and the first runtimes with it.

    An operator has its name and the file's `version` of it; `custom` ones may be in a custom-built runtime. `note` is a
    remark for the user.
    """

    what: str
    tflite: str
    litert: str
    operator: str = ""
    version: int = 0
    custom: bool = False
    note: str = ""


@dataclass(frozen=True)
class Incompatibility:
    """A need that a runtime does not meet; `reason` says so in words, with `first`, the runtimes that have it."""

    operator: str
    version: int
    reason: str
    first: str


def needs(graph: Graph) -> tuple[Need, ...]:
    """Return the needs of a graph: one for each operator version, tensor type and kind of storage."""
    unique = {_operator(node): None for node in graph.nodes}
    for dtype in sorted({tensor.dtype for tensor in graph.tensors}):
        first = type_since(dtype)
        unique[Need(f"{dtype} tensors", first.tflite, first.litert)] = None
    if graph.offsets:
        unique[Need("weights stored behind the graph (buffer offsets)", OFFSETS.tflite, OFFSETS.litert)] = None
    return tuple(sorted(unique, key=lambda need: (not need.operator, need.operator, need.version)))


def needs_of(ops: Sequence[Operator]) -> tuple[Need, ...]:
    """Return the needs of a file that follow from its operators alone."""
    needs = []
    for op in ops:
        listed = VERSIONS.get((op.name, op.version), Since("", ""))
        first = op.min_runtime or listed.tflite
        needs.append(Need(_called(op.name, op.version), first, listed.litert, op.name, op.version, op.custom))
    return tuple(needs)


def incompatibilities(needs: Sequence[Need], runtime: str, version: str) -> tuple[Incompatibility, ...]:
    """Return the needs that a runtime does not meet by the table; empty if the file should load and run.

    Empty too for a runtime of another make, whose operators the table does not have. Whether results are right is not
    known here: `evaluate.consistency` checks that. A need that no known runtime meets is an incompatibility of the
    runtimes that the table covers; newer ones may meet it.
    """
    column = RUNTIMES[runtime].versions
    if column not in NEWEST:
        return ()
    unmet = []
    for need in needs:
        first = need.litert if column == "litert" else need.tflite
        if need.custom or order(version) >= order(first or _after(NEWEST[column])):
            continue
        first_ones = ((FAMILIES["tflite"], need.tflite), (FAMILIES["litert"], need.litert))
        words = " or ".join(f"{family} {version}" for family, version in first_ones if version)
        from_on = f"there from {words} on" if words else "in no runtime that is known"
        reason = f"needs {need.what} ({from_on}), {_lacks(need, runtime, version)}"
        unmet.append(Incompatibility(need.operator, need.version, reason, words))
    return tuple(unmet)


def _operator(node: Node) -> Need:
    first, needed = since(node), computed_version(node)
    note = ""
    if node.custom and node.op not in STOCK_CUSTOM:
        note = f"operator {node.op} is a custom one: no stock runtime carries it"
    elif not first.tflite and not first.litert:
        note = f"operator {node.op} version {node.version} is in no runtime that the table knows"
    elif _understated(node, first):
        really = f"version {needed}" if needed > node.version else "a newer kernel"
        note = (
            f"operator {node.op} says version {node.version} and needs {really}, which came with TensorFlow Lite "
            f"{first.tflite}: older runtimes may load it and answer wrongly"
        )
    what = _called(node.op, node.version) + (f" (really {needed})" if needed > node.version else "")
    custom = node.custom and node.op not in STOCK_CUSTOM
    return Need(what, first.tflite, first.litert, node.op, node.version, custom, note)


def _understated(node: Node, first: Since) -> bool:
    """Whether old runtimes load the file and give wrong results; int16 they refuse, if late."""
    listed = VERSIONS.get((node.op, node.version))
    return listed is not None and order(listed.tflite) < order(first.tflite) and node.inputs[0].dtype != "int16"


def _called(name: str, version: int) -> str:
    return f"operator {name} version {version}"


def _lacks(need: Need, runtime: str, version: str) -> str:
    """Return in words what a runtime has instead of what is needed."""
    if not need.operator:
        return f"which {runtime} {version} does not read"
    newest = newest_version(runtime, version, need.operator)
    if newest >= need.version:
        return f"of which {runtime} {version} has only an older kernel"
    return f"which {runtime} {version} has up to version {newest}" if newest else f"which {runtime} {version} has not"


def _after(version: str) -> str:
    """Return a version that is newer than `version`, and older than any release after it."""
    major, minor, patch = order(version)
    return f"{major}.{minor}.{patch + 1}"
