"""Samples in memory are prepared as those of files are: pictures, texts and arrays, with their classes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData, read_texts
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.core.store import Store
from edgeproof.train.external import Input
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared
from edgeproof.workflows.samples import data_source

PICTURES = np.random.default_rng(1).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
ARRAYS = InputSpec("tensor", inputs=(Input("a", (1, 2), "float32"), Input("file", (1, 3), "int32")))


def prepare(data: Any, wanted: InputSpec, folder: Path, **options: Any) -> PreparedData:
    return prepared(
        data_source(data), wanted, seed=1, folder=folder, store=Store(folder / "store"), listener=Silent(),
        use=options.get("use", "test"),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield
    assert not list((tmp_path / "temporary").iterdir())


def test_pictures_keep_their_pixels_and_the_numbers_of_their_classes(tmp_path: Path) -> None:
    square = np.repeat(PICTURES[:, :5], 1, axis=2)
    data = prepare((square, [3, 0, 3, 1]), InputSpec("image", 5, "stretch"), tmp_path)
    targets = np.load(data.targets("test"))
    shown = np.load(data.images("test"))
    assert data.labels == ("0", "1", "2", "3") and data.source == "arrays in memory"
    for picture, number in zip(square, [3, 0, 3, 1], strict=True):
        assert number in targets[(shown == picture).all((1, 2, 3))]


def test_grey_pictures_of_another_size_are_brought_to_size(tmp_path: Path) -> None:
    data = prepare((PICTURES[..., :1],), InputSpec("image", 3, "pad"), tmp_path, use="train")
    assert data.rows("train")[:].shape == (4, 3, 3, 3) and data.labels == ()


def test_texts_that_stand_twice_are_left_out_with_their_classes(tmp_path: Path) -> None:
    data = prepare((["one", "two", "one", "three"], [2, 1, 2, 0]), InputSpec("text"), tmp_path)
    classes = dict(zip(read_texts(data.inputs("test")), np.load(data.targets("test")).tolist(), strict=True))
    assert data.counts["test"] == 3 and classes == {"one": 2, "two": 1, "three": 0}


def test_texts_with_classes_by_name(tmp_path: Path) -> None:
    texts, names = ["one\ntwo", "日本語", "three"], ["../b", "a", "../b"]
    data = prepare((texts, names), InputSpec("text"), tmp_path)
    classes = dict(zip(read_texts(data.inputs("test")), np.load(data.targets("test")).tolist(), strict=True))
    assert data.labels == ("../b", "a") and classes == {"one\ntwo": 0, "日本語": 1, "three": 0}
    assert data.source == "texts in memory"


def test_a_column_of_texts_is_a_list_of_texts() -> None:
    column = np.array(["b", "a", "b"], object)
    samples = data_source((column, column))
    assert not isinstance(samples, Data) and samples.texts == ("b", "a", "b") and samples.names == ("a", "b")


class Refusing:
    """An object that is no array, as those of other libraries may be."""

    def __array__(self, *_: object, **__: object) -> Any:
        raise NotImplementedError("it is symbolic")


@pytest.mark.parametrize(
    "data, words",
    [
        ((PICTURES, [0, 1, 2, 2**40]), "class number 1099511627776"),  # each class below would get a name
        ((PICTURES, np.full(4, 2**64 - 1, np.uint64)), "class number 18446744073709551615"),
        ((Refusing(), [0]), "x is no array: NotImplementedError"),
        ((PICTURES, Refusing()), "y is no array: NotImplementedError"),
    ],
)
def test_what_cannot_be_samples_is_refused_at_once(data: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        data_source(data)


def test_several_inputs_are_arrays_by_name_and_keep_their_order(tmp_path: Path) -> None:
    inputs = {"file": np.arange(12).reshape(4, 3), "a": np.ones((4, 2), "float32")}
    data = prepare((inputs, [1, 0, 0, 2]), ARRAYS, tmp_path)
    rows = np.load(data.inputs("test"))
    assert rows.dtype.names == ("a", "file") and (rows["file"] == inputs["file"]).all()
    assert np.load(data.targets("test")).tolist() == [1, 0, 0, 2] and data.labels == ("0", "1", "2")


def test_the_same_samples_are_prepared_once_and_others_anew(tmp_path: Path) -> None:
    first = prepare((PICTURES, [0, 1, 0, 1]), InputSpec("image", 6, "stretch"), tmp_path)
    assert prepare((PICTURES, [0, 1, 0, 1]), InputSpec("image", 6, "stretch"), tmp_path).folder == first.folder
    other = prepare((PICTURES, [1, 1, 0, 1]), InputSpec("image", 6, "stretch"), tmp_path)
    assert other.folder != first.folder and other.sha256 != first.sha256


@pytest.mark.parametrize(
    ("data", "wanted", "words"),
    [
        ((np.zeros((2, 3), "float32"),), InputSpec("tensor", inputs=(Input("a", (1, 2), "float32"),)), "takes"),
        (({"a": np.zeros((2, 2)), "file": np.zeros((3, 3))},), ARRAYS, "different numbers"),
        (({"a": np.zeros((2, 2))},), ARRAYS, "'file'"),
        ((np.full((2, 2), np.nan, "float32"),), InputSpec("tensor", inputs=(Input("a", (1, 2), "float32"),)), "NaN"),
        ((np.zeros((0, 2)),), ARRAYS, "or none"),
        ((np.zeros((2, 6, 6, 4), "uint8"),), InputSpec("image", 6, "stretch"), "takes pictures"),
        ((["a"],), InputSpec("image", 6, "stretch"), "texts"),
        ((np.zeros((2, 2)),), InputSpec("text"), "arrays"),
    ],
)
def test_what_does_not_fit_is_said_without_the_temporary_folder(
    data: Any, wanted: InputSpec, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        prepare(data, wanted, tmp_path)
    assert "temporary" not in str(caught.value)
