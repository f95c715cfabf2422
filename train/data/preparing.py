"""The pass over the data: plan the splits, decode every image once on all cores, write the arrays, check as it goes.

Splits are read in the order test, validation, train: so the same image met again is always the one to drop, and
one pass is enough. At most a few batches are in memory at a time.
"""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from ...core.codec import sha256_of
from ...core.dataset import SPLITS, PreparedData, save_prepared
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.events import Listener
from ...core.names import shorten
from ...core.recipe import Data
from ...core.store import package_versions
from .arrays import HEADER_BYTES, NpyWriter
from .check import Check, missing_classes, name_classes
from .decode import Decoded, UnreadableError, decode, pillow_our_way
from .listing import TEST, TRAIN, VALIDATION, Payload, count, with_test
from .sources import open_source
from .splits import Assignment, assign, gather

# What this room writes for the same data and settings; raise it when that changes, so that caches notice.
FORMAT = 1
BATCH_BYTES = 4 << 20
BATCH_IMAGES = 64
# With data.on_unreadable = "stop": how many are named before the pass ends.
NAMED = 5

T = TypeVar("T")
R = TypeVar("R")


def fingerprint(data: Data, *, seed: int, folder: Path) -> dict[str, Any]:
    """Return, cheaply and JSON-able, what the prepared data depend on: the key of a cache.

    Of files it holds names, sizes and times; of shipped sets hashes; of catalogues name and version. `folder` is
    where the recipe stands. Raises InputError when a source is not there, cannot be one (unknown scheme, rows that
    are wrong), cannot be split (``folder:`` and ``csv:``) or needs a package that is not installed.
    """
    looks = {"source": open_source(data.source, data, folder).look()}
    if data.test_source:
        looks["test_source"] = open_source(data.test_source, data, folder).look()
    listings = [look.listing for look in looks.values() if look.listing is not None]
    if len(listings) == len(looks):
        assign(with_test(*listings) if data.test_source else listings[0], data, seed=seed)
    return {
        "format": FORMAT,
        "settings": data.model_dump(mode="json"),
        "seed": seed,
        "sources": {name: look.identity for name, look in looks.items()},
        "packages": package_versions(["pillow"]),
    }


def prepare(
    data: Data,
    *,
    seed: int,
    image_size: int,
    resize: str,
    folder: Path,
    workspace: Path,
    listener: Listener,
    workers: int,
    use: Literal["all", "train", "test"] = "all",
) -> PreparedData:
    """Split, check, decode and resize the images of `data` into ``.npy`` files and ``data.json`` in `workspace`.

    Images beyond data.limit_train and data.limit_test are not opened, and so not checked. Every image is decoded
    once, at full size: an image of max_pixels takes 0.5 GB while it is at work, in each of the threads.
    Images of a split keep the source's order (sorted by name for files): whoever trains shuffles. `workers` is the
    number of decoding threads. With `use` other than ``all`` everything goes into that one split (see
    `splits.gather`): test images for finished files, or training images to calibrate with. The same input gives the
    same bytes, also when a former attempt was cut off.

    Raises InputError when the data cannot be used (see `splits.assign`; or nothing readable, or unreadable files
    with ``on_unreadable = "stop"``), StageError when the disk is too small or cannot be written.
    """
    listing = open_source(data.source, data, folder).listing()
    if data.test_source:
        listing = with_test(listing, open_source(data.test_source, data, folder).listing())
    if listing.refused and data.on_unreadable == "stop":
        _stop([(refusal.name, refusal.why) for refusal in listing.refused])
    spoilt: dict[int, str] = {}
    while True:
        if use == "all":
            plan = assign(listing, data, seed=seed, without=spoilt)
        else:
            plan = gather(listing, data, seed=seed, into=SPLITS.index(use), without=spoilt)
        planned = [Counter(listing.targets[split].tolist()) for split in plan.splits]
        check = Check(listing, spoilt)
        with explain_disk_errors(workspace), pillow_our_way():
            workspace.mkdir(parents=True, exist_ok=True)
            (workspace / "data.json").unlink(missing_ok=True)
            digests = _pass(
                check, plan, data=data, size=image_size, resize=resize, workspace=workspace, listener=listener,
                workers=workers,
            )  # fmt: skip
        lost = missing_classes(check, planned)
        classes = {number for _, number in lost}
        if not any(listing.targets[index] in classes for index in set(check.unreadable) - set(spoilt)):
            break
        # Broken files took all that a class had in some split: split again without them. Rare, so worth a pass.
        spoilt = check.unreadable
        listener.note("info", "splitting again without the unreadable images", unreadable=len(spoilt))
    _judge(check, lost)
    report = check.report(plan, size=image_size, resize=resize)
    for warning in report["warnings"]:
        listener.note("warning", warning["what"], remedy=warning["remedy"])
    prepared = PreparedData(
        folder=workspace,
        source=data.source,
        labels=listing.labels,
        height=image_size,
        width=image_size,
        resize=resize,
        counts=report["kept"],
        sha256=sha256_of(digests),
        report=report,
    )
    with explain_disk_errors(workspace):
        save_prepared(prepared, workspace)
    return prepared


def _pass(
    check: Check,
    plan: Assignment,
    *,
    data: Data,
    size: int,
    resize: str,
    workspace: Path,
    listener: Listener,
    workers: int,
) -> dict[str, str]:
    """Decode and write every planned image once, telling `check`. Returns the hash of each array."""
    listing = check.listing
    total = sum(map(len, plan.splits))
    _room(workspace, total, size)
    batch = max(1, min(BATCH_IMAGES, BATCH_BYTES // (3 * size * size)))
    # Tiny pictures in memory decode in less time than threads need to hand the interpreter over.
    threads = 1 if listing.light else workers
    digests, done = {}, 0

    def work(items: list[tuple[int, Payload]]) -> list[tuple[int, Decoded | UnreadableError]]:
        results: list[tuple[int, Decoded | UnreadableError]] = []
        for index, payload in items:
            try:
                results.append((index, decode(payload, size=size, resize=resize, max_pixels=data.max_pixels)))
            except UnreadableError as error:
                results.append((index, error))
        return results

    for split in (TEST, VALIDATION, TRAIN):
        name, indices = SPLITS[split], plan.splits[split]
        kept: list[int] = []
        payloads = zip(indices.tolist(), listing.stream(indices), strict=True)
        images = NpyWriter(workspace / f"{name}.npy", (size, size, 3), "uint8")
        with images, closing(_mapped(work, payloads, batch, threads)) as batches:
            for results in batches:
                block = []
                for index, image in results:
                    if isinstance(image, UnreadableError):
                        check.bad(index, str(image))
                    elif check.take(index, split, image):
                        block.append(image.pixels)
                        kept.append(index)
                if block:
                    images.append(np.stack(block))
                if data.on_unreadable == "stop" and len(check.unreadable) >= NAMED:
                    _stop([(listing.names[i], why) for i, why in check.unreadable.items()])
                done += len(results)
                listener.progress("data", done, total)
        with NpyWriter(workspace / f"{name}-labels.npy", (), "int64") as labels:
            labels.append(listing.targets[np.array(kept, np.int64)])
        digests[name], digests[f"{name}-labels"] = images.sha256, labels.sha256
    if data.on_unreadable == "stop" and check.unreadable:
        _stop([(listing.names[i], why) for i, why in check.unreadable.items()])
    return digests


def _mapped(work: Callable[[list[T]], R], items: Iterable[T], batch: int, threads: int) -> Generator[R, None, None]:
    """Yield `work` of each batch of items, in order, with a bounded number of batches under way."""
    source = iter(items)
    batches = iter(lambda: list(islice(source, batch)), [])
    if threads <= 1:
        yield from map(work, batches)
        return
    with ThreadPoolExecutor(threads, "decode") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for group in batches:
                waiting.append(pool.submit(work, group))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _room(workspace: Path, images: int, size: int) -> None:
    """Raise StageError when the disk is too small for the arrays. What a former attempt left counts as free."""
    needed = images * (3 * size * size + 8) + 6 * HEADER_BYTES
    former = sum(path.stat().st_size for path in workspace.glob("*.npy"))
    free = shutil.disk_usage(workspace).free + former
    if needed > free:
        raise StageError(
            f"the disk is too small for {count(images, 'image')} of {size} × {size}: {needed / 1e9:.2f} GB needed, "
            f"{free / 1e9:.2f} GB free in {workspace}",
            "free some space, choose another disk with --out, or set data.limit_train, data.limit_test or a smaller "
            "image_size",
        )


def _stop(unreadable: list[tuple[str, str]]) -> None:
    lines = [f"{shorten(name, 200)}: {why}" for name, why in unreadable[:NAMED]]
    raise InputError(
        "unreadable images:\n  - " + "\n  - ".join(lines),
        'mend or remove them, or set data.on_unreadable = "drop" to go on without them',
    )


def _judge(check: Check, lost: list[tuple[int, int]]) -> None:
    """Raise InputError when what is left cannot be trained on or tested with."""
    listing = check.listing
    examples = [f"{shorten(listing.names[i], 200)}: {why}" for i, why in list(check.unreadable.items())[:NAMED]]
    shown = "".join(f"\n  - {line}" for line in examples)
    if not any(check.kept[split] for split in range(len(SPLITS))):
        raise InputError(f"none of {count(len(check.unreadable), 'image')} could be read{shown}", "mend the files")
    for split, consequence in ((TRAIN, "nothing to learn from"), (TEST, "nothing to judge by")):
        classes = {number for code, number in lost if code == split}
        if classes:
            raise InputError(
                f"no image is left in {SPLITS[split]} of {name_classes(listing, classes)}: {consequence}. "
                f"Unreadable images and copies of images in other splits are left out{shown}",
                "add different, readable images of these classes, or take the classes out",
            )
