"""Images of a split in their encoded form: decoded again whenever rows are read, so that no decoded copy is needed.

``SPLIT.index`` has an `ENTRY` for each image, ``SPLIT.pack`` what the entries point to, one after the other:

- an image in a file: the file's root and path. The file stays where it is; its SHA-256 is in the entry, so that a
  changed file is found, and never becomes a silently different sample;
- an image that was encoded in memory: its bytes; one in pixels: the pixels;
- the decoded row itself, where that is smaller than what it came from, or at most 1 / `KEEP` of the bytes of its file:
  large pictures take longest to decode, and their rows take little room beside them.

`EncodedImages.encoded` reads entries, and `decode_block` is a pure function of what it returns: a block of rows can be
decoded in any process.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .environment import usable_cores
from .errors import InputError
from .picture_size import Size, sides, size_of
from .sample_files import Payload, Pixels, SampleFile, UnreadableError, read_error_reason, read_sample
from .sanitize import shorten

if TYPE_CHECKING:
    from .decode import Decoded

# Little-endian: where the entry's bytes are in the pack, what they are, and their shape or the SHA-256 of the file.
ENTRY = np.dtype(
    [("at", "<i8"), ("bytes", "<i8"), ("kind", "u1"), ("height", "<i4"), ("width", "<i4"), ("sha256", "u1", (32,))]
)
FILE, ENCODED, GREY, RGB, ROW = range(5)
KEEP = 4
THREADED = 16  # images that a thread decodes at a time


class Encoded(NamedTuple):
    """One image as it is stored: `content` is encoded if `shape` is (), else pixels. A `row` is decoded already."""

    content: bytes
    shape: tuple[int, ...] = ()
    row: bool = False


class EncodedWriter:
    """Writes the images of a split into `folder`; a context manager. `sha256` covers the decoded rows, as in a .npy."""

    def __init__(self, folder: Path, split: str) -> None:
        self._index, self._pack = ((folder / f"{split}.{name}").open("wb") for name in ("index", "pack"))
        self._at = 0
        self._digest = hashlib.sha256()

    def append(self, samples: Sequence[tuple[Payload, Decoded]]) -> None:
        """Add images: what the source gave, and what `decode` made of it."""
        for payload, decoded in samples:
            self._digest.update(np.ascontiguousarray(decoded.pixels).data)
            kind, shape, content, digest = _smallest(payload, decoded)
            entry = np.array([(self._at, len(content), kind, *shape, np.frombuffer(digest, np.uint8))], ENTRY)
            self._index.write(entry.tobytes())
            self._pack.write(content)
            self._at += len(content)

    @property
    def sha256(self) -> str:
        """Hex digest of the rows' pixels."""
        return self._digest.hexdigest()

    def __enter__(self) -> EncodedWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._index.close()
        finally:
            self._pack.close()


def refers_to_file(size: int, row: int) -> bool:
    """Return whether an image stays in its file of `size` bytes, rather than becoming a stored row of `row` bytes."""
    return row * KEEP > size


def _smallest(payload: Payload, decoded: Decoded) -> tuple[int, tuple[int, int], bytes, bytes]:
    """Return the kind, height and width, bytes, and SHA-256 of the file, of the form in which an image is stored."""
    row, none = decoded.pixels, bytes(32)
    if isinstance(payload, SampleFile) and decoded.stored is not None:
        size, digest = decoded.stored
        if refers_to_file(size, row.nbytes):
            return FILE, (0, 0), os.fsencode(payload.root) + b"\0" + os.fsencode(payload.path), digest
    elif isinstance(payload, bytes) and len(payload) < row.nbytes:
        return ENCODED, (0, 0), payload, none
    elif isinstance(payload, np.ndarray) and payload.nbytes < row.nbytes:
        height, width = payload.shape[:2]
        return (GREY if payload.ndim == 2 else RGB), (height, width), np.ascontiguousarray(payload).tobytes(), none
    return ROW, (row.shape[0], row.shape[1]), np.ascontiguousarray(row).tobytes(), none


def decode_block(images: Sequence[Encoded], size: Size, resize: str) -> Pixels:
    """Return images as rows (n, height, width, channels) uint8, as `decode` has made them. Raises UnreadableError."""
    from .decode import decode_again, pillow_settings

    rows = np.empty((len(images), *sides(size)), np.uint8)
    with pillow_settings():
        for row, image in zip(rows, images, strict=True):
            if not image.shape:
                row[:] = decode_again(image.content, size=size, resize=resize)
                continue
            pixels = np.frombuffer(image.content, np.uint8).reshape(image.shape)
            row[:] = pixels if image.row else decode_again(pixels, size=size, resize=resize)
    return rows


class EncodedImages:
    """The images of a split, read like an array (N, height, width, channels) uint8: an index gives
    decoded rows.

    Reading raises InputError when a file has changed or cannot be read any more; `failure` holds the last such error,
    for callers whose library loses it on the way. Several threads may read at the same time.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, split: str, size: Size, resize: str) -> None:
        self._folder, self._split, self.resize = folder, split, resize
        path = folder / f"{split}.index"
        empty = not path.stat().st_size
        self._entries: NDArray[Any] = np.zeros(0, ENTRY) if empty else np.memmap(path, ENTRY, "r")
        self._pack = os.open(folder / f"{split}.pack", os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._pack)
        self.shape = (len(self._entries), *sides(size))
        self.failure: InputError | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Pixels:
        """Return the row of a number, or the rows of a slice, or of an array of numbers or booleans."""
        index = np.arange(len(self))[key]
        if not index.ndim:
            row: Pixels = self._decoded(index[None])[0]
            return row
        parts = [index[at : at + THREADED] for at in range(0, len(index), THREADED)]
        if len(parts) <= 1 or np.all(self._entries["kind"][index] > ENCODED):
            # Pixels decode faster than threads can switch.
            return self._decoded(index)
        out = np.empty((len(index), *self.shape[1:]), np.uint8)
        with ThreadPoolExecutor(usable_cores(), "decode-again") as pool:
            for at, rows in enumerate(pool.map(self._decoded, parts)):
                out[at * THREADED :][: len(rows)] = rows
        return out

    def blocks(self, spans: Iterable[tuple[int, int]]) -> Iterator[Pixels]:
        """Yield the rows of each span (start, stop); the next one is decoded meanwhile."""
        with ThreadPoolExecutor(1, "read-ahead") as pool:
            pending = None
            for start, stop in spans:
                block, pending = pending, pool.submit(self.__getitem__, slice(start, stop))
                if block is not None:
                    yield block.result()
            if pending is not None:
                yield pending.result()

    def encoded(self, index: Iterable[int]) -> list[Encoded]:
        """Return the stored form of images, with the content of their files. Raises InputError."""
        return [self._one(number) for number in index]

    def missing(self) -> str:
        """Return the path of a file that is not there any more, or ``""`` if all are there."""
        for number in np.flatnonzero(self._entries["kind"] == FILE).tolist():
            path = self.file(number).path
            if not Path(path).is_file():
                return path
        return ""

    def file(self, number: int) -> SampleFile:
        """Return the file of an image that is in one."""
        root, _, path = self._stored(self._entries[number]).partition(b"\0")
        return SampleFile(os.fsdecode(path), os.fsdecode(root))

    def _one(self, number: int) -> Encoded:
        entry = self._entries[number]
        kind, height, width = (int(entry[name]) for name in ("kind", "height", "width"))
        if kind == FILE:
            return Encoded(self._content(self.file(number), bytes(entry["sha256"])))
        channels = self.shape[3] if kind == ROW else 3
        shape = {ENCODED: (), GREY: (height, width)}.get(kind, (height, width, channels))
        return Encoded(self._stored(entry), shape, kind == ROW)

    def _stored(self, entry: Any) -> bytes:
        return os.pread(self._pack, int(entry["bytes"]), int(entry["at"]))

    def _content(self, file: SampleFile, sha256: bytes) -> bytes:
        try:
            content = read_sample(file)
        except (UnreadableError, OSError) as error:
            why = read_error_reason(error) if isinstance(error, OSError) else str(error)
            raise self._failed(file, f"cannot be read any more: {why}") from error
        if hashlib.sha256(content).digest() != sha256:
            raise self._failed(file, "has changed since the data were prepared")
        return content

    def _failed(self, file: SampleFile, why: str) -> InputError:
        name = os.fsencode(file.path).decode("utf-8", "backslashreplace")
        self.failure = InputError(
            f"the training image {shorten(name, 300)} {why}",
            "leave the data unchanged during a run, and run again: changed data are prepared anew",
        )
        return self.failure

    def _decoded(self, index: NDArray[Any]) -> Pixels:
        try:
            return decode_block(self.encoded(index.tolist()), size_of(*self.shape[1:]), self.resize)
        except (
            UnreadableError
        ) as error:  # bytes that were decoded before: the memory is too small, or the store damaged
            self.failure = InputError(
                f"a training image cannot be decoded again: {error}", "run again; if it stays so, remove RUN/.store"
            )
            raise self.failure from error
