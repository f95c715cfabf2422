"""Tables of a recipe below [quantize]: further training and mixed precision."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .recipe_table import Share, Table
from .variant import TRAININGS

DISTILL = "share of the loss that is distance from the float model's own answers; the rest is from the labels"


class Qat(Table):
    """Quantization-aware training.

    It starts from the float model with calibrated ranges, and keeps the epoch whose converted file is best. With a
    `distill` of 1 the file answers as the float model does, wherever it can; with less it also learns what the float
    model does not know, and is another model.
    """

    epochs: int = Field(1, ge=0, description="with batch norm learning")
    frozen_epochs: int = Field(2, ge=0, description="with batch norm frozen, after those")
    learning_rate: float = Field(5e-6, gt=0, description="of all of them")
    batch_size: int = Field(32, ge=1, description="samples a step")
    samples: int = Field(4000, ge=0, description="training samples an epoch; `0`: all")
    patience: int = Field(
        2,
        ge=0,
        description="epochs without a better *converted* file, on the validation split, before it ends; `0`: never",
    )
    distill: float = Field(1.0, ge=0, le=1, description=DISTILL)


class Prune(Table):
    """Magnitude pruning."""

    sparsity: Share = Field(0.5, description="share of each layer's weights that become zero")
    epochs: int = Field(2, ge=1, description="over which they do")
    learning_rate: float = Field(1e-4, gt=0, description="of these epochs")
    batch_size: int = Field(32, ge=1, description="samples a step")
    samples: int = Field(4000, ge=0, description="training samples an epoch; `0`: all")
    distill: float = Field(0.5, ge=0, le=1, description=DISTILL)


class Cluster(Table):
    """Weight clustering."""

    clusters: int = Field(16, ge=2, le=256, description="values that each layer's weights take")
    epochs: int = Field(1, ge=0, description="for which these values train")
    learning_rate: float = Field(1e-5, gt=0, description="of these epochs")
    batch_size: int = Field(32, ge=1, description="samples a step")
    samples: int = Field(4000, ge=0, description="training samples an epoch; `0`: all")
    distill: float = Field(0.5, ge=0, le=1, description=DISTILL)


class Mixed(Table):
    """How ``tflite:int8-mixed`` is searched."""

    keep: Literal["float32", "int16"] = Field(
        "float32", description='what the worst layers are kept in: `"float32"`, or `"int16"` activations'
    )
    max_steps: int = Field(8, ge=1, le=64, description="steps of the search, each with further layers")


class Quantize(Table):
    """What schemes that train or search need to know."""

    qat: Qat = Qat()
    prune: Prune = Prune()
    cluster: Cluster = Cluster()
    mixed: Mixed = Mixed()

    def of(self, training: str) -> Qat | Prune | Cluster:
        """Return the table of one of `variant.TRAININGS`."""
        table: Qat | Prune | Cluster = getattr(self, TRAININGS[training].table)
        return table
