"""Which tensor of a quantized file is which tensor of its float file.

The converter keeps most names, other tools change them, and some rewrite operators (a dense layer as a convolution).
So operators are matched in turns, each turn only among what is left: by name, by their weights (a quantized kernel
points in the direction of its float one), by their neighbours, and at last by their order. What finds no partner is
said to have none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...tflite.objects import CASTS
from .graph import Floats, Graph, Op

# Operators that compute the same thing, given the right shapes.
_FAMILIES = (("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL"), ("MEAN", "AVERAGE_POOL_2D"))
_FAMILY = {name: names[0] for names in _FAMILIES for name in names}
# Two kernels of the same layer: rounding to eight bits leaves a cosine above 0.999, to four above 0.98, and training
# with the quantization above 0.9. Kernels of different layers are near 0.
_SAME_WEIGHTS = 0.7
_COMPARED = 4096


@dataclass
class Matches:
    """Operators and tensors of the quantized file, each with its partner's place in the float file.

    `ops` and `tensors` map places; `how` counts operators by the turn that matched them; `alone` are the places of
    operators without a partner.
    """

    ops: dict[int, int] = field(default_factory=dict)
    tensors: dict[int, int] = field(default_factory=dict)
    how: Counter[str] = field(default_factory=Counter)
    alone: tuple[int, ...] = ()


def match(ours: Graph, theirs: Graph) -> Matches:
    """Match the operators and tensors of `ours` (quantized) with those of `theirs` (float)."""
    return _Matching(ours, theirs).run()


class _Matching:
    def __init__(self, ours: Graph, theirs: Graph) -> None:
        self.ours, self.theirs = ours, theirs
        self.left = {op.position: op for op in _computing(ours)}
        self.right = {op.position: op for op in _computing(theirs)}
        self.matches = Matches()

    def run(self) -> Matches:
        total = set(self.left)
        self._inputs()
        self._pair("name", self._same_name())
        self._pair("weights", self._same_weights())
        self._neighbours()
        self._pair("order", self._same_order())
        self._neighbours()
        self._casts()
        self.matches.alone = tuple(sorted(total - set(self.matches.ops)))
        return self.matches

    def _inputs(self) -> None:
        """Inputs match by the signature's name, else by their place."""
        names = {name: index for index, name in self.theirs.input_names.items()}
        for place, index in enumerate(self.ours.inputs):
            other = names.get(self.ours.input_names.get(index, ""))
            if other is None and place < len(self.theirs.inputs):
                other = self.theirs.inputs[place]
            if other is not None:
                self.matches.tensors[index] = other

    def _pair(self, how: str, pairs: Iterator[tuple[int, int]]) -> None:
        for left, right in pairs:
            if left in self.left and right in self.right:
                self._take(left, right, how)

    def _take(self, left: int, right: int, how: str) -> None:
        ours, theirs = self.left.pop(left), self.right.pop(right)
        self.matches.ops[left] = right
        self.matches.how[how] += 1
        self.matches.tensors.update(zip(ours.outputs, theirs.outputs, strict=False))

    def _fits(self, ours: Op, theirs: Op) -> bool:
        """Whether two operators could be the same: they compute alike, and give as many values."""
        if _FAMILY.get(ours.name, ours.name) != _FAMILY.get(theirs.name, theirs.name):
            return False
        if len(ours.outputs) != len(theirs.outputs) or not ours.outputs:
            return False
        pairs = zip(ours.outputs, theirs.outputs, strict=True)
        if any(_sides(self.ours, a) != _sides(self.theirs, b) for a, b in pairs):
            return False
        return ours.activation == theirs.activation or self._clamps(ours, theirs)

    def _clamps(self, ours: Op, theirs: Op) -> bool:
        """Whether a missing fused activation is done by the range that the output can hold."""
        limits = self.ours.tensors[ours.outputs[0]].limits
        floors = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
        if ours.activation or limits is None or theirs.activation not in floors:
            return False
        low, high = floors[theirs.activation]
        return limits[0] >= low - 1e-3 and limits[1] <= high * 1.01

    def _same_name(self) -> Iterator[tuple[int, int]]:
        """Exact names first, then names without what tools append to them."""
        for plain in (False, True):
            left = _by_name(self.ours, list(self.left.values()), plain)
            right = _by_name(self.theirs, list(self.right.values()), plain)
            for name, op in left.items():
                other = right.get(name)
                if op and other and other.position in self.right and self._fits(op, other):
                    yield op.position, other.position

    def _same_weights(self) -> Iterator[tuple[int, int]]:
        """Pairs of kernels whose cosine is high, the most alike first."""
        left = {p: w for p, op in self.left.items() if (w := _weights(self.ours, op)) is not None}
        right = {p: w for p, op in self.right.items() if (w := _weights(self.theirs, op)) is not None}
        found: list[tuple[float, int, int]] = []
        for p, ours in left.items():
            for q, theirs in right.items():
                if ours.size == theirs.size and self._fits(self.left[p], self.right[q]):
                    cosine = _cosine(ours, theirs)
                    if cosine > _SAME_WEIGHTS:
                        found.append((cosine, p, q))
        for _, p, q in sorted(found, key=lambda pair: (-pair[0], abs(pair[1] - pair[2]))):
            yield p, q

    def _neighbours(self) -> None:
        """Match operators whose inputs, or whose readers, are matched, until nothing more is found."""
        progress = True
        while progress:
            progress = False
            for left in list(self.left):
                op = self.left[left]
                candidates = [p for p in self._beside(op) if p in self.right and self._fits(op, self.right[p])]
                if len(set(candidates)) == 1:
                    self._take(left, candidates[0], "neighbours")
                    progress = True

    def _beside(self, op: Op) -> list[int]:
        """Return the float operators that stand where `op` stands."""
        places: list[int] = []
        before = [self.ours.source(i) for i in op.inputs if i >= 0 and not self.ours.is_constant(i)]
        partners = [self.matches.tensors.get(i) for i in before]
        if before and all(p is not None for p in partners):
            readers = [{r.position for r in self._readers(self.theirs, p)} for p in partners if p is not None]
            places += sorted(set.intersection(*readers))
        for output in op.outputs:
            for reader in self._readers(self.ours, output):
                partner = self.matches.ops.get(reader.position)
                if partner is not None:
                    for index in self.theirs.ops[partner].inputs:
                        made = self.theirs.producer.get(self.theirs.source(index)) if index >= 0 else None
                        places += [made.position] if made else []
        return places

    @staticmethod
    def _readers(graph: Graph, index: int) -> list[Op]:
        """Return the operators that read a tensor, through casts."""
        found: list[Op] = []
        for op in graph.consumers.get(index, ()):
            found += _Matching._readers(graph, op.outputs[0]) if op.name in CASTS else [op]
        return found

    def _same_order(self) -> Iterator[tuple[int, int]]:
        """The longest common sequence of what is left: both files list operators in the order they run."""
        left, right = [self.left[p] for p in sorted(self.left)], [self.right[p] for p in sorted(self.right)]
        if not left or not right:
            return
        lengths = np.zeros((len(left) + 1, len(right) + 1), np.int32)
        fits = np.array([[self._fits(a, b) for b in right] for a in left])
        for i in range(len(left) - 1, -1, -1):
            for j in range(len(right) - 1, -1, -1):
                taken = lengths[i + 1, j + 1] + 1 if fits[i, j] else 0
                lengths[i, j] = max(taken, lengths[i + 1, j], lengths[i, j + 1])
        i = j = 0
        while i < len(left) and j < len(right):
            if fits[i, j] and lengths[i, j] == lengths[i + 1, j + 1] + 1:
                yield left[i].position, right[j].position
                i, j = i + 1, j + 1
            elif lengths[i + 1, j] >= lengths[i, j + 1]:
                i += 1
            else:
                j += 1

    def _casts(self) -> None:
        """What a cast gives is what it was given."""
        for op in self.ours.ops:
            if op.name in CASTS:
                partner = self.matches.tensors.get(self.ours.source(op.inputs[0]))
                if partner is not None:
                    self.matches.tensors[op.outputs[0]] = partner


def _computing(graph: Graph) -> list[Op]:
    """Return the operators that compute: no casts, and nothing that constants alone go into."""
    return [op for op in graph.ops if op.name not in CASTS and not _folded(graph, op)]


def _folded(graph: Graph, op: Op) -> bool:
    return bool(op.inputs) and all(index < 0 or graph.is_constant(index) for index in op.inputs)


def _sides(graph: Graph, index: int) -> tuple[int, ...]:
    """Return a shape without its ones: (1, 10) and (1, 1, 1, 10) hold the same."""
    return tuple(side for side in graph.tensors[index].shape if side != 1)


def _by_name(graph: Graph, ops: list[Op], plain: bool) -> dict[str, Op | None]:
    """Return operators by the name of their first output; None where a name is not unique."""
    found: dict[str, Op | None] = {}
    for op in ops:
        name = graph.tensors[op.outputs[0]].name if op.outputs else ""
        if plain:
            name = re.sub(r"(_dequantize[d]?|_quantize[d]?|_requant\w*)$|:\d+$", "", name)
            name = re.sub(r"\d+$", "", name.split(";")[0])
        if name:
            found[name] = None if name in found else op
    return found


def _weights(graph: Graph, op: Op) -> Floats | None:
    """Return a sample of an operator's largest constant, flat and of length one; None where it has none."""
    constants = [i for i in op.inputs[1:] if i >= 0 and graph.is_constant(i) and graph.tensors[i].size >= 8]
    if not constants:
        return None
    values = graph.constant(max(constants, key=lambda i: graph.tensors[i].size)).reshape(-1)
    if len(values) > _COMPARED:
        values = values[np.linspace(0, len(values) - 1, _COMPARED).astype(np.int64)]
    norm = float(np.linalg.norm(values))
    return (values / norm).astype(np.float32) if norm else None


def _cosine(a: Floats, b: NDArray[np.float32]) -> float:
    return float(a @ b)
