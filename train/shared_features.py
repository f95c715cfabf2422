"""Features that other machines help to compute: blocks of images go to LiteRT here, or there while it is busy here.

Encoded images travel as they are, and are decoded beside the features.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.encoded_images import Encoded, EncodedImages, decode_block
from ..core.helpers import Helpers, Room, in_order, packed, unpacked
from .feature_process import FeatureProcess

PACKAGES = ("ai-edge-litert", "pillow")
# Blocks of decoded or augmented images that helpers have at once: each takes up to 60 MB of memory here.
_BLOCKS = 4
# A piece of work: how this machine does it, and what a helper needs for it.
_Piece = tuple[Callable[[], NDArray[Any]], Callable[[], tuple[dict[str, Any], bytes]]]


class SharedFeatures:
    """An `Engine`: `here` is the process that runs `content` on this machine."""

    engine = "litert"

    def __init__(self, content: bytes, cores: int, helpers: Helpers) -> None:
        self._content, self._helpers = content, helpers
        self._here = FeatureProcess(content, cores)
        self._room = Room(1)  # the process keeps all cores busy, for one block at a time

    @property
    def features(self) -> int:
        """The number of features of an image."""
        return self._here.features

    def compute(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the features (n, features) float32 of `images` (n, height, width, 3)."""
        return self._here.compute(images)

    def stream(self, blocks: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Yield the features of each block; the next ones are read ahead."""
        pieces = ((partial(self.compute, block), partial(_pixels, block)) for block in blocks)
        return self._stream(pieces, min(_BLOCKS, self._helpers.helpers))

    def stream_encoded(
        self, images: EncodedImages, spans: Iterable[tuple[int, int]]
    ) -> Generator[NDArray[Any], None, None]:
        """Yield the features of each span of images, which are decoded where their features are computed."""

        def rows(start: int, stop: int) -> NDArray[Any]:
            return self.compute(images[start:stop])

        pieces = ((partial(rows, *span), partial(_encoded, images, *span)) for span in spans)
        return self._stream(pieces, self._helpers.helpers)

    def _stream(self, pieces: Iterable[_Piece], helpers: int) -> Generator[NDArray[Any], None, None]:
        def do(piece: _Piece) -> NDArray[Any]:
            here, needs = piece
            return self._room.do(here, lambda: self._there(*needs()))

        yield from in_order(do, pieces, 1 + helpers)

    def _there(self, job: dict[str, Any], blob: bytes) -> NDArray[Any] | None:
        found = self._helpers.call(features_task, job, [blob], PACKAGES, [self._content])
        if found is None or found.shape != (job["images"], self.features) or found.dtype != np.float32:
            return None
        return found

    def close(self) -> None:
        """End the process."""
        self._here.close()


def _pixels(block: NDArray[Any]) -> tuple[dict[str, Any], bytes]:
    return {"images": len(block), "shape": block.shape, "dtype": block.dtype.str}, block.tobytes()


def _encoded(images: EncodedImages, start: int, stop: int) -> tuple[dict[str, Any], bytes]:
    encoded = images.encoded(range(start, stop))
    blob, lengths = packed([image.content for image in encoded])
    return {
        "images": stop - start, "lengths": lengths, "forms": [image[1:] for image in encoded],
        "size": images.shape[1], "resize": images.resize,
    }, blob  # fmt: skip


def features_task(job: dict[str, Any], content: bytes, blob: bytes) -> NDArray[Any]:
    """What a helper does: return the features of a block (n, features) float32, from a process of its own."""
    process = FeatureProcess(content, 1)
    try:
        return process.compute(_block(job, blob))
    finally:
        process.close()


def _block(job: dict[str, Any], blob: bytes) -> NDArray[Any]:
    if "lengths" not in job:
        pixels: NDArray[Any] = np.frombuffer(blob, job["dtype"]).reshape(job["shape"])
        return pixels
    forms: Sequence[tuple[tuple[int, ...], bool]] = job["forms"]
    contents = unpacked(blob, job["lengths"])
    images = [Encoded(content, tuple(shape), row) for content, (shape, row) in zip(contents, forms, strict=True)]
    return decode_block(images, job["size"], job["resize"])
