"""Reads a SavedModel's file with TensorFlow's own protobuf classes, without loading the model.

A model of 1.4 GB would be in memory twice more. `saved_model` reads files that are not trusted yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.model import SIGNATURE


@dataclass(frozen=True)
class Interface:
    """The names of a signature's inputs and outputs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_meta_graphs(saved_model: Path) -> Any:
    """Return the ``MetaGraphDef`` messages of the SavedModel at `saved_model`. Raises OSError when there is none."""
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs


def read_meta_graph(saved_model: Path) -> Any:
    """Return the one ``MetaGraphDef`` of a frozen SavedModel. Raises OSError when there is none."""
    return read_meta_graphs(saved_model)[0]


def read_interface(meta: Any) -> Interface:
    """Return the names in the signature of a ``MetaGraphDef``, each kind sorted."""
    signature = meta.signature_def[SIGNATURE]
    return Interface(tuple(sorted(signature.inputs)), tuple(sorted(signature.outputs)))


def nodes(meta: Any) -> Iterator[Any]:
    """Yield the nodes of a ``MetaGraphDef``: of its graph and of every function."""
    yield from meta.graph_def.node
    for function in meta.graph_def.library.function:
        yield from function.node_def


def has_loops(saved_model: Path) -> bool:
    """Return whether the graph of a frozen SavedModel has loops."""
    return any(node.op in ("While", "StatelessWhile") for node in nodes(read_meta_graph(saved_model)))
