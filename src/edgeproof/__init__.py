"""Edgeproof: fine-tune, export to TFLite and ONNX, and prove each file before it ships.

Everything heavy (numpy, TensorFlow, the engines) is imported by what needs it, never by ``import edgeproof``.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.artifact import Artifact
    from .core.errors import EdgeproofError, InputError, StageError
    from .core.measurement import Measurement
    from .core.model import Model
    from .core.recipe import Recipe
    from .core.recipe_file import load_recipe
    from .core.target import Target
    from .core.variant import Variant

__version__ = "0.1.0"

# The module that each public name is defined in.
_HOMES = {
    "Artifact": "core.artifact",
    "EdgeproofError": "core.errors",
    "InputError": "core.errors",
    "Measurement": "core.measurement",
    "Model": "core.model",
    "Recipe": "core.recipe",
    "StageError": "core.errors",
    "Target": "core.target",
    "Variant": "core.variant",
    "load_recipe": "core.recipe_file",
}

__all__ = [
    "Artifact",
    "EdgeproofError",
    "InputError",
    "Measurement",
    "Model",
    "Recipe",
    "StageError",
    "Target",
    "Variant",
    "__version__",
    "load_recipe",
]


class _Package(ModuleType):
    """A package in which a public name keeps its meaning when a room of the same name is imported.

    The import system sets ``edgeproof.export`` to the room `export/` when that is imported. The function of that name
    is what users mean. The room is still found: ``from edgeproof.export import inspect``.
    """

    def __getattr__(self, name: str) -> Any:
        """Import a public name when it is first asked for, so that ``edgeproof --help`` pays for none of them."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless it is a room that would hide a public name."""
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
