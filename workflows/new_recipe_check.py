"""Checks a recipe that is about to be written, more of its data than before a run: training would find it later."""

from __future__ import annotations

from ..core.errors import EdgeproofError, NotInstalledError
from ..core.recipe import Recipe
from ..core.variant import Variant
from ..data import check_trainable
from .preflight import check_makers, wrong_with
from .recipe_kind import kind_of_recipe, recipe_fingerprint
from .training_data import check_arrays
from .training_waves import probe_waves


def check_new(recipe: Recipe) -> list[str]:
    """Check a recipe that is about to be written. Return what is missing on this machine to run it, with remedies.

    Raises InputError if no machine could run it: the data cannot be trained on, or the backbone does not fit.
    """
    kind = kind_of_recipe(recipe)
    if recipe.data.source.startswith("wav:"):
        recipe_fingerprint(recipe)
        probe_waves(recipe.data, recipe.task, recipe.folder)
    elif kind == "tensor" or recipe.data.source.startswith("masks:"):
        check_arrays(recipe)
    else:
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
