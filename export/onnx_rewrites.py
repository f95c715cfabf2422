"""TensorFlow operators that tf2onnx lacks or gets wrong, in terms of those that it supports.

A graph that has one of them is rebuilt operator by operator (`rewritten`); all others stay unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .onnx_complex import COMPLEX_RULES, Complex, Rule, by_parts, same


def needs_rewriting(graph: Any) -> bool:
    """Return whether `graph` has an operator with a rule here, or complex numbers."""
    return any(op.type in RULES or any(t.dtype.is_complex for t in op.outputs) for op in graph.get_operations())


def rewritten(graph: Any, copy: Any) -> dict[str, Any]:
    """Build `graph` again in the empty graph `copy` by the rules of this module; return its tensors by their old names.

    Raises StageError for complex numbers at an operator without a rule for them.
    """
    import tensorflow as tf

    tensors: dict[str, Any] = {}
    with copy.as_default():
        for op in graph.get_operations():
            inputs = [tensors[tensor.name] for tensor in op.inputs]
            is_complex = any(isinstance(tensor, Complex) for tensor in inputs) or any(
                tensor.dtype.is_complex for tensor in op.outputs
            )
            rule = COMPLEX_RULES.get(op.type) if is_complex else RULES.get(op.type)
            with tf.name_scope(f"{op.name}/"):
                result = rule(tf, op, inputs) if rule else None
                if result is None and is_complex:
                    result = by_parts(tf, op, inputs)
            if result is None:
                result = same(copy, op, inputs, f"{op.name}/").outputs
            outputs = result if isinstance(result, (list, tuple)) else [result]
            for tensor, output in zip(op.outputs, outputs, strict=True):
                if not isinstance(output, Complex):
                    output.set_shape(tensor.shape)
                tensors[tensor.name] = output
    return tensors


# --- functions of numbers


def _erfc(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    return 1.0 - tf.math.erf(inputs[0])


def _expm1(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    # Near 0 by tanh(x / 2), which loses no digits there.
    (x,) = inputs
    half = tf.tanh(x * 0.5)
    return tf.where(tf.abs(x) < 1.0, 2.0 * half / (1.0 - half), tf.exp(x) - 1.0)


def _log1p(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    # The rounding error of 1 + x is corrected by the part of x left in it (Kahan; Goldberg, "What every computer
    # scientist should know about floating-point arithmetic", theorem 4).
    (x,) = inputs
    sum_ = 1.0 + x
    part = sum_ - 1.0
    small = tf.where(tf.equal(part, 0.0), x, tf.math.log(sum_) * x / tf.where(tf.equal(part, 0.0), 1.0, part))
    return tf.where(tf.abs(x) < 1.0, small, tf.math.log(sum_))


def _unless_zero(function: Callable[[Any, Any, Any], Any], judged: int = 0) -> Rule:
    """Return a rule for a function of two tensors that is 0 wherever one of them is."""

    def rule(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
        x, y = inputs
        return tf.where(tf.equal(inputs[judged], 0.0), tf.constant(0.0, x.dtype), function(tf, x, y))

    return rule


def _truncated_modulo(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    x, y = inputs
    return tf.sign(x) * tf.math.floormod(tf.abs(x), tf.abs(y))


def _bucketize(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    values = tf.expand_dims(tf.cast(inputs[0], tf.float32), -1)
    return tf.reduce_sum(tf.cast(values >= tf.constant(op.get_attr("boundaries"), tf.float32), tf.int32), -1)


def _bound(is_lower: bool) -> Rule:
    def rule(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
        bounds, values = tf.expand_dims(inputs[0], -2), tf.expand_dims(inputs[1], -1)
        below = bounds < values if is_lower else bounds <= values
        return tf.reduce_sum(tf.cast(below, op.get_attr("out_type")), -1)

    return rule


def _cross(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    (a, b, c), (d, e, f) = (tf.unstack(tensor, axis=-1) for tensor in inputs)
    return tf.stack([b * f - c * e, c * d - a * f, a * e - b * d], -1)


# --- tensors


def _roll(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    """Write a roll by known numbers as swapped slices; tf2onnx fails for several axes and negative ones."""
    shifts, axes = (tf.get_static_value(tensor) for tensor in inputs[1:])
    shape = op.inputs[0].shape
    if shifts is None or axes is None or not shape.is_fully_defined():
        return None
    rolled = inputs[0]
    for shift, axis in zip(np.ravel(shifts), np.ravel(axes), strict=True):
        size = shape[int(axis)]
        if split := int(shift) % size:
            front, back = tf.split(rolled, [size - split, split], int(axis))
            rolled = tf.concat([back, front], int(axis))
    return tf.identity(rolled)


def _diagonal(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    """Write the plain diagonal matrix as a product; tf2onnx drops a batch of 1."""
    values = inputs[0]
    side, rank = values.shape[-1], op.outputs[0].shape.rank
    settings = [tf.get_static_value(tensor) for tensor in inputs[1:4]]
    if side is None or rank != values.shape.rank + 1 or any(s is None for s in settings):
        return None
    if any(int(s) != plain for s, plain in zip(settings, (0, -1, -1), strict=False)):
        return None
    return tf.expand_dims(values, -1) * tf.eye(side, dtype=values.dtype)


def _set_diagonal(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    matrix, diagonal = inputs[:2]
    rows, columns = matrix.shape[-2:]
    offset = tf.get_static_value(inputs[2]) if len(inputs) > 2 else 0
    if rows is None or rows != columns or offset is None or np.size(offset) != 1 or np.any(offset):
        return None
    return tf.where(tf.constant(np.eye(rows, dtype=bool)), tf.expand_dims(diagonal, -1), matrix)


def _transposed_convolution(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    """Write an output that reaches beyond the last kernel as one that does not, zero-padded."""
    sizes = tf.get_static_value(inputs[0])
    source, kernel = op.inputs[2].shape, op.inputs[1].shape
    if sizes is None or op.get_attr("data_format") != b"NHWC" or op.get_attr("padding") == b"EXPLICIT":
        return None
    strides, dilations = op.get_attr("strides"), op.get_attr("dilations")
    reached = list(sizes)
    for axis in (1, 2):
        width = (kernel[axis - 1] - 1) * dilations[axis] + 1
        reached[axis] = min(sizes[axis], (source[axis] - 1) * strides[axis] + width)
    if reached == list(sizes):
        return None
    convolved = tf.nn.conv2d_transpose(
        inputs[2], inputs[1], reached, strides, padding=op.get_attr("padding").decode(), dilations=dilations
    )
    return tf.pad(convolved, [(0, int(size - part)) for size, part in zip(sizes, reached, strict=True)])


# --- pictures


def _resized(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    """Write the resizing of images to a known size as products with two tables, of rows and of columns.

    TensorFlow itself gives the tables, by resizing unit vectors. So all of its methods are covered.
    """
    size, shape = tf.get_static_value(inputs[1]), op.inputs[0].shape
    if size is None or not shape.is_fully_defined():
        return None
    batch, height, width, channels = shape
    more = [tf.get_static_value(tensor) for tensor in inputs[2:]]
    rows, columns = (
        tf.constant(_resize(tf, op, np.eye(here, dtype=np.float32), int(there), more, axis))
        for axis, (here, there) in enumerate(zip((height, width), size, strict=True))
    )
    pictures = tf.reshape(tf.cast(inputs[0], tf.float32), (batch, height, width * channels))
    high = tf.reshape(tf.matmul(rows, pictures), (batch * int(size[0]), width, channels))
    return tf.reshape(tf.matmul(columns, high), (batch, int(size[0]), int(size[1]), channels))


def _nearest(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    """Write nearest neighbours as look-ups of rows and columns, except for integer factors, where ONNX is equal.

    With other factors the last bit of a scale decides between two neighbours.
    """
    size, shape = tf.get_static_value(inputs[1]), op.inputs[0].shape
    if size is None or not shape.is_fully_defined():
        return None
    if not any(there % here for there, here in zip(size, shape[1:3], strict=True)):
        return None
    resized = inputs[0]
    for axis, (here, there) in enumerate(zip(shape[1:3], size, strict=True)):
        numbers = np.arange(here, dtype=np.float32)[:, None]
        positions = _resize(tf, op, numbers, int(there), [], axis)[:, 0]
        resized = tf.gather(resized, tf.constant(positions.astype(np.int32)), axis=axis + 1)
    return resized


def _resize(tf: Any, op: Any, points: Any, size: int, more: Sequence[Any], axis: int) -> Any:
    """Return `points` (length, n) resized to `size` rows as `op` does along an axis."""
    pictures, there = points[None, :, None, :], [size, 1]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        if op.type == "ScaleAndTranslate":
            scale, translation = more
            resized = tf.raw_ops.ScaleAndTranslate(
                images=pictures,
                size=there,
                scale=[scale[axis], 1.0],
                translation=[translation[axis], 0.0],
                kernel_type=op.get_attr("kernel_type"),
                antialias=op.get_attr("antialias"),
            )
        else:
            names = [name for name in ("align_corners", "half_pixel_centers") if name in op.node_def.attr]
            options = {name: op.get_attr(name) for name in names}
            resized = getattr(tf.raw_ops, op.type)(images=pictures, size=there, **options)
        return session.run(resized)[0, :, 0, :]


def _rgb_to_hsv(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    red, green, blue = tf.unstack(inputs[0], axis=-1)
    value = tf.reduce_max(inputs[0], -1)
    spread = value - tf.reduce_min(inputs[0], -1)
    safe = tf.where(spread > 0.0, spread, tf.ones_like(spread))
    hue = tf.where(
        tf.equal(value, red),
        (green - blue) / safe,
        tf.where(tf.equal(value, green), 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    hue = tf.where(spread > 0.0, hue / 6.0, tf.zeros_like(hue))
    hue = tf.where(hue < 0.0, hue + 1.0, hue)
    saturation = tf.where(value > 0.0, spread / tf.where(value > 0.0, value, tf.ones_like(value)), tf.zeros_like(value))
    return tf.stack([hue, saturation, value], -1)


def _hsv_to_rgb(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    hue, saturation, value = tf.unstack(inputs[0], axis=-1)
    sixth = hue * 6.0
    colours = (tf.abs(sixth - 3.0) - 1.0, 2.0 - tf.abs(sixth - 2.0), 2.0 - tf.abs(sixth - 4.0))
    clear = tf.stack([tf.clip_by_value(colour, 0.0, 1.0) for colour in colours], -1)
    saturation, value = tf.expand_dims(saturation, -1), tf.expand_dims(value, -1)
    return ((1.0 - saturation) + saturation * clear) * value


RULES: dict[str, Rule] = {
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Xlogy": _unless_zero(lambda tf, x, y: x * tf.math.log(y)),
    "Xlog1py": _unless_zero(lambda tf, x, y: x * _log1p(tf, None, [y])),
    "Xdivy": _unless_zero(lambda _tf, x, y: x / y),
    "MulNoNan": _unless_zero(lambda _tf, x, y: x * y, 1),
    "TruncateMod": _truncated_modulo,
    "Bucketize": _bucketize,
    "LowerBound": _bound(True),
    "UpperBound": _bound(False),
    "Cross": _cross,
    "Roll": _roll,
    "MatrixDiagV2": _diagonal,
    "MatrixDiagV3": _diagonal,
    "MatrixSetDiagV2": _set_diagonal,
    "MatrixSetDiagV3": _set_diagonal,
    "Conv2DBackpropInput": _transposed_convolution,
    "ResizeBicubic": _resized,
    "ResizeArea": _resized,
    "ResizeNearestNeighbor": _nearest,
    "ScaleAndTranslate": _resized,
    "RGBToHSV": _rgb_to_hsv,
    "HSVToRGB": _hsv_to_rgb,
}
