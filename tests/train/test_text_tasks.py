"""Heads for tags, numbers and one sigmoid on text backbones: from scratch, frozen, and fine-tuned as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData, load_prepared, read_texts, save_prepared, write_texts
from edgeproof.core.errors import InputError
from edgeproof.core.model import Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Export, FineTune, ModelSpec, Train
from edgeproof.core.recipe_training import Head
from edgeproof.core.variant import Variant
from edgeproof.export import export
from edgeproof.train.text.fit import fit_text
from edgeproof.train.text.freeze import run_texts

from ..support.text_answers import LENGTH, SCRATCH, WORDS
from ..support.text_models import counting_encoder, word_encoder
from ..support.text_tasks import TAGS, answers, told

pytestmark = pytest.mark.slow
COUNTS = {"train": 200, "validation": 40, "test": 60}
TRAIN = Train(epochs=25, batch_size=16, learning_rate=2e-2, patience=0, dropout=0.0, fine_tune=FineTune(epochs=3))
TARGETS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "multilabel": (TAGS, lambda tags, numbers: tags),
    "regression": ((), lambda tags, numbers: numbers[:, None]),
    "classification": (("other", "sport"), lambda tags, numbers: tags[:, 1].astype(np.int64)),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of each task in a folder, and two encoders that somebody else has saved."""
    folder = tmp_path_factory.mktemp("texts")
    word_encoder(folder / "words", WORDS, width=32)
    counting_encoder(folder / "counting")
    for task, (labels, targets) in TARGETS.items():
        for seed, (split, count) in enumerate(COUNTS.items()):
            texts, *right = told(count, seed)
            (folder / task).mkdir(exist_ok=True)
            write_texts(texts, folder / task / f"{split}.jsonl")
            np.save(folder / task / f"{split}-labels.npy", targets(*right))
        data = PreparedData(folder / task, "told", labels, 0, 0, "", COUNTS, task, {}, "text", task=task)
        save_prepared(data, folder / task)
    return folder


@pytest.fixture
def fit(root: Path, tmp_path: Path) -> Callable[..., Model]:
    def train(task: str, how: Train = TRAIN, **keys: Any) -> Model:
        spec = ModelSpec.model_validate({"name": "m", "max_tokens": LENGTH, **keys})
        data = load_prepared(root / task)
        return fit_text(spec, how, seed=3, data=data, folder=root, workspace=tmp_path / "m", listener=Silent())

    return train


def checked(model: Model, data: Path, folder: Path, output: str) -> tuple[np.ndarray, np.ndarray]:
    """What the float file answers to the test texts, equal to the model of strings, and what is right."""
    texts = read_texts(data / "test.jsonl")
    assert model.answer == output and model.text_model is not None and model.tokenizer is not None
    strings = run_texts(model.text_model, texts, output)
    file = export(model, Variant.parse("tflite:float32"), options=Export(), folder=folder).path
    assert file is not None
    given = answers(file, model.tokenizer.folder, texts, output)
    np.testing.assert_allclose(given, strings, rtol=1e-4, atol=1e-4)
    (first, *_) = json.loads((model.tokenizer.folder / "golden.json").read_text())["vectors"]
    np.testing.assert_allclose(first[output], strings[texts.index(first["text"])], rtol=1e-4, atol=1e-4)
    return given, np.load(data / "test-labels.npy")


def test_tags_from_scratch(fit: Callable[..., Model], root: Path, tmp_path: Path) -> None:
    model = fit("multilabel", **SCRATCH)
    given, right = checked(model, root / "multilabel", tmp_path, "probabilities")
    assert model.labels == TAGS and given.shape == right.shape and (given.sum(axis=1) > 1.5).any()
    assert ((given > 0.5) == right).mean() > 0.95
    golden = json.loads((tmp_path / "m" / "tokenizer" / "golden.json").read_text())
    assert golden["labels"] == list(TAGS) and len(golden["vectors"][0]["probabilities"]) == 2


def test_numbers_with_an_encoder_that_is_fine_tuned(fit: Callable[..., Model], root: Path, tmp_path: Path) -> None:
    model = fit("regression", backbone="hub:words", trainable=True)
    given, right = checked(model, root / "regression", tmp_path, "values")
    assert model.labels == () and np.abs(given - right).mean() < 0.5 * np.abs(right - right.mean()).mean()
    assert model.metrics["val_mae"] < 2 and "val_accuracy" not in model.metrics


def test_one_sigmoid_on_a_frozen_encoder_and_what_does_not_fit(
    fit: Callable[..., Model], root: Path, tmp_path: Path
) -> None:
    how = TRAIN.model_copy(update={"head": Head(output="sigmoid", hidden=(4,)), "class_weights": True})
    model = fit("classification", how, backbone="hub:words")
    given, right = checked(model, root / "classification", tmp_path, "probabilities")
    assert given.shape == (60, 1) and ((given[:, 0] > 0.5) == right).mean() > 0.95
    assert model.metrics["val_accuracy"] > 0.9 and "precision" not in model.history[0]
    with pytest.raises(InputError, match="answers with shares"):
        fit("regression", how, **SCRATCH)
    with pytest.raises(InputError, match="one class each"):
        fit("multilabel", TRAIN.model_copy(update={"class_weights": True}), **SCRATCH)


def test_numbers_of_an_encoder_that_cannot_be_cut(fit: Callable[..., Model], root: Path, tmp_path: Path) -> None:
    model = fit("regression", TRAIN.model_copy(update={"epochs": 2}), backbone="hub:counting")
    assert model.answer == "values" and model.tokenizer is None and model.provenance["uncut"]
    texts = read_texts(root / "regression" / "test.jsonl")
    right = np.load(root / "regression" / "test-labels.npy")
    given = run_texts(model.saved_model, texts, "values")
    assert given.shape == right.shape and np.abs(given - right).mean() < 50
