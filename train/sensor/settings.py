"""Checks which keys of a recipe's table ``train`` apply to numbers."""

from __future__ import annotations

from ...core.errors import InputError
from ...core.recipe import Train


def check_number_training(train: Train) -> None:
    """Raise InputError for keys of the table ``train`` that do not apply to numbers."""
    if train.augment.active:
        raise InputError("train.augment changes images; the data are numbers", "remove the table train.augment")
    if train.head.pooling != "avg":
        raise InputError("train.head.pooling is for a backbone's map of a picture; the data are numbers", "remove it")
    if train.fine_tune.layers:
        raise InputError(
            "train.fine_tune is for a backbone with weights; a scratch: network is trained as a whole in phase one",
            "remove train.fine_tune.layers; train.epochs says how long it is trained",
        )
