"""TFLite Metadata: what a file's tensors mean, written into the file for the libraries that run it unchanged.

The form is public: ``metadata_schema.fbs`` of tflite-support (schema version 1.5.0, file identifier M001; MediaPipe
Tasks reads the same), from which the numbers of fields, enumerations and unions below are taken. `pack` makes that
flatbuffer, `attach` puts it and the files that it names into a ``.tflite``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .metadata_append import attach, read_files

__all__ = [
    "AssociatedFile",
    "BertTokenizer",
    "FeatureContent",
    "ImageContent",
    "ModelMetadata",
    "Normalization",
    "RegexTokenizer",
    "SentencePieceTokenizer",
    "TensorMetadata",
    "attach",
    "pack",
    "read_files",
]

FileKind = Literal["", "descriptions", "axis-labels", "value-labels", "vocabulary"]
# Number in the enumeration AssociatedFileType, and the oldest schema that has it.
_FILE_KINDS: dict[str, tuple[int, str]] = {
    "": (0, "1.0.0"),
    "descriptions": (1, "1.0.0"),
    "axis-labels": (2, "1.0.0"),
    "value-labels": (3, "1.0.0"),
    "vocabulary": (5, "1.0.1"),
}
_COLOURS = {"": 0, "RGB": 1, "GRAYSCALE": 2}


@dataclass(frozen=True)
class AssociatedFile:
    """A file that travels in the model file. `kind` says what it is; ``axis-labels``: a name a line, per class."""

    name: str
    kind: FileKind = ""
    description: str = ""
    locale: str = ""


@dataclass(frozen=True)
class Normalization:
    """(value - mean) / std is what the tensor takes; one number for all channels, or one for each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class BertTokenizer:
    """WordPiece as BERT does it: `vocabulary` holds a token a line, its id is the line's number from 0."""

    vocabulary: AssociatedFile


@dataclass(frozen=True)
class SentencePieceTokenizer:
    """SentencePiece: the trained model, and where it is known a vocabulary."""

    model: AssociatedFile
    vocabulary: AssociatedFile | None = None


@dataclass(frozen=True)
class RegexTokenizer:
    """Words stand between matches of `delimiter`, a regular expression; `vocabulary` holds ``token id`` a line."""

    delimiter: str
    vocabulary: AssociatedFile


ProcessUnit = Normalization | BertTokenizer | SentencePieceTokenizer | RegexTokenizer


@dataclass(frozen=True)
class ImageContent:
    """The tensor is a picture."""

    colour: Literal["", "RGB", "GRAYSCALE"] = "RGB"


@dataclass(frozen=True)
class FeatureContent:
    """The tensor holds values: scores, ids, features."""


@dataclass(frozen=True)
class TensorMetadata:
    """What one input or output means. `low` and `high` are the values it takes: one number, or one per channel."""

    name: str = ""
    description: str = ""
    content: ImageContent | FeatureContent = FeatureContent()
    units: tuple[ProcessUnit, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    files: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class ModelMetadata:
    """A model's metadata. Inputs and outputs are in the order of the file's own subgraph, one for each tensor.

    `input_units` concern all inputs together: tokenizers whose ids, mask and segments are three tensors.
    """

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    licence: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    input_units: tuple[ProcessUnit, ...] = ()
    output_units: tuple[ProcessUnit, ...] = ()
    files: tuple[AssociatedFile, ...] = ()

    def all_files(self) -> Iterator[AssociatedFile]:
        """Every associated file that is named anywhere in it."""
        yield from self.files
        units = [*self.input_units, *self.output_units]
        for tensor in (*self.inputs, *self.outputs):
            yield from tensor.files
            units += tensor.units
        for unit in units:
            yield from _files_of(unit)


def _files_of(unit: ProcessUnit) -> tuple[AssociatedFile, ...]:
    if isinstance(unit, Normalization):
        return ()
    if isinstance(unit, SentencePieceTokenizer):
        return (unit.model, *((unit.vocabulary,) if unit.vocabulary else ()))
    return (unit.vocabulary,)


def min_parser_version(metadata: ModelMetadata) -> str:
    """Return the oldest version of the schema that has all of `metadata` (the schema's own history says which)."""
    needed = [_FILE_KINDS[file.kind][1] for file in metadata.all_files()]
    units = [*metadata.input_units, *metadata.output_units]
    if units:
        needed.append("1.1.0")
    units += [unit for tensor in (*metadata.inputs, *metadata.outputs) for unit in tensor.units]
    since = {BertTokenizer: "1.1.0", SentencePieceTokenizer: "1.1.0", RegexTokenizer: "1.2.1"}
    needed += [since[type(unit)] for unit in units if type(unit) in since]
    return max(["1.0.0", *needed], key=lambda text: tuple(int(part) for part in text.split(".")))


def pack(metadata: ModelMetadata) -> bytes:
    """Return `metadata` as the flatbuffer that stands in the file. Equal metadata give equal bytes."""
    import flatbuffers

    writer = _Writer(flatbuffers.Builder(1024))
    subgraph = writer.table(
        {
            2: writer.vector([writer.tensor(tensor) for tensor in metadata.inputs]),
            3: writer.vector([writer.tensor(tensor) for tensor in metadata.outputs]),
            5: writer.vector([writer.unit(unit) for unit in metadata.input_units]),
            6: writer.vector([writer.unit(unit) for unit in metadata.output_units]),
        }
    )
    root = writer.table(
        {
            0: writer.text(metadata.name),
            1: writer.text(metadata.description),
            2: writer.text(metadata.version),
            3: writer.vector([subgraph]),
            4: writer.text(metadata.author),
            5: writer.text(metadata.licence),
            6: writer.vector([writer.file(file) for file in metadata.files]),
            7: writer.text(min_parser_version(metadata)),
        }
    )
    writer.builder.Finish(root, file_identifier=b"M001")
    return bytes(writer.builder.Output())


class _Writer:
    """Tables of the schema, by their field numbers. An offset of 0 stands for a field that is left out."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def table(self, offsets: Mapping[int, int], bytes_: Mapping[int, int] | None = None) -> int:
        """Write a table with fields that are offsets, and such that are one byte (enumerations, union types)."""
        small = bytes_ or {}
        self.builder.StartObject(max([*offsets, *small], default=-1) + 1)
        for slot, offset in offsets.items():
            self.builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, value in small.items():
            self.builder.PrependUint8Slot(slot, value, 0)
        return int(self.builder.EndObject())

    def text(self, text: str) -> int:
        # Lone surrogates (from JSON) have no UTF-8.
        return int(self.builder.CreateString(text.encode("utf-8", "replace"))) if text else 0

    def vector(self, offsets: Sequence[int]) -> int:
        if not offsets:
            return 0
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def numbers(self, values: Sequence[float]) -> int:
        if not values:
            return 0
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return int(self.builder.EndVector())

    def file(self, file: AssociatedFile) -> int:
        texts = {0: self.text(file.name), 1: self.text(file.description), 3: self.text(file.locale)}
        return self.table(texts, {2: _FILE_KINDS[file.kind][0]})

    def unit(self, unit: ProcessUnit) -> int:
        """Write a ProcessUnit: the number of its kind in the union ProcessUnitOptions, and its table."""
        if isinstance(unit, Normalization):
            kind, options = 1, self.table({0: self.numbers(unit.mean), 1: self.numbers(unit.std)})
        elif isinstance(unit, BertTokenizer):
            kind, options = 4, self.table({0: self.vector([self.file(unit.vocabulary)])})
        elif isinstance(unit, SentencePieceTokenizer):
            model = self.vector([self.file(unit.model)])
            words = self.vector([self.file(unit.vocabulary)] if unit.vocabulary else [])
            kind, options = 5, self.table({0: model, 1: words})
        else:
            words = self.vector([self.file(unit.vocabulary)])
            kind, options = 6, self.table({0: self.text(unit.delimiter), 1: words})
        return self.table({1: options}, {0: kind})

    def content(self, content: ImageContent | FeatureContent) -> int:
        """Write a Content: the number of its kind in the union ContentProperties, and its table."""
        if isinstance(content, ImageContent):
            return self.table({1: self.table({}, {0: _COLOURS[content.colour]})}, {0: 2})
        return self.table({1: self.table({})}, {0: 1})

    def tensor(self, tensor: TensorMetadata) -> int:
        highs, lows = self.numbers(tensor.high), self.numbers(tensor.low)
        return self.table(
            {
                0: self.text(tensor.name),
                1: self.text(tensor.description),
                3: self.content(tensor.content),
                4: self.vector([self.unit(unit) for unit in tensor.units]),
                5: self.table({0: highs, 1: lows}) if highs or lows else 0,
                6: self.vector([self.file(file) for file in tensor.files]),
            }
        )
