"""Checks a recipe that is about to be written, more of its data than before a run: training would find it later."""

from __future__ import annotations

from dataclasses import replace

from ..core.errors import EdgeproofError, InputError, NotInstalledError
from ..core.recipe import Recipe
from ..core.sanitize import shorten
from ..core.variant import Variant
from ..data import check_trainable
from ..data.label_targets import TASKS, targets_of
from ..data.sources import open_source
from ..data.tables import ImageTable
from ..tasks.segmentation import Segmentation
from .preflight import check_makers, wrong_with
from .recipe_kind import kind_of_recipe, recipe_fingerprint
from .training_data import check_arrays
from .training_waves import probe_waves


def _check_labels(recipe: Recipe) -> None:
    """Raise InputError for labels of a table of pictures that are no targets of the recipe's task."""
    source = open_source(recipe.data.source, recipe.data, recipe.folder, "image")
    if isinstance(source, ImageTable):
        targets_of(replace(source, tagged=True).listing(), recipe.task, source.file)


def check_new(recipe: Recipe) -> list[str]:
    """Check a recipe that is about to be written. Return what is missing on this machine to run it, with remedies.

    Raises InputError if no machine could run it: the data cannot be trained on, or the backbone does not fit.
    """
    kind = kind_of_recipe(recipe)
    if recipe.data.source.startswith("wav:"):
        recipe_fingerprint(recipe)
        probe_waves(recipe.data, recipe.task, recipe.folder)
    elif recipe.data.source.startswith("masks:") and recipe.task not in ("", Segmentation.name):
        raise InputError(
            f"{shorten(recipe.data.source, 200)} has the class of each pixel, which is no task of {recipe.task}",
            f'say task = "{Segmentation.name}", or nothing',
        )
    elif kind == "tensor" or recipe.data.source.startswith("masks:"):
        check_arrays(recipe)
    elif recipe.task in TASKS:
        recipe_fingerprint(recipe)
        if kind == "image":
            _check_labels(recipe)
    else:
        if recipe.task:
            recipe_fingerprint(recipe)
        check_trainable(recipe.data, seed=recipe.seed, folder=recipe.folder)
    missing: list[EdgeproofError] = []
    for spec in recipe.model:
        if (error := wrong_with(spec, recipe.folder, kind)) is None:
            continue
        if not isinstance(error, NotInstalledError):
            raise error
        missing.append(error)
    missing += check_makers(map(Variant.parse, recipe.export.variants))
    return [f"{error.message}: {error.remedy}" for error in missing]
