"""Bytes with something changed, as a careless copy and as somebody out to harm would do it."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def changed(content: bytes, draw: random.Random) -> bytes:
    """Return bytes with one to four changes."""
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        content = draw.choice(_CHANGES)(content, draw)
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    if not content:
        return b"\xff"
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << draw.randrange(8))]) + content[at + 1 :]


def _byte(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]


def _number(content: bytes, draw: random.Random) -> bytes:
    """Put a number that is none of its place over four aligned bytes: offsets, sizes, counts of a FlatBuffer."""
    at = 4 * draw.randrange(len(content) // 4 + 1)
    number = draw.choice((*_NUMBERS, len(content), draw.randrange(1 << 32)))
    return content[:at] + struct.pack("<I", number) + content[at + 4 :]


def _truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _drop(content: bytes, draw: random.Random) -> bytes:
    start, stop = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + content[min(stop, start + 64) :]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    start, stop = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:stop] + content[start:stop] * draw.choice((1, 2, 20)) + content[stop:]


def _insert(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    part = draw.choice((b"\0" * 8, b"\xff" * 8, b"\r\n", b'"', b"[" * 3000, b"\x1b[2J", "\u202e".encode(), b"9" * 5000))
    return content[:at] + part + content[at:]


def _random(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 7, 100, 5000)))


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _flip, _byte, _byte, _number, _number, _number, _truncated, _drop, _repeat, _insert, _random,
)  # fmt: skip
