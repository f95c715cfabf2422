"""Makers: the tools that make files. A row says all of one; `export/export.py` has the function that calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .extras import EXTRAS, Extra

CONVERTER, QUANTIZER, TF2ONNX, ORT_QUANTIZER, TFMOT = (
    "converter", "ai-edge-quantizer", "tf2onnx", "onnxruntime", "tfmot",
)  # fmt: skip
# What a user may choose where several tools make a scheme.
MakerChoice = Literal["best", "converter", "ai-edge-quantizer"]


@dataclass(frozen=True)
class Maker:
    """One tool: `title` is its name in sentences, `modules` the packages of `extra` that it is or works with.

    `formats` are those of the files that it makes; a tool without any trains the model before. `starts_from` is the
    maker whose float file it reads; empty: it reads the frozen model. `purpose` says what it is for, in a list of
    packages. `needed`: the main job does not go without it.
    """

    name: str
    title: str
    extra: Extra
    modules: tuple[str, ...]
    formats: frozenset[str]
    purpose: str
    starts_from: str = ""
    needed: bool = False

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages that installers know it by."""
        return tuple(self.extra.packages[module] for module in self.modules)

    @property
    def line(self) -> tuple[Maker, ...]:
        """The makers that a file goes through, this one last."""
        return (*(MAKERS[self.starts_from].line if self.starts_from else ()), self)

    @property
    def installed(self) -> bool:
        """Whether this Python has it, and those before it. Imports nothing."""
        return not any(maker.extra.missing(*maker.modules) for maker in self.line)


def _rows() -> tuple[Maker, ...]:
    tflite, onnx = frozenset({"tflite"}), frozenset({"onnx"})
    return (
        Maker(
            CONVERTER, "TensorFlow's converter", EXTRAS["train"], ("tensorflow",), tflite,
            "training and TFLite conversion", needed=True,
        ),
        Maker(TF2ONNX, "tf2onnx", EXTRAS["onnx"], ("tf2onnx", "onnx"), onnx, "ONNX conversion", needed=True),
        Maker(
            ORT_QUANTIZER, "ONNX Runtime's quantizer", EXTRAS["onnx"], ("onnxruntime",), onnx,
            "dynamic and int8 ONNX files", starts_from=TF2ONNX,
        ),
        Maker(
            TFMOT, "TensorFlow's Model Optimization Toolkit", EXTRAS["quantize"], ("tensorflow_model_optimization",),
            frozenset(), "qat, pruned and clustered schemes",
        ),
        Maker(
            QUANTIZER, "ai-edge-quantizer", EXTRAS["quantize"], ("ai_edge_quantizer",), tflite,
            "int4 and weight-only schemes, finished .tflite files", starts_from=CONVERTER,
        ),
    )  # fmt: skip


MAKERS: dict[str, Maker] = {row.name: row for row in _rows()}


def makers_of(format_: str) -> tuple[Maker, ...]:
    """Return the tools that make files of a format."""
    return tuple(maker for maker in MAKERS.values() if format_ in maker.formats)
