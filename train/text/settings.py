"""Checks which keys of a recipe's table ``train`` apply to texts."""

from __future__ import annotations

from ...core.errors import InputError
from ...core.recipe import Train


def check_text_training(train: Train) -> None:
    """Raise InputError for keys of the table ``train`` that do not apply to texts."""
    if train.augment.active:
        raise InputError("train.augment changes images; the data are texts", "remove the table train.augment")
    if train.head.pooling != "avg":
        raise InputError(
            "train.head.pooling makes vectors of maps of a picture; text encoders give vectors", "remove pooling"
        )
    if train.fine_tune.layers:
        raise InputError(
            "train.fine_tune.layers counts layers of an image backbone; the data are texts",
            "set trainable = true at the model instead: a text encoder is fine-tuned as a whole, with the epochs and "
            "learning_rate of train.fine_tune",
        )
