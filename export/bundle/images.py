"""Metadata of an image classifier, and which stock consumers accept such a file unchanged."""

from __future__ import annotations

from typing import Any, Literal

from ...core.artifact import Artifact, TensorSpec
from ...core.picture_size import COLOURS
from ...core.sanitize import shorten
from ...tflite.metadata_append import attach
from ...tflite.metadata_writer import (
    AssociatedFile,
    FeatureContent,
    ImageContent,
    ModelMetadata,
    Normalization,
    TensorMetadata,
    pack,
)

LABELS = "labels.txt"
MEDIAPIPE = "MediaPipe Tasks ImageClassifier"
TASK_LIBRARY = "Task Library ImageClassifier"
CONSUMERS = (MEDIAPIPE, TASK_LIBRARY)
# Highest versions of operators that tflite-support 0.4.4 has, where our converter writes higher ones: measured.
TASK_LIBRARY_HAS = {"FULLY_CONNECTED": 11}

# Both accept only these for inputs and outputs. Measured with mediapipe 1.2.2 and tflite-support 0.4.4; an int8
# input is refused with "Requested one of these types: uint8/float32".
EDGES = ("float32", "uint8")


# The colours that the metadata know, by the channels of the input.
_COLOURS: dict[int, Literal["unknown", "rgb", "grayscale"]] = {1: "grayscale", 3: "rgb", 4: "unknown"}
_SHOWN = COLOURS | {1: "Grey"}


def is_picture_classifier(artifact: Artifact) -> bool:
    """Whether a ``.tflite`` takes one picture and gives one vector of scores with known labels."""
    contract = artifact.contract
    if artifact.format != "tflite" or contract is None or contract.kind != "image" or not artifact.labels:
        return False
    shapes = [tensor.shape for tensor in (*artifact.inputs, *artifact.outputs)]
    return shapes == [(1, contract.height, contract.width, contract.channels), (1, len(artifact.labels))]


def label_file(labels: tuple[str, ...]) -> bytes:
    """Return the labels, one per line. Line breaks and invisible characters become spaces."""
    return "".join(shorten(label, max(len(label), 1)) + "\n" for label in labels).encode("utf-8", "replace")


def with_metadata(tflite: bytes, artifact: Artifact, maker: str) -> bytes:
    """Return an image classifier's file with its metadata and labels in it; `maker` is the author."""
    return attach(tflite, pack(picture_metadata(artifact, maker)), {LABELS: label_file(artifact.labels)})


def picture_metadata(artifact: Artifact, maker: str) -> ModelMetadata:
    """Return the metadata that stock consumers need: how pixels of 0–255 become inputs, and the names of the outputs.

    The contract maps pixels linearly onto [low, high], so value = pixel / std - mean / std with the metadata's mean
    and std. For a file that takes 0–255 they are 0 and 1.
    """
    contract = artifact.contract
    assert contract is not None  # noqa: S101  # is_picture_classifier
    count = contract.channels if contract.by_channel else 1
    means, stds = contract.mean or (0.0,) * count, contract.std or (1.0,) * count
    base = 255.0 / (contract.high - contract.low)
    normalization = Normalization(
        tuple((mean - contract.low) * base for mean in means), tuple(base * std for std in stds)
    )
    size = f"{contract.width} × {contract.height} pixels"
    shown = "BGR" if contract.colour == "BGR" else _SHOWN[contract.channels]
    takes, gives = artifact.inputs[0], artifact.outputs[0]
    ranges = [
        _range(takes, (contract.low - mean) / std, (contract.high - mean) / std)
        for mean, std in zip(means, stds, strict=True)
    ]
    return ModelMetadata(
        name=shorten(artifact.model, 200),
        description=f"Tells {len(artifact.labels)} classes of pictures apart ({artifact.format}:{artifact.scheme}).",
        version=artifact.sha256[:16],
        author=maker,
        inputs=(
            TensorMetadata(
                takes.name,
                f"{shown} picture of {size}, {takes.dtype}; resized by {contract.resize or 'stretch'}.",
                ImageContent("unknown" if contract.colour == "BGR" else _COLOURS[contract.channels]),
                units=(normalization,),
                low=tuple(low for low, _ in ranges),
                high=tuple(high for _, high in ranges),
            ),
        ),
        outputs=(
            TensorMetadata(
                gives.name,
                f"A score for each class, {gives.dtype}.",
                FeatureContent(),
                low=(_range(gives, 0.0, 1.0)[0],),
                high=(_range(gives, 0.0, 1.0)[1],),
                files=(AssociatedFile(LABELS, "axis labels", "The classes, in the order of the scores."),),
            ),
        ),
    )


def _range(tensor: TensorSpec, low: float, high: float) -> tuple[float, float]:
    """Return a tensor's range of stored values, as the metadata's stats need it: for integers the dtype's limits."""
    limits = {"uint8": (0.0, 255.0), "int8": (-128.0, 127.0)}
    return limits.get(tensor.dtype, (low, high))


def picture_consumers(artifact: Artifact) -> list[dict[str, Any]]:
    """Return rows {``consumer``, ``accepts``, ``why``} for the stock consumers of image classifiers."""
    resize = artifact.contract.resize if artifact.contract else "stretch"
    accepts = f"{artifact.inputs[0].dtype if artifact.inputs else ''} at the edges; the metadata say the rest"
    if resize != "stretch" and artifact.contract is not None:
        square = artifact.contract.height == artifact.contract.width
        accepts += (
            f". It stretches pictures to the file's size, and the model was trained on pictures resized by {resize}: "
            + ("give it pictures that are square already" if square else "give it pictures of its proportions")
        )
    return [
        {"consumer": name, "accepts": not why, "why": why or accepts}
        for name in CONSUMERS
        for why in [refusal(name, artifact)]
    ]


def refusal(consumer: str, artifact: Artifact) -> str:
    """Return why a stock consumer does not run an image artifact correctly; empty if it does."""
    if artifact.format != "tflite":
        return f"it takes .tflite files, this is {artifact.format}"
    contract = artifact.contract
    if not is_picture_classifier(artifact) or contract is None or contract.channels != 3 or contract.colour == "BGR":
        return "it takes one RGB picture of a fixed size and gives scores of classes whose labels are known"
    takes, gives = artifact.inputs[0], artifact.outputs[0]
    for edge, tensor in (("input", takes), ("output", gives)):
        if tensor.dtype not in EDGES:
            return f"the file's {edge} is {tensor.dtype}, and it takes {' or '.join(EDGES)} there"
    if takes.dtype == "uint8" and not _stores_pixels(takes, contract.low, contract.high):
        return (
            "it feeds an uint8 input the pixels as they are, and this file stores them otherwise "
            f"(scale {takes.scale:.6g}, zero point {takes.zero_point})"
        )
    if consumer == TASK_LIBRARY:
        for op in artifact.ops:
            if op.version > TASK_LIBRARY_HAS.get(op.name, op.version):
                return f"its runtime is of 2023 and has no {op.name} version {op.version}"
    return ""


def _stores_pixels(tensor: TensorSpec, low: float, high: float) -> bool:
    """Whether an uint8 input's stored value is the pixel itself, to within half a step at either end."""
    if not tensor.scale:
        return True
    ends = [(value / tensor.scale) + (tensor.zero_point or 0) for value in (low, high)]
    return abs(ends[0]) <= 0.5 and abs(ends[1] - 255) <= 0.5
