"""Tables of a recipe below [quantize]: further training and mixed precision."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .recipe_table import Share, Table
from .variant import TRAININGS

DISTILL = "share of the loss that is the distance from the float model's answers; the rest comes from the labels"


class Qat(Table):
    """Quantization-aware training.

    It starts from the float model with calibrated ranges, and keeps the epoch with the best converted file. With
    `distill` = 1 it learns the float model's answers only; with less it also learns from the labels, and becomes
    another model.
    """

    epochs: int = Field(1, ge=0, description="epochs in which batch norm is trained")
    frozen_epochs: int = Field(2, ge=0, description="further epochs with batch norm frozen")
    learning_rate: float = Field(5e-6, gt=0, description="of all these epochs")
    batch_size: int = Field(32, ge=1, description="samples per step")
    samples: int = Field(4000, ge=0, description="training samples per epoch; `0`: all")
    patience: int = Field(
        2,
        ge=0,
        description="epochs without a better *converted* file, on the validation split, before it ends; `0`: never",
    )
    distill: float = Field(1.0, ge=0, le=1, description=DISTILL)


class Prune(Table):
    """Magnitude pruning."""

    sparsity: Share = Field(0.5, description="share of each layer's weights that become zero")
    epochs: int = Field(2, ge=1, description="number of epochs, over which the sparsity increases")
    learning_rate: float = Field(1e-4, gt=0, description="of these epochs")
    batch_size: int = Field(32, ge=1, description="samples per step")
    samples: int = Field(4000, ge=0, description="training samples per epoch; `0`: all")
    distill: float = Field(0.5, ge=0, le=1, description=DISTILL)


class Cluster(Table):
    """Weight clustering."""

    clusters: int = Field(16, ge=2, le=256, description="number of different values in each layer's weights")
    epochs: int = Field(1, ge=0, description="epochs for which these values are trained")
    learning_rate: float = Field(1e-5, gt=0, description="of these epochs")
    batch_size: int = Field(32, ge=1, description="samples per step")
    samples: int = Field(4000, ge=0, description="training samples per epoch; `0`: all")
    distill: float = Field(0.5, ge=0, le=1, description=DISTILL)


class Mixed(Table):
    """The search for ``tflite:int8-mixed``."""

    keep: Literal["float32", "int16"] = Field(
        "float32", description='precision of the worst layers: `"float32"`, or `"int16"` activations'
    )
    max_steps: int = Field(8, ge=1, le=64, description="steps of the search, each with further layers")


class Quantize(Table):
    """Settings of the schemes that need further training or a search."""

    qat: Qat = Qat()
    prune: Prune = Prune()
    cluster: Cluster = Cluster()
    mixed: Mixed = Mixed()

    def of(self, training: str) -> Qat | Prune | Cluster:
        """Return the table of one of `variant.TRAININGS`."""
        table: Qat | Prune | Cluster = getattr(self, TRAININGS[training].table)
        return table
