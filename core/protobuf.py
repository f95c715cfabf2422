"""Protobuf's wire format: the fields of a message, read without knowing what they mean, and without copying them.

Files come from outside, and a field takes as little as two bytes: what is read of one file is counted against a limit
that no real model comes near, so that a small file cannot take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

# Fields that are read of one file. A graph of 100,000 nodes has some four million.
LIMIT = 10_000_000


class Message:
    """A message, and a view of the file it stands in. What is malformed, or too much, raises ValueError or IndexError.

    Messages that are read from one share its limit.
    """

    __slots__ = ("_left", "view")

    def __init__(self, content: memoryview, left: list[int] | None = None) -> None:
        self.view = content
        self._left = [LIMIT] if left is None else left

    def fields(self) -> Iterator[tuple[int, int | Message]]:
        """Yield (field number, value): numbers for varints, messages for the rest."""
        view, left = self.view, self._left
        at, end = 0, len(view)
        while at < end:
            left[0] -= 1
            if left[0] < 0:
                raise _too_many()
            tag = view[at]  # most tags and sizes are of one byte: no call for those
            at += 1
            if tag > 127:
                tag, at = _varint(view, at - 1)
            kind = tag & 7
            if kind == 0:
                value, at = _varint(view, at)
                yield tag >> 3, value
                continue
            if kind == 2:
                size = view[at]
                at += 1
                if size > 127:
                    size, at = _varint(view, at - 1)
            else:
                size = {1: 8, 5: 4}.get(kind, -1)
            if size < 0 or at + size > end:
                raise ValueError("the message is malformed")
            yield tag >> 3, Message(view[at : at + size], left)
            at += size

    def parts(self, number: int) -> Iterator[Message]:
        """Yield the messages, or bytes, of a field."""
        return (value for found, value in self.fields() if found == number and isinstance(value, Message))

    def grouped(self) -> Fields:
        """Return all fields at once: for messages of which several fields are wanted."""
        return Fields(self)

    def numbers(self) -> Iterator[int]:
        """Yield the whole numbers that are packed in a field, without a sign."""
        at = 0
        while at < len(self.view):
            self._left[0] -= 1
            if self._left[0] < 0:
                raise _too_many()
            one, at = _varint(self.view, at)
            yield one

    def entries(self, number: int) -> Iterator[tuple[str, Message]]:
        """Yield the entries of a map field whose keys are texts."""
        for entry in self.parts(number):
            yield from entry.grouped().entry()

    def text(self, limit: int | None = None) -> str:
        """Return the bytes as text, at most `limit` of them."""
        return bytes(self.view[:limit]).decode("utf-8", "replace")


class Fields:
    """The fields of a message by number. Of a single one that stands there twice, the last counts, as in protobuf."""

    def __init__(self, message: Message) -> None:
        self._found: dict[int, list[int | Message]] = {}
        for number, value in message.fields():
            self._found.setdefault(number, []).append(value)

    def parts(self, number: int) -> list[Message]:
        """Return the messages, or bytes, of a field."""
        return [value for value in self._found.get(number, ()) if isinstance(value, Message)]

    def texts(self, number: int) -> tuple[str, ...]:
        """Return the texts of a field."""
        return tuple(part.text() for part in self.parts(number))

    def text(self, number: int, limit: int | None = None) -> str:
        """Return a field's text, at most `limit` bytes of it; empty where it is not there."""
        parts = self.parts(number)
        return parts[-1].text(limit) if parts else ""

    def numbers(self, number: int) -> list[int]:
        """Return the whole numbers of a field, packed or not, without a sign."""
        found: list[int] = []
        for value in self._found.get(number, ()):
            found += [value] if isinstance(value, int) else value.numbers()
        return found

    def number(self, number: int, default: int = 0) -> int:
        """Return a field's number; `default` where it is not there."""
        values = [value for value in self._found.get(number, ()) if isinstance(value, int)]
        return values[-1] if values else default

    def entry(self) -> Iterator[tuple[str, Message]]:
        """Yield what an entry of a map holds: its key and its value."""
        key = self.text(1)
        return ((key, value) for value in self.parts(2))


def _too_many() -> ValueError:
    return ValueError(f"it has more than {LIMIT:,} fields")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
