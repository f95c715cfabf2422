"""Metadata and files put into a ``.tflite`` without writing the model anew."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping

from ..core.errors import InputError

ENTRY = b"TFLITE_METADATA"  # the name under which readers look it up among the model's metadata entries
ALIGNMENT = 16  # TFLite's schema.fbs: the bytes of a Buffer have force_align: 16

# Field numbers in TFLite's schema.fbs. All of Model's fields but the first (version) are offsets.
_MODEL_FIELDS, _SUBGRAPHS, _BUFFERS, _METADATA = 10, 2, 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA, _BUFFER_OFFSET = 0, 1
_SUBGRAPH_OPERATORS, _OPERATOR_LARGE_OFFSET = 3, 9


def attach(tflite: bytes, metadata: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return the model file with `metadata` (as `metadata.pack` gives it) in it and `files` by name behind it.

    Nothing of the model is written anew: its bytes follow a new root, which refers to what stands in them, at a
    distance that keeps every alignment. So weights, operators, order and names stay what they were. Metadata and
    files that the model already carried are replaced. The files are an uncompressed ZIP at the end, which is how
    readers find them; its dates are fixed, so that equal arguments give equal bytes. Raises InputError for a file
    that is no model.
    """
    if tflite[4:8] != b"TFL3":  # a flatbuffer carries its file identifier at bytes 4–7
        raise InputError("not a TFLite file", "expected the file identifier TFL3")
    try:
        model = _with_metadata(_without_files(tflite), metadata)
    except (
        IndexError,
        ValueError,
        OverflowError,
        TypeError,
        struct.error,
        zipfile.BadZipFile,
        NotImplementedError,
    ) as error:
        raise InputError(f"the model file is damaged: {error}", "make or copy it again") from error
    if not files:
        return model
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
    return stream.getvalue()


def read_files(tflite: bytes) -> dict[str, bytes]:
    """Return the files that a model file carries behind it, by name."""
    if not zipfile.is_zipfile(io.BytesIO(tflite)):
        return {}
    with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def _without_files(tflite: bytes) -> bytes:
    if not zipfile.is_zipfile(io.BytesIO(tflite)):
        return tflite
    with zipfile.ZipFile(io.BytesIO(tflite)) as archive:
        return tflite[: min(info.header_offset for info in archive.infolist())] if archive.infolist() else tflite


def _with_metadata(old: bytes, metadata: bytes) -> bytes:
    """Return the flatbuffer with one more buffer, `metadata`, and the entry that names it.

    A flatbuffer's offsets point forward only, and a builder writes from the end: the whole old file goes in first, as
    a vector of bytes that nothing names, and the new tables before it point into it.
    """
    import flatbuffers

    padded = old + bytes(-len(old) % ALIGNMENT)
    model = _Table.root(padded)
    if model.fields > _MODEL_FIELDS:
        raise InputError(f"the model has {model.fields} fields, {_MODEL_FIELDS} are known", "it is of a newer TFLite")
    if not list(model.tables(_SUBGRAPHS)):
        raise ValueError("it has no graph")
    entries = [t for t in model.tables(_METADATA) if t.text(_METADATA_NAME) != ENTRY]
    buffers = list(model.tables(_BUFFERS))

    builder = flatbuffers.Builder(len(padded) + len(metadata) + 4 * len(buffers) + 1024)
    builder.Prep(ALIGNMENT, 0)
    builder.CreateByteVector(padded)

    def at(position: int) -> int:
        """Builders count from the end."""
        return len(padded) - position

    def vector(offsets: list[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    builder.StartVector(1, len(metadata), ALIGNMENT)
    for byte in reversed(metadata):
        builder.PrependByte(byte)
    content = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(_BUFFER_DATA, content, 0)
    buffer = builder.EndObject()
    name = builder.CreateString(ENTRY)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(_METADATA_NAME, name, 0)
    builder.PrependUint32Slot(_METADATA_BUFFER, len(buffers), 0)
    entry = builder.EndObject()
    replaced = {
        _BUFFERS: vector([*(at(t.position) for t in buffers), buffer]),
        _METADATA: vector([*(at(t.position) for t in entries), entry]),
    }
    builder.StartObject(_MODEL_FIELDS)
    builder.PrependUint32Slot(0, model.uint(0, 4), 0)
    for slot in range(1, _MODEL_FIELDS):
        target = model.target(slot)
        builder.PrependUOffsetTRelativeSlot(slot, replaced.get(slot, at(target) if target else 0), 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    new = bytearray(builder.Output())
    _move_outlying(model, new, len(new) - len(padded))
    return bytes(new)


def _move_outlying(model: _Table, new: bytearray, distance: int) -> None:
    """Correct what counts from the file's beginning: weights and options that stand behind the flatbuffer."""
    places = [(buffer, _BUFFER_OFFSET) for buffer in model.tables(_BUFFERS)]
    for subgraph in model.tables(_SUBGRAPHS):
        places += [(operator, _OPERATOR_LARGE_OFFSET) for operator in subgraph.tables(_SUBGRAPH_OPERATORS)]
    for table, slot in places:
        if (offset := table.uint(slot, 8)) > 1:  # 0 and 1 mean that there is none
            place = distance + table.field(slot)
            new[place : place + 8] = (offset + distance).to_bytes(8, "little")


class _Table:
    """A table at `position` in a flatbuffer. Raises ValueError where an offset leads out of it."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content, self.position = content, position
        self._vtable = position - self._number(position, 4, signed=True)
        self.fields = (self._number(self._vtable, 2) - 4) // 2

    @classmethod
    def root(cls, content: bytes) -> _Table:
        return cls(content, int.from_bytes(content[:4], "little"))

    def _number(self, position: int, size: int, signed: bool = False) -> int:
        if not 0 <= position <= len(self.content) - size:
            raise ValueError(f"an offset leads to byte {position} of {len(self.content)}")
        return int.from_bytes(self.content[position : position + size], "little", signed=signed)

    def field(self, slot: int) -> int:
        """Where a field stands; 0 where the table leaves it out."""
        distance = self._number(self._vtable + 4 + 2 * slot, 2) if slot < self.fields else 0
        return self.position + distance if distance else 0

    def uint(self, slot: int, size: int) -> int:
        return self._number(place, size) if (place := self.field(slot)) else 0

    def target(self, slot: int) -> int:
        """Where the field's offset points; 0 where the table leaves it out."""
        return place + self._number(place, 4) if (place := self.field(slot)) else 0

    def tables(self, slot: int) -> Iterator[_Table]:
        """The tables of a vector of tables."""
        if start := self.target(slot):
            for place in range(start + 4, start + 4 + 4 * self._number(start, 4), 4):
                yield _Table(self.content, place + self._number(place, 4))

    def text(self, slot: int) -> bytes:
        if not (start := self.target(slot)):
            return b""
        return self.content[start + 4 : start + 4 + self._number(start, 4)]
