"""Boxes in COCO's format: what is read, and what is refused with file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.core.store import Store
from edgeproof.data.coco import read_coco
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared
from edgeproof.workflows.samples import Samples

Edit = Callable[[dict[str, Any]], Any]


def document() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 20, "height": 10},
            {"id": 3, "file_name": "b.png", "width": 8, "height": 8},
            {"id": 4, "file_name": "c.png", "width": 8, "height": 8},
        ],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1, 2, 3, 4.5], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 20, 10.5], "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}],
    }


def written(folder: Path, edit: Edit = lambda _: None, pictures: str = "") -> Path:
    path, there = folder / "boxes.json", folder / pictures
    there.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    for name, size in (("a", (10, 20, 3)), ("b", (8, 8, 3)), ("c", (8, 8, 3))):
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(there / f"{name}.png")
    changed = document()
    edit(changed)
    path.write_text(json.dumps(changed), "utf-8")
    return path


@pytest.mark.parametrize("pictures", ["", "images", "boxes"])
def test_boxes_are_read_by_picture_with_categories_by_their_ids(tmp_path: Path, pictures: str) -> None:
    found = read_coco(written(tmp_path, pictures=pictures))
    assert found.root == tmp_path / pictures and found.pictures == ("a.png", "b.png", "c.png")
    assert found.names == ("cat", "dog")
    assert found.boxes[:, 0].tolist() == [
        [0, 0, 20, 10.5, 0, 1, 20, 10], [1, 2, 4, 6.5, 1, 0, 8, 8], [0, 0, 0, 0, -1, 0, 8, 8],
    ]  # fmt: skip
    assert read_coco(written(tmp_path, lambda d: d.pop("annotations"), pictures), boxes=False).boxes.shape == (3, 0, 8)


def test_samples_keep_their_boxes_when_a_picture_cannot_be_read(tmp_path: Path) -> None:
    path = written(tmp_path, lambda d: d["images"][2].update(file_name="again.png"), "photos")
    (tmp_path / "photos" / "again.png").write_bytes((tmp_path / "photos" / "b.png").read_bytes())
    (tmp_path / "photos" / "a.png").write_bytes(b"no picture")
    spec = InputSpec("image", 16, "pad")
    source = Data(source=f"coco:{path},{tmp_path / 'photos'}", on_unreadable="drop")
    samples = with_arrays(source, spec, Path(), use="test", targets=True, listener=Silent())
    assert isinstance(samples, Samples) and samples.task == "detection" and samples.names == ("cat", "dog")
    data = prepared(samples, spec, seed=1, folder=Path(), store=Store(tmp_path / "s"), listener=Silent(), use="test")
    kept = np.load(data.targets("test"))
    assert sorted(kept[:, 0].tolist()) == [[0, 0, 0, 0, -1, 0, 8, 8], [1, 2, 4, 6.5, 1, 0, 8, 8]]
    assert data.task == "detection" and data.labels == ("cat", "dog")
    alone = with_arrays(source, spec, Path(), use="train", targets=False, listener=Silent())
    assert isinstance(alone, Samples) and alone.targets is None and alone.files is not None
    for other, words in ((InputSpec("text"), "the model takes texts"), (spec, "which is no segmentation")):
        with pytest.raises(InputError, match=words):
            with_arrays(source, other, Path(), use="test", targets=True, listener=Silent(), task="segmentation")


@pytest.mark.parametrize(("edit", "words"), [
    (lambda d: d.pop("images"), "has no list of images"),
    (lambda d: d.update(images=[]), "has no images"),
    (lambda d: d.update(annotations={}), "has no list of annotations"),
    (lambda d: d["images"].append(3), r"images\[3\] is no object"),
    (lambda d: d["images"][1].update(id=7), r"images\[1\] has the id 7, as row 0 has"),
    (lambda d: d["images"][1].update(id=True), r"images\[1\] has no id"),
    (lambda d: d["images"][1].update(file_name="../b.png"), r"images\[1\]: ../b.png leads out of"),
    (lambda d: d["images"][1].update(file_name="/etc/passwd"), "leads out of"),
    (lambda d: d["images"][1].update(file_name="C:\\x.png"), "leads out of"),
    (lambda d: d["images"][1].update(file_name="x.png"), r"images\[1\] is x.png, which is not in"),
    (lambda d: d["images"][1].update(file_name="x" * 5000), "which is not in"),
    (lambda d: d["images"][0].update(file_name="x.png"), r"images\[0\] is x.png, which is not in"),
    (lambda d: d["images"][1].update(file_name=None), r"images\[1\] has no file_name"),
    (lambda d: d["images"][1].pop("width"), r"images\[1\]: width is None"),
    (lambda d: d["images"][1].update(width=-8), r"images\[1\]: width is -8"),
    (lambda d: d["images"][0].update(width=10, height=20), r"images\[0\] says 10 × 20 pixels, and a.png.* has 20 × 10"),
    (lambda d: d["annotations"][1].update(id=1), r"annotations\[1\] has the id 1, as row 0 has"),
    (lambda d: d["annotations"][0].update(image_id=5), r"annotations\[0\]: there is no image of the id 5"),
    (lambda d: d["annotations"][0].update(category_id=5), "there is no category of the id 5"),
    (lambda d: d["annotations"][0].update(category_id=[]), "has no category_id"),
    (lambda d: d["annotations"][0].pop("bbox"), "bbox is None"),
    (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "bbox is .1, 2, 3., and not"),
    (lambda d: d["annotations"][0].update(bbox=[1, 2, "3", 4]), "and not"),
    (lambda d: d["annotations"][0].update(bbox=[1, 2, 0, 4]), "no width or no height"),
    (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, -4]), "no width or no height"),
    (lambda d: d["annotations"][0].update(bbox=[1, 2, 30, 4]), "is outside its picture of 8 × 8 pixels"),
    (lambda d: d["annotations"][0].update(bbox=[8, 2, 1, 4]), "is outside its picture"),
    (lambda d: d["annotations"][0].update(bbox=[-5, 2, 9, 4]), "is outside its picture"),
    (lambda d: d["annotations"][0].update(bbox=[1, 2, 10**400, 4]), "boxes.json"),
    (lambda d: d["annotations"][0].update(iscrowd=2), "iscrowd is 2"),
    (lambda d: d["annotations"][0].update(bbox=[float("nan"), 2, 3, 4]), "JSON has no NaN"),
    (lambda d: d.update(annotations=[]), "has no box, and there is nothing to find in its 3 images"),
    (lambda d: d["annotations"].pop(0), "has 1 boxes, all of them crowds"),
    (lambda d: d["annotations"][0].update(category_id=-1), "there is no category of the id -1"),
    (lambda d: d["categories"][0].update(name=""), r"categories\[0\] has no name"),
    (lambda d: d["categories"][1].update(name="dog"), r"categories\[1\] is called 'dog', as row 0 is"),
    (lambda d: d["categories"][1].update(id=90), r"categories\[1\] has the id 90"),
    (lambda d: d["categories"][1].update(id="two"), "ids of categories are numbers and texts"),
])  # fmt: skip
def test_what_is_wrong_is_said_with_its_row(tmp_path: Path, edit: Edit, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        read_coco(written(tmp_path, edit))
    assert "boxes.json" in raised.value.message and raised.value.remedy


def test_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "boxes.json"
    for content, words in ((b"\x89PNG", "not UTF-8"), (b"[1, 2", "not readable JSON"), (b"[]", "no list of images")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_coco(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_coco(tmp_path / "none.json")
    with pytest.raises(InputError, match="elsewhere"):
        read_coco(written(tmp_path), tmp_path / "elsewhere")
    monkeypatch.setattr("edgeproof.data.coco.MAX_JSON_BYTES", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        read_coco(written(tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr("edgeproof.data.coco._MOST_VALUES", 8)
    with pytest.raises(InputError, match="measure on fewer images"):
        read_coco(written(tmp_path))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    path = written(tmp_path, pictures="photos")
    picture = tmp_path / "photos" / "a.png"
    picture.rename(tmp_path / "outside.png")
    picture.symlink_to(tmp_path / "outside.png")
    source = Data(source=f"coco:{path},{tmp_path / 'photos'}", on_unreadable="stop")
    spec = InputSpec("image", 16, "stretch")
    samples = with_arrays(source, spec, Path(), use="test", targets=True, listener=Silent())
    with pytest.raises(InputError, match="out of"):
        prepared(samples, spec, seed=1, folder=Path(), store=Store(tmp_path / "s"), listener=Silent(), use="test")
