"""Constants of a file's objects (`objects.read`) as numbers: as they are stored, and what they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .objects import blockwise, name_of, type_name

Floats = NDArray[np.float32]

BITS = {"int2": 2, "int4": 4, "int8": 8, "uint8": 8, "int16": 16, "int32": 32, "int64": 64}
_NUMPY = {
    "float32": "<f4", "float16": "<f2", "float64": "<f8", "int8": "i1", "uint8": "u1", "int16": "<i2",
    "uint16": "<u2", "int32": "<i4", "uint32": "<u4", "int64": "<i8", "bool": "?",
}  # fmt: skip


def scales_of(tensor: Any) -> tuple[Floats, NDArray[np.int64]] | None:
    """Return a tensor's scales and zero points, one of each or one for each channel; None for plain numbers.

    Blockwise scales are the values of another tensor, and are none here.
    """
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return None
    scale = np.asarray(quantization.scale, np.float32)
    zero = np.zeros(len(scale), np.int64)
    if quantization.zeroPoint is not None and len(quantization.zeroPoint):
        zero = np.resize(np.asarray(quantization.zeroPoint, np.int64), len(scale))
    return scale, zero


def stored_values(model: Any, tensor: Any) -> NDArray[Any]:
    """Return a constant's numbers in its shape and type, those of 2 and 4 bits as int8.

    Raises ValueError if the file holds no values of it.
    """
    raw = model.buffers[tensor.buffer].data
    if raw is None:
        raise ValueError(f"tensor {name_of(tensor)} holds no constant")
    raw = np.asarray(raw, np.uint8)
    shape = tuple(int(side) for side in (tensor.shape if tensor.shape is not None else ()))
    count, dtype = int(np.prod(shape)), type_name(tensor)
    bits = BITS.get(dtype, 8)
    if bits >= 8:
        values: NDArray[Any] = raw.view(_NUMPY[dtype])[:count].reshape(shape)
        return values
    parts = np.stack([(raw >> shift) & (2**bits - 1) for shift in range(0, 8, bits)], axis=-1)  # the low bits first
    signed = parts.reshape(-1).astype(np.int8)
    signed[signed >= 2 ** (bits - 1)] -= 2**bits
    unpacked: NDArray[Any] = signed[:count].reshape(shape)
    return unpacked


def real_values(model: Any, graph: Any, index: int) -> Floats:
    """Return what a constant of a subgraph stands for, float32 in its shape. Raises ValueError as `stored_values`."""
    tensor = graph.tensors[index]
    stored = stored_values(model, tensor).astype(np.float32)
    if blockwise(tensor):
        details = tensor.quantization.details
        scales = real_values(model, graph, details.scales).reshape(*stored.shape[:-1], -1)
        return np.asarray(stored * np.repeat(scales, details.blockSize, axis=-1))
    if (scaled := scales_of(tensor)) is None:
        return stored
    scale, zero = scaled
    if len(scale) > 1:
        side = [1] * stored.ndim
        side[int(tensor.quantization.quantizedDimension)] = -1
        scale, zero = scale.reshape(side), zero.reshape(side)
    return ((stored - zero.astype(np.float32)) * scale).astype(np.float32)
