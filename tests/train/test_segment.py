"""A segmenter on a backbone of pictures: from arrays or label pictures to maps of the pictures' size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Train
from edgeproof.core.recipe_data import Data
from edgeproof.workflows.training_arrays import array_fingerprint, prepare_arrays
from edgeproof.workflows.training_pictures import Pictures

SIZE = 64
SPEC = ModelSpec(name="m", backbone="package:mobilenet_v2", image_size=SIZE)


def boxes(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures of noise with a green and a blue box, and the class of each pixel; the first row is void."""
    random = np.random.default_rng(1)
    x, y = random.integers(0, 90, (count, SIZE, SIZE, 3), np.uint8), np.zeros((count, SIZE, SIZE), np.uint8)
    for picture, classes in zip(x, y, strict=True):
        for number in (1, 2):
            top, left = random.integers(0, 32, 2)
            picture[top : top + 24, left : left + 24, number] = 220
            classes[top : top + 24, left : left + 24] = number
    y[:, 0] = 255
    return x, y


def prepared(folder: Path, source: str, task: str = "", **keys: Any) -> PreparedData:
    data = Data.model_validate({"source": source, **keys})
    array_fingerprint(data, task, seed=1, folder=folder)
    return prepare_arrays(
        data, task, seed=1, folder=folder, workspace=folder / "made", listener=Silent(),
        pictures=Pictures(SIZE, "stretch"),
    )  # fmt: skip


@pytest.mark.slow
def test_a_segmenter_finds_the_classes_of_pixels(tmp_path: Path) -> None:
    from edgeproof.frameworks.freeze import serving
    from edgeproof.train.segment.fit import fit_maps

    x, y = boxes()
    np.savez(tmp_path / "s.npz", x=x, y=y, labels=["ground", "green", "blue"])
    data = prepared(tmp_path, "npz:s.npz")
    assert data.task == "segmentation" and data.labels == ("ground", "green", "blue")
    how = {"epochs": 8, "batch_size": 8, "learning_rate": 0.01, "class_weights": True, "augment": {"flip": True}}
    model = fit_maps(
        SPEC, Train.model_validate({**how, "fine_tune": {"layers": 1, "epochs": 1}}), seed=1, data=data,
        folder=tmp_path, workspace=tmp_path / "work", listener=Silent(),
    )  # fmt: skip
    call, pictures = serving(model.saved_model), np.load(data.inputs("test")).astype(np.float32)
    answers = np.concatenate([call(image=one[None])["probabilities"].numpy() for one in pictures])
    right = np.load(data.targets("test"))
    assert answers.shape == (*right.shape, 3) and answers.sum(axis=3) == pytest.approx(1, abs=1e-5)
    judged = right != 255
    assert (answers.argmax(axis=3) == right)[judged].mean() > 0.85
    assert (answers.argmax(axis=3)[right == 2] == 2).mean() > 0.6
    assert {row["phase"] for row in model.history} == {1.0, 2.0} and model.provenance["head"] == "LR-ASPP"


def test_label_pictures_are_read_with_their_splits(tmp_path: Path) -> None:
    x, y = boxes(9)
    for number, (picture, classes) in enumerate(zip(x, y, strict=True)):
        folder = tmp_path / "m" / ("test" if number > 6 else "train")
        for kind, pixels in (("images", picture), ("masks", classes)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    data = prepared(tmp_path, "masks:m")
    assert data.counts == {"train": 6, "validation": 1, "test": 2} and data.labels == ("0", "1", "2")
    assert (np.load(data.inputs("test")) == x[7:]).all() and (np.load(data.targets("test")) == y[7:]).all()
    (tmp_path / "m" / "train" / "images" / "3.png").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"images/3\.png cannot be read"):
        prepared(tmp_path, "masks:m")
    with pytest.raises(InputError, match="is not a folder"):
        prepared(tmp_path, "masks:none")


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    from edgeproof.train.segment.fit import check_map_training

    x, y = boxes(9)
    for arrays, message in (
        ({"x": x, "y": y[:, :32]}, "the pictures are 64 × 64 pixels, and the maps 32 × 64"),
        ({"x": x, "y": y, "labels": ["a"]}, "labels names 1 classes"),
        ({"x": x, "y": np.full_like(y, 255)}, "every pixel of y is 255"),
    ):
        np.savez(tmp_path / "s.npz", **arrays)
        with pytest.raises(InputError, match=message):
            prepared(tmp_path, "npz:s.npz")
    np.savez(tmp_path / "s.npz", x=x[..., 0].astype(np.float32), y=y)
    with pytest.raises(InputError, match="the model takes numbers"):
        prepare_arrays(Data(source="npz:s.npz"), "", seed=1, folder=tmp_path, workspace=tmp_path / "w",
                       listener=Silent())  # fmt: skip
    for keys, message in (
        ({"head": {"hidden": [4]}}, "of classifiers"),
        ({"metrics": ("f1",)}, "f1 is of classifiers"),
    ):
        with pytest.raises(InputError, match=message):
            check_map_training(SPEC, Train.model_validate(keys))
    with pytest.raises(InputError, match="gets a new head"):
        check_map_training(SPEC.model_copy(update={"trainable": True}), Train())
