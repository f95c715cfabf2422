"""Edgeproof: fine-tune, export to TFLite and ONNX, and prove each file before it ships.

    run = edgeproof.run("recipe.toml", out="runs/a", overrides={"train.epochs": 3})
    files = edgeproof.export(keras_model, ["tflite:int8", "onnx:float32"], calibration=(x,))
    measured = edgeproof.evaluate(files, (x, y), ["local/litert"], budget=edgeproof.Budget(max_latency_ms=5))

Each command is a function of the same name; ``docs/python.md`` shows them together. Everything heavy (numpy, TensorFlow,
the engines) is imported by what needs it, never by ``import edgeproof``.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.artifact import Artifact
    from .core.diagnosis import Diagnosis
    from .core.errors import EdgeproofError, InputError, NotInstalledError, StageError
    from .core.measurement import Measurement
    from .core.model import Model
    from .core.progress import Listener, Silent
    from .core.profile import Profile
    from .core.recipe import Recipe
    from .core.recipe_data import Data
    from .core.recipe_budget import Budget
    from .core.recipe_file import load_recipe
    from .core.results import Results
    from .core.target import Target
    from .core.variant import Variant
    from .report.progress_bars import ProgressBars
    from .workflows.bundle import bundle
    from .workflows.compare import compare
    from .workflows.devices import devices
    from .workflows.diagnose import diagnose
    from .workflows.doctor import doctor
    from .workflows.evaluate import evaluate
    from .workflows.export import export
    from .workflows.files import Files
    from .workflows.finished import Recommendation, Run, report
    from .workflows.history import history
    from .workflows.init import init
    from .workflows.inspect import inspect
    from .workflows.profile import profile
    from .workflows.run import run

__version__ = "0.1.0"

# The module that each public name is defined in.
_HOMES = {
    "Artifact": "core.artifact",
    "Budget": "core.recipe_budget",
    "Data": "core.recipe_data",
    "Diagnosis": "core.diagnosis",
    "EdgeproofError": "core.errors",
    "Files": "workflows.files",
    "InputError": "core.errors",
    "Listener": "core.progress",
    "Measurement": "core.measurement",
    "Model": "core.model",
    "NotInstalledError": "core.errors",
    "Profile": "core.profile",
    "ProgressBars": "report.progress_bars",
    "Recipe": "core.recipe",
    "Recommendation": "workflows.finished",
    "Results": "core.results",
    "Run": "workflows.finished",
    "Silent": "core.progress",
    "StageError": "core.errors",
    "Target": "core.target",
    "Variant": "core.variant",
    "bundle": "workflows.bundle",
    "compare": "workflows.compare",
    "devices": "workflows.devices",
    "diagnose": "workflows.diagnose",
    "doctor": "workflows.doctor",
    "evaluate": "workflows.evaluate",
    "export": "workflows.export",
    "history": "workflows.history",
    "init": "workflows.init",
    "inspect": "workflows.inspect",
    "profile": "workflows.profile",
    "load_recipe": "core.recipe_file",
    "report": "workflows.finished",
    "run": "workflows.run",
}

__all__ = [
    "Artifact",
    "Budget",
    "Data",
    "Diagnosis",
    "EdgeproofError",
    "Files",
    "InputError",
    "Listener",
    "Measurement",
    "Model",
    "NotInstalledError",
    "Profile",
    "ProgressBars",
    "Recipe",
    "Recommendation",
    "Results",
    "Run",
    "Silent",
    "StageError",
    "Target",
    "Variant",
    "__version__",
    "bundle",
    "compare",
    "devices",
    "diagnose",
    "doctor",
    "evaluate",
    "export",
    "history",
    "init",
    "inspect",
    "load_recipe",
    "profile",
    "report",
    "run",
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
