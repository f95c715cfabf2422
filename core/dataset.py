"""A prepared data set: checked, split, decoded and resized once; every later stage maps these files into memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .codec import from_json, read_json, to_json, write_json

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class PreparedData:
    """Images of one size in three splits.

    `folder` holds for each split ``SPLIT.npy`` (N, height, width, 3) uint8 RGB and ``SPLIT-labels.npy`` (N,) int64,
    indices into `labels`. What was unreadable or a duplicate is already left out; `report` says what that was.
    `sha256` is over the arrays' bytes. `counts` maps each split to its N.
    """

    folder: Path
    source: str
    labels: tuple[str, ...]
    height: int
    width: int
    resize: str
    counts: dict[str, int]
    sha256: str
    report: dict[str, Any] = field(default_factory=dict)

    def images(self, split: str) -> Path:
        """The ``.npy`` of a split's images."""
        return self.folder / f"{split}.npy"

    def targets(self, split: str) -> Path:
        """The ``.npy`` of a split's labels."""
        return self.folder / f"{split}-labels.npy"


def save_prepared(data: PreparedData, folder: Path) -> None:
    """Write ``data.json`` into `folder`."""
    write_json(folder / "data.json", to_json(replace(data, folder=Path())))


def load_prepared(folder: Path) -> PreparedData:
    """Read what `save_prepared` wrote. Raises InputError when there is none."""
    data = from_json(PreparedData, read_json(folder / "data.json"), str(folder / "data.json"))
    return replace(data, folder=folder)
