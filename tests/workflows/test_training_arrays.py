"""Arrays and tables that a recipe trains on: what is read, how it is split, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Recipe
from edgeproof.core.recipe_data import Data
from edgeproof.core.recipe_training import Head
from edgeproof.workflows.recipe_kind import kind_of_recipe, recipe_fingerprint
from edgeproof.workflows.training_arrays import array_fingerprint, prepare_arrays
from edgeproof.workflows.training_pictures import Pictures

from ..support.number_data import MOTIONS, PERSONS, TAGS, motion_recipe, motion_table, tagged

SPLITS = ("train", "validation", "test")


def prepare(folder: Path, task: str = "", **keys: Any) -> PreparedData:
    data = Data.model_validate(keys)
    array_fingerprint(data, task, seed=1, folder=folder)
    return prepare_arrays(data, task, seed=1, folder=folder, workspace=folder / "made", listener=Silent())


def test_windows_of_one_person_stay_in_one_split(tmp_path: Path) -> None:
    motion_table(tmp_path / "m.csv")
    made = prepare(tmp_path, source="csv:m.csv", target="motion", window=16, stride=8, group="person")
    assert made.labels == MOTIONS and made.kind == "tensor" and made.task == "classification"
    x = {split: np.load(made.inputs(split)) for split in SPLITS}
    assert all(part.shape[1:] == (16, 3) and part.dtype == np.float32 for part in x.values())
    each = 47  # windows of a person's 384 steps
    assert {split: len(part) for split, part in x.items()} == made.counts
    assert made.counts == {"train": 4 * each, "validation": each, "test": each} and PERSONS * each == 282
    table = np.array([line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines()[1:]])
    series = {person: table[table[:, 0] == person] for person in np.unique(table[:, 0])}
    holders = {split: {person for person, rows in series.items() if
                       (np.abs(rows[:16, 1:4].astype(np.float32) - part).max(axis=(1, 2)) == 0).any()}
               for split, part in x.items()}  # fmt: skip
    assert [len(holders[split]) for split in SPLITS] == [4, 1, 1]
    labels = np.load(made.targets("test"))
    (tested,) = holders["test"]
    assert [MOTIONS[one] for one in labels] == series[tested][np.arange(15, 384, 8), 4].tolist()
    assert made.report["features"] == ["ax", "ay", "az"] and "of the groups" in made.report["splits"]["test"]
    assert any("rows of different targets" in one["what"] for one in made.report["warnings"])


def test_arrays_with_their_own_splits_names_and_tags(tmp_path: Path) -> None:
    x, y = tagged()
    np.savez(tmp_path / "a.npz", x_train=x[:180], y_train=y[:180], x_test=x[180:], y_test=y[180:], labels=TAGS)
    made = prepare(tmp_path, source="npz:a.npz")
    assert made.task == "multilabel" and made.labels == TAGS and made.counts["test"] == 60
    assert (np.load(made.inputs("test")) == x[180:]).all() and (np.load(made.targets("test")) == y[180:]).all()
    np.save(tmp_path / "x.npy", x), np.save(tmp_path / "y.npy", y[:, 0] + 3)
    made = prepare(tmp_path, source="npy:x.npy,y.npy", test=0.25)
    assert made.task == "classification" and made.labels == ("3", "4") and made.counts["test"] == 60
    np.savez(tmp_path / "b.npz", x=x, y=y[:, 0], labels=["no", "yes"], group=np.arange(len(x)) // 24)
    made = prepare(tmp_path, source="npz:b.npz")
    assert made.labels == ("no", "yes") and made.counts == {"train": 168, "validation": 24, "test": 48}
    np.savez(tmp_path / "t.npz", x=x[:40] + 1, y=y[:40, 0])
    made = prepare(tmp_path, source="npz:b.npz", test_source="npz:t.npz")
    assert (np.load(made.inputs("test")) == x[:40] + 1).all()


def test_tags_that_no_test_sample_has_are_named(tmp_path: Path) -> None:
    y = Y.copy()
    y[30:, 1] = 0
    np.savez(tmp_path / "a.npz", x_train=X[:30], y_train=y[:30], x_test=X[30:], y_test=y[30:], labels=TAGS)
    made = prepare(tmp_path, source="npz:a.npz")
    assert [w["what"] for w in made.report["warnings"]] == ["no test sample has 'wet': mAP is that of the other tags"]


def test_a_column_split_is_kept(tmp_path: Path) -> None:
    rows = [f"{n},{n % 2},{'test' if n % 5 == 0 else 'train'}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["value,target,split", *rows]), "utf-8")
    made = prepare(tmp_path, source="csv:t.csv", target="target")
    assert sorted(np.load(made.inputs("test"))[:, 0].tolist()) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert made.report["splits"]["test"] == "given" and made.report["features"] == ["value"]


X, Y = tagged(40)
BAD: dict[str, tuple[dict[str, Any], str, dict[str, Any], str]] = {
    "no targets": ({"x": X}, "", {}, "has x and no targets y"),
    "no samples": ({"z": X, "y": Y}, "", {}, "has no array x"),
    "too few targets": ({"x": X, "y": Y[:-1]}, "", {}, "39 targets"),
    "NaN": ({"x": np.where(X.max() - 1e-3 < X, np.nan, X), "y": Y}, "", {}, "has NaN in row"),
    "texts": ({"x": X.astype(str), "y": Y}, "", {}, "the samples have the shape"),
    "one number a sample": ({"x": X[:, 0], "y": Y}, "", {}, "the samples have the shape"),
    "tags as classes": ({"x": X, "y": Y}, "classification", {}, "are no classes"),
    "classes as tags": ({"x": X, "y": Y[:, 0] + 2}, "multilabel", {}, "not 0 or 1 for each tag"),
    "numbers as classes": ({"x": X, "y": np.arange(40)}, "", {}, "40 different targets"),
    "names of other tags": ({"x": X, "y": Y, "labels": ["a"]}, "", {}, "labels names 1 tags"),
    "names of fewer classes": ({"x": X, "y": Y[:, 0], "labels": ["a"]}, "", {}, "classes up to 1"),
    "groups of fewer samples": ({"x": X, "y": Y, "group": [1, 2]}, "", {}, "group has 2 entries"),
    "a class of one sample": ({"x": X, "y": np.arange(40) == 3}, "", {}, "no sample is left for test of 'True'"),
    "one class": ({"x": X, "y": np.zeros(40, int)}, "", {}, "only one class, 0"),
    "numbers beyond float32": ({"x": X.astype(float) * 1e300, "y": Y}, "", {}, "float32 does not hold"),
    "no tag in test": ({"x_train": X, "y_train": Y, "x_test": X[:4] + 1, "y_test": Y[:4] * 0}, "", {}, "has any tag"),
    "all alike": ({"x": np.zeros_like(X), "y": Y[:, 0]}, "", {}, "no sample is left for train"),
    "other shapes": ({"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y}, "", {}, "others of"),
    "a column of arrays": ({"x": X, "y": Y}, "", {"target": "a"}, "has no use for target"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_on_is_refused(case: str, tmp_path: Path) -> None:
    arrays, task, keys, message = BAD[case]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message) as refused:
        prepare(tmp_path, task, source="npz:a.npz", **keys)
    assert refused.value.remedy


def test_keys_and_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    motion_table(tmp_path / "m.csv")
    for keys, message in (
        ({"source": "csv:m.csv", "features": ["ax"]}, "no target is named"),
        ({"source": "csv:m.csv", "target": "motion", "stride": 3}, "stride is for windows"),
        ({"source": "csv:m.csv", "target": "motion", "window": 5000}, "takes? 5000"),
        ({"source": "csv:none.csv", "target": "motion"}, "does not exist"),
        ({"source": "npy:x.npy"}, "has no targets"),
        ({"source": "csv:m.csv", "target": "motion", "test_source": "npz:a.npz"}, "of another kind"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(tmp_path, **keys)


def test_the_models_and_the_data_say_what_a_recipe_trains_on(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(motion_recipe(tmp_path))
    assert kind_of_recipe(recipe) == "tensor" and recipe_fingerprint(recipe)["kind"] == "tensor"
    pictures = [{"name": "m", "backbone": "package:mobilenet_v2"}]
    assert kind_of_recipe(Recipe.model_validate(motion_recipe(tmp_path, model=pictures))) == "image"
    tags = {"data": {"source": "folder:x"}, "model": pictures, "task": "multilabel"}
    with pytest.raises(InputError, match="targets that are no classes"):
        recipe_fingerprint(Recipe.model_validate(tags))


def test_keys_that_came_later_do_not_change_the_hashes_of_older_recipes() -> None:
    recipe = Recipe.model_validate({"data": {"source": "folder:x"}, "model": [{"name": "m", "backbone": "keras:X"}]})
    dumped = recipe.to_dict()
    assert "task" not in dumped and not {"units", "kernel"} & set(dumped["model"][0])
    assert "output" not in dumped["train"]["head"] and "units" not in recipe.model[0].model_dump()
    assert ModelSpec(name="m", backbone="scratch:dense", units=(3,)).model_dump(mode="json")["units"] == [3]
    assert Head(output="sigmoid").model_dump()["output"] == "sigmoid"


def test_tags_in_the_cells_of_a_table_and_columns_of_tags(tmp_path: Path) -> None:
    rows = [f"{n},{'|'.join(tag for bit, tag in enumerate(TAGS) if n >> bit & 1)}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["value,tags", *rows]), "utf-8")
    made = prepare(tmp_path, source="csv:t.csv", target="tags")
    assert made.task == "multilabel" and set(made.labels) == set(TAGS)
    x, y = np.load(made.inputs("test"))[:, 0].astype(int), np.load(made.targets("test"))
    assert [[bool(n >> TAGS.index(tag) & 1) for tag in made.labels] for n in x] == y.astype(bool).tolist()
    (tmp_path / "c.csv").write_text(
        "\n".join(["value,a,b", *(f"{n},{n % 2},{n % 3 == 0:d}" for n in range(40))]), "utf-8"
    )
    made = prepare(tmp_path, source="csv:c.csv", target="a,b")
    assert made.task == "multilabel" and made.labels == ("a", "b") and made.report["features"] == ["value"]


def test_pictures_in_arrays_get_the_size_of_the_model(tmp_path: Path) -> None:
    random, y = np.random.default_rng(2), tagged(40)[1]
    grey = random.integers(0, 256, (40, 20, 30), np.uint8)
    maps = np.where(grey > 200, 255, grey // 100).astype(np.uint8)
    folder = tmp_path / "made"

    def pictures(resize: str, **arrays: Any) -> PreparedData:
        np.savez(tmp_path / "p.npz", **arrays)
        return prepare_arrays(
            Data(source="npz:p.npz"), "", seed=1, folder=tmp_path, workspace=folder, listener=Silent(),
            pictures=Pictures(16, resize),
        )  # fmt: skip

    made = pictures("stretch", x=grey[..., None], y=y)
    assert made.kind == "image" and made.task == "multilabel" and (made.height, made.width) == (16, 16)
    x = np.load(made.inputs("test"))
    assert x.shape == (8, 16, 16, 3) and x.dtype == np.uint8 and (x[..., 0] == x[..., 2]).all()
    alike = [np.asarray(Image.fromarray(one).resize((16, 16), Image.Resampling.BILINEAR)) for one in grey]
    assert all(min(np.abs(one[..., 0].astype(int) - of).max() for of in alike) == 0 for one in x)
    made = pictures("pad", x=grey, y=maps)
    assert made.task == "segmentation" and made.labels == ("0", "1", "2")
    with pytest.raises(InputError, match="no model is trained here"):
        pictures("pad", x=grey, y=random.random((40, 3, 5)))
    padded = Pictures(16, "pad")
    targets, x = padded.targets(maps), padded.resized(grey)
    assert targets.shape == (len(x), 16, 16) and (targets[:, :2] == 255).all() and (x[:, :2] == 0).all()
    assert set(np.unique(targets)) == {0, 1, 2, 255}
    for bad, message in ((grey / 255, "whole numbers from 0 to 255"), (y, "takes pictures")):
        with pytest.raises(InputError, match=message):
            pictures("stretch", x=bad, y=y)
