"""Somebody else's classifier with a name twice among its classes, proved on pictures of a part of them, or of none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeproof.frameworks import tensorflow

from ..cli.test_commands import edgeproof
from ..support.quick import ONCE, as_options

pytestmark = pytest.mark.slow

LABELS = ("red", "crane", "green", "crane", "blue")


def pictures(folder: Path, count: int = 4) -> None:
    """Pictures of one colour each, by its name; and grey ones."""
    random = np.random.default_rng(0)
    for name, place in (("red", 0), ("green", 1), ("blue", 2)):
        for number in range(count):
            (folder / name).mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 60, (16, 16, 3), np.uint8)
            pixels[..., place] += 180
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows colours: its logits are the mean red, green and blue; nothing is ever a crane."""
    _, keras = tensorflow.load()
    folder = tmp_path_factory.mktemp("colours")
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Softmax(name="colour")(keras.layers.Dense(5)(x)))
    weights = np.zeros((3, 5), np.float32)
    weights[[0, 1, 2], [0, 2, 4]] = 5
    model.layers[-2].set_weights([weights, np.array([0, -5, 0, -5, 0], np.float32)])
    model.save(str(folder / "colours.h5"))
    pictures(folder / "classes")
    flat = folder / "flat"
    flat.mkdir()
    for path in (folder / "classes").glob("*/*.png"):
        (flat / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    (folder / "labels.txt").write_text("\n".join(LABELS))
    done = edgeproof(
        "export", str(folder / "colours.h5"), "--to", "tflite:float32", "--to", "tflite:int8", "--maker", "converter",
        "--labels", str(folder / "labels.txt"), "--calibrate", f"folder:{flat}", "--out", str(folder / "out"), "--json",
    )  # fmt: skip
    rows = {row["scheme"]: row for row in json.loads(done.stdout)}
    assert rows["int8"]["status"] == "ok" and rows["int8"]["labels"] == list(LABELS)
    assert rows["int8"]["calibration"]["count"] == 12 and rows["int8"]["calibration"]["per_class"] == {}
    return folder


def test_pictures_of_a_part_of_the_classes_prove_the_file_by_name(exported: Path, tmp_path: Path) -> None:
    files = [str(path) for path in sorted((exported / "out").glob("*.tflite"))]
    command = ("evaluate", str(exported / "out" / "model"), *files, "--on", "local/litert", *as_options(ONCE), "--json",
               "--out", str(tmp_path / "e"))  # fmt: skip
    done = edgeproof(*command, "--on", "local/tensorflow", "--data", f"folder:{exported / 'classes'}")
    rows = {m["artifact"]: m for m in json.loads(done.stdout)["measurements"] if m["status"] == "ok"}
    assert len(rows) == 3
    assert all(row["accuracy"] == 1 and row["samples"] == 12 and row["agreement"] == 1 for row in rows.values())
    assert "3 of the 5 classes" in done.stderr
    pictures(tmp_path / "birds" / "train")
    (tmp_path / "birds" / "train" / "blue").rename(tmp_path / "birds" / "train" / "crane")
    refused = edgeproof(*command, "--data", f"folder:{tmp_path / 'birds' / 'train'}", status=2).stderr
    assert "2 classes called 'crane', at the positions 1 and 3" in refused and "'crane#1' or 'crane#3'" in refused
    (tmp_path / "birds" / "train" / "crane").rename(tmp_path / "birds" / "train" / "crane#3")
    done = edgeproof(*command, "--data", f"folder:{tmp_path / 'birds' / 'train'}")
    rows = {m["artifact"]: m for m in json.loads(done.stdout)["measurements"] if m["status"] == "ok"}
    assert {round(row["accuracy"], 3) for row in rows.values()} == {0.667}  # blue is no crane


def test_a_flat_folder_or_a_single_picture_shows_agreement(exported: Path, tmp_path: Path) -> None:
    file = str(next((exported / "out").glob("*int8.tflite")))
    model = str(exported / "out" / "model")
    float_file = str(next((exported / "out").glob("*float32.tflite")))
    on = ("--on", "local/litert", *as_options(ONCE), "--json", "--out", str(tmp_path / "e"))
    for float_model, source, samples in (
        ((model, "--on", "local/tensorflow"), f"folder:{exported / 'flat'}", 12),
        ((float_file,), f"images:{exported / 'flat' / 'red-0.png'}", 1),
    ):
        done = edgeproof("evaluate", *float_model, file, "--data", source, *on)
        rows = [m for m in json.loads(done.stdout)["measurements"] if m["status"] == "ok"]
        assert len(rows) == 2 and all(r["accuracy"] is None and r["agreement"] == 1 for r in rows)
        assert {row["samples"] for row in rows} == {samples}
    alone = edgeproof("evaluate", file, "--data", f"folder:{exported / 'flat'}", *on, status=2)
    assert "float model is not among the files" in alone.stderr
