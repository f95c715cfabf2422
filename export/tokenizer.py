"""The tokenizer that ships beside a text model's files: its data, and the reference code that reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..core import tokenizer as reference_code
from ..core.codec import sha256_file
from ..core.errors import explain_disk_errors
from ..core.model import Model
from ..core.names import slug

CODE = "tokenizer.py"


def tokenizer_folder(model: Model, folder: Path) -> Path:
    """Return where the tokenizer of `model` stands beside its files in `folder`; it need not be there yet."""
    return folder / f"{slug(model.name)}.tokenizer"


def place_tokenizer(model: Model, folder: Path) -> Path:
    """Put the tokenizer of `model` into `folder`, once for all its files, and return where it stands.

    ``MODEL.tokenizer/`` holds what `model.tokenizer.folder` holds and ``tokenizer.py``, which needs Python and
    nothing else. It appears whole or not at all; the same one that stands there already is left alone. Raises
    ValueError for a model without a tokenizer, StageError when the disk refuses.
    """
    if model.tokenizer is None:
        raise ValueError(f"{model.name} has no tokenizer")
    source, destination = model.tokenizer.folder, tokenizer_folder(model, folder)
    temporary = destination.with_name(f".{destination.name}.new")
    with explain_disk_errors(destination):
        folder.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        shutil.copytree(source, temporary)
        shutil.copy2(Path(reference_code.__file__), temporary / CODE)
        if destination.is_dir() and sha256_file(destination) == sha256_file(temporary):
            _remove(temporary)
            return destination
        _remove(destination)
        temporary.replace(destination)
    return destination


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
