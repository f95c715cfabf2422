"""Rebuilds the numeric part of a text encoder for one text and a fixed number of token ids.

Every operator is placed again, in order, on inputs of fixed shapes; `rows` handles operators on one row per token.
Weights are constants. The result has only operators of TFLite and ONNX, if the network does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...frameworks.tensorflow import load
from . import rows as on_rows
from .crossing import Crossing, Empty, Fixed, Ids, Linear, PaddedIds, Positions
from .frontier import Frontier, place_operator
from .rows import ELEMENTWISE, SUMS, UNARY, Rows, SizeOf, Value

_FULL = (1 << 31) - 1


class NumericPart:
    """A function from the crossing tensors to the encoder's output.

    `padded`: rows of ids keep their padding, as in a batch with a longer text, and every shape is fixed. Otherwise
    they are cut to the text's own length, as for a single text in the original.
    """

    def __init__(self, frontier: Frontier, crossing: Mapping[str, Crossing], length: int, *, padded: bool) -> None:
        self.frontier = frontier
        self.crossing = crossing
        self.length = length
        self.padded = padded
        self.nodes = {node.name: node for node in frontier.flat.definition.node}

    def __call__(self, values: Sequence[Any], lengths: Sequence[Any]) -> Any:
        """Return the output for `values` ((1, length) int32 ids, or `PaddedIds`) and `lengths` ((1,) int32, or None).

        For tracing; both are in the order of the inputs' numbers.
        """
        computed: dict[str, Value] = {}
        masks: dict[int, tuple[Any, Any]] = {}
        for name, what in self.crossing.items():
            computed[name] = self._crossed(name, what, values, lengths, masks)
        graph = self.frontier.flat.graph
        for name in self.frontier.numbers:
            op = graph.get_operation_by_name(name)
            inputs = [computed[tensor.name] for tensor in op.inputs]
            for tensor, value in zip(op.outputs, self._placed(op, inputs), strict=False):
                computed[tensor.name] = value
        return _real(computed[self.frontier.flat.answer])

    def _crossed(
        self,
        name: str,
        what: Crossing,
        values: Sequence[Any],
        lengths: Sequence[Any],
        masks: dict[int, tuple[Any, Any]],
    ) -> Value:
        tf, _ = load()
        dtype = self.frontier.flat.graph.get_tensor_by_name(name).dtype
        if isinstance(what, Fixed):
            return tf.constant(what.value, dtype)
        if isinstance(what, PaddedIds):
            return tf.cast(values[what.number], dtype)
        of = what.number if isinstance(what, Ids) else what.of
        if of not in masks:
            count = tf.reshape(lengths[of], [])
            masks_by_count = np.arange(self.length)[None, :] < np.arange(self.length + 1)[:, None]
            masks[of] = tf.gather(tf.constant(masks_by_count), count), count
        mask, count = masks[of]
        if isinstance(what, Linear):
            return tf.constant(what.base, dtype) + tf.constant(what.step, dtype) * tf.cast(count, dtype)
        if isinstance(what, Empty):
            shape = self.frontier.flat.graph.get_tensor_by_name(name).shape
            return tf.reshape(tf.equal(count, 0), [] if shape.rank == 0 else [1])
        if isinstance(what, Positions):
            steps = np.arange(self.length)[:, None] * np.array(what.counts)[None, :]
            table = np.array(what.first)[None, :] + steps
            return Rows(tf.constant(table[:, 0] if what.flat else table, dtype), mask, count)
        ids = tf.cast(values[what.number], dtype)
        if not what.row:
            return Rows(ids[0], mask, count)
        # Positions behind the text get the padding of a batch, whatever the caller passes there.
        ids = tf.where(mask[None, :], ids, tf.constant(what.pad, dtype))
        return ids if self.padded else ids[:, :count]

    def _placed(self, op: Any, inputs: Sequence[Value]) -> list[Value]:
        """Return the outputs of `op` for these inputs."""
        tf, _ = load()
        if op.type == "Const":
            return [self._constant(op)]
        if op.type == "StridedSlice" and (fixed := self._fixed_part(op)) is not None:
            return [tf.constant(fixed, op.outputs[0].dtype)]
        if op.type == "Minimum":
            bound = _bounded(op.inputs)
            bound = _bounded([_real(value) for value in inputs]) if bound is None else bound
            if bound is not None:
                return [tf.constant(bound, op.outputs[0].dtype)]
        if op.type in ("DenseBincount", "Bincount", "RaggedBincount"):
            return [self._bincount(op, inputs)]
        if any(isinstance(value, Rows | SizeOf) for value in inputs):
            handled = self._on_rows(op, inputs)
            if handled is not None:
                return handled
        return _placed(op, [_real(value) for value in inputs])

    def _fixed_part(self, op: Any) -> Any:
        """Return the number that `op` takes from a crossing vector if it is the same for all texts: the batch."""
        tf, _ = load()
        what, begin = self.crossing.get(op.inputs[0].name), tf.get_static_value(op.inputs[1])
        one = begin is not None and op.get_attr("shrink_axis_mask") == 1
        if not one or not isinstance(what, Linear) or np.ndim(what.base) != 1:
            return None
        at = int(begin[0])
        return what.base[at] if not what.step[at] else None

    def _constant(self, op: Any) -> Any:
        tf, _ = load()
        return tf.constant(tf.make_ndarray(self.nodes[op.name].attr["value"].tensor), op.outputs[0].dtype)

    def _on_rows(self, op: Any, inputs: Sequence[Value]) -> list[Value] | None:
        """Return the outputs of `op` with rows among its inputs, or None if it needs the real rows."""
        tf, _ = load()
        kind, first = op.type, inputs[0]
        if isinstance(first, SizeOf):
            return _of_size(op, first, inputs)
        if kind == "Range" and isinstance(inputs[1], SizeOf) and not inputs[1].is_shape:
            rows = inputs[1].rows
            return [rows.like(tf.range(rows.length, dtype=op.outputs[0].dtype), places=True)]
        if any(isinstance(value, SizeOf) for value in inputs):
            return None
        if kind in UNARY and isinstance(first, Rows):
            (data,) = place_operator(op, [first.data])
            return [first.like(data, places=first.places and kind in ("Identity", "Cast"))]
        if kind in ELEMENTWISE:
            return on_rows.elementwise(lambda values: _placed(op, values)[0], inputs)
        if kind in on_rows.GATHERS:
            axis = 0 if len(inputs) < 3 else tf.get_static_value(inputs[2])
            gathered = on_rows.gather(inputs[0], inputs[1], -1 if axis is None else int(axis))
            return None if gathered is None else [gathered]
        if kind in ("Unique", "UniqueV2") and isinstance(first, Rows) and first.data.shape.rank == 1:
            # Rows are not made unique: each keeps its place and represents itself.
            return [first, first.like(tf.range(first.length, dtype=op.outputs[1].dtype), places=True)]
        name = kind.removesuffix("WithNumSegments")
        if name in on_rows.SPARSE_SEGMENTS and isinstance(inputs[1], Rows):
            source = on_rows.gather(first, inputs[1], 0)
            return [on_rows.pooled(source, on_rows.SPARSE_SEGMENTS[name])] if isinstance(source, Rows) else None
        if kind in on_rows.SEGMENTS and isinstance(first, Rows):
            result = on_rows.pooled(first, on_rows.SEGMENTS[kind])
            return None if result is None else [result]
        if kind == "RaggedTensorToTensor" and isinstance(inputs[1], Rows):
            return self._dense(op, inputs)
        return self._of_rows(op, first, inputs) if isinstance(first, Rows) else None

    def _of_rows(self, op: Any, first: Rows, inputs: Sequence[Value]) -> list[Value] | None:
        """Handle operators whose first input are rows."""
        tf, _ = load()
        kind, rank = op.type, first.data.shape.rank
        if kind in ("Shape", "Size"):
            is_shape = kind == "Shape"
            return [SizeOf(first, is_shape)] if is_shape or rank == 1 else None
        if kind == "SparseFillEmptyRows" and isinstance(inputs[1], Rows):
            return on_rows.filled(inputs[1], inputs[3])
        if kind == "SparseReshape":
            before, after = (_real(value) for value in inputs[1:3])
            return [first, before] if before.shape.is_fully_defined() and before.shape == after.shape else None
        if kind == "Where" and rank == 1:
            places = tf.range(first.length, dtype=tf.int64)[:, None]
            real_rows = first.only(first.data)
            return [Rows(places, real_rows.mask, real_rows.count, False, places=True)]
        if kind == "DynamicPartition" and isinstance(inputs[1], Rows):
            return on_rows.partitioned(first, inputs[1], len(op.outputs))
        if kind in ("DynamicStitch", "ParallelDynamicStitch") and all(isinstance(value, Rows) for value in inputs):
            half = len(inputs) // 2
            stitched = on_rows.stitched(inputs[:half], inputs[half:])
            return None if stitched is None else [stitched]
        if kind == "Reshape":
            return self._reshaped(first, _real(inputs[1]))
        if kind == "ExpandDims":
            axis = tf.get_static_value(inputs[1])
            return (
                [first.like(tf.expand_dims(first.data, int(axis)))]
                if axis is not None and axis not in (0, -rank - 1)
                else None
            )
        if kind == "ConcatV2":
            axis = tf.get_static_value(inputs[-1])
            parts = inputs[:-1]
            same = all(isinstance(part, Rows) and part.mask is first.mask for part in parts)
            if not same or axis is None or int(axis) % rank == 0:
                return None
            return [first.like(tf.concat([part.data for part in parts], int(axis)))]
        if kind == "StridedSlice":
            return self._sliced(op, first, inputs)
        if kind == "MatMul" and not isinstance(inputs[1], Rows) and not op.get_attr("transpose_a"):
            return [first.like(place_operator(op, [first.data, inputs[1]])[0])]
        if kind in SUMS:
            return self._summed(op, first, inputs)
        return None

    def _reshaped(self, rows: Rows, shape: Any) -> list[Value] | None:
        tf, _ = load()
        from tensorflow.python.framework.tensor_util import constant_value_as_shape

        sides = constant_value_as_shape(shape)
        if not sides.rank or sides[0] is not None or not sides[1:].is_fully_defined():
            return None
        if sides[1:].num_elements() != rows.data.shape[1:].num_elements():
            return None
        return [rows.like(tf.reshape(rows.data, [rows.length, *sides[1:]]), places=rows.places)]

    def _sliced(self, op: Any, rows: Rows, inputs: Sequence[Value]) -> list[Value] | None:
        """A slice of all rows and some of their columns."""
        tf, _ = load()
        begin, end, strides = (tf.get_static_value(_real(value)) for value in inputs[1:])
        if (
            begin is None
            or strides is None
            or end is None
            or op.get_attr("ellipsis_mask")
            or op.get_attr("new_axis_mask")
        ):
            return None
        all_rows = op.get_attr("begin_mask") & 1 or begin[0] == 0
        to_end = op.get_attr("end_mask") & 1 or end[0] >= _FULL
        if not (all_rows and to_end and strides[0] == 1 and not op.get_attr("shrink_axis_mask") & 1):
            return None
        (data,) = place_operator(op, [rows.data, *(_real(value) for value in inputs[1:])])
        return [rows.like(data)] if data.shape.rank and data.shape[0] == rows.length else None

    def _summed(self, op: Any, rows: Rows, inputs: Sequence[Value]) -> list[Value] | None:
        tf, _ = load()
        axes = tf.get_static_value(_real(inputs[1]))
        if axes is None:
            return None
        rank = rows.data.shape.rank
        chosen = sorted(int(axis) % rank for axis in np.reshape(axes, -1))
        if 0 not in chosen:
            return [rows.like(place_operator(op, [rows.data, inputs[1]])[0])]
        if chosen != [0] or op.type == "Min":
            return None
        result = on_rows.pooled(rows, op.type.lower())
        if result is None:
            return None
        return [result if op.get_attr("keep_dims") else tf.reshape(result, result.shape[1:])]

    def _dense(self, op: Any, inputs: Sequence[Value]) -> list[Value] | None:
        tf, _ = load()
        shape, rows, default = inputs[0], inputs[1], inputs[2]
        if not self.padded or len(op.get_attr("row_partition_types")) > 2:
            return None
        target = tf.get_static_value(_real(shape))
        size = int(target[1]) if target is not None and target.ndim and len(target) > 1 and target[1] >= 0 else None
        return [on_rows.dense(rows, default, size)]

    def _bincount(self, op: Any, inputs: Sequence[Value]) -> Any:
        """Counts of token ids, as a sum of one-hot rows: no runtime has the operator."""
        tf, _ = load()
        values = inputs[1] if op.type == "RaggedBincount" else inputs[0]
        size = tf.get_static_value(_real(inputs[2 if op.type == "RaggedBincount" else 1]))
        weights = op.inputs[3 if op.type == "RaggedBincount" else 2].shape
        if size is None or weights.num_elements() != 0:
            return place_operator(op, [_real(value) for value in inputs])[0]
        binary = op.type != "Bincount" and op.get_attr("binary_output")
        counts = on_rows.counted(values, int(size), binary, op.outputs[0].dtype)
        return counts if op.type == "RaggedBincount" or op.inputs[0].shape.rank == 2 else tf.reshape(counts, [-1])


def _bounded(operands: Sequence[Any]) -> Any:
    """Return the value of ``min(a, max(b, …))`` with b not below a: the length of a vector of counts."""
    tf, _ = load()
    for high, low in (tuple(operands), tuple(operands)[::-1]):
        most, other = tf.get_static_value(high), low
        while other.op.type == "Identity":
            other = other.op.inputs[0]
        if most is None or np.ndim(most) or other.op.type != "Maximum":
            continue
        least = [
            value for value in map(tf.get_static_value, other.op.inputs) if value is not None and not np.ndim(value)
        ]
        if least and max(least) >= most:
            return most
    return None


def _placed(op: Any, inputs: Sequence[Any]) -> list[Any]:
    """Place a copy of `op`, in int32 where runtimes have no int64 kernel: ids are small enough."""
    tf, _ = load()
    if op.type == "FloorDiv" and inputs[0].dtype == tf.int64:
        first, second = (tf.cast(value, tf.int32) for value in inputs)
        return [tf.cast(tf.math.floordiv(first, second), tf.int64)]
    return place_operator(op, inputs)


def _real(value: Value) -> Any:
    return value.real() if isinstance(value, Rows | SizeOf) else value


def _of_size(op: Any, size: SizeOf, inputs: Sequence[Value]) -> list[Value] | None:
    """Handle operators on a number of rows as long as the result is one too."""
    tf, _ = load()
    if op.type in ("Identity", "Cast"):
        return [size]
    if op.type == "StridedSlice" and size.is_shape:
        begin, end = (tf.get_static_value(_real(value)) for value in inputs[1:3])
        if begin is not None and end is not None and list(begin) == [0] and list(end) == [1]:
            return [SizeOf(size.rows, False)] if op.get_attr("shrink_axis_mask") & 1 else None
    if op.type in ("Prod", "Reshape") and size.is_shape and size.rows.data.shape.rank == 1 and op.type == "Prod":
        return [SizeOf(size.rows, False)]
    return None
