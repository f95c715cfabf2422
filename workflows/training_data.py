"""The data of a recipe, prepared for training: images, texts, or arrays of numbers."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.dataset import Kind, PreparedData, load_prepared
from ..core.errors import InputError
from ..core.helpers import Helpers
from ..core.progress import Listener, Silent
from ..core.recipe import ModelSpec, Recipe
from ..core.sanitize import shorten
from ..core.store import Store
from ..data import fingerprint, kind_of
from ..data.label_targets import TASKS
from ..data.masks import find_masks
from ..data.sources import resolve_path
from ..tasks.asked import check_asked
from ..tasks.classification import Classification
from ..train.backbones import SENSOR_NETWORKS, SOUNDS
from ..train.sound.rates import known_rate
from .input_spec import InputSpec
from .prepare_data import prepared
from .tensorflow_process import TensorFlowProcess
from .training_arrays import array_fingerprint, holds_arrays, prepare_arrays
from .training_pictures import Pictures
from .training_waves import Sounds


def kind_of_recipe(recipe: Recipe) -> Kind:
    """Return whether a recipe trains on images, texts or arrays of numbers: the data tell, and what its models take.

    Recordings are arrays of numbers, waveforms; and so are arrays of which `Data.sample_rate` is said.
    A table that names no target counts as numbers where a model takes those, so that preparing it says what is missing.
    """
    if _waveforms(recipe):
        return "tensor"
    numbers = any(spec.backbone in SENSOR_NETWORKS for spec in recipe.model)
    if numbers and (holds_arrays(recipe.data) or recipe.data.source.startswith("csv:")):
        return "tensor"
    return "image" if _pictures_in_arrays(recipe) else kind_of(recipe.data, recipe.folder)


def _waveforms(recipe: Recipe) -> bool:
    scheme = recipe.data.source.partition(":")[0]
    return scheme == "wav" or (scheme in ("npz", "npy") and recipe.data.sample_rate is not None)


def _pictures_in_arrays(recipe: Recipe) -> bool:
    numbers = any(spec.backbone in SENSOR_NETWORKS for spec in recipe.model) or _waveforms(recipe)
    scheme = recipe.data.source.partition(":")[0]
    table = scheme == "csv" and recipe.task in TASKS and kind_of(recipe.data, recipe.folder) == "image"
    return not numbers and (scheme in ("npz", "npy", "masks") or table)


def _sounds(recipe: Recipe, spec: ModelSpec, listener: Listener | None = None) -> Sounds:
    """Return the waveforms that a model takes. Raises InputError where nothing says the rate of a finished module."""
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
    return Sounds(said or known, recipe.data.window_seconds)


def recipe_fingerprint(recipe: Recipe) -> dict[str, Any]:
    """Return what the prepared data of a recipe depend on: a cheap cache key. Raises InputError as `fingerprint` and
    `array_fingerprint`."""
    if kind_of_recipe(recipe) == "tensor":
        for spec in recipe.model:
            if _waveforms(recipe):
                _sounds(recipe, spec)
            elif spec.backbone not in SENSOR_NETWORKS and spec.backbone.partition(":")[0] in SOUNDS:
                raise InputError(
                    f"model {spec.name!r}: {shorten(spec.backbone)} takes waveforms, and the data are arrays or a "
                    "table of numbers",
                    f"choose {' or '.join(SENSOR_NETWORKS)}; of arrays of waveforms (N, samples) say data.sample_rate",
                )
    if kind_of_recipe(recipe) == "tensor" or _pictures_in_arrays(recipe):
        return array_fingerprint(
            recipe.data, recipe.task, seed=recipe.seed, folder=recipe.folder, pictures=_pictures_in_arrays(recipe)
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


def check_arrays(recipe: Recipe) -> None:
    """Raise InputError for numbers that a recipe cannot be trained on, which are read for it, or pictures with maps.

    Of pictures only the files are listed and paired.
    """
    recipe_fingerprint(recipe)
    scheme, _, place = recipe.data.source.partition(":")
    if scheme == "masks":
        find_masks(resolve_path(place, recipe.folder), recipe.data.source, "train")
    if kind_of_recipe(recipe) == "tensor":
        with tempfile.TemporaryDirectory(prefix="edgeproof-check-") as workspace:
            prepare_arrays(
                recipe.data, recipe.task, seed=recipe.seed, folder=recipe.folder, workspace=Path(workspace),
                listener=Silent(),
            )  # fmt: skip


def prepared_for_training(
    recipe: Recipe,
    spec: ModelSpec,
    kind: Kind,
    known: dict[str, Any],
    *,
    store: Store,
    listener: Listener,
    tf: TensorFlowProcess,
    helpers: Helpers | None,
) -> PreparedData:
    """Return a recipe's data for one of its models, prepared now or taken from the store.

    `known` is their `recipe_fingerprint`; `tf` and `helpers` as for `prepare_data.prepared`.
    """
    if kind != "tensor" and not _pictures_in_arrays(recipe):
        input_spec = InputSpec("text") if kind == "text" else InputSpec("image", spec.image_size, spec.resize)
        data = prepared(
            recipe.data, input_spec, seed=recipe.seed, folder=recipe.folder, store=store, listener=listener, tf=tf,
            fingerprint=known, helpers=helpers, task=recipe.task,
        )  # fmt: skip
        check_asked(recipe.budget, data.task)
        return data
    pictures = None if kind == "tensor" else Pictures(spec.image_size, spec.resize)
    sounds = _sounds(recipe, spec, listener) if _waveforms(recipe) else None
    forms = {"pictures": pictures, "sounds": sounds}
    key = store.key("data", {"training": known, **{name: asdict(form) for name, form in forms.items() if form}})
    if store.get(key) is None:
        with store.write(key) as workspace:
            prepare_arrays(
                recipe.data,
                recipe.task,
                seed=recipe.seed,
                folder=recipe.folder,
                workspace=workspace,
                listener=listener,
                pictures=pictures,
                sounds=sounds,
            )
    data = load_prepared(store.root / key)
    check_asked(recipe.budget, data.task)
    return data
