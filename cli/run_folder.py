"""What a finished run's folder still knows of one of its files: the model, the recipe and the prepared samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.dataset import PreparedData, load_prepared
from ..core.errors import EdgeproofError, InputError
from ..core.model import Model, load_model
from ..core.recipe import Recipe, load_recipe
from ..core.store import Store


@dataclass(frozen=True)
class Origin:
    """The run in `folder` that made a file, and the model that the file is of."""

    folder: Path
    recipe: Recipe
    model: Model

    @property
    def store(self) -> Store:
        """The run's store."""
        return Store(self.folder / ".store")

    def data(self) -> PreparedData:
        """Return the prepared samples that the model was trained and proved on; InputError when they are gone."""
        takes = self.model.input
        for entry in sorted((self.store.root / "data").glob("*")):
            try:
                found = load_prepared(entry)
            except EdgeproofError:
                continue
            size = (takes.height, takes.width) if takes.kind == "image" else (0, 0)
            if found.kind == takes.kind and found.labels == self.model.labels and (found.height, found.width) == size:
                return found
        raise InputError(
            f"{self.folder} no longer holds the samples of {self.model.name}",
            "name samples with --data SOURCE, or run the recipe again into this folder",
        )


def origin_of(artifact: Path, model: str) -> Origin | None:
    """Return the run that the file at `artifact` lies in, where it lies in one that has `model`; else None."""
    folder = artifact.resolve().parent.parent
    made = folder / "models" / model
    if artifact.resolve().parent.name != "artifacts" or not (made / "model.json").is_file():
        return None
    if not (folder / "recipe.toml").is_file():
        return None
    return Origin(folder, load_recipe(folder / "recipe.toml"), load_model(made))
