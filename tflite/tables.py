"""Tables of a flatbuffer, read without any package. Offsets in an untrusted file are checked one by one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any


class Table:
    """A table at `position`; slots are numbered in the order of the schema, and the last ones may be left out.

    `fields` is the number of slots. All methods raise ValueError when an offset leads out of the file.
    """

    def __init__(self, content: bytes, position: int) -> None:
        self.content, self.position = content, position
        self._vtable = position - self.number("i", position)
        self.fields = (self.number("H", self._vtable) - 4) // 2

    @classmethod
    def root(cls, content: bytes) -> Table:
        """Return the table that the file begins with."""
        return cls(content, int.from_bytes(content[:4], "little"))

    def number(self, kind: str, position: int) -> Any:
        """Return a number by its code in `struct`, at any position."""
        # struct reads negative positions from the end; in a flatbuffer there are none.
        if not 0 <= position <= len(self.content) - struct.calcsize(kind):
            raise ValueError(f"an offset leads to byte {position} of {len(self.content)}")
        return struct.unpack_from(f"<{kind}", self.content, position)[0]

    def field(self, slot: int) -> int:
        """Return a field's position; 0 if it is left out."""
        distance = self.number("H", self._vtable + 4 + 2 * slot) if slot < self.fields else 0
        return self.position + distance if distance else 0

    def value(self, slot: int, kind: str) -> Any:
        """Return the number in a field; 0 where it is left out."""
        return self.number(kind, place) if (place := self.field(slot)) else 0

    def target(self, slot: int) -> int:
        """Return where a field's offset leads; 0 where it is left out."""
        return place + int(self.number("I", place)) if (place := self.field(slot)) else 0

    def vector(self, slot: int) -> tuple[int, int]:
        """Return the position of a vector's first element, and the number of elements."""
        start = self.target(slot)
        return (start + 4, int(self.number("I", start))) if start else (0, 0)

    def raw(self, slot: int, most: int | None = None) -> bytes:
        """Return a text or a vector of bytes, cut at `most`."""
        start, count = self.vector(slot)
        return self.content[start : start + (count if most is None else min(count, most))]

    def floats(self, slot: int) -> list[float]:
        """Return a vector of floats."""
        start, count = self.vector(slot)
        return [float(self.number("f", start + 4 * index)) for index in range(count)]

    def table(self, slot: int) -> Table | None:
        """Return a table within this one; None where it is left out."""
        return Table(self.content, target) if (target := self.target(slot)) else None

    def tables(self, slot: int) -> Iterator[Table]:
        """Yield the tables of a vector."""
        start, count = self.vector(slot)
        for place in range(start, start + 4 * count, 4):
            yield Table(self.content, place + int(self.number("I", place)))
