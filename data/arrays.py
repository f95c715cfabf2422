"""Writes ``.npy`` files batch by batch and hashes them on the way: a data set may be larger than memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .listing import Listing

# Large enough for any shape, and a multiple of 64 as the format requires. The header is rewritten in place at the end.
# https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (version 1.0)
HEADER_BYTES = 128


class NpyWriter:
    """A ``.npy`` file that grows along its first axis; a context manager. `sha256` covers the items' bytes."""

    def __init__(self, path: Path, item_shape: tuple[int, ...], dtype: str) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.item_shape = item_shape
        self.length = 0
        self._digest = hashlib.sha256()
        self._stream = path.open("wb")
        self._stream.write(self._header())

    def append(self, items: NDArray[Any]) -> None:
        """Write items of shape (n, *item_shape)."""
        if items.shape[1:] != self.item_shape:
            raise ValueError(f"items of shape {items.shape[1:]}, expected {self.item_shape}")
        block = np.ascontiguousarray(items, self.dtype).reshape(-1).view(np.uint8).data
        self._stream.write(block)
        self._digest.update(block)
        self.length += len(items)

    @property
    def sha256(self) -> str:
        """Hex digest of the items appended so far."""
        return self._digest.hexdigest()

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._stream.seek(0)
                self._stream.write(self._header())
        finally:
            self._stream.close()

    def _header(self) -> bytes:
        description = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.length, *self.item_shape)}
        text = repr(description).encode("ascii")
        length = HEADER_BYTES - 10
        return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def write_targets(listing: Listing, indices: list[int], path: Path) -> str:
    """Write the targets of the samples at `indices` of `listing`, (N,) int64, or its values (N, …). Returns their
    SHA-256."""
    kept = listing.targets if listing.values is None else listing.values
    with NpyWriter(path, kept.shape[1:], str(kept.dtype)) as targets:
        targets.append(kept[np.array(indices, np.int64)])
    return targets.sha256
