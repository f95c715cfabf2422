"""Calibration samples: training samples from which a quantized scheme takes the ranges of its activations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.codec import from_json, read_json, to_json, write_json
from ..core.dataset import PreparedData, read_texts
from ..core.encoded import encode_texts
from ..core.errors import InputError
from ..core.tokenizer import open_tokenizer


@dataclass(frozen=True)
class Calibration:
    """Samples of the training split in `images` (``.npy``), as the model takes them, `count` along the first axis.

    Pictures are (count, height, width, 3) uint8 RGB, tensors (count, …). Texts are token ids: a structured array with
    the fields ``ids`` (length,) int32 and ``lens`` int32. `per_class` counts the samples by label. `sha256` is the hash
    of their bytes; it identifies the samples in the sidecar of a file.
    """

    images: Path
    count: int
    per_class: dict[str, int]
    seed: int
    sha256: str
    split: str = "train"


def draw(data: PreparedData, samples: int, seed: int, folder: Path, tokenizer: Path | None = None) -> Calibration:
    """Draw `samples` stratified samples from the training split, write them into `folder`, return the record.

    Classes take turns, so that a small sample contains every class. Within a class, and without classes, the order is
    random (`seed`). If the split has fewer samples, all are taken. Texts need the folder of the model's `tokenizer`.
    Raises InputError if there are no samples, or no tokenizer for texts.
    """
    labels = _labels(data)
    if not len(labels):
        raise InputError("there is no training sample to calibrate with", "give the data set a training split")
    names = data.classes
    classes = names or ("",)
    random = np.random.default_rng(seed)
    queues = [random.permutation(np.flatnonzero(labels == label)) for label in range(len(classes))]
    # Turn t takes the t-th sample of each class: sorting by (turn, class) gives this order.
    turns = sorted((turn, label, int(index)) for label, queue in enumerate(queues) for turn, index in enumerate(queue))
    chosen = sorted(index for _, _, index in turns[:samples])
    drawn = _samples(data, chosen, tokenizer)
    path = folder / "calibration.npy"
    np.save(path, drawn)
    counts = np.bincount(labels[chosen], minlength=len(classes))
    calibration = Calibration(
        images=path,
        count=len(chosen),
        per_class=_by_name(names, counts.tolist()),
        seed=seed,
        sha256=hashlib.sha256(drawn.tobytes()).hexdigest(),
    )
    write_json(folder / "calibration.json", to_json(calibration))
    return calibration


def _by_name(labels: Sequence[str], counts: Sequence[int]) -> dict[str, int]:
    """Return counts by label; classes of the same name are added up."""
    named: dict[str, int] = {}
    for label, count in zip(labels, counts, strict=False):  # without labels there is one count, the total
        named[label] = named.get(label, 0) + count
    return named


def load(folder: Path) -> Calibration:
    """Read what `draw` wrote; the folder may have been moved. Raises InputError if there is no record."""
    record = from_json(Calibration, read_json(folder / "calibration.json"), str(folder / "calibration.json"))
    return Calibration(**{**record.__dict__, "images": folder / "calibration.npy"})


def _labels(data: PreparedData) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the training split's labels (N,); all are 0 where there are no classes."""
    if data.classes:
        labels: np.ndarray[Any, np.dtype[np.int64]] = np.load(data.targets("train"), allow_pickle=False)
        return labels
    return np.zeros(data.counts.get("train", 0), np.int64)


def _samples(data: PreparedData, chosen: list[int], tokenizer: Path | None) -> np.ndarray[Any, Any]:
    if data.kind != "text":
        drawn: np.ndarray[Any, Any] = data.rows("train")[chosen]
        return drawn
    if tokenizer is None:
        raise InputError(
            "calibrating with texts needs the model's tokenizer, and it has none",
            "choose schemes that are not calibrated: tflite:float32, tflite:float16, tflite:dynamic",
        )
    try:
        opened = open_tokenizer(tokenizer)
    except ValueError as error:
        raise InputError(str(error), "train or import the model again, or copy its tokenizer's folder again") from error
    texts = read_texts(data.inputs("train"))
    return encode_texts(opened, [texts[index] for index in chosen])
