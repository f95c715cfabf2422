"""Complex numbers, which no ONNX runtime supports, as pairs of real tensors: spectrograms, MFCC, filters.

Used by `onnx_rewrites`, which rebuilds a graph. The Fourier transform is a product with a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import StageError

Rule = Callable[[Any, Any, Sequence[Any]], Any]

# The Fourier transform is a product with a table of length × length / 2 numbers, twice: 67 MB at this length.
_LONGEST_TRANSFORM = 4096
# Operators that act on the real and the imaginary part separately.
_LINEAR = (
    "Identity", "Reshape", "Transpose", "StridedSlice", "Slice", "ExpandDims", "Squeeze", "GatherV2", "ConcatV2",
    "Pack", "Unpack", "Split", "SplitV", "Pad", "Tile", "ReverseV2", "BroadcastTo", "Neg", "Add", "AddV2", "AddN",
    "Sub", "Sum", "Mean",
)  # fmt: skip


@dataclass(frozen=True)
class Complex:
    """A complex tensor as two real ones of its shape."""

    real: Any
    imaginary: Any


def same(graph: Any, op: Any, inputs: Sequence[Any], name: str) -> Any:
    """Create `op` again with other inputs, real ones where they were complex."""
    attributes = {}
    for key, value in op.node_def.attr.items():
        copy = type(value)()
        copy.CopyFrom(value)
        if copy.type in _REAL:
            copy.type = _REAL[copy.type]
        attributes[key] = copy
    dtypes = [tensor.dtype.real_dtype for tensor in op.outputs]
    return graph.create_op(op.type, list(inputs), dtypes, name=name, attrs=attributes, compute_device=False)


_REAL = {8: 1, 18: 2}  # of types.proto: complex64 → float, complex128 → double


def by_parts(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    """Apply `op` to the real and to the imaginary parts of its complex inputs."""
    if op.type not in _LINEAR:
        raise StageError(
            f"complex numbers have no ONNX operators, and tf.{op.type} ({op.name}) of them cannot be written in real "
            "ones",
            "compute with real numbers from tf.abs, tf.math.real or tf.math.imag of the transform on, or give the "
            "file the spectrogram as its input",
        )
    graph = tf.compat.v1.get_default_graph()
    parts = []
    for part, name in (("real", "re"), ("imaginary", "im")):
        chosen = [getattr(tensor, part) if isinstance(tensor, Complex) else tensor for tensor in inputs]
        parts.append(same(graph, op, chosen, name).outputs)
    return [Complex(real, imaginary) for real, imaginary in zip(*parts, strict=True)]


def _table(rows: int, columns: int, length: int) -> tuple[Any, Any]:
    """Return the cosines and sines of the Fourier transform of `length` values (negative frequencies: forward)."""
    if length > _LONGEST_TRANSFORM:
        raise StageError(
            f"ONNX would hold the Fourier transform of {length:,} values as a table of "
            f"{rows * columns * 8 / 1e6:,.0f} MB",
            f"transform frames of at most {_LONGEST_TRANSFORM:,} values (tf.signal.stft), or use a TFLite variant",
        )
    angles = -2 * np.pi * (np.outer(np.arange(rows), np.arange(columns)) % length) / length
    # Exact zeros are needed: the sign of a residue of 1e-16 would flip the angle of a negative number.
    cosines, sines = (np.where(np.abs(part) < 1e-12, 0.0, part) for part in (np.cos(angles), np.sin(angles)))
    return cosines, sines


def _fitted(tf: Any, tensor: Any, length: int) -> Any:
    """Cut or zero-pad the last axis to `length`."""
    have = tensor.shape[-1]
    if have > length:
        return tensor[..., :length]
    return tf.pad(tensor, [(0, 0)] * (tensor.shape.rank - 1) + [(0, length - have)]) if have < length else tensor


def _rfft(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    return _real_transform(tf, inputs[0], int(_lengths(tf, op, inputs[1])[0]))


def _rfft2(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    rows, columns = (int(length) for length in _lengths(tf, op, inputs[1]))
    transformed = _real_transform(tf, inputs[0], columns)
    parts = [_fitted(tf, tf.linalg.matrix_transpose(part), rows) for part in (transformed.real, transformed.imaginary)]
    transformed = _transform(tf, Complex(*parts), 1)
    return Complex(*(tf.linalg.matrix_transpose(part) for part in (transformed.real, transformed.imaginary)))


def _real_transform(tf: Any, values: Any, length: int) -> Complex:
    table = _table(length, length // 2 + 1, length)
    values = _fitted(tf, values, length)
    return Complex(*(tf.matmul(values, tf.constant(part, values.dtype)) for part in table))


def _irfft(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    length = int(_lengths(tf, op, inputs[1])[0])
    half = length // 2 + 1
    # Each frequency but the first, and the last of an even length, stands for its mirror image too.
    weights = np.full((half, 1), 2.0 / length)
    weights[0] = 1.0 / length
    if length % 2 == 0:
        weights[-1] = 1.0 / length
    parts = [_fitted(tf, part, half) for part in (inputs[0].real, inputs[0].imaginary)]
    table = [tf.constant(part * weights, parts[0].dtype) for part in _table(half, length, length)]
    return tf.matmul(parts[0], table[0]) + tf.matmul(parts[1], table[1])


def _transform(tf: Any, values: Complex, sign: int) -> Complex:
    length = values.real.shape[-1]
    cosines, sines = _table(length, length, length)
    scale = 1.0 if sign == 1 else 1.0 / length
    table = Complex(*(tf.constant(part * scale, values.real.dtype) for part in (cosines, sign * sines)))
    return _product(tf.matmul, values, table)


def _lengths(tf: Any, op: Any, tensor: Any) -> Any:
    value = tf.get_static_value(tensor)
    if value is None:
        raise StageError(f"the length of the transform {op.name} is not fixed", "give fft_length as a number")
    return np.ravel(value)


def _product(multiply: Callable[[Any, Any], Any], a: Complex, b: Complex) -> Complex:
    return Complex(
        multiply(a.real, b.real) - multiply(a.imaginary, b.imaginary),
        multiply(a.real, b.imaginary) + multiply(a.imaginary, b.real),
    )


def _quotient(_tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    a, b = inputs
    norm = b.real * b.real + b.imaginary * b.imaginary
    over = _product(lambda x, y: x * y, a, Complex(b.real, -b.imaginary))
    return Complex(over.real / norm, over.imaginary / norm)


def _complex_constant(tf: Any, op: Any, _inputs: Sequence[Any]) -> Any:
    value = tf.make_ndarray(op.get_attr("value"))
    return Complex(tf.constant(value.real.copy()), tf.constant(value.imag.copy()))


def _cast(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    target = op.outputs[0].dtype
    if isinstance(inputs[0], Complex):
        if not target.is_complex:
            return tf.cast(inputs[0].real, target)
        return Complex(*(tf.cast(p, target.real_dtype) for p in (inputs[0].real, inputs[0].imaginary)))
    real = tf.cast(inputs[0], target.real_dtype)
    return Complex(real, tf.zeros_like(real))


def _exponential(tf: Any, _op: Any, inputs: Sequence[Any]) -> Any:
    size = tf.exp(inputs[0].real)
    return Complex(size * tf.cos(inputs[0].imaginary), size * tf.sin(inputs[0].imaginary))


COMPLEX_RULES: dict[str, Rule] = {
    "Const": _complex_constant,
    "Cast": _cast,
    "Complex": lambda _tf, _op, inputs: Complex(*inputs),
    "Real": lambda tf, _op, inputs: tf.identity(inputs[0].real),
    "Imag": lambda tf, _op, inputs: tf.identity(inputs[0].imaginary),
    "Conj": lambda _tf, _op, inputs: Complex(inputs[0].real, -inputs[0].imaginary),
    "ComplexAbs": lambda tf, _op, inputs: tf.sqrt(tf.square(inputs[0].real) + tf.square(inputs[0].imaginary)),
    "Angle": lambda tf, _op, inputs: tf.atan2(inputs[0].imaginary, inputs[0].real),
    "Mul": lambda _tf, _op, inputs: _product(lambda x, y: x * y, *inputs),
    "RealDiv": _quotient,
    "Exp": _exponential,
    "RFFT": _rfft,
    "IRFFT": _irfft,
    "RFFT2D": _rfft2,
    "FFT": lambda tf, _op, inputs: _transform(tf, inputs[0], 1),
    "IFFT": lambda tf, _op, inputs: _transform(tf, inputs[0], -1),
}
