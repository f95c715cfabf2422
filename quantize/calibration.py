"""Calibration: which training samples a quantized scheme sees to find the ranges of its activations."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.codec import from_json, read_json, to_json, write_json
from ..core.dataset import PreparedData
from ..core.errors import InputError


@dataclass(frozen=True)
class Calibration:
    """Samples of the training split in `images` (``.npy``, (count, height, width, 3) uint8 RGB).

    `per_class` counts them by label; `sha256` is over their bytes, so that a file says exactly what it saw.
    """

    images: Path
    count: int
    per_class: dict[str, int]
    seed: int
    sha256: str
    split: str = "train"


def draw(data: PreparedData, samples: int, seed: int, folder: Path) -> Calibration:
    """Draw `samples` stratified images from the training split alone, write them into `folder`, return the record.

    Classes take turns, so that a small sample still shows every class; each class is drawn in seeded random order.
    With fewer training images than asked for, all are taken. Raises InputError when there are none.
    """
    labels = np.load(data.targets("train"), allow_pickle=False)
    if not len(labels):
        raise InputError("there is no training image to calibrate with", "give the data set a training split")
    random = np.random.default_rng(seed)
    queues = [random.permutation(np.flatnonzero(labels == label)) for label in range(len(data.labels))]
    # Turn t takes each class's t-th image: sorting by (turn, class) is that round.
    turns = sorted((turn, label, int(index)) for label, queue in enumerate(queues) for turn, index in enumerate(queue))
    chosen = sorted(index for _, _, index in turns[:samples])
    images = np.load(data.images("train"), mmap_mode="r", allow_pickle=False)[chosen]
    path = folder / "calibration.npy"
    np.save(path, images)
    counts = np.bincount(labels[chosen], minlength=len(data.labels))
    calibration = Calibration(
        images=path,
        count=len(chosen),
        per_class={label: int(count) for label, count in zip(data.labels, counts, strict=True)},
        seed=seed,
        sha256=hashlib.sha256(images.tobytes()).hexdigest(),
    )
    write_json(folder / "calibration.json", to_json(calibration))
    return calibration


def load(folder: Path) -> Calibration:
    """Read what `draw` wrote, wherever its folder stands now. Raises InputError when there is none."""
    record = from_json(Calibration, read_json(folder / "calibration.json"), str(folder / "calibration.json"))
    return Calibration(**{**record.__dict__, "images": folder / "calibration.npy"})
