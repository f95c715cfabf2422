"""Tables of pictures whose labels are tags or numbers: read, split and trained on; evaluated with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import ModelSpec, Recipe, Train
from edgeproof.core.recipe_data import Data
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.recipe_kind import kind_of_recipe, recipe_fingerprint
from edgeproof.workflows.samples import Samples
from edgeproof.workflows.training_arrays import array_fingerprint, prepare_arrays
from edgeproof.workflows.training_pictures import Pictures

from ..support.hub_modules import tf2_module

SIDE, COUNT = 32, 40
TAGS = ("blue", "red")


def tags(number: int) -> list[str]:
    return [tag for bit, tag in enumerate(TAGS) if number >> bit & 1]


def pictures(folder: Path, *, coloured: bool = False) -> list[str]:
    """Write pictures that are lighter by their number; `coloured` ones are blue and red by their tags."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(4)
    for number in range(COUNT):
        pixels = random.integers(0, 30, (SIDE, SIDE, 3), np.uint8)
        if coloured:
            pixels[..., 0] += np.uint8(200 * ("red" in tags(number)))
            pixels[..., 2] += np.uint8(200 * ("blue" in tags(number)))
        pixels[..., slice(1, 2) if coloured else slice(None)] += np.uint8(number * 5)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [f"{number}.png" for number in range(COUNT)]


def table(folder: Path, rows: list[str], header: str = "path,label") -> str:
    (folder / "t.csv").write_text("\n".join([header, *rows]), "utf-8")
    return f"csv:{folder / 't.csv'}"


def tagged(folder: Path) -> str:
    return table(folder, [f"{name},{'|'.join(tags(n))}" for n, name in enumerate(pictures(folder, coloured=True))])


def numbered(folder: Path) -> str:
    return table(folder, [f"{name},{n * 2.5}" for n, name in enumerate(pictures(folder))])


def prepare(folder: Path, source: str, task: str, **keys: Any) -> PreparedData:
    data = Data(source=source, **keys)
    array_fingerprint(data, task, seed=1, folder=folder, pictures=True)
    return prepare_arrays(
        data, task, seed=1, folder=folder, workspace=folder / "made", listener=Silent(),
        pictures=Pictures(SIDE, "stretch"),
    )  # fmt: skip


def test_the_targets_are_those_of_the_rows(tmp_path: Path) -> None:
    for source, task in ((tagged(tmp_path / "a"), "multilabel"), (numbered(tmp_path / "b"), "regression")):
        made, seen = prepare(tmp_path, source, task), []
        assert (made.kind, made.task, made.height) == ("image", task, SIDE)
        assert made.labels == (TAGS if task == "multilabel" else ())
        for split in made.counts:
            for pixels, y in zip(np.load(made.inputs(split)), np.load(made.targets(split)), strict=True):
                number = round((pixels[..., 1].mean() - 14.5) / 5)
                right = [tag in tags(number) for tag in TAGS] if task == "multilabel" else [number * 2.5]
                assert np.atleast_1d(y).tolist() == right
                seen.append(number)
        assert sorted(seen) == list(range(COUNT)) and made.counts["test"] == 8


def test_splits_of_the_table_are_kept_and_pictures_that_are_not_there_left_out(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    rows = [f"{name},{n / 4},{'test' if n < 5 else 'train'}" for n, name in enumerate(names)]
    source = table(tmp_path, [*rows, "none.png,1,train"], "path,label,split")
    made = prepare(tmp_path, source, "regression")
    assert sorted(np.load(made.targets("test")).ravel()) == [0, 0.25, 0.5, 0.75, 1]
    assert sum(made.counts.values()) == COUNT
    assert any(
        "1 pictures cannot be read" in one["what"] and "none.png" in one["what"] for one in made.report["warnings"]
    )
    with pytest.raises(InputError, match=r"1 of 41 pictures cannot be read: none\.png"):
        prepare(tmp_path, source, "regression", on_unreadable="stop")


def test_what_does_not_fit_the_task_is_refused_by_name(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    for rows, task, message in (
        ([f"{names[0]},1", f"{names[1]},old"], "regression", r"1\.png: its label 'old' is no number"),
        ([f"{names[0]},1", f"{names[1]},nan"], "regression", r"1\.png: its label 'nan' is no number"),
        ([f"{names[0]},a|", f"{names[1]},b"], "multilabel", r"0\.png: 'a\|' has an empty tag"),
        ([f"../{names[0]},1"], "regression", "leads out of"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(tmp_path, table(tmp_path, rows), task)
    with pytest.raises(InputError, match="has no use for window"):
        prepare(tmp_path, numbered(tmp_path), "regression", window=3)


def test_a_recipe_says_by_its_task_that_labels_are_no_classes(tmp_path: Path) -> None:
    source = tagged(tmp_path)

    def recipe(**tables: Any) -> Recipe:
        model = [{"name": "m", "backbone": "keras:MobileNetV2", "weights": "none"}]
        return Recipe.model_validate({"data": {"source": source}, "model": model, **tables})

    for task in ("multilabel", "regression"):
        assert kind_of_recipe(recipe(task=task)) == "image" and recipe_fingerprint(recipe(task=task))["task"] == task
    with pytest.raises(InputError, match="needs targets that are no classes"):
        recipe_fingerprint(recipe(task="segmentation"))


def test_numbers_of_pictures_are_evaluated(tmp_path: Path) -> None:
    source = numbered(tmp_path)
    spec = InputSpec("image", SIDE, "stretch")
    samples = with_arrays(
        Data(source=source), spec, Path(), use="test", targets=True, listener=Silent(), task="regression"
    )  # fmt: skip
    assert isinstance(samples, Samples) and samples.files is not None and samples.targets is not None
    assert [float(y) for y in samples.targets] == [int(name.split(".")[0]) * 2.5 for name in samples.files.paths]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["hub tags", "file numbers", "keras sigmoid", "hub numbers"])
def test_heads_are_trained_on_backbones_of_each_kind(case: str, tmp_path: Path, external_files: Path) -> None:
    from edgeproof.frameworks.freeze import serving
    from edgeproof.train.fit import fit

    kind, what = case.split()
    source, task = (tagged(tmp_path), "multilabel") if what == "tags" else (numbered(tmp_path), "regression")
    data = prepare(tmp_path, source, task)
    keys: dict[str, Any] = {"keras": {"backbone": "keras:MobileNetV2", "weights": "none", "alpha": 0.35}}.get(kind, {})
    if kind == "hub":
        keys = {"backbone": f"hub:{tf2_module(tmp_path / 'module', 'features')}", "value_range": (0, 1)}
    if kind == "file":
        keys = {"backbone": f"file:{external_files / 'plain2.keras'}", "value_range": (0, 1)}
    train: dict[str, Any] = {"epochs": 150, "batch_size": 16, "learning_rate": 0.05, "dropout": 0, "patience": 0}
    if what == "sigmoid":
        two = np.array(["no", "yes"])[[int("red" in tags(n)) for n in range(COUNT)]]
        x = np.stack([np.asarray(Image.open(tmp_path / f"{n}.png")) for n in range(COUNT)])
        np.savez(tmp_path / "a.npz", x=x, y=two)
        data = prepare(tmp_path, f"npz:{tmp_path / 'a.npz'}", "")
        train |= {"head": {"output": "sigmoid"}, "epochs": 2}
    model = fit(
        ModelSpec.model_validate({"name": "m", "image_size": SIDE, **keys}), Train.model_validate(train), seed=2,
        data=data, folder=tmp_path, workspace=tmp_path / "work", listener=Silent(),
    )  # fmt: skip
    call, y = serving(model.saved_model), np.load(data.targets("test"))
    pixels = np.load(data.inputs("test")).astype(np.float32)
    answers = np.concatenate([call(image=one[None])[model.answer].numpy() for one in pixels])
    if what == "tags":
        assert answers.shape == y.shape and ((answers > 0.5) == y).mean() > 0.75
    elif what == "sigmoid":
        assert (
            answers.shape == (len(y), 1) and ((answers >= 0) & (answers <= 1)).all() and model.labels == ("no", "yes")
        )
    else:
        assert model.answer == "values" and np.abs(answers.ravel() - y.ravel()).mean() < 0.5 * (COUNT * 2.5 / 4)
