"""The pass over images: decodes each once on all cores, writes ``.npy`` files and collects image statistics.

At most a few batches are in memory at a time.
"""

from __future__ import annotations

import math
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core.dataset import SPLITS
from ..core.decode import Decoded, pillow_settings
from ..core.encoded_images import ENTRY, EncodedWriter, refers_to_file
from ..core.errors import StageError
from ..core.helpers import Helpers, Room, in_order
from ..core.picture_size import Size, describe_size, sides
from ..core.progress import Listener
from ..core.sample_files import Payload, SampleFile, UnreadableError
from .arrays import HEADER_BYTES, NpyWriter, write_targets
from .check import NOTABLE, Check
from .listing import TEST, TRAIN, VALIDATION, Indices, Listing, Remark, count
from .shared_decode import decode_all, decode_there
from .splits import Assignment

BATCH_BYTES = 4 << 20
BATCH_IMAGES = 64
SHARED = 4  # times as large where helpers decode: each batch costs them some hundredths of a second beside

T = TypeVar("T")
R = TypeVar("R")


class ImageTraits:
    """Statistics of sizes, modes and formats. `size` and `resize` are those of the model's input."""

    once = False

    def __init__(self, size: Size, resize: str) -> None:
        self._size, self._resize = size, resize
        self._widths, self._heights = array("l"), array("l")
        self._modes, self._formats = Counter[str](), Counter[str]()
        self._rotated = self._animated = 0

    def add(self, sample: Decoded) -> None:
        """Count an image."""
        self._widths.append(sample.width)
        self._heights.append(sample.height)
        self._modes[sample.mode] += 1
        self._formats[sample.format] += 1
        self._rotated += sample.rotated
        self._animated += sample.animated

    def add_unreadable(self, error: UnreadableError) -> None:
        """Count nothing: the check keeps the reason."""

    def report(self) -> dict[str, Any]:
        """Return sizes (width, height), modes and formats of the stored images."""
        return {
            "sizes": self._sizes(),
            "modes": dict(sorted(self._modes.items())),
            "formats": dict(sorted(self._formats.items())),
            "exif_rotated": self._rotated,
            "animated": self._animated,
        }

    def warnings(self) -> list[Remark]:
        """Warn of images that stretching distorts."""
        high, wide, _ = sides(self._size)
        scaled = np.stack([np.asarray(self._widths) * high, np.asarray(self._heights) * wide])
        seen = len(self._widths)
        distorted = int(np.sum(scaled.max(axis=0) > 2 * scaled.min(axis=0))) if seen else 0
        if self._resize != "stretch" or distorted <= NOTABLE * seen:
            return []
        are = (
            "are more than twice as long as wide"
            if high == wide
            else f"have other proportions than {wide} × {high}, by more than a factor of two"
        )
        return [
            Remark(
                f'{distorted:,} of {seen:,} images {are}, and resize = "stretch" distorts them',
                'try resize = "pad" or "crop" in [[model]]',
            )
        ]

    def _sizes(self) -> dict[str, Any]:
        if not len(self._widths):
            return {}
        stored = np.stack([np.asarray(self._widths), np.asarray(self._heights)], axis=1)
        high, wide, _ = sides(self._size)
        areas = stored.prod(axis=1)
        order = np.argsort(areas, kind="stable")
        smallest, median, largest = (stored[order[i]].tolist() for i in (0, len(order) // 2, -1))
        aspect = stored.max(axis=1) / stored.min(axis=1)
        return {
            "smallest": smallest,
            "median": median,
            "largest": largest,
            "different": len(np.unique(stored, axis=0)),
            "smaller_than_input": int(np.sum((stored < (wide, high)).any(axis=1))),
            "longer_than_2_to_1": int(np.sum(aspect > 2)),
        }


def image_pass(
    check: Check[Decoded],
    plan: Assignment,
    *,
    size: Size,
    resize: str,
    max_pixels: int,
    workspace: Path,
    listener: Listener,
    workers: int,
    encoded: bool,
    check_stop: Callable[[], None],
    helpers: Helpers | None = None,
) -> dict[str, str]:
    """Decode every planned image once, add it to `check`, and write it. Returns the SHA-256 of each array.

    With `encoded` training images are written in their encoded form (`core.encoded_images`), all others decoded. The
    hashes are the same. `check_stop` is called after each batch and may raise. `helpers` decode batches for which the
    `workers` of this machine have no room.
    """
    listing = check.listing
    total = sum(map(len, plan.splits))
    row = math.prod(sides(size))
    saved = _saved_bytes(listing, plan.splits[TRAIN], row) if encoded else 0
    _check_disk_space(workspace, total, size, saved)
    # Small images in memory decode faster than threads can switch.
    threads, others = (1, None) if listing.light else (workers, helpers)
    larger = SHARED if others else 1
    batch = larger * max(1, min(BATCH_IMAGES, BATCH_BYTES // row))
    room = Room(threads)
    here = partial(decode_all, size=size, resize=resize, max_pixels=max_pixels)
    there = partial(decode_there, size=size, resize=resize, max_pixels=max_pixels)
    digests, done = {}, 0

    def work(items: list[tuple[int, Payload]]) -> list[tuple[int, Payload, Decoded | UnreadableError]]:
        payloads = [payload for _, payload in items]
        images = room.do(lambda: here(payloads), lambda: there(others, payloads) if others else None)
        return [(index, payload, image) for (index, payload), image in zip(items, images, strict=True)]

    with pillow_settings():
        for split in (TEST, VALIDATION, TRAIN):
            name, indices = SPLITS[split], plan.splits[split]
            written: list[int] = []
            payloads = zip(indices.tolist(), listing.stream(indices), strict=True)
            images = _writer(workspace, name, size, encoded=encoded and split == TRAIN)
            with (
                images,
                closing(_map_batches(work, payloads, batch, threads + (others.helpers if others else 0))) as batches,
            ):
                for results in batches:
                    block: list[tuple[Payload, Decoded]] = []
                    for index, payload, image in results:
                        if isinstance(image, UnreadableError):
                            check.add_unreadable(index, image)
                        elif check.add(index, split, image):
                            block.append((payload, image))
                            written.append(index)
                    if isinstance(images, EncodedWriter):
                        images.append(block)
                    elif block:
                        images.append(np.stack([image.pixels for _, image in block]))
                    check_stop()
                    done += len(results)
                    listener.progress("data", done, total)
            digests[name] = images.sha256
            digests[f"{name}-labels"] = write_targets(listing, written, workspace / f"{name}-labels.npy")
    return digests


def _writer(folder: Path, split: str, size: Size, *, encoded: bool) -> EncodedWriter | NpyWriter:
    """Open the files of a split, and remove those of an attempt that wrote the other form."""
    for other in (".npy",) if encoded else (".index", ".pack"):
        (folder / f"{split}{other}").unlink(missing_ok=True)
    return EncodedWriter(folder, split) if encoded else NpyWriter(folder / f"{split}.npy", sides(size), "uint8")


def _map_batches(
    work: Callable[[list[T]], R], items: Iterable[T], batch: int, threads: int
) -> Generator[R, None, None]:
    """Yield `work` of each batch of items, in order, with a bounded number of pending batches."""
    source = iter(items)
    batches = iter(lambda: list(islice(source, batch)), [])
    yield from in_order(work, batches, threads)


def _saved_bytes(listing: Listing, indices: Indices, row: int) -> int:
    """Return how many bytes less the images take encoded, at least, than as decoded rows of `row` bytes each."""
    first = next(listing.stream(indices[:1]), None)
    if isinstance(first, np.ndarray):  # the images of a split have one size
        return len(indices) * max(0, row - first.nbytes - ENTRY.itemsize)
    saved = 0
    for payload in listing.stream(indices) if isinstance(first, SampleFile) else ():
        with suppress(OSError):
            if isinstance(payload, SampleFile) and refers_to_file(Path(payload.path).stat().st_size, row):
                saved += row - ENTRY.itemsize - len(os.fsencode("".join(payload)))
    return max(0, saved)


def _check_disk_space(workspace: Path, images: int, size: Size, saved: int) -> None:
    """Raise StageError when the disk is too small for the arrays of `images`, less the bytes that are `saved`.

    Files of an earlier attempt count as free space.
    """
    needed = images * (math.prod(sides(size)) + 8) + 6 * HEADER_BYTES - saved
    reusable = sum(path.stat().st_size for name in SPLITS for path in workspace.glob(f"{name}[.-]*"))
    free = shutil.disk_usage(workspace).free + reusable
    if needed > free:
        raise StageError(
            f"the disk is too small for {count(images, 'image')} of {describe_size(size)}: {needed / 1e9:.2f} GB "
            f"needed, {free / 1e9:.2f} GB free in {workspace}",
            "free some space, use another disk with --out, set data.limit_train or data.limit_test, or choose a "
            "smaller image_size",
        )
