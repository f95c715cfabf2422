"""The recipes of the tasks: their data are what the scripts beside them make, and can be trained on."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from edgeproof.core.progress import Silent
from edgeproof.core.recipe_file import load_recipe
from edgeproof.train.backbones import check_backbone
from edgeproof.workflows.training_arrays import prepare_arrays
from edgeproof.workflows.training_data import kind_of_recipe, recipe_fingerprint
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
