"""WAV files read as waveforms: mono float32 from −1 to 1, at the rate that a model takes.

Files are untrusted: what SciPy's reader raises on a broken one becomes a reason, and sizes that the header declares are
compared with the file's own first.
"""

from __future__ import annotations

import io
import struct
import warnings
from math import gcd

import numpy as np
from numpy.typing import NDArray

from ..core.extras import EXTRAS
from ..core.sample_files import SampleFile, UnreadableError, read_error_reason, read_sample
from ..core.sanitize import shorten

MAX_BYTES = 1 << 30
RATES = (1, 1_000_000)
"""Hz. A filter for a higher rate would be as long."""
LOUDEST = 16.0
"""Floating-point samples are from −1 to 1, or a little beyond where a mix is too loud; whole numbers are far beyond."""
FORMATS = "a WAV file of 8, 16, 24 or 32 bits, or of floating-point numbers"


def need_reader() -> None:
    """Raise NotInstalledError unless SciPy is there."""
    EXTRAS["audio"].require("reading WAV files needs")


def read_wave(file: SampleFile, rate: int) -> NDArray[np.float32]:
    """Return a file's waveform (samples,), the mean of its channels, at `rate` Hz.

    Whole numbers are divided by their range; another rate is converted by SciPy's polyphase filter (a Kaiser window,
    β = 5); what is then beyond −1 to 1 is cut off. Raises UnreadableError.
    """
    return read_at(file, rate)[0]


def read_at(file: SampleFile, rate: int | None) -> tuple[NDArray[np.float32], int]:
    """Return a file's waveform as `read_wave` does, and its rate: `rate`, or the file's own for None."""
    try:
        content = read_sample(file, MAX_BYTES)
    except OSError as error:
        raise UnreadableError(read_error_reason(error)) from error
    stored_rate, values = _decoded(content)
    if values.size == 0:
        raise UnreadableError("it holds no samples", "empty")
    if not RATES[0] <= stored_rate <= RATES[1]:
        raise UnreadableError(f"its rate is {stored_rate:,} Hz")
    wave = _scaled(values)
    if not np.isfinite(wave).all():
        raise UnreadableError("it has NaN or infinite values")
    if (loudest := float(np.abs(wave).max())) > LOUDEST:
        raise UnreadableError(f"it has floating-point values up to {loudest:g}, and they are from -1 to 1")
    mono = wave.mean(axis=1) if wave.ndim == 2 else wave
    rate = stored_rate if rate is None else rate
    return np.clip(_at_rate(mono, stored_rate, rate), -1, 1).astype(np.float32), rate


def _decoded(content: bytes) -> tuple[int, NDArray[np.generic]]:
    """Return the rate in Hz and the samples (N,) or (N, channels) as they are stored; 24 bits are the upper of 32."""
    from scipy.io import wavfile

    _check_length(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of chunks that are no samples
            rate, values = wavfile.read(io.BytesIO(content))
    except Exception as error:  # SciPy raises nearly anything on a broken file: ValueError, struct.error, …
        why = " ".join(str(error).split()) if isinstance(error, ValueError) else type(error).__name__
        raise UnreadableError(f"expected {FORMATS}: {shorten(why, 200)}") from error
    return int(rate), np.asarray(values)


def _check_length(content: bytes) -> None:
    """Raise UnreadableError for a file that is shorter than its header says. SciPy reads what is there."""
    if content[:4] not in (b"RIFF", b"RIFX") or content[8:12] != b"WAVE":
        raise UnreadableError(f"expected {FORMATS}")
    order, at = ("<" if content[:4] == b"RIFF" else ">"), 12
    while at + 8 <= len(content):
        (size,) = struct.unpack_from(f"{order}I", content, at + 4)
        if at + 8 + size > len(content):
            raise UnreadableError(f"it is cut off: it has {len(content):,} bytes, and declares {at + 8 + size:,}")
        if content[at : at + 4] == b"data":
            return
        at += 8 + size + size % 2
    raise UnreadableError("it is cut off before its samples")


def _scaled(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return stored samples as numbers from −1 to 1; floating-point numbers as they are."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    return (values.astype(np.float64) - (half if values.dtype.kind == "u" else 0)) / half


def _at_rate(wave: NDArray[np.float64], stored: int, rate: int) -> NDArray[np.float64]:
    if stored == rate:
        return wave
    from scipy.signal import resample_poly

    common = gcd(stored, rate)
    converted: NDArray[np.float64] = resample_poly(wave, rate // common, stored // common)
    return converted
