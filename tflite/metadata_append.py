"""Adds metadata and files to a ``.tflite`` without changing its own bytes: a new root points to both."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from ..core.errors import InputError
from .graph import IDENTIFIER
from .metadata_schema import ENTRY
from .tables import Table
from .writer import ALIGNMENT

# Field numbers in TFLite's schema.fbs. All of Model's fields but the first (version) are offsets.
_MODEL_FIELDS, _SUBGRAPHS, _BUFFERS, _METADATA = 10, 2, 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA, _BUFFER_OFFSET = 0, 1
_SUBGRAPH_OPERATORS, _OPERATOR_LARGE_OFFSET = 3, 9


def attach(tflite: bytes, metadata: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return the model file with `metadata` (as `metadata_writer.pack` gives it) in it and `files` by name behind it.

    The model's bytes are not rewritten: they follow a new root, which points into them, at a distance that keeps every
    alignment. So weights, operators, order and names do not change. Existing metadata and files are replaced. The files
    are an uncompressed ZIP at the end, where readers look for them; its dates are fixed, so equal arguments give equal
    bytes. Raises InputError for a file that is not a model.
    """
    if tflite[4:8] != IDENTIFIER:
        raise InputError("not a TFLite file", "expected the file identifier TFL3")
    try:
        model = _with_metadata(_without_files(tflite), metadata)
    except (
        IndexError,
        ValueError,
        OverflowError,
        TypeError,
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
    """Return the files that are appended to a model file, by name."""
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

    A flatbuffer's offsets point forward only, and a builder writes from the end: the old file goes in first, as an
    unreferenced vector of bytes, and the new tables before it point into it.
    """
    import flatbuffers

    padded = old + bytes(-len(old) % ALIGNMENT)
    model = Table.root(padded)
    if model.fields > _MODEL_FIELDS:
        raise InputError(f"the model has {model.fields} fields, {_MODEL_FIELDS} are known", "it is of a newer TFLite")
    if not list(model.tables(_SUBGRAPHS)):
        raise ValueError("it has no graph")
    entries = [t for t in model.tables(_METADATA) if t.raw(_METADATA_NAME) != ENTRY.encode()]
    buffers = list(model.tables(_BUFFERS))

    builder = flatbuffers.Builder(len(padded) + len(metadata) + 4 * len(buffers) + 1024)
    builder.Prep(ALIGNMENT, 0)
    builder.CreateByteVector(padded)

    def at(position: int) -> int:
        """Return a position counted from the end, as builders do."""
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
    builder.PrependUint32Slot(0, model.value(0, "I"), 0)
    for slot in range(1, _MODEL_FIELDS):
        target = model.target(slot)
        builder.PrependUOffsetTRelativeSlot(slot, replaced.get(slot, at(target) if target else 0), 0)
    builder.Finish(builder.EndObject(), file_identifier=IDENTIFIER)
    new = bytearray(builder.Output())
    _move_outlying(model, new, len(new) - len(padded))
    return bytes(new)


def _move_outlying(model: Table, new: bytearray, distance: int) -> None:
    """Correct offsets that count from the file's beginning: weights and options behind the flatbuffer."""
    places = [(buffer, _BUFFER_OFFSET) for buffer in model.tables(_BUFFERS)]
    for subgraph in model.tables(_SUBGRAPHS):
        places += [(operator, _OPERATOR_LARGE_OFFSET) for operator in subgraph.tables(_SUBGRAPH_OPERATORS)]
    for table, slot in places:
        if (offset := table.value(slot, "Q")) > 1:  # 0 and 1 mean that there is none
            place = distance + table.field(slot)
            new[place : place + 8] = (offset + distance).to_bytes(8, "little")
