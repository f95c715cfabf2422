"""A prepared data set: checked, split and decoded once, and read by all later stages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .bounds import Count
from .codec import from_json, read_json, to_json, write_json
from .errors import explain_disk_errors
from .picture_size import size_of

if TYPE_CHECKING:
    from .encoded_images import EncodedImages

SPLITS = ("train", "validation", "test")

Kind = Literal["image", "text", "tensor"]
# Samples (N, …) that are read when they are indexed: a memory map, or images that are decoded again.
Rows: TypeAlias = "NDArray[Any] | EncodedImages"


@dataclass(frozen=True)
class PreparedData:
    """Samples of one `kind` in three splits.

    `folder` holds for each split the samples and ``SPLIT-labels.npy`` (N,) int64, indices into `labels`. Samples are

    - ``image``: ``SPLIT.npy`` (N, height, width, channels) uint8, grey, RGB or RGBA; for training also
      ``train.index`` and ``train.pack`` instead, which hold them encoded (`encoded_images`). `rows` reads both;
    - ``text``: ``SPLIT.jsonl``, one JSON string per line (`read_texts`); height and width are 0, resize is empty;
    - ``tensor``: ``SPLIT.npy`` (N, …) as the model takes them. Without classes `labels` is empty, and so are targets.

    Unreadable samples and duplicates are already left out; `report` lists them. `sha256` is over the bytes of samples
    and labels. `counts` maps each split to its N. For a `task` other than classification ``SPLIT-labels.npy`` holds the
    targets as the task keeps them (N, …).
    """

    folder: Path
    source: str
    labels: tuple[str, ...]
    height: Count
    width: Count
    resize: str
    counts: dict[str, Count]
    sha256: str
    report: dict[str, Any] = field(default_factory=dict)
    kind: Kind = "image"
    channels: Count = 3
    """Of images: 1 (grey), 3 (RGB) or 4 (RGBA)."""
    task: str = "classification"
    columns: tuple[str, ...] = ()
    """Of a table of numbers that is trained on: the names of its features, in the order of the last axis."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of whole samples; none where labels name tags, or what pixels and boxes are of."""
        return self.labels if self.task == "classification" else ()

    @property
    def column_facts(self) -> dict[str, Any]:
        """What a trained model's key in the store has of the names of columns; empty without any."""
        return {"columns": self.columns} if self.columns else {}

    def inputs(self, split: str) -> Path:
        """The file of a split's samples."""
        return self.folder / f"{split}.jsonl" if self.kind == "text" else self.images(split)

    def images(self, split: str) -> Path:
        """The ``.npy`` of a split's images or tensors."""
        return self.folder / f"{split}.npy"

    def rows(self, split: str) -> Rows:
        """A split's images or tensors (N, …), read and decoded when they are indexed; (0, height, width, channels) of
        a split without a file."""
        path = self.inputs(split)
        if path.is_file():
            rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            return rows
        if path.with_suffix(".index").is_file():
            from .encoded_images import EncodedImages

            return EncodedImages(self.folder, split, size_of(self.height, self.width, self.channels), self.resize)
        return np.zeros((0, self.height, self.width, self.channels), np.uint8)

    def missing(self) -> str:
        """The path of a training image whose file is read and is not there any more; ``""`` if all are there."""
        rows = self.rows("train") if self.kind == "image" else None
        return "" if rows is None or isinstance(rows, np.ndarray) else rows.missing()

    def targets(self, split: str) -> Path:
        """The ``.npy`` of a split's labels or other targets."""
        return self.folder / f"{split}-labels.npy"


def save_prepared(data: PreparedData, folder: Path) -> None:
    """Write ``data.json`` into `folder`."""
    write_json(folder / "data.json", to_json(replace(data, folder=Path())))


def load_prepared(folder: Path) -> PreparedData:
    """Read what `save_prepared` wrote. Raises InputError when there is none."""
    data = from_json(PreparedData, read_json(folder / "data.json"), str(folder / "data.json"))
    return replace(data, folder=folder)


def write_texts(texts: Iterable[str], path: Path) -> None:
    """Write texts as one JSON string per line, in ASCII: no text can contain a line break."""
    with explain_disk_errors(path), path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(text, ensure_ascii=True) + "\n" for text in texts)


def read_texts(path: Path) -> list[str]:
    """Read what `write_texts` wrote."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]
