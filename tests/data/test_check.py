"""The data check: what is dropped, what is reported, when it stops; and that a second try gives the same bytes."""

from __future__ import annotations

import csv
import io
import json
import shutil
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.core.store import Store
from edgeproof.data import prepare
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared


def draw(path: Path, number: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(array).convert(mode).save(path)


def draw_splits(folder: Path, each: int = 4) -> None:
    for s, split in enumerate(("train", "validation", "test")):
        for c, label in enumerate("ab"):
            for i in range(each):
                draw(folder / split / label / f"{i}.png", 10_000 * s + 1000 * c + i)


def run(folder: Path, listener: Any = None, **options: Any) -> PreparedData:
    extra = {key: options.pop(key) for key in ("image_size", "resize", "workers") if key in options}
    settings: dict[str, Any] = {"image_size": 16, "resize": "stretch", "workers": 2, **extra}
    return prepare(
        Data(**{"source": "folder:set", **options}), seed=1, folder=folder, workspace=folder / "out",
        listener=listener or Silent(), **settings,
    )  # fmt: skip


def test_the_same_image_in_two_splits_is_dropped_from_the_one_that_learns(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set")
    home = tmp_path / "set"
    shutil.copy(home / "test/a/0.png", home / "train/a/copy.png")
    Image.open(home / "test/a/1.png").save(home / "validation/a/copy.bmp")  # another file, the same pixels
    shutil.copy(home / "validation/b/0.png", home / "train/b/copy.png")
    shutil.copy(home / "train/b/1.png", home / "train/b/twin.png")
    shutil.copy(home / "test/b/2.png", home / "train/a/other-label.png")
    prepared = run(tmp_path)
    assert prepared.counts == {"train": 9, "validation": 8, "test": 8}
    report = prepared.report
    assert report["found"] == {"train": 12, "validation": 9, "test": 8}
    assert report["kept"] == prepared.counts
    assert report["leaks"]["count"] == 4
    assert {"file": "validation/a/copy.bmp", "split": "validation", "same_as": "test/a/1.png", "in": "test"} in report[
        "leaks"
    ]["examples"]
    assert {e["file"] for e in report["leaks"]["examples"]} == {
        "validation/a/copy.bmp", "train/a/copy.png", "train/b/copy.png", "train/a/other-label.png",
    }  # fmt: skip
    assert report["duplicates_within"] == {"train": 1, "validation": 0, "test": 0}
    assert report["conflicts"] == {
        "count": 1,
        "examples": [{"file": "train/a/other-label.png", "label": "a", "same_as": "test/b/2.png", "other_label": "b"}],
    }
    assert report["classes"] == {
        "a": {"train": 4, "validation": 4, "test": 4}, "b": {"train": 5, "validation": 4, "test": 4},
    }  # fmt: skip
    warnings = " ".join(w["what"] for w in report["warnings"])
    assert "leak: 4 images of training or validation also in a split that is used to evaluate" in warnings
    assert "1 image with another label" in warnings
    assert all(w["remedy"] for w in report["warnings"])


def test_no_test_pixels_are_left_in_training(tmp_path: Path) -> None:
    """Splits cut by the seed put copies on both sides: afterwards no image stands in two."""
    for i in range(12):
        for label in "ab":
            draw(tmp_path / "set" / label / f"{i}.png", 100 * ord(label) + i % 6, size=(16, 16))
    prepared = run(tmp_path)
    held = [{image.tobytes() for image in prepared.rows(s)[:]} for s in ("train", "validation", "test")]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    assert prepared.report["leaks"]["count"] == 24 - sum(prepared.counts.values()) > 0


def add_defective_files(folder: Path) -> None:
    stream = io.BytesIO()
    Image.effect_noise((30, 30), 90).save(stream, "JPEG")
    (folder / "train/a/zero.png").write_bytes(b"")
    (folder / "train/a/text.png").write_text("not an image")
    (folder / "train/b/cut.jpg").write_bytes(stream.getvalue()[:-200])
    draw(folder / "test/b/large.png", 1, size=(60, 50))


def test_unreadable_files_are_dropped_and_named(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set")
    add_defective_files(tmp_path / "set")
    prepared = run(tmp_path, max_pixels=1000)
    assert prepared.counts == {"train": 8, "validation": 8, "test": 8}
    unreadable = prepared.report["unreadable"]
    assert unreadable["count"] == 4
    why = {(e["file"], e["split"]): e["why"] for e in unreadable["examples"]}
    assert why["train/a/zero.png", "train"] == "empty: zero bytes"
    assert why["train/a/text.png", "train"].startswith("not an image")
    assert "runcated" in why["train/b/cut.jpg", "train"]
    assert why["test/b/large.png", "test"] == "60 × 50 pixels, more than data.max_pixels = 1000"
    warning = prepared.report["warnings"][0]["what"]
    assert "4 images could not be read and are left out: " in warning and warning.endswith(" and 1 more")
    named = [name for name in ("zero.png", "text.png", "cut.jpg", "large.png") if name in warning]
    assert len(named) == 3
    with (tmp_path / "out" / unreadable["list"]).open(newline="") as stream:
        rows = {(row["file"], row["split"]): row["why"] for row in csv.DictReader(stream)}
    assert rows == why, "the file has all of them"


def test_the_list_of_unreadable_files_stands_beside_the_report(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set")
    for number in range(30):
        (tmp_path / f"set/train/a/{number:02}.png").write_bytes(b"")
    watch = Watch([], [])
    spec, data = InputSpec("image", 16, "stretch"), Data(source="folder:set")
    store = Store(tmp_path / "run" / ".store")
    for _ in range(2):
        prepared(data, spec, seed=1, folder=tmp_path, store=store, listener=watch)
    path = tmp_path / "run" / "unreadable.csv"
    assert sum(str(path) in note for note in watch.notes) == 1, "said once, when they were read"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 30 and {row["why"] for row in rows} == {"empty: zero bytes"}


def test_or_stop_the_run(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set")
    add_defective_files(tmp_path / "set")
    with pytest.raises(InputError) as caught:
        run(tmp_path, max_pixels=1000, on_unreadable="stop")
    for name in ("zero.png", "text.png", "cut.jpg", "large.png"):
        assert name in caught.value.message
    assert not (tmp_path / "out" / "data.json").exists()


def test_a_class_that_broken_files_would_empty_is_split_again(tmp_path: Path) -> None:
    """Five files, two broken: wherever the seed puts them, the three whole ones stand in all three splits."""
    for c, label in enumerate("abcdef"):
        for i in range(5):
            if i < 3:
                draw(tmp_path / "set" / label / f"{i}.png", 100 * c + i)
            else:
                (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
                (tmp_path / "set" / label / f"{i}.png").write_bytes(b"broken")
    prepared = run(tmp_path)
    assert prepared.counts == {"train": 6, "validation": 6, "test": 6}
    assert prepared.report["unreadable"]["count"] == 12
    assert {e["why"][:12] for e in prepared.report["unreadable"]["examples"]} == {"not an image"}


def test_a_class_with_nothing_left_stops_with_its_name(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set")
    for path in (tmp_path / "set/train/b").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(InputError, match=r"'b'"):
        run(tmp_path)


def test_a_class_of_copies_stops_with_its_name(tmp_path: Path) -> None:
    for i in range(6):
        draw(tmp_path / "set/a" / f"{i}.png", i)
        draw(tmp_path / "set/b" / f"{i}.png", 99)
    with pytest.raises(InputError, match=r"no image is left in train of 'b': they cannot be learned"):
        run(tmp_path)


def test_sizes_modes_and_imbalance_are_reported(tmp_path: Path) -> None:
    for i in range(40):
        draw(tmp_path / "set/many" / f"{i}.png", i, size=(30, 10) if i < 20 else (20, 20), mode="L" if i < 8 else "RGB")
    for i in range(4):
        draw(tmp_path / "set/few" / f"{i}.bmp", 1000 + i)
    report = run(tmp_path).report
    assert report["modes"] == {"L": 8, "RGB": 36}
    assert report["formats"] == {"BMP": 4, "PNG": 40}
    assert report["sizes"]["different"] == 3
    assert report["sizes"]["smallest"] == [12, 10]
    assert report["sizes"]["largest"] == [20, 20]
    assert report["sizes"]["longer_than_2_to_1"] == 20
    remedies = " ".join(w["remedy"] for w in report["warnings"])
    assert "train.class_weights" in remedies
    assert 'resize = "pad"' in remedies
    assert json.loads(json.dumps(report)) == report


class Watch(NamedTuple):
    """A Listener that keeps what it hears."""

    steps: list[tuple[str, float, float]]
    notes: list[str]

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        self.steps.append((task, done, total))

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(f"{level}: {message}")


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set", 40)
    (tmp_path / "set/train/a/broken.png").write_bytes(b"x")
    watch = Watch([], [])
    run(tmp_path, watch)
    assert {(task, total) for task, _, total in watch.steps} == {("data", 241)}
    done = [step[1] for step in watch.steps]
    assert done == sorted(done)
    assert done[-1] == 241
    assert any(note.startswith("warning: 1 image could not be read") for note in watch.notes)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_again_in_the_same_place_gives_the_same_bytes(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set", 30)
    first = run(tmp_path)
    before = contents(tmp_path / "out")
    assert set(before) == {
        "data.json", "train.index", "train.pack", "train-labels.npy",
        *(f"{s}{kind}.npy" for s in ("validation", "test") for kind in ("", "-labels")),
    }  # fmt: skip
    # What a killed attempt leaves: arrays half written, and one longer than it will be.
    (tmp_path / "out/train.pack").write_bytes(before["train.pack"][:1000])
    (tmp_path / "out/train.npy").write_bytes(b"of an older version")
    (tmp_path / "out/test.npy").write_bytes(before["test.npy"] + b"x" * 5000)
    second = run(tmp_path, workers=5)
    assert contents(tmp_path / "out") == before
    assert second == first
    assert first.sha256 != run(tmp_path, image_size=24).sha256


def test_a_failure_leaves_no_finished_mark_and_no_threads(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set", 100)
    run(tmp_path)

    class Interrupting(Silent):
        def progress(self, task: str, done: float, total: float, note: str = "") -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Interrupting())
    assert not (tmp_path / "out" / "data.json").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_disk_that_is_too_small_is_told_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_splits(tmp_path / "set")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StageError, match=r"disk is too small for 24 images of 16 × 16: 0.00 GB needed"):
        run(tmp_path)
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    draw_splits(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train.pack").symlink_to("/dev/full")
    with pytest.raises(StageError, match="the disk is full"):
        run(tmp_path)
    assert not (tmp_path / "out" / "data.json").exists()
