"""Writes TFLite Metadata, the meaning of a file's tensors, into the file, for libraries that run it unchanged.

`pack` makes the flatbuffer (`metadata_schema`), `metadata_append.attach` puts it and its files into a ``.tflite``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .metadata_schema import (
    COLOURS,
    CONTENTS,
    FILE_TYPES,
    IDENTIFIER,
    SINCE,
    UNITS,
    File,
    Root,
    Stats,
    Subgraph,
    Tensor,
    Union,
)

FileKind = Literal["unknown", "descriptions", "axis labels", "value labels", "vocabulary"]


@dataclass(frozen=True)
class AssociatedFile:
    """A file inside the model file. `kind` says what it is; ``axis labels``: one line per class."""

    name: str
    kind: FileKind = "unknown"
    description: str = ""
    locale: str = ""


@dataclass(frozen=True)
class Normalization:
    """The tensor takes (value - mean) / std; one number for all channels, or one for each."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class BertTokenizer:
    """WordPiece as in BERT: `vocabulary` holds one token per line; its id is the line number from 0."""

    vocabulary: AssociatedFile


@dataclass(frozen=True)
class SentencePieceTokenizer:
    """SentencePiece: the trained model, and a vocabulary if known."""

    model: AssociatedFile
    vocabulary: AssociatedFile | None = None


@dataclass(frozen=True)
class RegexTokenizer:
    """Words between matches of `delimiter`, a regular expression; `vocabulary` holds ``token id`` lines."""

    delimiter: str
    vocabulary: AssociatedFile


ProcessUnit = Normalization | BertTokenizer | SentencePieceTokenizer | RegexTokenizer


@dataclass(frozen=True)
class ImageContent:
    """The tensor is an image."""

    colour: Literal["unknown", "rgb", "grayscale"] = "rgb"


@dataclass(frozen=True)
class FeatureContent:
    """The tensor holds values: scores, ids, features."""


@dataclass(frozen=True)
class TensorMetadata:
    """The meaning of one input or output. `low` and `high` are its range of values: one number, or one per channel."""

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


_KINDS: dict[type, str] = {
    Normalization: "normalization",
    BertTokenizer: "bert tokenizer",
    SentencePieceTokenizer: "sentencepiece tokenizer",
    RegexTokenizer: "regex tokenizer",
}


def _files_of(unit: ProcessUnit) -> tuple[AssociatedFile, ...]:
    if isinstance(unit, Normalization):
        return ()
    if isinstance(unit, SentencePieceTokenizer):
        return (unit.model, *((unit.vocabulary,) if unit.vocabulary else ()))
    return (unit.vocabulary,)


def min_parser_version(metadata: ModelMetadata) -> str:
    """Return the oldest version of the schema that has all of `metadata`, by the schema's own history."""
    units = [*metadata.input_units, *metadata.output_units]
    needed = ["1.1.0" if units else "1.0.0"]  # units of all inputs or outputs together
    units += [unit for tensor in (*metadata.inputs, *metadata.outputs) for unit in tensor.units]
    kinds = [*(file.kind for file in metadata.all_files()), *(_KINDS[type(unit)] for unit in units)]
    needed += [SINCE[kind] for kind in kinds if kind in SINCE]
    return max(needed, key=lambda text: tuple(int(part) for part in text.split(".")))


def pack(metadata: ModelMetadata) -> bytes:
    """Return `metadata` as the flatbuffer for the file. Equal metadata give equal bytes."""
    import flatbuffers

    writer = _Writer(flatbuffers.Builder(1024))
    subgraph = writer.table(
        {
            Subgraph.INPUTS: writer.vector([writer.tensor(tensor) for tensor in metadata.inputs]),
            Subgraph.OUTPUTS: writer.vector([writer.tensor(tensor) for tensor in metadata.outputs]),
            Subgraph.INPUT_UNITS: writer.vector([writer.unit(unit) for unit in metadata.input_units]),
            Subgraph.OUTPUT_UNITS: writer.vector([writer.unit(unit) for unit in metadata.output_units]),
        }
    )
    root = writer.table(
        {
            Root.NAME: writer.text(metadata.name),
            Root.DESCRIPTION: writer.text(metadata.description),
            Root.VERSION: writer.text(metadata.version),
            Root.SUBGRAPHS: writer.vector([subgraph]),
            Root.AUTHOR: writer.text(metadata.author),
            Root.LICENCE: writer.text(metadata.licence),
            Root.FILES: writer.vector([writer.file(file) for file in metadata.files]),
            Root.PARSER: writer.text(min_parser_version(metadata)),
        }
    )
    writer.builder.Finish(root, file_identifier=IDENTIFIER)
    return bytes(writer.builder.Output())


class _Writer:
    """Writes tables of the schema by field numbers. An offset of 0 means a field that is left out."""

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
        """Write an AssociatedFile."""
        texts = {
            File.NAME: self.text(file.name),
            File.DESCRIPTION: self.text(file.description),
            File.LOCALE: self.text(file.locale),
        }
        return self.table(texts, {File.TYPE: FILE_TYPES.index(file.kind)})

    def unit(self, unit: ProcessUnit) -> int:
        """Write a ProcessUnit: the number of its kind, and its options."""
        if isinstance(unit, Normalization):
            options = self.table({0: self.numbers(unit.mean), 1: self.numbers(unit.std)})
        elif isinstance(unit, BertTokenizer):
            options = self.table({0: self.vector([self.file(unit.vocabulary)])})
        elif isinstance(unit, SentencePieceTokenizer):
            model = self.vector([self.file(unit.model)])
            words = self.vector([self.file(unit.vocabulary)] if unit.vocabulary else [])
            options = self.table({0: model, 1: words})
        else:
            words = self.vector([self.file(unit.vocabulary)])
            options = self.table({0: self.text(unit.delimiter), 1: words})
        return self.table({Union.TABLE: options}, {Union.KIND: UNITS.index(_KINDS[type(unit)])})

    def content(self, content: ImageContent | FeatureContent) -> int:
        """Write a Content: the number of its kind, and its properties."""
        if isinstance(content, ImageContent):
            kind, properties = "image", self.table({}, {0: COLOURS.index(content.colour)})
        else:
            kind, properties = "feature", self.table({})
        return self.table({Union.TABLE: properties}, {Union.KIND: CONTENTS.index(kind)})

    def tensor(self, tensor: TensorMetadata) -> int:
        """Write a TensorMetadata."""
        highs, lows = self.numbers(tensor.high), self.numbers(tensor.low)
        return self.table(
            {
                Tensor.NAME: self.text(tensor.name),
                Tensor.DESCRIPTION: self.text(tensor.description),
                Tensor.CONTENT: self.content(tensor.content),
                Tensor.UNITS: self.vector([self.unit(unit) for unit in tensor.units]),
                Tensor.STATS: self.table({Stats.HIGH: highs, Stats.LOW: lows}) if highs or lows else 0,
                Tensor.FILES: self.vector([self.file(file) for file in tensor.files]),
            }
        )
