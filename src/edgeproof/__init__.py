"""Edgeproof: fine-tune, export to TFLite and ONNX, and prove each file before it ships.

The public face is small on purpose: the nouns and the errors. Everything heavy (TensorFlow, the engines) is
imported by the stage that needs it, never by ``import edgeproof``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.artifact import Artifact
    from .core.errors import EdgeproofError, InputError, StageError
    from .core.measurement import Measurement
    from .core.model import Model
    from .core.recipe import Recipe, load_recipe
    from .core.target import Target
    from .core.variant import Variant

__version__ = "0.1.0"

_HOMES = {
    "Artifact": "artifact",
    "EdgeproofError": "errors",
    "InputError": "errors",
    "Measurement": "measurement",
    "Model": "model",
    "Recipe": "recipe",
    "StageError": "errors",
    "Target": "target",
    "Variant": "variant",
    "load_recipe": "recipe",
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


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``edgeproof --help`` pays for none of them."""
    if name in _HOMES:
        return getattr(import_module(f".core.{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
