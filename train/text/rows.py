"""Tensors with one row per token, at a fixed size with a mask.

Networks behind TensorFlow's string operators gather, partition, weigh and sum such rows with operators on sparse and
ragged tensors, which TFLite and ONNX lack. Each handler here computes on padded rows what its operator computes on real
ones, at batch 1: there is one text, so all rows belong to segment 0. If no handler fits, the real rows are cut out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...frameworks.tensorflow import load


@dataclass(frozen=True)
class Rows:
    """`data` (length, …) of which the rows with `mask` (length,) bool exist, in this order; `count` () int32 of them.

    `prefix`: the existing rows are the first ones. `places`: the values are themselves indices of the `length` rows.
    """

    data: Any
    mask: Any
    count: Any
    prefix: bool = True
    places: bool = False

    @property
    def length(self) -> int:
        """The largest number of rows."""
        return int(self.mask.shape[0])

    def like(self, data: Any, *, places: bool = False) -> Rows:
        """Return the same rows with other values."""
        return Rows(data, self.mask, self.count, self.prefix, places)

    def only(self, mask: Any) -> Rows:
        """Return the rows for which `mask` holds as well."""
        tf, _ = load()
        both = tf.logical_and(self.mask, mask)
        return Rows(self.data, both, tf.reduce_sum(tf.cast(both, tf.int32)), False, self.places)

    def real(self) -> Any:
        """Return only the rows that exist, as a tensor whose size depends on the text."""
        tf, _ = load()
        if self.places and not self.prefix:
            raise ValueError("places among rows are numbered anew where rows are left out")
        return self.data[: self.count] if self.prefix else tf.boolean_mask(self.data, self.mask)

    def cleared(self) -> Any:
        """Return `data` with zeros in place of missing rows."""
        tf, _ = load()
        shape = [self.length] + [1] * (len(self.data.shape) - 1)
        return tf.where(tf.reshape(self.mask, shape), self.data, tf.zeros_like(self.data))


@dataclass(frozen=True)
class SizeOf:
    """The shape of rows (`is_shape`), or the number of them."""

    rows: Rows
    is_shape: bool

    def real(self) -> Any:
        """Return it as a tensor."""
        tf, _ = load()
        if not self.is_shape:
            return self.rows.count
        return tf.stack([self.rows.count, *(tf.constant(int(side)) for side in self.rows.data.shape[1:])])


Value = Any  # a tensor, Rows or SizeOf
Handler = Callable[[Any, Sequence[Value]], "list[Value] | None"]

UNARY = frozenset(
    {
        "Identity", "Cast", "Neg", "Abs", "Relu", "Relu6", "Elu", "Selu", "Tanh", "Sigmoid", "Exp", "Log", "Sqrt",
        "Rsqrt", "Square", "Erf", "Floor", "Round", "StopGradient", "LogicalNot", "Softplus", "OnesLike", "ZerosLike",
        "Snapshot",
    }
)  # fmt: skip
ELEMENTWISE = frozenset(
    {
        "Add", "AddV2", "Sub", "Mul", "Div", "RealDiv", "FloorDiv", "FloorMod", "Maximum", "Minimum", "Pow", "Equal",
        "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr", "SelectV2", "BiasAdd",
        "SquaredDifference", "DivNoNan", "MulNoNan", "TruncateMod", "TruncateDiv", "Select",
    }
)  # fmt: skip
SUMS = frozenset({"Sum", "Mean", "Max", "Min"})
GATHERS = frozenset({"Gather", "GatherV2"})
SPARSE_SEGMENTS = {"SparseSegmentSum": "sum", "SparseSegmentMean": "mean", "SparseSegmentSqrtN": "sqrtn"}
SEGMENTS = {
    "SegmentSum": "sum", "SegmentSumV2": "sum", "UnsortedSegmentSum": "sum", "SegmentMean": "mean", "SegmentMax": "max",
    "UnsortedSegmentMax": "max",
}  # fmt: skip


def elementwise(emit: Callable[[Sequence[Any]], Any], inputs: Sequence[Value]) -> list[Value] | None:
    """Apply an elementwise operator to rows and tensors that broadcast over them."""
    first = next(value for value in inputs if isinstance(value, Rows))
    rank = len(first.data.shape)
    for value in inputs:
        if isinstance(value, Rows):
            if value.mask is not first.mask or len(value.data.shape) != rank:
                return None
        elif isinstance(value, SizeOf) or value.shape.rank is None or not _broadcasts(value, rank):
            return None
    return [first.like(emit([value.data if isinstance(value, Rows) else value for value in inputs]))]


def _broadcasts(value: Any, rank: int) -> bool:
    """Whether a tensor is the same for each row of another one of `rank`."""
    return bool(value.shape.rank < rank or value.shape[0] == 1)


def gather(params: Value, indices: Value, axis: int) -> Value | None:
    """Look rows up in a table, or pick rows by their places."""
    tf, _ = load()
    if axis != 0 or not isinstance(indices, Rows):
        return None
    if isinstance(params, Rows):
        if not indices.places or len(indices.data.shape) != 1 or indices.length != params.length:
            return None
        return Rows(params.data, indices.mask, indices.count, indices.prefix, params.places)
    if indices.places and not indices.prefix:
        return None
    return indices.like(tf.gather(params, indices.cleared()))


def pooled(rows: Rows, how: str) -> Any:
    """Return the (1, …) sum, mean, sum over √n or maximum of the rows that exist."""
    tf, _ = load()
    if how == "max":
        shape = [rows.length] + [1] * (len(rows.data.shape) - 1)
        lowest = tf.constant(rows.data.dtype.min, rows.data.dtype)
        return tf.reduce_max(tf.where(tf.reshape(rows.mask, shape), rows.data, lowest), axis=0, keepdims=True)
    if not rows.data.dtype.is_floating:
        summed = tf.reduce_sum(rows.cleared(), axis=0, keepdims=True)
        return summed if how == "sum" else None
    width = int(np.prod(rows.data.shape[1:], dtype=int))
    # As a matrix product with the mask, which every runtime has, in integers too.
    weights = tf.cast(rows.mask, rows.data.dtype)[None, :]
    summed = tf.reshape(tf.matmul(weights, tf.reshape(rows.data, [rows.length, width])), [1, *rows.data.shape[1:]])
    if how == "sum":
        return summed
    count = tf.maximum(tf.cast(rows.count, rows.data.dtype), 1.0)
    return summed * (tf.math.rsqrt(count) if how == "sqrtn" else 1.0 / count)


def filled(values: Rows, default: Any) -> list[Value]:
    """SparseFillEmptyRows of one row: a text without values gets the default value."""
    tf, _ = load()
    empty = tf.equal(values.count, 0)
    first = tf.constant(np.arange(values.length) == 0)
    mask = tf.logical_or(values.mask, tf.logical_and(first, empty))
    if values.data.shape.rank != 1:
        raise ValueError("values of a sparse tensor have one dimension")
    data = tf.where(values.mask, values.data, tf.cast(default, values.data.dtype))
    rows = Rows(data, mask, tf.maximum(values.count, 1), values.prefix)
    indices = np.stack([np.zeros(values.length, np.int64), np.arange(values.length)], axis=1)
    return [
        rows.like(tf.constant(indices)),
        rows,
        tf.reshape(empty, [1]),
        rows.like(tf.range(values.length), places=True),
    ]


def partitioned(data: Rows, partitions: Rows, count: int) -> list[Value]:
    """DynamicPartition: the rows of each part, in place."""
    tf, _ = load()
    return [data.only(tf.equal(partitions.data, number)) for number in range(count)]


def stitched(indices: Sequence[Rows], data: Sequence[Rows]) -> Value | None:
    """DynamicStitch of DynamicPartition's parts: each row comes from the part that has it."""
    tf, _ = load()
    if not all(part.places for part in indices) or len({part.length for part in data}) != 1:
        return None
    total = data[0].cleared()
    mask = data[0].mask
    for part in data[1:]:
        total, mask = total + part.cleared(), tf.logical_or(mask, part.mask)
    return Rows(total, mask, tf.reduce_sum(tf.cast(mask, tf.int32)), False)


def counted(values: Value, size: int, binary: bool, dtype: Any) -> Any:
    """Return how often (or whether) each of `size` numbers stands among the values: (1, size)."""
    tf, _ = load()
    rows = values.data if isinstance(values, Rows) else tf.reshape(values, [-1])
    hot = tf.one_hot(tf.cast(rows, tf.int32), size, dtype=tf.float32)  # numbers beyond it count nowhere
    weights = tf.cast(values.mask, tf.float32) if isinstance(values, Rows) else tf.ones([hot.shape[0]])
    counts = tf.matmul(weights[None, :], hot)
    counts = tf.minimum(counts, 1.0) if binary else counts
    return tf.cast(counts, dtype)


def dense(rows: Rows, default: Any, size: int | None) -> Any:
    """Return rows as a batch of one, (1, size or length, …), with `default` behind the real ones."""
    tf, _ = load()
    shape = [rows.length] + [1] * (len(rows.data.shape) - 1)
    data = tf.where(tf.reshape(rows.mask, shape), rows.data, tf.cast(default, rows.data.dtype))
    if size is not None and size < rows.length:
        data = data[:size]
    elif size is not None and size > rows.length:
        behind = tf.fill([size - rows.length, *data.shape[1:]], tf.cast(default, data.dtype))
        data = tf.concat([data, behind], axis=0)
    return data[None]
