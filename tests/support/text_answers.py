"""What text models and their files answer, and what a training tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, FineTune, Train
from edgeproof.core.tokenizer import open_tokenizer
from edgeproof.core.variant import Variant
from edgeproof.export import export

from .text_models import (  # fmt: skip
    FILLER,
    MONEY,
    SPORT,
)

LENGTH = 16
WORDS = [*SPORT, *MONEY, *FILLER]
SCRATCH = {"backbone": "scratch:average-embedding", "vocabulary": 200, "embedding": 8}
TRAIN = Train(
    epochs=12, batch_size=16, learning_rate=1e-2, patience=4, fine_tune=FineTune(epochs=2, learning_rate=1e-3)
)


class Heard(Silent):
    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.notes: list[str] = []

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        self.tasks.append(task)

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(message)


def encoded(model: Model, texts: list[str]) -> tuple[Any, Any]:
    assert model.tokenizer is not None
    pairs = [open_tokenizer(model.tokenizer.folder).encode(text) for text in texts]
    return np.array([ids for ids, _ in pairs], np.int32), np.array([count for _, count in pairs], np.int32)


def run_file(path: Any, ids: Any, lens: Any) -> np.ndarray[Any, Any]:
    pairs = [{"ids": ids[i : i + 1], "lens": lens[i : i + 1]} for i in range(len(ids))]
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        return np.concatenate([session.run(None, pair)[0] for pair in pairs])
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    return np.concatenate([run(**pair)["probabilities"] for pair in pairs])


def answers_of_file(model: Model, variant: str, texts: list[str], folder: Path) -> np.ndarray[Any, Any]:
    """What a file made of `model` gives for texts that the device's tokenizer has encoded."""
    assert model.tokenizer is not None
    artifact = export(model, Variant.parse(variant), options=Export(), folder=folder)
    assert artifact.status == "ok", artifact.reason
    tokenizer = open_tokenizer(model.tokenizer.folder)
    feeds = [{name: np.array(v, np.int32) for name, v in tokenizer.feed(text).items()} for text in texts]
    if variant.startswith("onnx"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(artifact.path))
        return np.concatenate([session.run(None, feed)[0] for feed in feeds])
    from ai_edge_litert.interpreter import Interpreter  # builtin operators alone

    run = Interpreter(str(artifact.path)).get_signature_runner()
    return np.concatenate([run(**feed)["probabilities"] for feed in feeds])
