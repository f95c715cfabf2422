"""The data of a recipe, prepared for training: images, texts, or arrays of numbers."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.dataset import Kind, PreparedData, load_prepared
from ..core.helpers import Helpers
from ..core.progress import Listener, Silent
from ..core.recipe import ModelSpec, Recipe
from ..core.store import Store
from ..data.masks import find_masks
from ..data.sources import resolve_path
from ..tasks.asked import check_asked
from .input_spec import InputSpec
from .prepare_data import prepared
from .recipe_kind import kind_of_recipe, pictures_in_arrays, rate_of, recipe_fingerprint, waveforms
from .tensorflow_process import TensorFlowProcess
from .training_arrays import prepare_arrays
from .training_pictures import Pictures
from .training_waves import Sounds


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
    if kind != "tensor" and not pictures_in_arrays(recipe):
        input_spec = InputSpec("text") if kind == "text" else InputSpec("image", spec.image_size, spec.resize)
        data = prepared(
            recipe.data, input_spec, seed=recipe.seed, folder=recipe.folder, store=store, listener=listener, tf=tf,
            fingerprint=known, helpers=helpers, task=recipe.task,
        )  # fmt: skip
        check_asked(recipe.budget, data.task)
        return data
    pictures = None if kind == "tensor" else Pictures(spec.image_size, spec.resize)
    sounds = Sounds(rate_of(recipe, spec, listener), recipe.data.window_seconds) if waveforms(recipe) else None
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
