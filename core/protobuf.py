"""Reads protobuf's wire format: the fields of a message, without a schema and without copying.

Files are untrusted, and a field takes as little as two bytes. So the fields read from one file are counted against a
limit far above any real model: a small file cannot take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

# Maximum number of fields read from one file. A graph of 100,000 nodes has about four million.
LIMIT = 10_000_000


class Message:
    """A message: a view of its file. A malformed message, or too many fields, raise ValueError or IndexError.

    Messages read from one message share its limit.
    """

    __slots__ = ("_remaining", "view")

    def __init__(self, content: memoryview, remaining: list[int] | None = None) -> None:
        self.view = content
        self._remaining = [LIMIT] if remaining is None else remaining  # a list, so that it is shared

    def fields(self) -> Iterator[tuple[int, int | Message]]:
        """Yield (field number, value): numbers for varints, messages for everything else."""
        view, remaining = self.view, self._remaining
        position, end = 0, len(view)
        while position < end:
            remaining[0] -= 1
            if remaining[0] < 0:
                raise _too_many()
            tag = view[position]  # most tags and sizes have one byte: read here, without a call
            position += 1
            if tag > 127:
                tag, position = _varint(view, position - 1)
            wire_type = tag & 7
            if wire_type == 0:
                value, position = _varint(view, position)
                yield tag >> 3, value
                continue
            if wire_type == 2:
                size = view[position]
                position += 1
                if size > 127:
                    size, position = _varint(view, position - 1)
            else:
                size = {1: 8, 5: 4}.get(wire_type, -1)
            if size < 0 or position + size > end:
                raise ValueError("the message is malformed")
            yield tag >> 3, Message(view[position : position + size], remaining)
            position += size

    def parts(self, number: int) -> Iterator[Message]:
        """Yield the messages, or bytes, of a field."""
        return (value for field, value in self.fields() if field == number and isinstance(value, Message))

    def grouped(self) -> Fields:
        """Return all fields at once: to read several fields of one message."""
        return Fields(self)

    def numbers(self) -> Iterator[int]:
        """Yield the unsigned whole numbers of a packed field."""
        position = 0
        while position < len(self.view):
            self._remaining[0] -= 1
            if self._remaining[0] < 0:
                raise _too_many()
            value, position = _varint(self.view, position)
            yield value

    def entries(self, number: int) -> Iterator[tuple[str, Message]]:
        """Yield the entries of a map field whose keys are texts."""
        for entry in self.parts(number):
            yield from entry.grouped().entry()

    def text(self, limit: int | None = None) -> str:
        """Return the bytes, at most `limit` of them, as text."""
        return bytes(self.view[:limit]).decode("utf-8", "replace")


class Fields:
    """The fields of a message by number. Of a single field that occurs twice, the last one counts, as in protobuf."""

    def __init__(self, message: Message) -> None:
        self._values: dict[int, list[int | Message]] = {}
        for number, value in message.fields():
            self._values.setdefault(number, []).append(value)

    def parts(self, number: int) -> list[Message]:
        """Return the messages, or bytes, of a field."""
        return [value for value in self._values.get(number, ()) if isinstance(value, Message)]

    def texts(self, number: int) -> tuple[str, ...]:
        """Return the texts of a field."""
        return tuple(part.text() for part in self.parts(number))

    def text(self, number: int, limit: int | None = None) -> str:
        """Return a field's text, at most `limit` bytes of it; ``""`` if there is none."""
        parts = self.parts(number)
        return parts[-1].text(limit) if parts else ""

    def numbers(self, number: int) -> list[int]:
        """Return the unsigned whole numbers of a field, packed or not."""
        numbers: list[int] = []
        for value in self._values.get(number, ()):
            numbers += [value] if isinstance(value, int) else value.numbers()
        return numbers

    def number(self, number: int, default: int = 0) -> int:
        """Return a field's number, or `default` if there is none."""
        values = [value for value in self._values.get(number, ()) if isinstance(value, int)]
        return values[-1] if values else default

    def entry(self) -> Iterator[tuple[str, Message]]:
        """Yield the key and the value of an entry of a map."""
        key = self.text(1)
        return ((key, value) for value in self.parts(2))


def _too_many() -> ValueError:
    return ValueError(f"it has more than {LIMIT:,} fields")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
