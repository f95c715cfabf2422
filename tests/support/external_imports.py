"""Imports of external models, and what their files answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.train.external import ImportOptions, import_model

slow = pytest.mark.slow
TOLERANCE = 1e-4


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(message)


def take(path: Path, folder: Path, **asked: Any) -> Model:
    return import_model(path, ImportOptions(**asked), name="theirs", workspace=folder, listener=Silent())


def run_tflite(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    return dict(runner(**inputs))


def run_onnx(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
