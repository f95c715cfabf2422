"""Work that other machines may share: pieces of it are done here while there is room, and else by helpers.

A helper's result is the one of this machine, bit by bit, or there is none: then the piece is done here.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Helpers(Protocol):
    """Other machines that compute for this one."""

    @property
    def helpers(self) -> int:
        """How many pieces they do at once."""
        ...

    def call(
        self,
        function: Callable[..., R],
        job: dict[str, Any],
        blobs: Sequence[bytes],
        packages: Sequence[str],
        kept: Sequence[bytes] = (),
    ) -> R | None:
        """Return ``function(job, *kept, *blobs)``, done by a helper with the same `packages`; None: do it here.

        `function` is a pure one of a module: its result follows from its arguments and the versions of `packages`.
        `kept` are for further pieces, too: they stay with the helpers.
        """
        ...


class Room:
    """The places for pieces of work on this machine."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)

    def do(self, here: Callable[[], R], there: Callable[[], R | None]) -> R:
        """Do a piece here if there is a place, else there; wait for a place here where that gives None."""
        if not self._places.acquire(blocking=False):
            result = there()
            if result is not None:
                return result
            self._places.acquire()
        try:
            return here()
        finally:
            self._places.release()


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
    """Yield `work` of each item, in order, with a bounded number of pending items."""
    if threads <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, "in-order") as pool:
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def packed(contents: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Return contents as one, and the length of each."""
    return b"".join(contents), [len(content) for content in contents]


def unpacked(blob: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Return what `packed` was given. Raises ValueError if it is cut."""
    if sum(lengths) != len(blob):
        raise ValueError(f"{len(blob)} bytes, {sum(lengths)} expected")
    contents, at = [], 0
    for length in lengths:
        contents.append(blob[at : at + length])
        at += length
    return contents


def sha256(blob: bytes) -> str:
    """Return the hex SHA-256 of some bytes."""
    return hashlib.sha256(blob).hexdigest()
