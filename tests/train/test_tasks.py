"""Heads for tags and for one sigmoid on a backbone of pictures, in both phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.model import InputContract, Model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.core.recipe_data import Data
from edgeproof.export.agreement import Difference
from edgeproof.tasks import trained_task
from edgeproof.workflows.training_arrays import prepare_arrays
from edgeproof.workflows.training_pictures import Pictures

SIZE = 32
SPEC = ModelSpec(name="m", backbone="package:mobilenet_v2", image_size=SIZE)
HOW = {"epochs": 15, "batch_size": 8, "learning_rate": 0.01, "fine_tune": {"layers": 1, "epochs": 1}, "patience": 0}


def bars(count: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of noise with up to three coloured bars, and which (N, 3)."""
    random = np.random.default_rng(1)
    x, y = random.integers(0, 60, (count, SIZE, SIZE, 3), np.uint8), random.integers(0, 2, (count, 3), np.uint8)
    for picture, tags in zip(x, y, strict=True):
        for tag in np.flatnonzero(tags):
            picture[10 * tag : 10 * tag + 9, :, tag] = 240
    return x, y


def prepared(folder: Path, y: Any) -> PreparedData:
    np.savez(folder / "p.npz", x=bars()[0], y=y)
    return prepare_arrays(
        Data(source="npz:p.npz"), "", seed=1, folder=folder, workspace=folder / "made", listener=Silent(),
        pictures=Pictures(SIZE, "stretch"),
    )  # fmt: skip


def trained(data: PreparedData, folder: Path, output: str = "probabilities", **train: Any) -> tuple[Model, np.ndarray]:
    from edgeproof.frameworks.freeze import serving
    from edgeproof.train.fit import fit

    model = fit(
        SPEC, Train.model_validate({**HOW, **train}), seed=1, data=data, folder=folder, workspace=folder / "work",
        listener=Silent(),
    )  # fmt: skip
    call, pictures = serving(model.saved_model), np.load(data.inputs("test")).astype(np.float32)
    return model, np.concatenate([call(image=one[None])[output].numpy() for one in pictures])


@pytest.mark.slow
def test_tags_on_a_backbone_of_pictures(tmp_path: Path) -> None:
    data = prepared(tmp_path, bars()[1])
    model, answers = trained(data, tmp_path, augment={"flip": True, "views": 2})
    y = np.load(data.targets("test"))
    assert data.task == "multilabel" and model.labels == ("0", "1", "2") and answers.shape == y.shape
    assert ((answers > 0.5) == y).mean() > 0.9 and (answers.sum(axis=1) > 1.5).any()
    assert [row["phase"] for row in model.history].count(2) == 1
    with pytest.raises(InputError, match="keeps its own head"):
        from edgeproof.train.fit import fit

        own = SPEC.model_copy(update={"head": "own", "backbone": "hub:https://tfhub.dev/x/y/1"})
        fit(own, Train(), seed=1, data=data, folder=tmp_path, workspace=tmp_path / "own", listener=Silent())


@pytest.mark.slow
def test_numbers_on_a_backbone_of_pictures(tmp_path: Path) -> None:
    y = bars()[1] @ [4.0, 2.0, 1.0] * 100 + 0.5
    data = prepared(tmp_path, y)
    model, answers = trained(data, tmp_path, output="values", epochs=30)
    right = np.load(data.targets("test"))
    assert data.task == "regression" and np.abs(answers - right).mean() < 0.4 * right.std() and model.labels == ()


@pytest.mark.slow
def test_one_sigmoid_on_a_backbone_of_pictures(tmp_path: Path) -> None:
    from edgeproof.quantize.aware_training.training_data import check_data

    data = prepared(tmp_path, bars()[1][:, 0])
    model, answers = trained(data, tmp_path, head={"output": "sigmoid", "hidden": [8]}, class_weights=True)
    assert answers.shape[1] == 1 and ((answers[:, 0] > 0.5) == np.load(data.targets("test"))).mean() > 0.9
    with pytest.raises(InputError, match="answers with one sigmoid"):
        check_data(model, data)


def test_the_task_that_a_model_was_trained_for_says_how_its_files_are_compared() -> None:
    """Two tags are sigmoids: where both are 1, which one is a little higher says nothing."""
    contract, said = InputContract("x", (1, 3), kind="tensor"), {"task": ""}

    def share(task: str) -> float | None:
        said["task"] = task
        model = Model("m", "scratch:dense", Path("x"), "", ("a", "b"), contract, 0.0, provenance=said)
        difference = Difference("y", trained_task(model.labels, model.task))
        for exact, other in (((1, 0.999), (0.999, 1)), ((0.1, 0.2), (0.2, 0.1)), ((0.9, 0.1), (0.8, 0.6))):
            difference.add({"y": np.array([exact])}, {"y": np.array([other])})
        return difference.agreement

    assert share("multilabel") == pytest.approx(5 / 6) and share("") == pytest.approx(1 / 3)
    assert share("regression") is None
