"""A SavedModel is a program. This refuses one that would touch files, the network or Python, unless it is trusted.

TensorFlow runs whatever the graph says (https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md: "models are
programs"). A network for images or texts needs none of the operators in `DANGEROUS`. Three uses of files are normal
and let through: the saver, which every SavedModel carries and which only TensorFlow's loader calls; vocabularies read
by table initializers (they are no operators of this list); and ``ReadFile`` of an asset whose path the loader passes.
The list is what TensorFlow's own registry offers; it is a filter, not a sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...core.errors import InputError
from ...core.names import shorten
from .saved_model import Function, MetaGraph, Node, read

PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunction"})
FILES = frozenset(
    {
        "WriteFile", "ReadFile", "MatchingFiles", "WholeFileReader", "WholeFileReaderV2", "TextLineReader",
        "TextLineReaderV2", "FixedLengthRecordReader", "FixedLengthRecordReaderV2", "TFRecordReader",
        "TFRecordReaderV2", "LMDBReader", "IdentityReader", "IdentityReaderV2", "TextLineDataset", "TFRecordDataset",
        "TFRecordDatasetV2", "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "CSVDataset", "CSVDatasetV2",
        "ExperimentalCSVDataset", "MatchingFilesDataset", "ExperimentalMatchingFilesDataset", "SqlDataset",
        "ExperimentalSqlDataset", "LMDBDataset", "ExperimentalLMDBDataset", "SSTableDataset", "CacheDataset",
        "CacheDatasetV2", "SnapshotDataset", "SnapshotDatasetV2", "SaveDataset", "SaveDatasetV2", "LoadDataset",
        "ListSnapshotChunksDataset", "DistributedSave", "CreateSummaryFileWriter", "CreateSummaryDbWriter",
        "ImportEvent", "FileSystemSetConfiguration", "DumpTensor", "DebugIdentity", "DebugIdentityV2",
        "DebugIdentityV3", "DebugNanCount", "DebugNumericSummary", "DebugNumericSummaryV2",
    }
)  # fmt: skip
ELSEWHERE = frozenset(
    {
        "RpcCall", "RpcClient", "RpcServer", "Rpc", "TryRpc", "DataServiceDataset", "DataServiceDatasetV2",
        "DataServiceDatasetV3", "DataServiceDatasetV4", "RegisterDataset", "RegisterDatasetV2", "DatasetFromGraph",
        "RemoteCall", "RemoteFusedGraphExecute", "TRTEngineOp", "_Send", "_HostSend", "BigtableClient",
        "BigQueryReader", "GcsConfigureCredentials",
    }
)  # fmt: skip
SAVER = frozenset(
    {"Save", "SaveV2", "SaveSlices", "Restore", "RestoreV2", "RestoreSlice", "MergeV2Checkpoints"}
)  # fmt: skip
_WRITES = SAVER - {"Restore", "RestoreV2", "RestoreSlice"}
_PRINT = "PrintV2"  # to a file, if its output_stream says so
_FILE_STREAM = re.compile("file://", re.IGNORECASE)


def vet(folder: Path, *, trust: bool, where: str) -> None:
    """Raise InputError when the SavedModel at `folder` holds operators that no network needs, unless `trust`.

    `where` begins the message, e.g. ``model 'm'``. Reads the graph without TensorFlow.
    """
    if trust:
        return
    found = dangerous(folder)
    if found:
        raise InputError(
            f"{where}: the SavedModel {folder} does more than computing: {'; '.join(found)}",
            "if you know where it comes from and why it does that, set trust = true (--trust)",
        )


def dangerous(folder: Path) -> list[str]:
    """Return what the SavedModel at `folder` could do beyond computing: an operator and its node each, up to five."""
    found: dict[str, None] = {}
    for graph in read(folder).graphs:
        found |= dict.fromkeys(_findings(graph))
    return list(found)[:5]


def _findings(graph: MetaGraph) -> Iterator[str]:
    roots = [t.node for signature in graph.signatures.values() for t in signature.outputs.values()]
    run = _ancestors(graph.nodes, [*roots, *graph.initializers])
    restoring = _ancestors(graph.nodes, [graph.restore] if graph.restore else [])
    called = _called(graph, [node for node in graph.nodes if node.name in run])
    restored = _called(graph, [node for node in graph.nodes if node.name in restoring], offered=False)
    inner = {name for f in graph.functions.values() for node in f.nodes for name in _references(node)}
    bodies: list[tuple[Function | None, tuple[Node, ...]]] = [(None, graph.nodes)]
    bodies += [(function, function.nodes) for function in graph.functions.values()]
    for function, nodes in bodies:
        for node in nodes:
            if function is None:
                is_run, is_restore = node.name in run, node.name in restoring
            else:
                is_run, is_restore = function.name in called, function.name in restored
            if _is_dangerous(node, is_run, is_restore) and not _is_asset(node, function, inner):
                yield f"{shorten(node.op, 40)} ({shorten(node.name, 80)})"


def _is_dangerous(node: Node, is_run: bool, is_restore: bool) -> bool:
    if node.op in SAVER:
        return is_run or (is_restore and node.op in _WRITES)
    if node.op == _PRINT:
        return any(_FILE_STREAM.search(text) for text in node.texts)
    return node.op in PYTHON or node.op in FILES or node.op in ELSEWHERE


def _is_asset(node: Node, function: Function | None, inner: set[str]) -> bool:
    """Whether a node reads a file whose path the loader passes: an argument of a function that no other one calls."""
    if node.op != "ReadFile" or function is None or function.name in inner:
        return False
    by_name = {other.name: other for other in function.nodes}
    source = node.inputs[0].split(":")[0] if node.inputs else ""
    while source in by_name and by_name[source].op == "Identity" and by_name[source].inputs:
        follow = by_name.pop(source)
        source = follow.inputs[0].split(":")[0]
    return source in function.arguments


def _references(node: Node) -> tuple[str, ...]:
    """Names of functions that a node may call: by attribute, or by being named like one."""
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


def _called(graph: MetaGraph, nodes: list[Node], *, offered: bool = True) -> set[str]:
    """Names of the functions that can run: what the model's objects offer, what `nodes` call, and what those call."""
    gradients: dict[str, list[str]] = {}
    for name, gradient in graph.gradients:
        gradients.setdefault(name, []).append(gradient)
    waiting = [name for node in nodes for name in _references(node)]
    waiting += graph.callables if offered else ()
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in graph.functions and name not in seen:
            seen.add(name)
            waiting += gradients.get(name, [])
            waiting += [called for node in graph.functions[name].nodes for called in _references(node)]
    return seen
