"""The rows of the matrix and the cells of each: which model, which files. Imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from edgeproof.train.families import FAMILIES

from . import inventory

Kind = Literal["keras", "image", "text", "file"]

MODEL, FINE_TUNE, OLD_RUNTIME = "model", "fine_tune", "tflite-runtime"
SHORT = ("tflite:float32", "tflite:int8", "onnx:float32")
WHOLE = (
    "tflite:float32",
    "tflite:float16",
    "tflite:dynamic",
    "tflite:int8",
    "tflite:int16x8",
    "tflite:qat-int8",
    "onnx:float32",
    "onnx:int8",
    FINE_TUNE,
    OLD_RUNTIME,
)
UNCALIBRATED = ("tflite:float32", "tflite:dynamic", "onnx:float32")

# From the fastest to the slowest, by weights and layers.
_BY_COST = """
MobileNetV2 MobileNet MobileNetV3Small RegNetX002 RegNetY002 MobileNetV3Large EfficientNetB0 EfficientNetV2B0 VGG16
ResNet50 ResNet50V2 RegNetX004 RegNetY004 RegNetX006 RegNetY006 Xception InceptionV3 NASNetMobile DenseNet121 VGG19
RegNetX008 RegNetY008 EfficientNetB1 EfficientNetV2B1 RegNetX016 RegNetY016 EfficientNetB2 EfficientNetV2B2
ResNetRS50 ConvNeXtTiny EfficientNetB3 EfficientNetV2B3 ResNet101 ResNet101V2 RegNetX032 RegNetY032 DenseNet169
RegNetX040 RegNetY040 EfficientNetB4 DenseNet201 RegNetX064 RegNetY064 ResNetRS101 EfficientNetV2S ConvNeXtSmall
InceptionResNetV2 ResNet152 ResNet152V2 RegNetX080 RegNetY080 RegNetX120 RegNetY120 EfficientNetB5 ResNetRS152
RegNetX160 RegNetY160 EfficientNetB6 ConvNeXtBase ResNetRS200 EfficientNetV2M EfficientNetB7 NASNetLarge RegNetX320
RegNetY320 ResNetRS270 ConvNeXtLarge EfficientNetV2L ResNetRS350 ResNetRS420 ConvNeXtXLarge
"""

# Models with fine-tuning and every scheme: one of each family, and of each of RegNet's two kinds.
REPRESENTATIVES = frozenset({*(family.names[0] for family in FAMILIES), "RegNetY002"})


@dataclass(frozen=True)
class RowSpec:
    """One row: `id` (``keras:NAME`` or another prefix of its kind), its section of the page, and its cells.

    The first cell of every row is ``model``: the model is trained or imported, frozen, and compared with its source.
    `size` is the side of its pictures. `options` are arguments of the builder of its kind.
    """

    id: str
    kind: Kind
    section: str
    cells: tuple[str, ...]
    title: str = ""
    size: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The row's name on the page."""
        return self.title or self.id.partition(":")[2]


def all_rows() -> tuple[RowSpec, ...]:
    """Return every row in the order of the page."""
    return (*_applications(), *inventory.rows())


def in_order(rows: tuple[RowSpec, ...]) -> list[RowSpec]:
    """Return rows in the order of execution: the largest models last."""
    place = {f"keras:{name}": number for number, name in enumerate(_BY_COST.split(), start=1)}
    return sorted(rows, key=lambda row: place.get(row.id, 0))


def chosen(rows: tuple[RowSpec, ...], only: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> tuple[RowSpec, ...]:
    """Return the rows whose id matches a pattern of `only` (``keras:ConvNeXt*``; all without one) and none of `but`."""

    def like(row: RowSpec, patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(row.id, pattern) for pattern in patterns)

    return tuple(row for row in rows if (not only or like(row, only)) and not like(row, but))


def _applications() -> tuple[RowSpec, ...]:
    return tuple(
        RowSpec(
            id=f"keras:{name}",
            kind="keras",
            section=family.module,
            cells=(MODEL, *(WHOLE if name in REPRESENTATIVES else SHORT)),
            size=family.minimum,
        )
        for family in FAMILIES
        for name in family.names
    )
