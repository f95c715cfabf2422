"""The caller's side of the process that computes features with LiteRT (`feature_worker`)."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from ..core import children
from .feature_worker import BATCH

# Blocks in flight: while one is computed, the next ones are queued, so that no core waits for this process.
SLOTS = 3
BATCHES = 4  # of each interpreter in a block
# An interpreter needs some three times the bytes of its file (the file, XNNPACK's packed copy, activations). All
# interpreters together may use this share of the memory; if it is too small, fewer run, with several threads each.
_TIMES, _SHARE = 3, 0.25
_ALIGN = 64  # bytes, a cache line
_ENDING_SECONDS = 5
_HOME = str(Path(__file__).absolute().parents[2])
_CHILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from edgeproof.train import feature_worker; feature_worker.main()"
)

# A block's number, the offset of its features, the caller's array for them, and with the last part the full array.
_Pending = deque[tuple[int, int, NDArray[Any], NDArray[Any] | None]]


class EngineError(Exception):
    """The process ended before it returned all features; the message says how."""


class FeatureProcess:
    """Computes features of images with LiteRT, in a process that starts at once and runs in parallel with the caller.

    `content` is a float32 ``.tflite`` file of batch BATCH, (BATCH, height, width, 3) → (BATCH, features), run on
    `cores` cores. `close` ends the process; so does the end of this object.
    """

    engine = "litert"

    def __init__(self, content: bytes, cores: int) -> None:
        budget = int(psutil.virtual_memory().total * _SHARE)
        self._instances = max(1, min(cores, budget // (_TIMES * len(content) + 1)))
        self._memory: mmap.mmap | None = None
        self._sent, self._done = 0, set[int]()
        with tempfile.NamedTemporaryFile(suffix=".tflite", delete=False) as model:
            model.write(content)
        self._shared = _anonymous_file()
        threads, descriptor = max(1, cores // self._instances), self._shared.fileno()
        arguments = [_HOME, model.name, str(self._instances), str(threads), str(descriptor)]
        self._process = children.start(
            [sys.executable, "-I", "-c", _CHILD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, bufsize=1, pass_fds=[descriptor],
        )  # fmt: skip
        self.close = weakref.finalize(self, _end, self._process, self._shared, Path(model.name))

    @cached_property
    def features(self) -> int:
        """The number of features of an image. Waits until the process has loaded the model."""
        return int(json.loads(self._line())["width"])

    def compute(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the features (n, features) float32 of `images` (n, height, width, 3); raises EngineError."""
        if not len(images):
            return np.empty((0, self.features), np.float32)
        (features,) = self.stream([images])
        return features

    def stream(self, blocks: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Yield the features of each of `blocks`, which are read ahead. Blocks are not empty and fit in memory.

        Raises EngineError. Leaving the stream before its end closes the process, since nothing would read its results.
        """
        pending: _Pending = deque()
        try:
            for images in blocks:
                features = np.empty((len(images), self.features), np.float32)
                step = BATCH * BATCHES * self._instances
                for at in range(0, len(images), step):
                    if len(pending) == SLOTS:
                        yield from self._take(pending)
                    part = slice(at, at + step)
                    place = self._send(images[part], step)
                    last = at + step >= len(images)
                    pending.append((self._sent, place, features[part], features if last else None))
            while pending:
                yield from self._take(pending)
        finally:
            if pending:
                self.close()

    def _send(self, images: NDArray[Any], step: int) -> int:
        """Send a block of at most `step` images; return the offset of its features in the shared memory."""
        image_bytes = _aligned(step * images[0].size * 4)  # of float32, the type of augmented images
        slot_bytes = image_bytes + _aligned(step * self.features * 4)
        if self._memory is None:
            self._shared.truncate(SLOTS * slot_bytes)
            self._memory = mmap.mmap(self._shared.fileno(), 0)
        at = self._sent % SLOTS * slot_bytes
        np.frombuffer(self._memory, images.dtype, images.size, at).reshape(images.shape)[:] = images
        self._sent += 1
        place = {"number": self._sent, "rows": len(images), "dtype": images.dtype.str, "images": at}
        try:
            print(json.dumps({**place, "features": at + image_bytes}), file=self._process.stdin)
        except OSError:
            raise self._ended() from None
        return at + image_bytes

    def _take(self, pending: _Pending) -> Iterator[NDArray[Any]]:
        """Wait for the oldest block; yield the features of a caller's block when this was its last part."""
        number, at, part, finished = pending[0]
        while number not in self._done:
            self._done.add(int(self._line()))
        self._done.remove(number)
        pending.popleft()
        part[:] = np.frombuffer(self._memory, np.float32, part.size, at).reshape(part.shape)  # type: ignore[arg-type]
        if finished is not None:
            yield finished

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise self._ended()
        return line

    def _ended(self) -> EngineError:
        try:
            status = self._process.wait(_ENDING_SECONDS)  # its pipes close before it has ended
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        return EngineError(f"the process that runs LiteRT ended with status {status}")


def _end(process: subprocess.Popen[str], shared: IO[bytes], model: Path) -> None:
    children.kill_group(process)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    process.wait()
    shared.close()
    model.unlink(missing_ok=True)


def _aligned(count: int) -> int:
    return -(-count // _ALIGN) * _ALIGN


def _anonymous_file() -> IO[bytes]:
    """Return an empty anonymous file, in memory if the system supports that."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("features"), "r+b")
    return tempfile.TemporaryFile()
