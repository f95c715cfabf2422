"""A run's folder: the checksums of a finished run's files, and the run or evaluation that a file came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core import checksums
from ..core.codec import sha256_of
from ..core.dataset import PreparedData, load_prepared
from ..core.errors import EdgeproofError, InputError
from ..core.files import below, plain_files
from ..core.model import Model, load_model
from ..core.recipe import Recipe
from ..core.recipe_file import load_recipe
from ..core.results import load_results
from ..core.store import STORE, Store, open_store

SHIPPED = "artifacts"
FOLDERS = (SHIPPED, "models", "raw", "diagnosis", "profile")
FILES = ("report.html", "report.md", "results.json", "results.csv", "recipe.toml")


def check_parts(folder: Path) -> None:
    """Raise InputError when a part of a run's folder is a link that leads out of it."""
    for name in FOLDERS:
        below(folder, folder / name, follow=True)


def remember(folder: Path) -> None:
    """Store the checksums of a finished run's files."""
    written = [path for name in FOLDERS for path in plain_files(folder / name)]
    written += [folder / name for name in FILES if (folder / name).is_file()]
    checksums.save(checksums.compute(folder, written), below(folder / STORE, _checksums_path(folder)))


def problem(folder: Path) -> str:
    """Return which of a finished run's files has changed; an empty text if none has.

    Files that go to devices are read completely, the others only if their size or time has changed.
    """
    stored = checksums.load(_checksums_path(folder))
    if stored is None:
        return "its checksums are missing"
    try:
        outcome = checksums.check(folder, stored, complete=False, thorough=(f"{SHIPPED}/",))
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    if outcome.checksums is not stored:  # after a copy: the next check need not read all of it again
        checksums.save(outcome.checksums, _checksums_path(folder))
    return outcome.problem


def _checksums_path(folder: Path) -> Path:
    return folder / STORE / "sums" / "run.json"


@dataclass(frozen=True)
class SourceRun:
    """The run in `folder` that made a file, and the file's model."""

    folder: Path
    recipe: Recipe
    model: Model

    @property
    def store(self) -> Store:
        """The run's store."""
        return open_store(self.folder)

    def data(self) -> PreparedData:
        """Return the prepared samples that the model was trained and measured on; InputError when they are gone."""
        takes = self.model.input
        damaged = ""
        for entry in sorted((self.store.root / "data").glob("*")):
            if defect := self.store.problem(f"data/{entry.name}", old=True):
                damaged = f" undamaged: {defect}"
                continue
            try:
                data = load_prepared(entry)
            except EdgeproofError:
                continue
            size = takes.shape[1:] if takes.kind == "image" else (0, 0, 3)
            found = (data.height, data.width, data.channels)
            trained_on = self.model.provenance.get("data", {}).get("sha256")
            same = found == size if takes.kind != "tensor" else data.sha256 == trained_on
            if data.kind == takes.kind and data.labels == self.model.labels and same:
                return data
        raise InputError(
            f"{self.folder} no longer holds the samples of {self.model.name}{damaged}",
            "name samples with --data SOURCE, or run the recipe again into this folder",
        )


@dataclass(frozen=True)
class Evaluation:
    """An evaluation in `folder`: its data source, and the hash of the prepared data."""

    folder: Path
    source: str
    sha256: str

    @classmethod
    def of(cls, folder: Path) -> Evaluation | None:
        """Return the evaluation in a folder; None if its results name no data, or belong to a recipe's run."""
        data = load_results(folder).data
        if (folder / "recipe.toml").is_file() or not (data.get("source") and data.get("sha256")):
            return None
        return cls(folder, str(data["source"]), str(data["sha256"]))

    def data(self) -> PreparedData:
        """Return the samples that the files were evaluated on; InputError when they are gone."""
        store = open_store(self.folder)
        for stage in ("targets", "renumbered", "data", "arrays", "memory"):
            for entry in sorted((store.root / stage).glob("*")):
                try:
                    data = load_prepared(entry)
                except EdgeproofError:
                    continue
                if self.sha256 not in (data.sha256, sha256_of([data.sha256, "unlabelled"])):
                    continue
                if not store.problem(f"{stage}/{entry.name}", old=True):
                    return data
        raise InputError(f"{self.folder} no longer holds the samples of {self.source}", "name some with --data SOURCE")


def source_run_of(artifact: Path, model: str) -> SourceRun | None:
    """Return the run that holds the file at `artifact` and has `model`; else None."""
    folder = artifact.resolve().parent.parent
    model_folder = folder / "models" / model
    if artifact.resolve().parent.name != "artifacts" or not (model_folder / "model.json").is_file():
        return None
    if not (folder / "recipe.toml").is_file():
        return None
    return SourceRun(folder, load_recipe(folder / "recipe.toml"), load_model(model_folder))
