"""TensorFlow's converter with our writer: its own writes every file twice, from objects, without alignment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .writer import conform, write


def convert(converter: Any) -> bytes:
    """Return the file that a configured ``TFLiteConverter`` makes. Raises whatever the converter raises."""
    with _our_writer() as used:
        content = bytes(converter.convert())
    return content if used else conform(content)


@contextmanager
def _our_writer() -> Iterator[list[bool]]:
    """Within this block the converter's Python part writes with `write`; the yielded list is empty until it does.

    It reads a file into objects, writes it again to share equal buffers, and again to add metadata. Its builder grows
    by doubling, so this needs five times the memory of the weights. Files of more than 2 GB skip it.
    """
    from tensorflow.lite.tools import flatbuffer_utils as module

    original = module.convert_object_to_bytearray
    used: list[bool] = []

    def ours(model: Any, extra_buffer: bytes = b"") -> bytes:
        used.append(True)
        return write(model) + extra_buffer

    module.convert_object_to_bytearray = ours
    try:
        yield used
    finally:
        module.convert_object_to_bytearray = original
