"""Matches the tensors of a quantized file with those of its float file, the reference.

The converter keeps most names. Other tools change them, and some rewrite operators (a dense layer as a convolution).
Operators are therefore matched in passes, each among those still unmatched: by name, by weights (a quantized kernel has
the direction of its float one), by neighbours, and last by order. Operators without a counterpart are listed as such.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...tflite.objects import CASTS
from ...tflite.values import Floats
from .graph import Graph, Op

# Operators that compute the same function of suitable shapes.
_FAMILIES = (("FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL"), ("MEAN", "AVERAGE_POOL_2D"))
_FAMILY = {name: names[0] for names in _FAMILIES for name in names}
# The cosine of two kernels of one layer is above 0.999 after rounding to eight bits, above 0.98 after four, and above
# 0.9 after quantization-aware training. That of kernels of different layers is near 0.
_SAME_WEIGHTS = 0.7
_VALUES_COMPARED = 4096  # values of a kernel


@dataclass
class Matches:
    """The counterparts of the quantized file's operators and tensors in the float file.

    `ops` maps positions, `tensors` maps indices. `how` counts operators by the pass that matched them; `unmatched` are
    the positions of operators without a counterpart.
    """

    ops: dict[int, int] = field(default_factory=dict)
    tensors: dict[int, int] = field(default_factory=dict)
    how: Counter[str] = field(default_factory=Counter)
    unmatched: tuple[int, ...] = ()


def match(quantized: Graph, reference: Graph) -> Matches:
    """Match the operators and tensors of a quantized file with those of its float file."""
    return _Matching(quantized, reference).run()


class _Matching:
    """The state of the passes; `left` and `right` are the operators still unmatched, by position."""

    def __init__(self, quantized: Graph, reference: Graph) -> None:
        self.quantized, self.reference = quantized, reference
        self.left = {op.position: op for op in _computing(quantized)}
        self.right = {op.position: op for op in _computing(reference)}
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
        self.matches.unmatched = tuple(sorted(total - set(self.matches.ops)))
        return self.matches

    def _inputs(self) -> None:
        """Match inputs by the signature's name, otherwise by position."""
        names = {name: index for index, name in self.reference.input_names.items()}
        for place, index in enumerate(self.quantized.inputs):
            other = names.get(self.quantized.input_names.get(index, ""))
            if other is None and place < len(self.reference.inputs):
                other = self.reference.inputs[place]
            if other is not None:
                self.matches.tensors[index] = other

    def _pair(self, how: str, pairs: Iterator[tuple[int, int]]) -> None:
        for left, right in pairs:
            if left in self.left and right in self.right:
                self._take(left, right, how)

    def _take(self, left: int, right: int, how: str) -> None:
        quantized, reference = self.left.pop(left), self.right.pop(right)
        self.matches.ops[left] = right
        self.matches.how[how] += 1
        self.matches.tensors.update(zip(quantized.outputs, reference.outputs, strict=False))

    def _fits(self, quantized: Op, reference: Op) -> bool:
        """Whether two operators may be counterparts: of one family, with outputs of the same shapes."""
        if _FAMILY.get(quantized.name, quantized.name) != _FAMILY.get(reference.name, reference.name):
            return False
        if len(quantized.outputs) != len(reference.outputs) or not quantized.outputs:
            return False
        pairs = zip(quantized.outputs, reference.outputs, strict=True)
        if any(_sides(self.quantized, a) != _sides(self.reference, b) for a, b in pairs):
            return False
        return quantized.activation == reference.activation or self._clamps(quantized, reference)

    def _clamps(self, quantized: Op, reference: Op) -> bool:
        """Whether the quantized output's range clamps as the float operator's fused activation does."""
        limits = self.quantized.tensors[quantized.outputs[0]].limits
        floors = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
        if quantized.activation or limits is None or reference.activation not in floors:
            return False
        low, high = floors[reference.activation]
        return limits[0] >= low - 1e-3 and limits[1] <= high * 1.01

    def _same_name(self) -> Iterator[tuple[int, int]]:
        """Yield pairs with the same name, then pairs with the same name without the suffixes of tools."""
        for plain in (False, True):
            left = _by_name(self.quantized, list(self.left.values()), plain)
            right = _by_name(self.reference, list(self.right.values()), plain)
            for name, op in left.items():
                other = right.get(name)
                if op and other and other.position in self.right and self._fits(op, other):
                    yield op.position, other.position

    def _same_weights(self) -> Iterator[tuple[int, int]]:
        """Yield pairs whose kernels have a high cosine, the highest first."""
        left = {p: w for p, op in self.left.items() if (w := _weights(self.quantized, op)) is not None}
        right = {p: w for p, op in self.right.items() if (w := _weights(self.reference, op)) is not None}
        pairs: list[tuple[float, int, int]] = []
        for p, quantized in left.items():
            for q, reference in right.items():
                if quantized.size == reference.size and self._fits(self.left[p], self.right[q]):
                    cosine = _cosine(quantized, reference)
                    if cosine > _SAME_WEIGHTS:
                        pairs.append((cosine, p, q))
        for _, p, q in sorted(pairs, key=lambda pair: (-pair[0], abs(pair[1] - pair[2]))):
            yield p, q

    def _neighbours(self) -> None:
        """Match operators whose inputs, or whose readers, are matched, until no more are found."""
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
        """Return the float operators with the counterparts of `op`'s inputs, or of its readers."""
        places: list[int] = []
        before = [self.quantized.source(i) for i in op.inputs if i >= 0 and not self.quantized.is_constant(i)]
        partners = [self.matches.tensors.get(i) for i in before]
        if before and all(p is not None for p in partners):
            readers = [{r.position for r in self._readers(self.reference, p)} for p in partners if p is not None]
            places += sorted(set.intersection(*readers))
        for output in op.outputs:
            for reader in self._readers(self.quantized, output):
                partner = self.matches.ops.get(reader.position)
                if partner is not None:
                    for index in self.reference.ops[partner].inputs:
                        producer = self.reference.producer.get(self.reference.source(index)) if index >= 0 else None
                        places += [producer.position] if producer else []
        return places

    @staticmethod
    def _readers(graph: Graph, index: int) -> list[Op]:
        """Return the operators that read a tensor, through casts."""
        readers: list[Op] = []
        for op in graph.consumers.get(index, ()):
            readers += _Matching._readers(graph, op.outputs[0]) if op.name in CASTS else [op]
        return readers

    def _same_order(self) -> Iterator[tuple[int, int]]:
        """Yield the longest common subsequence of the rest: both files list operators in the order of execution."""
        left, right = [self.left[p] for p in sorted(self.left)], [self.right[p] for p in sorted(self.right)]
        if not left or not right:
            return
        lengths = np.zeros((len(left) + 1, len(right) + 1), np.int32)
        fits = np.array([[self._fits(a, b) for b in right] for a in left])
        for i in range(len(left) - 1, -1, -1):
            for j in range(len(right) - 1, -1, -1):
                paired = lengths[i + 1, j + 1] + 1 if fits[i, j] else 0
                lengths[i, j] = max(paired, lengths[i + 1, j], lengths[i, j + 1])
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
        """Match the outputs of casts: the counterpart is that of their input."""
        for op in self.quantized.ops:
            if op.name in CASTS:
                partner = self.matches.tensors.get(self.quantized.source(op.inputs[0]))
                if partner is not None:
                    self.matches.tensors[op.outputs[0]] = partner


def _computing(graph: Graph) -> list[Op]:
    """Return the operators that compute: neither casts nor operators with constant inputs only."""
    return [op for op in graph.ops if op.name not in CASTS and not _folded(graph, op)]


def _folded(graph: Graph, op: Op) -> bool:
    return bool(op.inputs) and all(index < 0 or graph.is_constant(index) for index in op.inputs)


def _sides(graph: Graph, index: int) -> tuple[int, ...]:
    """Return a shape without its ones: (1, 10) and (1, 1, 1, 10) are equivalent."""
    return tuple(side for side in graph.tensors[index].shape if side != 1)


def _by_name(graph: Graph, ops: list[Op], plain: bool) -> dict[str, Op | None]:
    """Return operators by the name of their first output; None if a name is not unique."""
    by_name: dict[str, Op | None] = {}
    for op in ops:
        name = graph.tensors[op.outputs[0]].name if op.outputs else ""
        if plain:
            name = re.sub(r"(_dequantize[d]?|_quantize[d]?|_requant\w*)$|:\d+$", "", name)
            name = re.sub(r"\d+$", "", name.split(";")[0])
        if name:
            by_name[name] = None if name in by_name else op
    return by_name


def _weights(graph: Graph, op: Op) -> Floats | None:
    """Return a sample of the values of an operator's largest constant, flat and of norm one; None without one."""
    constants = [i for i in op.inputs[1:] if i >= 0 and graph.is_constant(i) and graph.tensors[i].size >= 8]
    if not constants:
        return None
    values = graph.constant(max(constants, key=lambda i: graph.tensors[i].size)).reshape(-1)
    if len(values) > _VALUES_COMPARED:
        values = values[np.linspace(0, len(values) - 1, _VALUES_COMPARED).astype(np.int64)]
    norm = float(np.linalg.norm(values))
    return (values / norm).astype(np.float32) if norm else None


def _cosine(a: Floats, b: NDArray[np.float32]) -> float:
    return float(a @ b)
