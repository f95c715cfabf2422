"""Calibrate once: int8 and int16x8 files of one model need the same statistics of the same samples.

The converter runs all calibration samples through reference kernels for every file (and for int16x8 twice, throwing the
first pass away), which is most of the time such a file takes. Here a calibrator that has seen the samples is reused
for the next file; the files are the same byte for byte (a test compares them).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


@contextmanager
def calibrate_once(samples: str) -> Iterator[None]:
    """Within this block the converter reuses the last calibrator, if it saw the same float model and `samples`.

    `samples` identifies the calibration samples (their hash). A TensorFlow whose converter is built differently
    simply calibrates each time.
    """
    from tensorflow.lite.python import lite

    module: Any = getattr(lite, "_calibrator", None)
    real = getattr(module, "Calibrator", None)
    if real is None or not hasattr(real, "_feed_tensors"):
        yield
        return

    def make(content: Any, by_name: Any = None, by_function: Any = None) -> Any:
        if by_name or by_function:  # custom operators: their state is unknown
            return real(content, by_name, by_function)
        return _calibrator(real, bytes(content), samples)

    module.Calibrator = make
    try:
        yield
    finally:
        module.Calibrator = real


@lru_cache(maxsize=1)
def _calibrator(real: Any, content: bytes, samples: str) -> Any:
    """Return the calibrator of this float model and these samples; it is fed once and keeps the statistics."""
    del samples  # part of the key

    class Once(real):
        fed = False

        def _feed_tensors(self, *arguments: Any, **named: Any) -> None:
            if not self.fed:
                super()._feed_tensors(*arguments, **named)
                self.fed = True

    return Once(content)
