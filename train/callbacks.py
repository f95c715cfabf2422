"""Keras callbacks of the user's own: ``callbacks = ["my_callbacks.py:make"]`` in the recipe.

They are the user's code, and run as such. A file is meant from the recipe's folder; anything else is a module that
Python finds. What is named is called without arguments, once a phase, and gives a callback or several.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.errors import InputError, StageError
from ..core.recipe import Train
from .frameworks import load

REMEDY = "name a function without arguments that returns a tf_keras callback, or a class derived from one"


def check_callbacks(train: Train, folder: Path) -> None:
    """Raise InputError for callbacks whose file or module is not there, and for logs that need another package. Only
    looks; nothing of the user's runs."""
    identity(train, folder)
    if train.tensorboard and find_spec("tensorboard") is None:
        raise InputError("train.tensorboard needs tensorboard, which is not installed here",
                         "pip install 'edgeproof[tensorboard]', or set train.csv_log = true instead")  # fmt: skip


def identity(train: Train, folder: Path) -> list[str]:
    """Return for each callback the SHA-256 of the file that holds it: what a changed file makes another training by.

    What that file imports in turn is not looked at. Raises InputError where there is no such file.
    """
    return [hashlib.sha256(_source(text, folder).read_bytes()).hexdigest() for text in train.callbacks]


def make(train: Train, folder: Path) -> list[Any]:
    """Run the user's code and return the callbacks that it gives. Raises InputError when they are none, StageError when
    the code fails."""
    _, keras = load()
    found = []
    for text in train.callbacks:
        place, _, name = text.rpartition(":")
        try:
            maker = getattr(_module(place, folder), name, None)
            if maker is None:
                raise InputError(f"train.callbacks: {place} has no {name!r}", REMEDY)
            made = maker()
        except InputError:
            raise
        except Exception as error:  # whatever the user's code raises
            raise StageError(f"train.callbacks: {text} failed: {type(error).__name__}: {error}", REMEDY) from error
        several = list(made) if isinstance(made, list | tuple) else [made]
        for one in several:
            if not isinstance(one, keras.callbacks.Callback):
                kind = f"{type(one).__module__}.{type(one).__qualname__}"
                raise InputError(
                    f"train.callbacks: {text} gives a {kind}, which is no callback of Keras 2",
                    f"{REMEDY}; import it from tf_keras (Keras 3's callbacks do not fit)",
                )
        found += several
    return found


def _source(text: str, folder: Path) -> Path:
    place = text.rpartition(":")[0]
    if place.endswith(".py"):
        path = folder / place
        if not path.is_file():
            raise InputError(f"train.callbacks: the file {path} does not exist",
                             "give a path from the recipe's folder, e.g. my_callbacks.py:make")  # fmt: skip
        return path
    try:
        spec = find_spec(place)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise InputError(f"train.callbacks: Python finds no module {place!r} here",
                         "install it, or give a file beside the recipe, e.g. my_callbacks.py:make")  # fmt: skip
    return Path(spec.origin)


def _module(place: str, folder: Path) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = folder / place
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"train.callbacks: {path} cannot be imported", REMEDY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
