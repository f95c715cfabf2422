"""The schema of TFLite Metadata: slots of its tables, members of its enumerations and unions.

Source: ``metadata_schema.fbs`` of tflite-support, schema version 1.5.0 (MediaPipe 1.2.2 has the same in
``mediapipe/tasks/metadata/``). The metadata are a flatbuffer of their own, in the buffer called `ENTRY`.
"""

from __future__ import annotations

from typing import Final

ENTRY = "TFLITE_METADATA"  # among the model's metadata entries
IDENTIFIER = b"M001"


class Root:
    """Slots of ModelMetadata."""

    NAME, DESCRIPTION, VERSION, SUBGRAPHS, AUTHOR, LICENCE, FILES, PARSER = range(8)


class Subgraph:
    """Slots of SubGraphMetadata."""

    NAME, DESCRIPTION, INPUTS, OUTPUTS, FILES, INPUT_UNITS, OUTPUT_UNITS = range(7)


class Tensor:
    """Slots of TensorMetadata."""

    NAME, DESCRIPTION, DIMENSIONS, CONTENT, UNITS, STATS, FILES = range(7)


class File:
    """Slots of AssociatedFile."""

    NAME, DESCRIPTION, TYPE, LOCALE = range(4)


class Union:
    """Slots of tables that hold a union: the number of its kind and its table (Content, ProcessUnit)."""

    KIND, TABLE = range(2)


class Stats:
    """Slots of Stats."""

    HIGH, LOW = range(2)


# In the order of their numbers in the schema.
FILE_TYPES: Final = (
    "unknown",
    "descriptions",
    "axis labels",
    "value labels",
    "axis score calibration",
    "vocabulary",
    "scann index",
)
CONTENTS: Final = ("", "feature", "image", "bounding box", "audio")
COLOURS: Final = ("unknown", "rgb", "grayscale")
UNITS: Final = (
    "",
    "normalization",
    "score calibration",
    "score thresholding",
    "bert tokenizer",
    "sentencepiece tokenizer",
    "regex tokenizer",
)
# The oldest schema version with a kind of file or unit, by the schema's history; 1.0.0 has all others.
SINCE: Final = {
    "vocabulary": "1.0.1",
    "scann index": "1.4.0",
    "bert tokenizer": "1.1.0",
    "sentencepiece tokenizer": "1.1.0",
    "regex tokenizer": "1.2.1",
}
