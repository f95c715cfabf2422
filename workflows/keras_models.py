"""Models given by path or in memory: a Keras model is saved to a temporary file, for the process that freezes it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from ..core.errors import EdgeproofError, InputError
from ..core.model import Model
from ..core.sanitize import shorten, slug
from .arguments import path_of

# A Keras model has no type that could be named without importing Keras.
ModelLike: TypeAlias = str | os.PathLike[str] | Model | Any

_REMEDY = "give the path of a Keras file or SavedModel, or a Keras model"


@contextmanager
def model_path(model: ModelLike) -> Iterator[Path]:
    """Yield the path of a model; a model in memory has a file for the duration of the block. Raises InputError."""
    if isinstance(model, Model):
        yield model.saved_model.parent
        return
    if isinstance(model, str | os.PathLike):
        path = path_of(model, "the model")
        if not path.exists():
            raise InputError(f"{path} does not exist", _REMEDY)
        yield path
        return
    if not _is_keras(model):
        raise InputError(f"the model is a {type(model).__name__}", _REMEDY)
    with tempfile.TemporaryDirectory(prefix="edgeproof-model-") as folder:
        path = Path(folder) / f"{slug(str(model.name)) or 'model'}.keras"
        try:
            model.save(path)
        except Exception as error:  # layers of the caller's own may fail in any way
            raise InputError(
                f"the model cannot be saved: {type(error).__name__}: {shorten(str(error), 300)}",
                "build it, and give its own layers a get_config; or save it yourself and give the path",
            ) from error
        try:
            yield path
        except EdgeproofError as error:  # the caller does not know the temporary file
            error.message = error.message.replace(str(path), "the model")
            error.args = (error.message,)
            raise


def _is_keras(model: object) -> bool:
    """Whether an object is a model of Keras 2 (tf_keras) or 3. Imports neither."""
    classes = type(model).__mro__
    return any(c.__name__ == "Model" and c.__module__.partition(".")[0] in ("keras", "tf_keras") for c in classes)
