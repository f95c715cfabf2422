"""The tokenizer that ships beside a text model's files: its data, and the reference code that reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..core import files
from ..core import tokenizer as reference_code
from ..core.codec import read_json
from ..core.errors import InputError, explain_disk_errors
from ..core.model import Model
from ..core.sanitize import checked_name, slug

CODE = "tokenizer.py"
SETTINGS = "tokenizer.json"
BESIDE = ("golden.json", "string_part")  # texts with their ids; the operators on strings, where those make the ids


def tokenizer_folder(model: str, folder: Path) -> Path:
    """Return the tokenizer's folder next to the files of the model of that name; it may not exist yet."""
    return folder / f"{slug(model)}.tokenizer"


def place_tokenizer(model: Model, folder: Path) -> Path:
    """Put the tokenizer of `model` into `folder`, once for all its files, and return its path.

    ``MODEL.tokenizer/`` holds what `model.tokenizer.folder` holds and ``tokenizer.py``, which needs Python and
    nothing else. It appears complete or not at all; an equal folder is left alone. Raises
    ValueError for a model without a tokenizer, StageError when the disk refuses.
    """
    if model.tokenizer is None:
        raise ValueError(f"{model.name} has no tokenizer")
    destination = tokenizer_folder(model.name, folder)
    copy_tokenizer(model.tokenizer.folder, destination, root=folder)
    return destination


def copy_tokenizer(source: Path, destination: Path, *, root: Path) -> None:
    """Copy a tokenizer's folder to `destination` below `root`, unless the same one is there.

    Copied are the settings, the files that they name and the golden vectors; this program's own ``tokenizer.py`` is
    added. Other files in the folder are untrusted and left out. Raises InputError when a folder at `destination` is
    not a tokenizer.
    """
    if files.real_path(source) == files.real_path(destination):
        return
    files.check_owned(destination, SETTINGS)
    fresh = destination.with_name(f".{destination.name}.tokenizer")
    with explain_disk_errors(destination):
        root.mkdir(parents=True, exist_ok=True)
        files.remove(fresh, root=root)
        try:
            fresh.mkdir(parents=True)
            for name in _parts(source):
                if (source / name).exists():
                    files.copy(files.below(source, source / name, follow=True), fresh / name, root=root)
            shutil.copyfile(Path(reference_code.__file__), fresh / CODE)
            if not files.same(fresh, destination):
                files.move(fresh, destination, root=root)
        finally:
            files.discard(fresh, root=root)


def _parts(folder: Path) -> list[str]:
    """Return the names of what belongs to the tokenizer in `folder`, by its settings."""
    settings = read_json(folder / SETTINGS)
    if not isinstance(settings, dict):
        raise InputError(f"{folder / SETTINGS} is not a tokenizer's settings", "make the tokenizer again")
    more = settings.get("more", [])
    parts = [settings, *(part for part in (more if isinstance(more, list) else []) if isinstance(part, dict))]
    named = [checked_name(str(part["file"]), f"{folder / SETTINGS}: file") for part in parts if part.get("file")]
    return list(dict.fromkeys([SETTINGS, *named, *BESIDE]))
