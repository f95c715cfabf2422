"""Networks from scratch for numbers: their scale is learnt from training, their answers are those of the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.core.recipe_data import Data
from edgeproof.train.answers import answer_of
from edgeproof.train.backbones import check_backbone
from edgeproof.train.sensor.networks import check_shape, coarse_features, scale
from edgeproof.train.sensor.settings import check_number_training
from edgeproof.workflows.training_arrays import prepare_arrays

from ..support.number_data import TAGS, tagged


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.said.append(message)


def prepared(folder: Path, y: Any, **more: Any) -> PreparedData:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "a.npz", x=tagged()[0], y=y, **more)
    data = Data(source="npz:a.npz")
    return prepare_arrays(data, "", seed=1, folder=folder, workspace=folder / "made", listener=Silent())


def trained(
    data: PreparedData, folder: Path, output: str = "probabilities", **train: Any
) -> tuple[Any, Any, list[str]]:
    """Return the model, its answers to the test split, and what was said."""
    from edgeproof.frameworks.freeze import serving
    from edgeproof.train.sensor.fit import fit_numbers

    notes = Notes()
    how = Train(**{"epochs": 60, "batch_size": 16, "learning_rate": 0.02, "dropout": 0.0, "patience": 0, **train})
    model = fit_numbers(
        ModelSpec(name="m", backbone="scratch:dense", units=(16,)), how, seed=4, data=data, folder=folder,
        workspace=folder / "work", listener=notes,
    )  # fmt: skip
    call, samples = serving(model.saved_model), np.load(data.inputs("test"))
    answers = np.concatenate([call(features=one[None])[output].numpy() for one in samples])
    return model, answers, notes.said


@pytest.mark.slow
def test_tags_are_trained_with_a_sigmoid_each(tmp_path: Path) -> None:
    data = prepared(tmp_path, tagged()[1], labels=TAGS)
    model, answers, said = trained(data, tmp_path, metrics=("precision", "auc", "f1"))
    y = np.load(data.targets("test"))
    assert model.labels == TAGS and answers.shape == y.shape == (48, 3)
    assert ((answers > 0.5) == y).mean() > 0.9 and (answers.sum(axis=1) > 1.2).any()  # no softmax
    assert {"val_precision", "val_auc", "val_f1", "val_accuracy"} <= set(model.history[-1])
    assert any("one scale for all features" in one and "number 0" in one for one in said)
    again, same, _ = trained(data, tmp_path, metrics=("precision", "auc", "f1"))
    assert again.sha256 == model.sha256 and (same == answers).all()


@pytest.mark.slow
def test_two_classes_are_trained_with_one_sigmoid_that_is_the_second_class(tmp_path: Path) -> None:
    data = prepared(tmp_path, np.where(tagged()[1][:, 0], "yes", "no"))
    model, answers, _ = trained(data, tmp_path, head={"output": "sigmoid"}, class_weights=True)
    y = np.load(data.targets("test"))
    assert model.labels == ("no", "yes") and answers.shape == (48, 1)
    assert ((answers[:, 0] > 0.5) == y).mean() > 0.9
    assert model.metrics["val_accuracy"] > 0.8


@pytest.mark.slow
def test_numbers_are_trained_in_their_own_scale_and_answered_in_the_targets_unit(tmp_path: Path) -> None:
    x = tagged()[0]
    y = np.stack([1000 + 300 * (x[:, 0] - 5), 0.01 * (x[:, 1] - 5)], axis=1) + 0.5
    data = prepared(tmp_path, y.astype(np.float32), labels=["watts", "share"])
    model, answers, _ = trained(data, tmp_path, epochs=80, output="values")
    right = np.load(data.targets("test"))
    assert data.task == "regression" and model.answer == "values" and model.labels == ("watts", "share")
    error = np.abs(answers - right).mean(axis=0)
    assert (error < 0.15 * right.std(axis=0)).all() and right[:, 0].mean() > 500
    validated = np.load(data.targets("validation"))
    assert 0 < model.metrics["val_mae"] < 0.2 * validated.std(axis=0).mean() and "val_accuracy" not in model.metrics
    for settings, message in (
        ({"head": {"output": "sigmoid"}}, "answers with shares"),
        ({"metrics": ("f1",)}, "f1 is of classes"),
        ({"class_weights": True}, "class_weights is for classes"),
        ({"label_smoothing": 0.1}, "label_smoothing is for classes"),
    ):
        with pytest.raises(InputError, match=message):
            answer_of(data, Train.model_validate(settings))


def test_scales_of_features_and_of_those_that_never_change() -> None:
    samples = np.stack([np.arange(50), np.full(50, 7.0), np.arange(50) * 1e-3], axis=1).astype(np.float32)
    mean, deviation = scale(samples[:, None].repeat(4, axis=1))
    assert mean == pytest.approx([24.5, 7, 0.0245]) and deviation == pytest.approx([14.43, 1, 0.01443], rel=1e-3)
    assert coarse_features(samples) == [2] and coarse_features(samples[:, :1]) == []


def test_settings_that_do_not_fit_the_task_or_the_network_are_refused(tmp_path: Path) -> None:
    tags, two = prepared(tmp_path / "a", tagged()[1]), prepared(tmp_path / "b", tagged()[1][:, 0])
    three = prepared(tmp_path / "c", tagged()[1].sum(axis=1) % 3)
    for data, train, message in (
        (three, {"head": {"output": "sigmoid"}}, "tells two classes apart"),
        (tags, {"head": {"output": "softmax"}}, "a softmax gives one class"),
        (two, {"head": {"output": "sigmoid"}, "metrics": ("top_3_accuracy",)}, "ranks classes"),
        (tags, {"class_weights": True}, "one class each"),
    ):
        with pytest.raises(InputError, match=message):
            answer_of(data, Train.model_validate(train))
    assert answer_of(three, Train()).activation == "softmax" and answer_of(two, Train()).units == 2
    for keys, message in (
        ({"augment": {"flip": True}}, "changes images"),
        ({"head": {"pooling": "max"}}, "map of a picture"),
        ({"fine_tune": {"layers": 2}}, "trained as a whole"),
    ):
        with pytest.raises(InputError, match=message):
            check_number_training(Train.model_validate(keys))


def test_networks_that_do_not_fit_are_refused() -> None:
    for spec, kind, message in (
        ({"backbone": "scratch:conv2d"}, "tensor", "no network for numbers"),
        ({"backbone": "scratch:dense", "kernel": 3}, "tensor", "kernel has no effect"),
        ({"backbone": "scratch:dense", "trainable": True}, "tensor", "always trained as a whole"),
        ({"backbone": "keras:MobileNetV2"}, "tensor", "takes no numbers"),
        ({"backbone": "scratch:dense"}, "image", "takes numbers, and the data are images"),
        ({"backbone": "scratch:conv1d"}, "text", "takes numbers, and the data are texts"),
    ):
        with pytest.raises(InputError, match=message):
            check_backbone(ModelSpec(name="m", **spec), folder=Path(), kind=kind)
    with pytest.raises(InputError, match="takes windows"):
        check_shape(ModelSpec(name="m", backbone="scratch:conv1d"), (8,))
