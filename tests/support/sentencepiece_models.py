"""SentencePiece models as bytes, written without the library."""

from __future__ import annotations

import struct
from typing import Any


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields: tuple[int, Any]) -> bytes:
    """Write a protobuf message."""
    out = b""
    for number, value in fields:
        if isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def sentencepiece_model(
    pieces: list[tuple[str, float, int]], trainer: dict[int, Any], normalizer: dict[int, Any]
) -> bytes:
    parts = [(1, message((1, text), (2, score), (3, kind))) for text, score, kind in pieces]
    return message(*parts, (2, message(*trainer.items())), (3, message(*normalizer.items())))
