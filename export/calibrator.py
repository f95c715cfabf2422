"""Calibrate once, on all cores: int8 and int16x8 files of one model need the same statistics of the same samples.

The converter runs all calibration samples through reference kernels for every file (and for int16x8 twice, throwing the
first pass away), which is most of the time such a file takes. Here a calibrator that has seen the samples is reused
for the next file, and each core runs a share of the samples in a process of its own; the files are the same byte for
byte (tests compare them).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ..core import children
from ..core.environment import usable_cores
from ..tflite.ranges_merge import merge_ranges
from .samples import Feeds

_WORKER = Path(__file__).with_name("calibration_worker.py")
_LEAST = 16  # samples of a process: starting one takes as long as running some
# A calibrator needs some three times the bytes of its file. All of them together may use this share of the memory.
_TIMES, _SHARE = 3, 0.25


@dataclass(frozen=True)
class Calibration:
    """What calibrators are fed: `count` samples, of which `part` gives those of a slice; equal if `identity` is."""

    identity: str
    count: int = field(compare=False)
    part: Callable[[slice], Feeds] = field(compare=False)


@contextmanager
def calibrate_once(samples: Calibration) -> Iterator[None]:
    """Within this block the converter reuses the last calibrator, if it saw the same float model and `samples`.

    A TensorFlow whose converter is built differently simply calibrates each time.
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
def _calibrator(real: Any, content: bytes, samples: Calibration) -> Any:
    """Return the calibrator of this float model and these samples; it is fed once and keeps the statistics."""

    class Once(real):
        _calibrator: Any
        _interpreter: Any
        fed = False

        def _feed_tensors(self, *arguments: Any, **named: Any) -> None:
            if self.fed:
                return
            parts = _processes(content, samples.count)
            merged = self._shared(parts) if parts > 1 else None
            if merged is None:
                super()._feed_tensors(*arguments, **named)
            else:
                # One that has seen no sample quantizes by the ranges that its file has.
                self._model_content = merged  # the calibrator refers to it
                self._calibrator = type(self._calibrator)(merged, [], [])
            self.fed = True

        def _shared(self, parts: int) -> bytes | None:
            """Return the file with the ranges of all samples; None where other processes did not give theirs."""
            try:
                with ExitStack() as stack:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeproof-")))
                    (folder / "model.tflite").write_bytes(content)
                    others = [stack.enter_context(self._share(folder, number, parts)) for number in range(1, parts)]
                    super()._feed_tensors(samples.part(slice(0, None, parts)), True)
                    found = [other.result() for other in others]
            except OSError:  # no room for the files, or for a process
                found = [None]
            mine = bytes(self._calibrator.Calibrate()) if None not in found else b""
            merged = merge_ranges([mine, *(other for other in found if other is not None)]) if mine else None
            if merged is None:
                self._calibrator = type(self._calibrator)(content, [], [])  # forgets its share
            return merged

        def _share(self, folder: Path, number: int, parts: int) -> _Share:
            """Write a share of the samples into files, in the order of the model's inputs, and start its process."""
            count = len(range(number, samples.count, parts))
            arrays: list[Any] = []
            paths: list[Path] = []
            for index, sample in enumerate(samples.part(slice(number, None, parts))()):
                if self._interpreter is None:
                    self._interpreter = _interpreter(content)
                values = self._create_input_array_from_dict(None, sample)
                if not arrays:
                    paths = [folder / f"{number}-{place}.npy" for place in range(len(values))]
                    arrays = [
                        np.lib.format.open_memmap(path, "w+", value.dtype, (count, *value.shape))
                        for path, value in zip(paths, values, strict=True)
                    ]
                for array, value in zip(arrays, values, strict=True):
                    array[index] = value
            return _Share(folder / "model.tflite", paths, folder / f"{number}.tflite")

    return Once(content)


def _interpreter(content: bytes) -> Any:
    from tensorflow.lite.python.interpreter import Interpreter

    return Interpreter(model_content=content)


def _processes(content: bytes, samples: int) -> int:
    """Return how many processes share the samples: a core each, if the memory and the samples are enough."""
    room = int(psutil.virtual_memory().total * _SHARE) // (_TIMES * len(content) + 1)
    return max(1, min(usable_cores(), room, samples // _LEAST))


class _Share:
    """A process that runs a share of the samples, in files. A context manager, which ends the process."""

    def __init__(self, model: Path, inputs: list[Path], result: Path) -> None:
        from tensorflow.lite.python import lite

        self._result = result
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        tensorflow = Path(lite.__file__).parents[2]  # the module's own path is of a part of it
        paths = map(str, (_WORKER, tensorflow, model, result, *inputs))
        self._process = children.start([sys.executable, "-I", *paths], **quiet)

    def result(self) -> bytes | None:
        """Wait for the end; return the file with the ranges of these samples, or None if there is none."""
        return self._result.read_bytes() if self._process.wait() == 0 else None

    def __enter__(self) -> _Share:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            children.kill_group(self._process)
            self._process.wait()
