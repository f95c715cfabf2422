"""What a recipe trains on: images, texts or arrays of numbers, and what these data depend on.

This is all that a run asks before it knows whether anything has changed, so nothing is loaded here that reads data.
"""

from __future__ import annotations

from typing import Any

from ..core.dataset import Kind
from ..core.errors import InputError
from ..core.progress import Listener
from ..core.recipe import ModelSpec, Recipe
from ..core.recipe_data import TABLE_KEYS, Data
from ..core.sanitize import shorten
from ..data import fingerprint, kind_of
from ..data.label_targets import TASKS
from ..tasks.classification import Classification
from ..train.backbones import SENSOR_NETWORKS, SOUNDS
from ..train.sound.rates import known_rate


def kind_of_recipe(recipe: Recipe) -> Kind:
    """Return whether a recipe trains on images, texts or arrays of numbers: the data tell, and what its models take.

    Recordings are arrays of numbers, waveforms; and so are arrays of which `Data.sample_rate` is said.
    A table that names no target counts as numbers where a model takes those, so that preparing it says what is missing.
    """
    if waveforms(recipe):
        return "tensor"
    numbers = any(spec.backbone in SENSOR_NETWORKS for spec in recipe.model)
    if numbers and (holds_arrays(recipe.data) or recipe.data.source.startswith("csv:")):
        return "tensor"
    return "image" if pictures_in_arrays(recipe) else kind_of(recipe.data, recipe.folder)


def waveforms(recipe: Recipe) -> bool:
    """Return whether a recipe trains on recordings, or on arrays of which the rate is said."""
    scheme = recipe.data.source.partition(":")[0]
    return scheme == "wav" or (scheme in ("npz", "npy") and recipe.data.sample_rate is not None)


def pictures_in_arrays(recipe: Recipe) -> bool:
    """Return whether a recipe trains on pictures in arrays, with masks, or in a table with tags or numbers."""
    numbers = any(spec.backbone in SENSOR_NETWORKS for spec in recipe.model) or waveforms(recipe)
    scheme = recipe.data.source.partition(":")[0]
    table = scheme == "csv" and recipe.task in TASKS and kind_of(recipe.data, recipe.folder) == "image"
    return not numbers and (scheme in ("npz", "npy", "masks") or table)


def holds_arrays(data: Data) -> bool:
    """Return whether a recipe's data are arrays, recordings or a table of numbers. Reads nothing."""
    scheme = data.source.partition(":")[0]
    table = scheme == "csv" and any(getattr(data, key) for key in TABLE_KEYS)
    return scheme in ("npz", "npy", "parquet", "wav") or table


def rate_of(recipe: Recipe, spec: ModelSpec, listener: Listener | None = None) -> int | None:
    """Return the rate in Hz of the waveforms that a model takes; None: that of the recordings.

    Raises InputError where nothing says the rate of a finished module.
    """
    said, known = recipe.data.sample_rate, known_rate(spec)
    if said is None and known is None and spec.backbone not in SENSOR_NETWORKS:
        raise InputError(
            f"model {spec.name!r}: the rate of the waveforms that {shorten(spec.backbone)} takes is not known",
            "say it in Hz, as the module's own description does: data.sample_rate = 16000",
        )
    if listener is not None and said is not None and known not in (None, said):
        listener.note(
            "warning",
            f"model {spec.name!r}: data.sample_rate = {said:,}, and this module is known to take {known:,} Hz",
            remedy="leave data.sample_rate out",
        )
    return said or known


def recipe_fingerprint(recipe: Recipe) -> dict[str, Any]:
    """Return what the prepared data of a recipe depend on: a cheap cache key. Raises InputError as `fingerprint` and
    `array_fingerprint`."""
    if kind_of_recipe(recipe) == "tensor":
        for spec in recipe.model:
            if waveforms(recipe):
                rate_of(recipe, spec)
            elif spec.backbone not in SENSOR_NETWORKS and spec.backbone.partition(":")[0] in SOUNDS:
                raise InputError(
                    f"model {spec.name!r}: {shorten(spec.backbone)} takes waveforms, and the data are arrays or a "
                    "table of numbers",
                    f"choose {' or '.join(SENSOR_NETWORKS)}; of arrays of waveforms (N, samples) say data.sample_rate",
                )
    if kind_of_recipe(recipe) == "tensor" or pictures_in_arrays(recipe):
        from .training_arrays import array_fingerprint  # what reads arrays is not loaded for other data

        return array_fingerprint(
            recipe.data, recipe.task, seed=recipe.seed, folder=recipe.folder, pictures=pictures_in_arrays(recipe)
        )
    texts = kind_of_recipe(recipe) == "text"
    if recipe.task not in ("", Classification.name, *(TASKS if texts else ())):
        raise InputError(
            f"task = {recipe.task!r} needs targets that are no classes, and {shorten(recipe.data.source, 200)!r} has "
            "none, or this model does not take them",
            "give a table of pictures, csv:FILE with path and label, whose labels are tags (cat|dog) or numbers; or "
            f"arrays, npz:FILE with x and y: pictures, or numbers for {' or '.join(SENSOR_NETWORKS)}",
        )
    return fingerprint(recipe.data, seed=recipe.seed, folder=recipe.folder, task=recipe.task)
