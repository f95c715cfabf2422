"""Samples without classes, or of a part of the classes: enough to calibrate with and to compare files on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.dataset import PreparedData, read_texts
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import fingerprint, prepare, prepare_texts
from edgeproof.quantize.calibration import draw
from edgeproof.tasks.class_mapping import class_numbers
from edgeproof.workflows.model_files import read_labels


def picture(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    return path


def images(source: str, folder: Path, use: Any = "train") -> PreparedData:
    data = Data(source=source)
    fingerprint(data, seed=1, folder=folder, use=use)
    return prepare(
        data, seed=1, image_size=8, resize="stretch", folder=folder, workspace=folder / f"out-{use}",
        listener=Silent(), workers=1, use=use,
    )  # fmt: skip


def values(data: PreparedData, split: str = "train") -> list[int]:
    return sorted(np.load(data.inputs(split))[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("source", ["folder:flat", "images:flat"])
@pytest.mark.parametrize("use", ["train", "test"])
def test_a_flat_folder_gives_samples_without_classes(tmp_path: Path, source: str, use: str) -> None:
    for number in range(5):
        picture(tmp_path / "flat" / f"{number}.png", 10 * number)
    data = images(source, tmp_path, use)
    assert data.labels == () and data.counts[use] == 5 and values(data, use) == [0, 10, 20, 30, 40]
    if use == "train":
        calibration = draw(data, 3, 1, tmp_path)
        assert calibration.count == 3 and calibration.per_class == {}


@pytest.mark.parametrize("source", ["images:deep", "images:deep/b/c/2.png"])
def test_pictures_below_a_folder_or_a_single_one(tmp_path: Path, source: str) -> None:
    picture(tmp_path / "deep" / "1.png", 1)
    picture(tmp_path / "deep" / "b" / "c" / "2.png", 2)
    assert values(images(source, tmp_path)) == ([2] if source.endswith("png") else [1, 2])


def test_one_class_or_a_class_with_one_picture_is_enough(tmp_path: Path) -> None:
    picture(tmp_path / "one" / "cat" / "1.png", 1)
    data = images("folder:one", tmp_path)
    assert data.labels == ("cat",) and values(data) == [1]
    picture(tmp_path / "one" / "dog" / "2.png", 2)
    (tmp_path / "one" / "dog" / "3.png").write_bytes(b"broken")
    (tmp_path / "one" / "eel").mkdir()
    assert values(images("folder:one", tmp_path, "test"), "test") == [1, 2]


def test_a_table_of_pictures_without_labels(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png", number)
    (tmp_path / "t.csv").write_text("path,split\n0.png,test\n1.png,test\n2.png,train\n")
    assert values(images("csv:t.csv", tmp_path, "test"), "test") == [0, 1]
    assert values(images("csv:t.csv", tmp_path, "train")) == [2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "text\ngood film\nbad film\n"),
        ("t.tsv", "id\ttext\n1\tgood film\n2\tbad film\n"),
        ("t.jsonl", "\n".join(json.dumps({"text": f"{word} film"}) for word in ("good", "bad"))),
    ],
)
def test_a_table_of_texts_without_labels(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    data = Data(source=f"{name.split('.')[1]}:{name}")
    fingerprint(data, seed=1, folder=tmp_path, use="train")
    prepared = prepare_texts(data, seed=1, folder=tmp_path, workspace=tmp_path / "out", listener=Silent(), use="train")
    assert prepared.labels == () and read_texts(prepared.inputs("train")) == ["good film", "bad film"]


def test_training_still_needs_classes_and_says_how_they_are_given(tmp_path: Path) -> None:
    picture(tmp_path / "flat" / "1.png", 1)
    with pytest.raises(InputError, match="no class folders") as caught:
        images("folder:flat", tmp_path, "all")
    assert "one sub-folder per class" in caught.value.remedy
    with pytest.raises(InputError, match="have no classes") as caught:
        images("images:flat", tmp_path, "all")
    assert "folder:" in caught.value.remedy
    with pytest.raises(InputError, match="no known scheme") as caught:
        images("flat/1.png", tmp_path)
    remedy = next(word.rstrip(".") for word in caught.value.remedy.split() if word.startswith("images:"))
    assert values(images(remedy, tmp_path)) == [1]
    with pytest.raises(InputError, match="no file in"):
        (tmp_path / "none").mkdir()
        images("images:none", tmp_path)


# --- names and positions ----------------------------------------------------------------------------------------------


def test_classes_of_the_data_are_found_by_name_and_by_position_where_a_name_stands_twice() -> None:
    labels = ("crane", "maillot", "hen", "crane", "maillot", "hen#0")
    assert class_numbers(["hen"], labels, "m") == [2]
    assert class_numbers(["maillot#4", "hen", "crane#0"], labels, "m") == [4, 2, 0]
    assert class_numbers(["hen#0"], labels, "m") == [5]  # a name that is there comes before a position
    with pytest.raises(InputError, match="2 classes called 'crane', at the positions 0 and 3") as caught:
        class_numbers(["hen", "crane"], labels, "m")
    for remedy, number in (("crane#0", 0), ("crane#3", 3)):
        assert repr(remedy) in caught.value.remedy and class_numbers([remedy], labels, "m") == [number]
    for strange in ("cock", "crane#1", "crane#9", "#2"):
        with pytest.raises(InputError, match=f"does not know {strange}"):
            class_numbers(["hen", strange], labels, "m")
    with pytest.raises(InputError, match="are one class of the file"):
        class_numbers(["hen", "hen#2"], labels, "m")


def test_a_file_of_labels_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("crane\nhen\ncrane\n\n")
    assert read_labels(path) == ("crane", "hen", "crane")
    path.write_text("crane\n\nhen\n")
    with pytest.raises(InputError, match="line 2 is empty"):
        read_labels(path)


@pytest.mark.parametrize("use", ["train", "test"])
def test_class_folders_without_a_picture_are_said_to_be_empty(tmp_path: Path, use: Any) -> None:
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
    with pytest.raises(InputError, match="folder:set holds no images") as caught:
        images("folder:set", tmp_path, use)
    assert caught.value.remedy == "put images into it"


def test_what_calibrates_needs_no_weights_of_classes(tmp_path: Path) -> None:
    for number in range(25):
        picture(tmp_path / "set" / ("a" if number else "b") / f"{number}.png", 9 * number)
    (warning,) = (one for one in images("folder:set", tmp_path).report["warnings"] if "imbalanced" in one["what"])
    assert warning == {
        "what": "imbalanced classes: 24 images of 'a', 1 of 'b'",
        "remedy": "add images of the rare classes",
    }
