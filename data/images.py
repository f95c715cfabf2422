"""The pass over images: decodes each once on all cores, writes ``.npy`` files and collects image statistics.

At most a few batches are in memory at a time.
"""

from __future__ import annotations

import shutil
from array import array
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core.dataset import SPLITS
from ..core.errors import StageError
from ..core.progress import Listener
from .arrays import HEADER_BYTES, NpyWriter, write_targets
from .check import NOTABLE, Check
from .decode import Decoded, decode, pillow_settings
from .listing import TEST, TRAIN, VALIDATION, Payload, Remark, UnreadableError, count
from .splits import Assignment

BATCH_BYTES = 4 << 20
BATCH_IMAGES = 64

T = TypeVar("T")
R = TypeVar("R")


class ImageTraits:
    """Statistics of sizes, modes and formats. `size` and `resize` are those of the model's input."""

    once = False

    def __init__(self, size: int, resize: str) -> None:
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
        sizes, seen = self._sizes(), len(self._widths)
        if not sizes or self._resize != "stretch" or sizes["longer_than_2_to_1"] <= NOTABLE * seen:
            return []
        return [
            Remark(
                f"{sizes['longer_than_2_to_1']:,} of {seen:,} images are more than twice as long as wide, and "
                'resize = "stretch" distorts them',
                'try resize = "pad" or "crop" in [[model]]',
            )
        ]

    def _sizes(self) -> dict[str, Any]:
        if not len(self._widths):
            return {}
        sides = np.stack([np.asarray(self._widths), np.asarray(self._heights)], axis=1)
        areas = sides.prod(axis=1)
        order = np.argsort(areas, kind="stable")
        smallest, median, largest = (sides[order[i]].tolist() for i in (0, len(order) // 2, -1))
        aspect = sides.max(axis=1) / sides.min(axis=1)
        return {
            "smallest": smallest,
            "median": median,
            "largest": largest,
            "different": len(np.unique(sides, axis=0)),
            "smaller_than_input": int(np.sum(sides.min(axis=1) < self._size)),
            "longer_than_2_to_1": int(np.sum(aspect > 2)),
        }


def image_pass(
    check: Check[Decoded],
    plan: Assignment,
    *,
    size: int,
    resize: str,
    max_pixels: int,
    workspace: Path,
    listener: Listener,
    workers: int,
    check_stop: Callable[[], None],
) -> dict[str, str]:
    """Decode and write every planned image once, and add it to `check`. Returns the SHA-256 of each array.

    `check_stop` is called after each batch and may raise.
    """
    listing = check.listing
    total = sum(map(len, plan.splits))
    _check_disk_space(workspace, total, size)
    batch = max(1, min(BATCH_IMAGES, BATCH_BYTES // (3 * size * size)))
    # Small images in memory decode faster than threads can switch.
    threads = 1 if listing.light else workers
    digests, done = {}, 0

    def work(items: list[tuple[int, Payload]]) -> list[tuple[int, Decoded | UnreadableError]]:
        results: list[tuple[int, Decoded | UnreadableError]] = []
        for index, payload in items:
            try:
                results.append((index, decode(payload, size=size, resize=resize, max_pixels=max_pixels)))
            except UnreadableError as error:
                results.append((index, error))
        return results

    with pillow_settings():
        for split in (TEST, VALIDATION, TRAIN):
            name, indices = SPLITS[split], plan.splits[split]
            written: list[int] = []
            payloads = zip(indices.tolist(), listing.stream(indices), strict=True)
            images = NpyWriter(workspace / f"{name}.npy", (size, size, 3), "uint8")
            with images, closing(_map_batches(work, payloads, batch, threads)) as batches:
                for results in batches:
                    block = []
                    for index, image in results:
                        if isinstance(image, UnreadableError):
                            check.add_unreadable(index, image)
                        elif check.add(index, split, image):
                            block.append(image.pixels)
                            written.append(index)
                    if block:
                        images.append(np.stack(block))
                    check_stop()
                    done += len(results)
                    listener.progress("data", done, total)
            digests[name] = images.sha256
            digests[f"{name}-labels"] = write_targets(listing, written, workspace / f"{name}-labels.npy")
    return digests


def _map_batches(
    work: Callable[[list[T]], R], items: Iterable[T], batch: int, threads: int
) -> Generator[R, None, None]:
    """Yield `work` of each batch of items, in order, with a bounded number of pending batches."""
    source = iter(items)
    batches = iter(lambda: list(islice(source, batch)), [])
    if threads <= 1:
        yield from map(work, batches)
        return
    with ThreadPoolExecutor(threads, "decode") as pool:
        pending: deque[Future[R]] = deque()
        try:
            for group in batches:
                pending.append(pool.submit(work, group))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _check_disk_space(workspace: Path, images: int, size: int) -> None:
    """Raise StageError when the disk is too small for the arrays. Files of an earlier attempt count as free space."""
    needed = images * (3 * size * size + 8) + 6 * HEADER_BYTES
    reusable = sum(path.stat().st_size for path in workspace.glob("*.npy"))
    free = shutil.disk_usage(workspace).free + reusable
    if needed > free:
        raise StageError(
            f"the disk is too small for {count(images, 'image')} of {size} × {size}: {needed / 1e9:.2f} GB needed, "
            f"{free / 1e9:.2f} GB free in {workspace}",
            "free some space, use another disk with --out, set data.limit_train or data.limit_test, or choose a "
            "smaller image_size",
        )
