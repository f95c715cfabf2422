"""The one writer of ``.tflite`` files: objects in, bytes out, by rules of the schema that some tools break.

- The values of a tensor begin at a multiple of 16 bytes (``force_align: 16`` in schema.fbs). Python code generated from
  the schema does not align them, and TensorFlow's converter writes with it.
- An operator code below 127 is also written into the old field (``deprecated_builtin_code``), and 127 for larger ones.
  ai-edge-quantizer leaves 0 there, which is ADD for every reader of the old field.

The tables are packed first, without values. The values follow in one pass, so that they are copied once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from .graph import IDENTIFIER, check_work
from .objects import read

# Revision of what `write` makes of the same objects: part of the store's keys. Revision 1 had no alignment.
REVISION = 2
ALIGNMENT = 16  # schema.fbs: the data of a Buffer have force_align: 16
_OLD_CODES = 127  # the largest code in the old field: it stands for all that are larger
# A flatbuffer holds 2 GB. Further values are behind it, and buffers hold their offsets in the file.
_MOST_INSIDE = 2**31 - 2**20
_BUFFER_FIELDS, _DATA, _OFFSET, _SIZE = 3, 0, 1, 2


def write(model: Any) -> bytes:
    """Return the file of a ``ModelT`` (ai-edge-litert's or TensorFlow's), and set its operators' old codes.

    Values are inside the flatbuffer, where every runtime reads them; beyond 2 GB behind it, where TensorFlow Lite 2.14
    and later read them.
    """
    import flatbuffers

    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, _OLD_CODES)
    buffers = model.buffers
    values = [_bytes(buffer.data) for buffer in buffers]
    inside = sum(map(len, values)) < _MOST_INSIDE
    tables = [_Buffer(data, inside) for data in values]
    builder = flatbuffers.Builder(2**16)
    model.buffers = tables
    try:
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    finally:
        model.buffers = buffers
    return b"".join(_parts(builder.Output(), tables))


def conform(content: bytes) -> bytes:
    """Return a file as `write` would write it; the file itself, not copied, if it conforms already.

    Raises InputError when it is no TFLite file.
    """
    from .schema import Model

    check_work(content)
    return content if _conforms(Model.of(content)) else write(read(content))


def _conforms(model: Any) -> bool:
    for buffer in map(model.Buffers, range(model.BuffersLength())):
        start = buffer.Offset() if buffer.Offset() > 1 else buffer.data_start() if buffer.DataLength() else 0
        if start % ALIGNMENT:
            return False
    codes = map(model.OperatorCodes, range(model.OperatorCodesLength()))
    return all(code.DeprecatedBuiltinCode() == min(code.BuiltinCode(), _OLD_CODES) for code in codes)


class _Buffer:
    """A table of the vector of buffers, still without values: `place` is the field's position, from the end."""

    def __init__(self, values: Any, inside: bool) -> None:
        self.values, self.inside = values, inside
        self.place = 0

    def Pack(self, builder: Any) -> int:  # noqa: N802 - generated code calls it so
        builder.StartObject(_BUFFER_FIELDS)
        if len(self.values):
            if self.inside:
                builder.PrependUint32Slot(_DATA, 1, 0)  # any number but 0, which would be left out
            else:
                builder.PrependUint64Slot(_SIZE, len(self.values), 0)
                builder.PrependUint64Slot(_OFFSET, 1, 0)
            self.place = builder.Offset()
        return int(builder.EndObject())


def _parts(tables: bytearray, buffers: list[_Buffer]) -> Iterator[Any]:
    """Yield the parts of the file in order: the tables with the offsets of the values, and the values."""
    end = len(tables)
    position = end
    places = []
    for buffer in buffers:
        if not len(buffer.values):
            continue
        head = 4 if buffer.inside else 0  # the length of a vector stands in front of it
        position += -(position + head) % ALIGNMENT
        field = end - buffer.place
        if buffer.inside:
            struct.pack_into("<I", tables, field, position - field)
        else:
            struct.pack_into("<Q", tables, field, position)
        places.append((position, buffer))
        position += head + len(buffer.values)
    yield tables
    for position, buffer in places:
        yield bytes(position - end)
        if buffer.inside:
            yield struct.pack("<I", len(buffer.values))
        yield buffer.values
        end = position + 4 * buffer.inside + len(buffer.values)


def _bytes(data: Any) -> Any:
    """Return the values of a buffer as contiguous bytes, copied only if needed."""
    if data is None:
        return b""
    if isinstance(data, bytes | bytearray | memoryview):
        return data
    return np.ascontiguousarray(data, np.uint8)
