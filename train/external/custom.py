"""External objects of a Keras file: classes of its author, and the Hub modules of its layers.

Classes come from the modules or files that the user names (``--custom-objects``): they are imported, which runs their
code. A `hub.KerasLayer` has a path or URL that the file's author chose. Its module is checked like any external
SavedModel, and fetched only for a trusted file; the layer then loads the checked copy.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.codec import sha256_file
from ...core.errors import InputError, StageError
from ...core.inputs import check_plain
from ...core.progress import Listener
from ...core.sanitize import shorten
from ...frameworks.security import check_security
from ..hub.fetch import already_here, identify, resolve
from ..hub.handles import cache_folder, check_handle
from .code import hub_handles

HUB_LAYER = "KerasLayer"
DEFINE = (
    'say where it is defined: --custom-objects MODULE, or FILE.py (in a recipe: custom_objects = ["MODULE"]), which '
    "runs that code"
)


@dataclass(frozen=True)
class Definitions:
    """External definitions of a file: `objects` are modules or files to import, `modules` SavedModels by handle."""

    objects: tuple[str, ...] = ()
    modules: dict[str, str] = field(default_factory=dict)


def check_objects(names: Sequence[str]) -> None:
    """Raise InputError for a missing Python file. Imports nothing."""
    for name in names:
        check_plain(Path(name))
        if name.endswith(".py") and not Path(name).is_file():
            raise InputError(f"--custom-objects {name}: there is no such file", "give a Python file or a module")


def identify_objects(names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each file or module (its own file), for a cache key. Imports nothing."""
    here = [*sys.path, str(Path.cwd())]
    identities = {}
    for name in names:
        spec = None if name.endswith(".py") else importlib.machinery.PathFinder.find_spec(name.partition(".")[0], here)
        file = Path(name if name.endswith(".py") else (spec.origin if spec and spec.origin else ""))
        identities[name] = sha256_file(file) if file.is_file() else ""
    return identities


def load_objects(names: Sequence[str]) -> dict[str, Any]:
    """Import modules or files and return their classes and functions by name.

    This also runs their registrations with Keras. Raises InputError when one cannot be imported.
    """
    objects: dict[str, Any] = {}
    for name in names:
        try:
            module = _file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
        except Exception as error:  # the user's own code may raise anything
            raise InputError(
                f"--custom-objects {name} cannot be imported: {shorten(f'{type(error).__name__}: {error}', 200)}",
                "give a module that this Python can import, or a FILE.py that needs no more than is installed here",
            ) from error
        objects |= {
            key: value
            for key, value in vars(module).items()
            if not key.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value))
        }
    return objects


def _file(path: Path) -> Any:
    """Import a file under its own name; it can import files beside it."""
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def check_modules(path: Path, config: Any, *, trust: bool) -> dict[str, Any]:
    """Check the Hub modules that the layers of the file at `path` load; return the identity of each.

    Raises InputError when one is no SavedModel, may do more than compute, or must be fetched without `trust`.
    """
    identities = {}
    for handle in hub_handles(config):
        where = f"{path}: its KerasLayer loads {shorten(handle, 120)!r}"
        try:
            check_handle(handle, "", path.parent)
        except InputError as error:
            raise InputError(
                f"{where}: {error.message}",
                "put the module there, or save the model in its original environment as a SavedModel (model.export), "
                "which contains the module",
            ) from error
        here = already_here(handle, "", path.parent)
        if here is not None:
            check_security(here, trust=trust, where=where)
        elif "://" in handle and not trust:
            raise InputError(
                f"{where}, which is not on this machine",
                "if you trust the source of the file, add --trust (in a recipe: trust = true), and it is fetched; or "
                "save the model in its original environment as a SavedModel (model.export), which contains it",
            )
        identities[handle] = identify(handle, "", path.parent)
    return identities


def fetch_modules(path: Path, config: Any, *, trust: bool, listener: Listener) -> dict[str, str]:
    """Return a checked SavedModel folder for each Hub module of the file at `path`; fetches only with `trust`."""
    check_modules(path, config, trust=trust)
    folders = {}
    for handle in hub_handles(config):
        try:
            folder = resolve(handle, sha256="", folder=path.parent, listener=listener)
        except StageError as error:
            raise StageError(
                f"{path}: its KerasLayer needs {shorten(handle, 120)!r}: {error.message}",
                f"check the network; or copy {cache_folder()} from a machine that has the module; or save the model "
                "where it was made as a SavedModel (model.export), which contains the module",
            ) from error
        check_security(folder, trust=trust, where=f"{path}: its KerasLayer loads {shorten(handle, 120)!r}")
        folders[handle] = str(folder)
    return folders


def hub_layer(modules: dict[str, str]) -> dict[str, Any]:
    """Return `hub.KerasLayer` for a file, by its name: with a handle of the file it loads the folder in `modules`."""
    if not modules:
        return {}
    from ..hub.module import load_hub

    layer: Any = load_hub().KerasLayer

    class KerasLayer(layer):
        def __init__(self, handle: str, **settings: Any) -> None:
            super().__init__(modules[handle], **settings)

    return {HUB_LAYER: KerasLayer}
