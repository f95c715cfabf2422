"""The data of a recipe, prepared for training: images, texts, or arrays of numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..core.dataset import Kind, PreparedData, load_prepared
from ..core.errors import InputError
from ..core.helpers import Helpers
from ..core.progress import Listener
from ..core.recipe import ModelSpec, Recipe
from ..core.sanitize import shorten
from ..core.store import Store
from ..data import fingerprint, kind_of
from ..tasks.classification import Classification
from ..train.backbones import SENSOR_NETWORKS
from .input_spec import InputSpec
from .prepare_data import prepared
from .tensorflow_process import TensorFlowProcess
from .training_arrays import array_fingerprint, holds_arrays, prepare_arrays
from .training_pictures import Pictures


def kind_of_recipe(recipe: Recipe) -> Kind:
    """Return whether a recipe trains on images, texts or arrays of numbers: the data tell, and what its models take.

    Recordings are arrays of numbers: waveforms.
    A table that names no target counts as numbers where a model takes those, so that preparing it says what is missing.
    """
    if recipe.data.source.startswith("wav:"):
        return "tensor"
    numbers = any(spec.backbone in SENSOR_NETWORKS for spec in recipe.model)
    if numbers and (holds_arrays(recipe.data) or recipe.data.source.startswith("csv:")):
        return "tensor"
    return "image" if _pictures_in_arrays(recipe) else kind_of(recipe.data, recipe.folder)


def _pictures_in_arrays(recipe: Recipe) -> bool:
    numbers = any(spec.backbone in SENSOR_NETWORKS for spec in recipe.model)
    return not numbers and recipe.data.source.partition(":")[0] in ("npz", "npy", "masks")


def recipe_fingerprint(recipe: Recipe) -> dict[str, Any]:
    """Return what the prepared data of a recipe depend on: a cheap cache key. Raises InputError as `fingerprint` and
    `array_fingerprint`."""
    if kind_of_recipe(recipe) == "tensor" or _pictures_in_arrays(recipe):
        return array_fingerprint(recipe.data, recipe.task, seed=recipe.seed, folder=recipe.folder)
    if recipe.task not in ("", Classification.name):
        raise InputError(
            f"task = {recipe.task!r} needs targets that are no classes, and {shorten(recipe.data.source, 200)!r} has "
            "none, or this model does not take them",
            f"give arrays, npz:FILE with x and y: pictures, or numbers for {' or '.join(SENSOR_NETWORKS)}",
        )
    return fingerprint(recipe.data, seed=recipe.seed, folder=recipe.folder)


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
        return prepared(
            recipe.data, input_spec, seed=recipe.seed, folder=recipe.folder, store=store, listener=listener, tf=tf,
            fingerprint=known, helpers=helpers,
        )  # fmt: skip
    pictures = None if kind == "tensor" else Pictures(spec.image_size, spec.resize)
    key = store.key("data", {"training": known, **({"pictures": asdict(pictures)} if pictures else {})})
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
            )
    return load_prepared(store.root / key)
