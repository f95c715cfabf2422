"""Names of columns, tags and classes in the data are found among those of the file, in whatever order they stand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from edgeproof.core.codec import from_json, to_json
from edgeproof.core.errors import InputError
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.core.store import Store
from edgeproof.train.external import Input
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.judged_data import judged_data
from edgeproof.workflows.samples import Samples, data_source

from ..support.external_imports import Heard
from ..support.micro_files import dense

COUNT = 12
RANDOM = np.random.default_rng(4)
X = RANDOM.normal(size=(COUNT, 8)).astype(np.float32)
NUMBERS = RANDOM.normal(size=(COUNT, 4)).round(2)
TAGS = (RANDOM.random((COUNT, 4)) < 0.5).astype(np.int64)
ORDER = [2, 0, 3, 1]
MOVED = [list("abcd")[at] for at in ORDER]
SPEC = InputSpec("tensor", inputs=(Input("x", (1, 8), "float32"),))


def judged(source: Any, folder: Path, task: str = "", labels: str = "abcd", heard: Heard | None = None) -> Any:
    """Return the targets that a file with the outputs `labels` is judged by, and their names."""
    artifact = replace(dense(folder / "m.tflite", "float32"), labels=tuple(labels))
    heard = heard or Heard()
    given = with_arrays(data_source(source, task), SPEC, Path(), use="test", targets=True, listener=heard, task=task)
    assert isinstance(given, Samples)
    data = judged_data(
        given, SPEC, [artifact], ["local/litert"], Store(folder / "store"), heard, classes_known=True, helpers=None
    )
    return np.load(data.targets("test")), data.labels


def table(folder: Path, names: list[str], values: np.ndarray) -> Data:
    frame = pandas.DataFrame(np.hstack([X, values]), columns=[*(f"f{n}" for n in range(8)), *names])
    frame.to_csv(folder / "t.csv", index=False)
    return Data(source=f"csv:{folder / 't.csv'}", target=",".join(names))


def arrays(folder: Path, **more: Any) -> str:
    np.savez(folder / "a.npz", x=X, **more)
    return f"npz:{folder / 'a.npz'}"


def test_columns_of_numbers_are_put_in_the_order_of_the_file(tmp_path: Path) -> None:
    moved = NUMBERS[:, ORDER]
    for source in (
        table(tmp_path, MOVED, moved),
        (pandas.DataFrame(X), pandas.DataFrame(moved, columns=MOVED)),
        arrays(tmp_path, y=moved, labels=MOVED),
    ):
        targets, labels = judged(source, tmp_path)
        assert targets == pytest.approx(NUMBERS, abs=1e-6) and labels == tuple("abcd")
    tensor = judged((X, pandas.DataFrame(moved, columns=MOVED)), tmp_path, task="tensor")[0]
    assert tensor == pytest.approx(NUMBERS, abs=1e-6)


def test_the_same_numbers_under_other_names_are_other_targets(tmp_path: Path) -> None:
    """What the store holds of one order of names is not taken for another."""
    first = judged((X, pandas.DataFrame(NUMBERS, columns=list("abcd"))), tmp_path)[0]
    second = judged((X, pandas.DataFrame(NUMBERS, columns=MOVED)), tmp_path)[0]
    assert first == pytest.approx(NUMBERS, abs=1e-6) and second[:, ORDER] == pytest.approx(NUMBERS, abs=1e-6)


def test_columns_with_none_of_the_names_stay_in_order_and_a_note_says_so(tmp_path: Path) -> None:
    heard = Heard()
    assert judged(table(tmp_path, list("qrst"), NUMBERS), tmp_path, heard=heard)[0] == pytest.approx(NUMBERS, abs=1e-6)
    assert any("q, r, s, t of the targets are taken in this order" in one for one in heard.notes)
    heard = Heard()
    assert judged(table(tmp_path, list("abcd"), NUMBERS), tmp_path, heard=heard)[0] == pytest.approx(NUMBERS, abs=1e-6)
    assert not any("in this order" in one for one in heard.notes)


@pytest.mark.parametrize("values", [NUMBERS, TAGS], ids=["numbers", "tags"])
def test_columns_of_which_some_have_names_of_the_file_are_refused(values: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="columns m knows a, b by name, and not r, q; its outputs are a, b, c, d"):
        judged((X, pandas.DataFrame(values, columns=list("qbar")[::-1])), tmp_path)


def test_the_labels_of_an_npz_are_heard(tmp_path: Path) -> None:
    """Its classes and tags are those of the file by name; of a file without names the numbers are positions."""
    classes = np.arange(COUNT) % 4
    targets, labels = judged(arrays(tmp_path, y=classes, labels=MOVED), tmp_path)
    assert targets.tolist() == [ORDER[number] for number in classes] and labels == tuple("abcd")
    assert judged(arrays(tmp_path, y=classes, labels=MOVED), tmp_path, labels="")[0].tolist() == classes.tolist()
    few = judged(arrays(tmp_path, y=classes % 2, labels=[*MOVED[:2], "never"]), tmp_path)[0]  # a name without samples
    assert few.tolist() == [ORDER[number] for number in classes % 2]
    tags = judged(arrays(tmp_path, y=TAGS[:, ORDER], labels=MOVED), tmp_path)[0]
    assert tags.tolist() == TAGS.tolist()
    plain = judged(arrays(tmp_path, y=TAGS[:, ORDER], labels=MOVED), tmp_path, labels="")[0]
    assert plain.tolist() == TAGS[:, ORDER].tolist()


@pytest.mark.parametrize(
    "y, labels, words",
    [
        (np.arange(COUNT) % 4, "abcq", "does not know q"),
        (TAGS, "abqd", "does not know q"),
        (np.arange(COUNT) % 4, "abc", "y has classes up to 3, and labels names 3"),
        (np.arange(COUNT) % 2 == 1, "a", "y has classes up to 1, and labels names 1"),
        (TAGS, "abc", "labels names 3 tags, and y has 4"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y: np.ndarray, labels: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        judged(arrays(tmp_path, y=y, labels=list(labels)), tmp_path)


def test_maps_with_labels_are_of_the_file_s_classes(tmp_path: Path) -> None:
    from edgeproof.workflows.sample_names import with_names

    maps = np.arange(4).reshape(1, 2, 2).astype(np.uint8)
    held = Samples({}, (), None, targets=maps, task="segmentation")
    assert with_names(held, MOVED, "a").names == tuple(MOVED)
    with pytest.raises(InputError, match="up to 3, and labels names 2"):
        with_names(held, MOVED[:2], "a")


FEATURES = tuple(f"f{number}" for number in range(8))
TRAINED = InputContract("x", (1, 8), kind="tensor", columns=FEATURES)


def read(source: Any, task: str = "") -> np.ndarray:
    """Return the samples as a model that was trained on `FEATURES` gets them."""
    spec = InputSpec.of(TRAINED, SPEC.inputs)
    given = with_arrays(data_source(source, task), spec, Path(), use="test", targets=True, listener=Silent(), task=task)
    assert isinstance(given, Samples)
    return given.inputs[""]


def test_columns_are_put_in_the_order_of_the_table_that_the_model_was_trained_on(tmp_path: Path) -> None:
    moved = pandas.DataFrame(X, columns=FEATURES)[[*FEATURES[::-1]]]
    moved.insert(3, "row", range(COUNT))
    moved.assign(t=NUMBERS[:, 0]).to_csv(tmp_path / "t.csv", index=False)
    for features in ((), FEATURES[::-1]):  # also where they are named in another order
        data = Data(source=f"csv:{tmp_path / 't.csv'}", target="t", features=features)
        assert read(data) == pytest.approx(X, abs=1e-6)
    assert read((moved, NUMBERS)) == pytest.approx(X, abs=1e-6)
    for plain in (moved[[*FEATURES]].to_numpy(), pandas.DataFrame(X)):  # without names
        assert read((plain, NUMBERS)) == pytest.approx(X, abs=1e-6)
    others = pandas.read_csv(tmp_path / "t.csv").rename(columns={"f0": "g"})
    others.to_csv(tmp_path / "g.csv", index=False)
    asked = Data(source=f"csv:{tmp_path / 'g.csv'}", target="t", features=("g", *FEATURES[1:]))  # the user says so
    assert read(asked) == pytest.approx(X, abs=1e-6)
    with pytest.raises(InputError, match=r"no column 'f0'; it has .*; the model was trained on the columns f0, f1"):
        read(Data(source=f"csv:{tmp_path / 'g.csv'}", target="t"))
    with pytest.raises(InputError, match=r"without the column 'f0'; it has .*; the model was trained on"):
        read((others, NUMBERS))


def test_the_columns_are_in_the_record_of_such_models_alone() -> None:
    assert from_json(InputContract, to_json(TRAINED), "c") == TRAINED
    assert "columns" not in to_json(InputContract("x", (1, 8), kind="tensor"))
