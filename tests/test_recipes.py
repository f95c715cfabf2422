"""The recipes of the tasks: their data are what the scripts beside them make, and can be trained on."""

from __future__ import annotations

import runpy
import shlex
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from edgeproof.cli.main import edgeproof as program
from edgeproof.core.boxes import AnchorDecoding
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_file import load_recipe
from edgeproof.data.coco import read_coco
from edgeproof.tasks.anchors import decoded, packed
from edgeproof.train.backbones import check_backbone
from edgeproof.workflows.recipe_kind import kind_of_recipe, recipe_fingerprint
from edgeproof.workflows.training_arrays import prepare_arrays
from edgeproof.workflows.training_pictures import Pictures

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
TASKS = {
    "motion": "classification",
    "load": "regression",
    "faults": "multilabel",
    "shapes": "segmentation",
    "sounds": "classification",
}
# The figures of MLPerf Tiny (Banbury et al. 2021); that of anomaly detection is an AUC, which no budget limits.
TINY = {"keyword-spotting": 0.9, "visual-wake-words": 0.8, "cifar10": 0.85, "anomaly-detection": None}


def make(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_data.py", str(path)])
    runpy.run_path(str(RECIPES / name / "make_data.py"), run_name="__main__")


@pytest.mark.parametrize("name", TASKS)
def test_the_data_of_a_recipe_are_those_of_its_script_and_of_its_task(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(RECIPES / f"{name}.toml")
    scheme, _, place = recipe.data.source.partition(":")
    make(name, tmp_path / "made", monkeypatch)
    if scheme == "csv":
        assert (tmp_path / "made").read_bytes() == (RECIPES / place).read_bytes()
    else:
        recipe = load_recipe(RECIPES / f"{name}.toml", {"data.source": f"{scheme}:{tmp_path / 'made'}"})
    (spec,) = recipe.model
    kind = kind_of_recipe(recipe)
    check_backbone(spec, folder=recipe.folder, kind=kind)
    recipe_fingerprint(recipe)
    data = prepare_arrays(
        recipe.data,
        recipe.task,
        seed=recipe.seed,
        folder=recipe.folder,
        workspace=tmp_path / "prepared",
        listener=Silent(),
        pictures=Pictures(spec.image_size, spec.resize) if kind == "image" else None,
    )
    assert data.task == TASKS[name] and min(data.counts.values()) > 15


@pytest.mark.parametrize("name", TINY)
def test_each_task_of_mlperf_tiny_has_a_recipe_that_says_what_it_needs(name: str) -> None:
    path = RECIPES / f"tiny-{name}.toml"
    recipe, comment = load_recipe(path), path.read_text("utf-8").partition("name =")[0]
    assert recipe.name == path.stem and "MLPerf Tiny" in comment and "Needs " in comment
    assert recipe.budget.min_accuracy == TINY[name]
    assert (f"{100 * (TINY[name] or 0):.0f} %" if TINY[name] else "AUC 0.85") in comment
    (spec,) = recipe.model
    check_backbone(spec, folder=recipe.folder, kind=kind_of_recipe(recipe))
    assert {"tflite:float32", "tflite:int8"} <= set(recipe.export.variants)


def test_the_detector_of_the_recipe_learns_what_its_anchors_decode_to(tmp_path: Path) -> None:
    runpy.run_path(str(RECIPES / "boxes" / "make_data.py"))["draw"](tmp_path, "test", 40, seed=6)
    script = runpy.run_path(str(RECIPES / "boxes" / "make_detector.py"))
    found = read_coco(tmp_path / "test.json")
    assert found.names == ("disc", "box") and len(found.pictures) == 40
    pictures, values, rights, names = script["read"](tmp_path, "test")
    assert pictures.shape == (40, 96, 96, 3) and tuple(names) == found.names
    anchors = script["anchors"]()
    decoding = AnchorDecoding("anchors.csv", len(anchors), packed(anchors))
    for boxes, encodings, right in zip(found.boxes, decoded(values, decoding), rights, strict=True):
        there = boxes[boxes[:, 4] >= 0]
        marked = {(*np.round(box * 96).astype(int), int(kind.argmax()))
                  for box, kind in zip(encodings, right, strict=True) if kind.any()}  # fmt: skip
        assert marked == {(int(y1), int(x1), int(y2), int(x2), int(of)) for x1, y1, x2, y2, of in there[:, :5]}


def test_the_commands_of_the_recipe_of_a_detector_are_commands() -> None:
    lines = (RECIPES / "boxes" / "README.md").read_text("utf-8").splitlines()
    given = [shlex.split(line)[1:] for line in lines if line.startswith("edgeproof ")]
    assert [words[0] for words in given] == ["export", "evaluate", "bundle", "diagnose"]
    for name, *words in given:
        command = program.get_command(click.Context(program), name)
        assert command is not None
        command.make_context(name, words)  # raises where an option is unknown or has another form
    for script in ("make_data.py", "make_detector.py"):
        assert (RECIPES / "boxes" / script).is_file() and any(f"recipes/boxes/{script}" in line for line in lines)
