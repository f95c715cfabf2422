"""Joins the ranges that several calibrators wrote into copies of one file."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from .tables import Table

_Pick = Callable[[Iterable[float]], float]
# Slots of the tables in TensorFlow Lite's schema.fbs.
_SUBGRAPHS, _TENSORS, _QUANTIZATION = 2, 0, 4
_PICKS: tuple[tuple[int, _Pick], ...] = ((0, min), (1, max))


def merge_ranges(contents: Sequence[bytes]) -> bytes | None:
    """Return the first file, with the smallest minimum and the largest maximum of each tensor's range in all of them.

    That is the range over the samples of all calibrators. None if they do not have the same ranges in the same places:
    then a part of the graph did not run for some samples.
    """
    found = [list(_ranges(content)) for content in contents]
    places = [[(place, pick) for place, pick, _ in one] for one in found]
    if any(other != places[0] for other in places[1:]) or len({len(content) for content in contents}) > 1:
        return None
    merged = bytearray(contents[0])
    for entries in zip(*found, strict=True):
        place, pick, _ = entries[0]
        struct.pack_into("<f", merged, place, pick(value for _, _, value in entries))
    return bytes(merged)


def _ranges(content: bytes) -> Iterator[tuple[int, _Pick, float]]:
    """Yield the position of each number, whether the smallest or the largest counts, and the number."""
    for graph in Table.root(content).tables(_SUBGRAPHS):
        for tensor in graph.tables(_TENSORS):
            if (quantization := tensor.table(_QUANTIZATION)) is None:
                continue
            for slot, pick in _PICKS:
                start, _ = quantization.vector(slot)
                for index, value in enumerate(quantization.floats(slot)):
                    yield start + 4 * index, pick, value
