"""A model: one frozen inference SavedModel, its labels and its input contract. Export reads nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .codec import from_json, read_json, to_json, write_json


@dataclass(frozen=True)
class InputContract:
    """What a caller feeds: a tensor `name` of `shape` (batch, height, width, channels), values in [`low`, `high`].

    `resize` says how pictures of other sizes were brought to this one in training (and must be in the app):
    ``stretch`` (both sides scaled), ``crop`` (shorter side scaled, centre cut out), ``pad`` (longer side scaled,
    black borders). Interpolation is bilinear with antialiasing, as Pillow does it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    low: float = 0.0
    high: float = 255.0
    colour: str = "RGB"
    resize: str = "stretch"

    @property
    def height(self) -> int:
        """Pixels."""
        return self.shape[1]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.shape[2]


@dataclass(frozen=True)
class Model:
    """A fine-tuned backbone, frozen.

    `saved_model` holds one signature ``serving_default``: input as `input` says, output ``probabilities`` of shape
    (1, number of labels). `sha256` is over the frozen graph's nodes and the labels: a SavedModel's bytes differ from
    one writing to the next. `metrics` are those of training (they never stand for the test split). `provenance` says
    what it was made from.
    """

    name: str
    backbone: str
    saved_model: Path
    sha256: str
    labels: tuple[str, ...]
    input: InputContract
    train_seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)


def save_model(model: Model, folder: Path) -> None:
    """Write ``model.json`` into `folder`, where the SavedModel stands as ``saved_model/``."""
    write_json(folder / "model.json", to_json(replace(model, saved_model=Path("saved_model"))))


def load_model(folder: Path) -> Model:
    """Read what `save_model` wrote. Raises InputError when there is no model there."""
    model = from_json(Model, read_json(folder / "model.json"), str(folder / "model.json"))
    return replace(model, saved_model=folder / model.saved_model)
