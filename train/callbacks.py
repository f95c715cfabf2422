"""The user's own Keras callbacks: ``callbacks = ["my_callbacks.py:make"]`` in the recipe.

They are the user's code, and run with full rights. A file is relative to the recipe's folder; anything else is a module
that Python can import. The named function or class is called without arguments, once a phase, and returns one callback
or several. Exceptions that callbacks raise during training are reported with their place in the recipe.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..core.errors import InputError, StageError
from ..core.extras import EXTRAS
from ..core.recipe import Train
from ..core.sanitize import shorten
from ..frameworks.tensorflow import load

REMEDY = "name a function without arguments that returns a tf_keras callback, or a class derived from one"


def check_callbacks(train: Train, folder: Path) -> None:
    """Raise InputError for callbacks whose file or module is missing or is not Python, and for logs that need a missing
    package. Runs no code of the user's."""
    identity(train, folder)
    for text in train.callbacks:
        _check_syntax(text, _source(text, folder))
    if train.tensorboard:
        extra = EXTRAS["tensorboard"]
        extra.require("train.tensorboard needs", remedy=f"{extra.remedy}, or set train.csv_log = true instead")


def identity(train: Train, folder: Path) -> list[str]:
    """Return for each callback the SHA-256 of its file, as part of the training's cache key.

    Files that it imports are not hashed. Raises InputError if there is no such file.
    """
    return [hashlib.sha256(_source(text, folder).read_bytes()).hexdigest() for text in train.callbacks]


def make(train: Train, folder: Path) -> list[Any]:
    """Run the user's code and return its callbacks. Raises InputError for other results, StageError when it fails.
    The returned callbacks turn every exception into a StageError."""
    _, keras = load()
    callbacks = []
    for text in train.callbacks:
        place, _, name = text.rpartition(":")
        try:
            maker = getattr(_module(place, folder), name, None)
            if maker is None:
                raise InputError(f"train.callbacks: {place} has no {name!r}", REMEDY)
            if not callable(maker):
                raise InputError(f"train.callbacks: {text} is a {_kind(maker)}, which cannot be called", REMEDY)
            result = maker()
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise StageError(f"train.callbacks: {text} failed: {_described(error)}", _remedy(error)) from error
        several = list(result) if isinstance(result, list | tuple) else [result]
        for one in several:
            if not isinstance(one, keras.callbacks.Callback):
                raise InputError(
                    f"train.callbacks: {text} gives a {_kind(one)}, which is not a callback of Keras 2",
                    f"{REMEDY}; import it from tf_keras (Keras 3's callbacks do not fit)",
                )
            _guard(one, text)
        callbacks += several
    return callbacks


def _guard(callback: Any, text: str) -> None:
    """Report exceptions of `callback` as those of the callback `text` of the recipe. Methods inherited from Keras' base
    class stay unchanged, because Keras checks for overridden ones."""
    for name in dir(type(callback)):
        method = getattr(callback, name)
        if (name.startswith("on_") or name in ("set_model", "set_params")) and not getattr(
            method, "_is_default", False
        ):
            setattr(callback, name, _guarded(method, text, name))


def _guarded(method: Callable[..., Any], text: str, name: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (Exception, SystemExit) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise StageError(
                f"train.callbacks: {text} failed in {name}: {_described(error)} ({Path(last.filename).name}, line "
                f"{last.lineno})",
                "fix the callback, or remove it from the recipe; training resumes after its last complete epoch "
                "where its files are the same",
            ) from error

    return guarded


def _kind(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _described(error: BaseException) -> str:
    return shorten(" ".join(f"{type(error).__name__}: {error}".split()), 300)


def _remedy(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install {error.name.split('.')[0]} into this environment, or remove the import"
    return REMEDY


def _check_syntax(text: str, source: Path) -> None:
    if source.suffix != ".py":
        return
    try:
        compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"train.callbacks: {text} is not Python: {error}", "correct the file") from error


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
