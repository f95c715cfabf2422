"""Which operators to keep out of int8 first: groups, the one whose damage costs least to undo foremost.

An operator in float undoes what rounding its weights does. What *storing* its result does is undone only when all
that read the result are in float too: otherwise it is stored in int8 again, in front of them. So a group is an
operator alone, or an operator with its readers; and a single operator between two that are kept goes with them: the
conversions to int8 and back would cost more than it gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...core.diagnosis import Diagnosis
from ...tflite.objects import CASTS
from .causes import short_name
from .graph import Graph, Op, read_graph
from .matching import match

# Operators that only move values: their result has their input's scale, so they stay with what they read.
_MOVES = frozenset(
    ("RESHAPE", "PAD", "PADV2", "MIRROR_PAD", "MAX_POOL_2D", "CONCATENATION", "SLICE", "STRIDED_SLICE", "TRANSPOSE",
     "SQUEEZE", "EXPAND_DIMS", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "TILE", "BROADCAST_TO", "REVERSE_V2",
     "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
)  # fmt: skip
# What is left of the damage below which no further group is worth a step.
_LEAST = 0.003


@dataclass(frozen=True)
class Group:
    """What one step keeps: `tensors` are the names of the operators' outputs in the float file (and in the quantized
    one, where they differ), `share` is the part of the damage that this step undoes by the diagnosis, `words` names
    the operators."""

    tensors: tuple[str, ...]
    share: float
    words: tuple[str, ...]


def ranked_groups(quantized: Path, reference: Path, diagnosis: Diagnosis, most: int) -> list[Group]:
    """Return at most `most` groups in the order in which they should be kept out of int8.

    `diagnosis` is that of the file `quantized` against `reference`. Each group is what it adds to those before it, and
    to what the file keeps already.
    """
    ours, theirs = read_graph(quantized), read_graph(reference)
    matches = match(ours, theirs)
    damage = _Damage(ours, diagnosis)
    kept = damage.already
    groups: list[Group] = []
    while len(groups) < most:
        best, gain = damage.best(kept)
        if best is None or gain < _LEAST:
            break
        added = damage.closed(kept | best) - kept
        gain = damage.undone(kept | added) - damage.undone(kept)
        kept |= added
        names: list[str] = []
        words = []
        for place in sorted(added):
            op = ours.ops[place]
            partner = matches.ops.get(place)
            own = [ours.tensors[index].name for index in op.outputs]
            names += [theirs.tensors[i].name for i in theirs.ops[partner].outputs] if partner is not None else own
            names += own
            words.append(f"{short_name(own[0])} ({op.name})")
        groups.append(Group(tuple(dict.fromkeys(names)), gain, tuple(words)))
    return groups


class _Damage:
    """The shares of the damage, by operator of the quantized file."""

    def __init__(self, graph: Graph, diagnosis: Diagnosis) -> None:
        self.graph = graph
        self.computing = {op.position for op in graph.ops if op.name not in CASTS and self._is_live(op)}
        int8 = ("INT8", "UINT8")
        kept = [op for op in graph.ops if op.outputs and graph.tensors[op.outputs[0]].dtype not in int8]
        self.already = {op.position for op in kept} & self.computing
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
        """Return the operators that read any of `tensors`: through casts, and with those that only move values."""
        found: set[int] = set()
        for index in tensors:
            for op in self.graph.consumers.get(index, ()):
                if op.name not in CASTS:
                    found.add(op.position)
                if op.name in CASTS or op.name in _MOVES:
                    found |= self._reading(set(op.outputs))
        return frozenset(found)

    def undone(self, kept: set[int]) -> float:
        """Return the share of the damage that is gone when `kept` are not in int8."""
        total = sum(share for place, share in self.weights.items() if place in kept)
        total += sum(
            share
            for place, share in self.results.items()
            if self.readers[place] <= kept and (place in kept or self.graph.ops[place].name in CASTS)
        )
        return total + sum(share for place, share in self.inputs.items() if self.input_readers[place] <= kept)

    def best(self, kept: set[int]) -> tuple[set[int] | None, float]:
        """Return the group that undoes most for what it keeps, and how much that is.

        Half as much for four times the operators is as good: costs count by their square root, for accuracy is what
        is searched for.
        """
        now = self.undone(kept)
        best: set[int] | None = None
        best_gain = best_worth = 0.0
        candidates = [{place} for place in self.computing]
        candidates += [{place} | self.readers[place] for place in self.computing]
        candidates += [set(readers) for readers in self.input_readers.values()]
        for candidate in candidates:
            added = candidate - kept
            if not added or len(candidate) > max(8, len(self.computing) // 4):
                continue
            gain = self.undone(kept | added) - now
            worth = gain / len(added) ** 0.5
            if worth > best_worth * (1 + 1e-9):
                best, best_gain, best_worth = set(added), gain, worth
        return best, best_gain

    def closed(self, kept: set[int]) -> set[int]:
        """Return `kept` with the single operators whose neighbours on both sides are kept."""
        found = set(kept)
        while True:
            more = {place for place in self.computing - found if self._between(place, found)}
            if not more:
                return found
            found |= more

    def _between(self, place: int, kept: set[int]) -> bool:
        op = self.graph.ops[place]
        before = [
            self.graph.producer.get(self.graph.source(index))
            for index in op.inputs
            if index >= 0 and not self.graph.is_constant(index)
        ]
        if not before or any(made is None or made.position not in kept for made in before):
            return False
        readers = self.readers[place]
        return bool(readers) and readers <= kept
