"""A tiny real run, made once: a small network trained on 200 shipped images and exported to every variant."""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeproof.core.artifact import Artifact
from edgeproof.core.dataset import PreparedData, load_prepared
from edgeproof.core.recipe import Recipe
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.core.variant import Variant
from edgeproof.workflows.finished import Run
from edgeproof.workflows.run import run

# As `frameworks.tensorflow.load` sets it: `tf.keras` is Keras 2, whichever test is the first to import TensorFlow.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# TensorFlow makes so many objects that looking for cycles after every 700 takes a twelfth of the tests' time.
gc.set_threshold(20_000)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Spare what a file's tests leave for good the searches for cycles that TensorFlow's converter starts.

    In a process that has run a thousand tests each of them takes more than a second, longer than most tests.
    """
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


RECIPE = {
    "name": "tiny",
    "seed": 3,
    "data": {"source": "builtin:fashion-mnist-mini", "limit_train": 200, "limit_test": 60},
    "model": [
        {"name": "tiny", "backbone": "keras:MobileNetV2", "weights": "none", "alpha": 0.35, "image_size": 32},
    ],
    "train": {"epochs": 2, "fine_tune": {"layers": 8, "epochs": 2, "learning_rate": 1e-3}},
    "export": {
        "variants": [
            *(
                f"tflite:{s}"
                for s in ("float32", "float16", "dynamic", "int8", "int8-int8io", "int8-uint8io", "int16x8")
            ),
            "onnx:float32",
        ],
        "maker": "converter",
        "calibration": {"samples": 20},
    },
    "evaluate": {"diagnose": "none", "latency": {"processes": 2, "warmup_seconds": 0.01, "run_seconds": 0.02}},
}


@dataclass(frozen=True)
class TinyRun:
    """The tiny run: its recipe, its folder, and what it came to."""

    recipe: Recipe
    folder: Path
    finished: Run

    @property
    def data(self) -> PreparedData:
        (entry,) = (self.folder / ".store" / "data").iterdir()
        return load_prepared(entry)

    def artifact(self, variant: str) -> Artifact:
        """The artifact of a variant, its path absolute."""
        asked = Variant.parse(variant)
        matching = next(
            a for a in self.finished.results.artifacts if (a.format, a.scheme) == (asked.format, asked.scheme_name)
        )
        if matching.path is None:
            return matching
        return replace(matching, path=self.folder / matching.path)


def class_folders(folder: Path) -> None:
    """Make a folder to train on: two classes of three pictures, each another one."""
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (9, 9), (9 * number, ord(label), 0)).save(folder / label / f"{number}.png")


def run_recipe(recipe: Recipe, folder: Path) -> Run:
    """Run a recipe as the command line does, without drawing."""
    return run(recipe, folder)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` fills, once for all processes of this session of tests; the others wait for it.

    What it returns is pickled beside: `result_of`. The folder is shared: take a copy where a test changes it.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made-once"
    shared.mkdir(exist_ok=True)
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder, result = shared / name, shared / f"{name}.pickle"
        if not result.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            folder.mkdir()
            result.write_bytes(pickle.dumps(make(folder)))
    return folder


def result_of(folder: Path) -> Any:
    """Return what `make` returned for a folder that was made once."""
    return pickle.loads(folder.with_name(f"{folder.name}.pickle").read_bytes())


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The tiny run; made by the first test that asks. Each process of the tests has a copy."""
    recipe = parse_recipe(RECIPE)
    run = made_once(tmp_path_factory, "tiny", lambda folder: run_recipe(recipe, folder))
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    shutil.copytree(run, folder, symlinks=True)
    return TinyRun(recipe, folder, replace(result_of(run), folder=folder, report=folder / "report.html"))


@pytest.fixture(scope="session")
def external_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of plain Keras 2 and 3 and plain TensorFlow, made by processes without any code of ours."""
    name = made_once(tmp_path_factory, "external", lambda folder: made_by_plain_keras("external_files.py", folder).name)
    folder = tmp_path_factory.mktemp("external") / "files"
    shutil.copytree(name, folder, symlinks=True)
    return folder


def made_by_plain_keras(script: str, folder: Path) -> Path:
    """Run a script of `support` once for Keras 2 and once for Keras 3, side by side; return `folder`."""
    path = Path(__file__).parent / "support" / script
    makers = [subprocess.Popen([sys.executable, str(path), version, str(folder)], stderr=subprocess.PIPE)
              for version in "23"]  # fmt: skip
    for maker in makers:
        _, errors = maker.communicate()
        assert maker.returncode == 0, errors[-2000:]
    return folder
