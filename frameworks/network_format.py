"""The format of ``network/``: the unfrozen model, stored beside its SavedModel for further training.

``network.json`` describes it (`kind` and the writer's own keys), ``weights.npz`` holds its arrays; numbered arrays are
in order. Training writes it (`train.network_store`), further training reads it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import read_json, write_json
from ..core.errors import InputError

FOLDER = "network"
LAYOUT = 1
KERAS, MODULE = "keras", "module"  # layers with their weights; or the variables of a Hub module
# Layers around a module: convolutions of fixed weights that map pixels, a head's hidden layers, and its last one.
PREPROCESS, HIDDEN, PROBABILITIES = "preprocess", "hidden_", "probabilities"
_DESCRIPTION, _WEIGHTS = "network.json", "weights.npz"


def write_network(folder: Path, described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a network into a new `folder`. `described` has ``kind`` and the keys that its reader needs."""
    folder.mkdir(parents=True)
    with (folder / _WEIGHTS).open("wb") as stream:
        np.savez(stream, **dict(arrays))
    write_json(folder / _DESCRIPTION, {"layout": LAYOUT, **described})


def read_network(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the arguments of `write_network`. Raises InputError for damaged files and other versions."""
    described = read_json(folder / _DESCRIPTION)
    if described.get("layout") != LAYOUT or described.get("kind") not in (KERAS, MODULE):
        raise InputError(f"{folder} was written by another version of edgeproof", "run the training again")
    try:
        with np.load(folder / _WEIGHTS, allow_pickle=False) as file:
            return described, {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{folder / _WEIGHTS} cannot be read: {error}", "run the training again") from error


def number(arrays: Iterable[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return `arrays` as a dictionary with their positions as keys."""
    return {f"{place:05d}": array for place, array in enumerate(arrays)}


def numbered(arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the arrays whose keys are numbers, in order."""
    return [arrays[name] for name in sorted(arrays) if name.isdecimal()]
