"""Groups of operators to exclude from int8, ranked by the error that they remove for their size.

An operator in float removes the error of rounding its weights. The error of *storing* its result is removed only if
all readers of the result are in float too; otherwise the result is stored in int8 in front of them. A group is
therefore an operator alone, or an operator with its readers. A single operator between excluded ones is excluded with
them: the conversions to int8 and back would cost more than int8 gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...core.diagnosis import Diagnosis
from ...tflite.objects import CASTS
from .causes import short_name
from .graph import Graph, Op, read_graph
from .matching import match

# Operators that only move values: their result has their input's scale, so they belong to the operator they read.
_MOVES = frozenset(
    ("RESHAPE", "PAD", "PADV2", "MIRROR_PAD", "MAX_POOL_2D", "CONCATENATION", "SLICE", "STRIDED_SLICE", "TRANSPOSE",
     "SQUEEZE", "EXPAND_DIMS", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "TILE", "BROADCAST_TO", "REVERSE_V2",
     "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
)  # fmt: skip
# The error share that a group removes, at least.
_LEAST = 0.003


@dataclass(frozen=True)
class Group:
    """The operators that one step excludes from int8.

    `tensors` are the names of their outputs in the float file (and in the quantized one, if they differ). `share` is
    the error share that the step removes according to the diagnosis. `words` names the operators.
    """

    tensors: tuple[str, ...]
    share: float
    words: tuple[str, ...]


def ranked_groups(quantized: Path, reference: Path, diagnosis: Diagnosis, most: int) -> list[Group]:
    """Return at most `most` groups in the order in which they should be excluded from int8.

    `diagnosis` compares the file `quantized` with `reference`. Each group contains only the operators that it adds to
    the groups before it, and to those that the file has in float already.
    """
    quantized_graph, reference_graph = read_graph(quantized), read_graph(reference)
    matches = match(quantized_graph, reference_graph)
    shares = _ErrorShares(quantized_graph, diagnosis)
    excluded = shares.already
    groups: list[Group] = []
    while len(groups) < most:
        best, gain = shares.best(excluded)
        if best is None or gain < _LEAST:
            break
        added = shares.closed(excluded | best) - excluded
        gain = shares.removed(excluded | added) - shares.removed(excluded)
        excluded |= added
        names: list[str] = []
        words = []
        for place in sorted(added):
            op = quantized_graph.ops[place]
            partner = matches.ops.get(place)
            own = [quantized_graph.tensors[index].name for index in op.outputs]
            names += (
                [reference_graph.tensors[i].name for i in reference_graph.ops[partner].outputs]
                if partner is not None
                else own
            )
            names += own
            words.append(f"{short_name(own[0])} ({op.name})")
        groups.append(Group(tuple(dict.fromkeys(names)), gain, tuple(words)))
    return groups


class _ErrorShares:
    """The error shares of weights, results and inputs, by position of the operator in the quantized file.

    `already` are the operators that the file has outside of int8.
    """

    def __init__(self, graph: Graph, diagnosis: Diagnosis) -> None:
        self.graph = graph
        self.computing = {op.position for op in graph.ops if op.name not in CASTS and self._is_live(op)}
        int8 = ("INT8", "UINT8")
        others = [op for op in graph.ops if op.outputs and graph.tensors[op.outputs[0]].dtype not in int8]
        self.already = {op.position for op in others} & self.computing
        self.weights: dict[int, float] = {}
        self.results: dict[int, float] = {}
        self.inputs: dict[int, float] = {}
        for tensor in diagnosis.tensors:
            table = {"weight": self.weights, "activation": self.results, "input": self.inputs}[tensor.kind]
            table[tensor.position] = table.get(tensor.position, 0.0) + (tensor.share or 0.0)
        self.readers = {op.position: self._readers_of(op) for op in graph.ops}
        first = set(graph.inputs)
        self.input_readers = {
            place: self.readers[place] if place >= 0 else self._reading(first) for place in self.inputs
        }

    def _is_live(self, op: Op) -> bool:
        return any(index >= 0 and not self.graph.is_constant(index) for index in op.inputs)

    def _readers_of(self, op: Op) -> frozenset[int]:
        return self._reading(set(op.outputs))

    def _reading(self, tensors: set[int]) -> frozenset[int]:
        """Return the operators that read any of `tensors`, directly, through casts, or through moved values."""
        readers: set[int] = set()
        for index in tensors:
            for op in self.graph.consumers.get(index, ()):
                if op.name not in CASTS:
                    readers.add(op.position)
                if op.name in CASTS or op.name in _MOVES:
                    readers |= self._reading(set(op.outputs))
        return frozenset(readers)

    def removed(self, excluded: set[int]) -> float:
        """Return the error share that is removed if the operators `excluded` are not in int8."""
        total = sum(share for place, share in self.weights.items() if place in excluded)
        total += sum(
            share
            for place, share in self.results.items()
            if self.readers[place] <= excluded and (place in excluded or self.graph.ops[place].name in CASTS)
        )
        return total + sum(share for place, share in self.inputs.items() if self.input_readers[place] <= excluded)

    def best(self, excluded: set[int]) -> tuple[set[int] | None, float]:
        """Return the group with the best ratio of error share to cost, and the error share that it removes.

        The cost is the square root of the number of operators, because accuracy matters more than size: twice the
        error share for four times the operators is as good.
        """
        now = self.removed(excluded)
        best: set[int] | None = None
        best_gain = best_worth = 0.0
        candidates = [{place} for place in self.computing]
        candidates += [{place} | self.readers[place] for place in self.computing]
        candidates += [set(readers) for readers in self.input_readers.values()]
        for candidate in candidates:
            added = candidate - excluded
            if not added or len(candidate) > max(8, len(self.computing) // 4):
                continue
            gain = self.removed(excluded | added) - now
            worth = gain / len(added) ** 0.5
            if worth > best_worth * (1 + 1e-9):
                best, best_gain, best_worth = set(added), gain, worth
        return best, best_gain

    def closed(self, excluded: set[int]) -> set[int]:
        """Return `excluded` with the single operators whose neighbours on both sides are excluded."""
        closed = set(excluded)
        while True:
            more = {place for place in self.computing - closed if self._between(place, closed)}
            if not more:
                return closed
            closed |= more

    def _between(self, place: int, excluded: set[int]) -> bool:
        op = self.graph.ops[place]
        before = [
            self.graph.producer.get(self.graph.source(index))
            for index in op.inputs
            if index >= 0 and not self.graph.is_constant(index)
        ]
        if not before or any(op is None or op.position not in excluded for op in before):
            return False
        readers = self.readers[place]
        return bool(readers) and readers <= excluded
