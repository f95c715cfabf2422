"""WAV files written byte by byte, by the format's description (Microsoft and IBM 1991; mmreg.h)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

PCM, FLOAT, ALAW, EXTENSIBLE = 1, 3, 6, 0xFFFE


def stored(values: np.ndarray, bits: int, *, real: bool = False) -> bytes:
    """Return values from −1 to 1 (samples,) or (samples, channels) as a file holds them."""
    if real:
        return values.astype(f"<f{bits // 8}").tobytes()
    whole = np.rint(values * (2 ** (bits - 1) - 1)).astype(np.int64)
    if bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    return np.ascontiguousarray(whole.astype("<i8")).view(np.uint8).reshape(-1, 8)[:, : bits // 8].tobytes()


def wave(
    data: bytes,
    *,
    rate: int = 16,
    bits: int = 16,
    channels: int = 1,
    tag: int = PCM,
    extensible: bool = False,
    declared: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """Return a file of `data`, with the chunk `extra` before them; `declared` is the size that it says."""
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", EXTENSIBLE if extensible else tag, channels, rate, rate * align, align, bits)
    if extensible:
        guid = struct.pack("<I", tag) + b"\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
        form += struct.pack("<HHI", 22, bits, 0) + guid
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + extra
    chunks += b"data" + struct.pack("<I", len(data) if declared is None else declared) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def write(path: Path, values: np.ndarray, *, bits: int = 16, real: bool = False, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = values.shape[1] if values.ndim == 2 else 1
    tag = FLOAT if real else PCM
    path.write_bytes(wave(stored(values, bits, real=real), bits=bits, channels=channels, tag=tag, **options))
    return path
