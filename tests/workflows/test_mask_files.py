"""Pictures with label pictures (``masks:``): the metric is that of NumPy, and what does not fit is refused by name."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeproof as ep
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe_data import Data
from edgeproof.core.store import Store
from edgeproof.workflows.array_files import with_arrays
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared
from edgeproof.workflows.samples import Samples

from ..support.external_imports import Heard
from ..support.metrics import mean_iou
from ..support.picture_models import prepared_pixels
from ..support.quick import ONCE, as_options

HIGH, WIDE = 24, 32
CLASSES = 3
PALETTE = [value * 7 % 256 for value in range(3 * 256)]  # of 256 colours, so that 255 has one


def segmenter(path: Path, step: int = 1) -> Path:
    """A file that answers (height, width, 3) / `step` values: the colours of each pixel, so red is the class 0."""
    from onnx import TensorProto, helper, numpy_helper, save

    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, high, wide, 3))
             for name, high, wide in (("image", HIGH, WIDE), ("map", HIGH // step, WIDE // step))]  # fmt: skip
    constants = {"from": [0, 0], "to": [HIGH, WIDE], "axes": [1, 2], "steps": [step, step]}
    nodes = [
        helper.make_node("Slice", ["image", *constants], ["part"]),
        helper.make_node("Softmax", ["part"], ["map"], axis=-1),
    ]
    held = [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "segmenter", sides[:1], sides[1:], held)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def write(folder: Path, count: int = 8, *, suffix: str = "", apart: bool = True, seed: int = 1) -> list[np.ndarray]:
    """Write pictures of sizes of all kinds with their masks, in grey and with palettes; return the masks' numbers."""
    random, written = np.random.default_rng(seed), []
    pictures, masks = (folder / "images", folder / "masks") if apart else (folder, folder)
    for place in (pictures, masks):
        place.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        high, wide = (int(side) for side in random.integers(20, 90, 2))
        coarse = Image.fromarray(random.integers(0, 256, (5, 4, 3), np.uint8)).resize((wide, high), 0)
        coarse.save(pictures / f"{index}.jpg", quality=95)
        numbers = random.choice([0, 1, 2, 255], (6, 5), p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
        mask = Image.fromarray(numbers).resize((wide, high), 0)
        if index % 2:
            mask.putpalette(PALETTE)
        mask.save(masks / f"{index}{suffix}.png")
        written.append(np.asarray(mask))
    return written


def nearest(numbers: np.ndarray, high: int, wide: int, resize: str) -> np.ndarray:
    """Return each pixel's class, that of the place below its middle; 255 beside the picture."""
    stored_high, stored_wide = numbers.shape
    down, across = stored_high / high, stored_wide / wide
    if resize != "stretch":
        down = across = (max if resize == "pad" else min)(down, across)
    size = (round(stored_high / down), round(stored_wide / across)) if resize == "pad" else (high, wide)
    if resize == "pad":
        down, across = stored_high / size[0], stored_wide / size[1]
    top, left = ((high - size[0]) // 2, (wide - size[1]) // 2) if resize == "pad" else (0, 0)
    from_y = (stored_high - high * down) / 2 if resize == "crop" else 0
    from_x = (stored_wide - wide * across) / 2 if resize == "crop" else 0
    found = np.full((high, wide), 255, np.uint8)
    for y in range(size[0]):
        for x in range(size[1]):
            row, column = int(from_y + (y + 0.5) * down), int(from_x + (x + 0.5) * across)
            found[top + y, left + x] = numbers[min(row, stored_high - 1), min(column, stored_wide - 1)]
    return found


def maps_of(folder: Path, resize: str = "stretch", use: Any = "test", heard: Any = None, **spec: Any) -> np.ndarray:
    data = Data(source=f"masks:{folder}")
    wanted = InputSpec("image", (HIGH, WIDE, 3), resize, **spec)
    samples = with_arrays(data, wanted, Path(), use=use, targets=True, listener=heard or Silent())
    assert isinstance(samples, Samples) and samples.targets is not None
    return samples.targets


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_masks_have_the_geometry_of_their_pictures(resize: str, tmp_path: Path) -> None:
    stored = write(tmp_path)
    maps = maps_of(tmp_path, resize)
    for numbers, found in zip(stored, maps, strict=True):
        assert (found == nearest(numbers, HIGH, WIDE, resize)).mean() > 0.999  # halves of a pixel are rounded
    half = maps_of(tmp_path, resize, answer=(HIGH // 2, WIDE // 2, CLASSES))
    assert (half == maps[:, 1::2, 1::2]).all()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_the_mean_iou_is_that_of_numpy(resize: str, tmp_path: Path, edgeproof: Callable[..., str]) -> None:
    stored = write(tmp_path / "data")
    (tmp_path / "data" / "images" / "8.jpg").write_bytes(b"no picture")
    Image.fromarray(stored[0]).save(tmp_path / "data" / "masks" / "8.png")
    file = segmenter(tmp_path / "m.onnx")
    edgeproof("evaluate", file, "--data", f"masks:{tmp_path / 'data'}", "--resize", resize, "--on", "local/onnxruntime",
              *as_options(ONCE), "--out", tmp_path / "out")  # fmt: skip
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    (row,) = results["measurements"]
    shape = (HIGH, WIDE, 3)
    pictures = [prepared_pixels(tmp_path / "data" / "images" / f"{i}.jpg", shape, resize) for i in range(len(stored))]
    targets = np.array([nearest(numbers, HIGH, WIDE, resize) for numbers in stored])
    each = mean_iou(np.array(pictures).argmax(axis=-1), targets, 255)
    assert (row["metric"], row["samples"], row["status"]) == ("mean IoU", len(stored), "ok")
    assert row["accuracy"] == pytest.approx(np.mean(list(each.values())), abs=1e-3)
    assert results["data"]["source"] == f"masks:{tmp_path / 'data'}"
    assert results["data"]["report"]["unreadable"]["examples"][0]["file"] == "images/8.jpg"


def test_calibration_takes_the_pictures_alone(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (tmp_path / "masks" / "1.png").write_bytes(b"no mask")
    spec, store = InputSpec("image", 16, "stretch"), Store(tmp_path / "store")
    source = Data(source=f"masks:{tmp_path}")
    data = prepared(source, spec, seed=1, folder=Path(), store=store, listener=Silent(), use="train")
    expected = [prepared_pixels(tmp_path / "images" / f"{index}.jpg", (16, 16, 3), "stretch") for index in range(3)]
    assert (np.load(data.images("train")) == np.array(expected)).all() and data.task == "classification"
    Image.new("RGB", (20, 20), "red").save(tmp_path / "images" / "1.jpg")
    changed = Image.open(tmp_path / "images" / "1.jpg")
    again = prepared(source, spec, seed=1, folder=Path(), store=store, listener=Silent(), use="train")
    assert (np.load(again.images("train"))[1, 0, 0] == np.asarray(changed)[0, 0]).all()


def test_the_same_picture_twice_is_no_contradiction(tmp_path: Path) -> None:
    write(tmp_path, 3)
    (tmp_path / "images" / "2.jpg").write_bytes((tmp_path / "images" / "0.jpg").read_bytes())
    (tmp_path / "masks" / "2.png").write_bytes((tmp_path / "masks" / "0.png").read_bytes())
    samples = with_arrays(
        Data(source=f"masks:{tmp_path}"), InputSpec("image", 16, "stretch"), Path(), use="test", targets=True,
        listener=Silent(),
    )  # fmt: skip
    heard = Heard()
    data = prepared(samples, InputSpec("image", 16, "stretch"), seed=1, folder=Path(), store=Store(tmp_path / "store"),
                    listener=heard, use="test")  # fmt: skip
    assert data.counts["test"] == 3 and data.report["conflicts"]["count"] == 0
    assert not any("another label" in said for said in heard.notes)


def test_files_are_paired_by_name(tmp_path: Path) -> None:
    """Beside each other, with a suffix, and in folders of splits."""
    for name, options in (("beside", {}), ("suffix", {"suffix": "_mask"})):
        stored = write(tmp_path / name, 3, apart=False, **options)  # type: ignore[arg-type]
        assert len(maps_of(tmp_path / name)) == len(stored)
    for split, seed in (("train", 3), ("test", 4)):
        stored = write(tmp_path / "splits" / split, 2, seed=seed)
        (found,) = maps_of(tmp_path / "splits", use=split)[:1]
        assert (found == nearest(stored[0], HIGH, WIDE, "stretch")).mean() > 0.999
    write(tmp_path / "more", 2)
    Image.new("L", (9, 9)).save(tmp_path / "more" / "masks" / "of nothing.png")
    heard = Heard()
    assert len(maps_of(tmp_path / "more", heard=heard)) == 2
    assert any("1 masks" in said and "of nothing.png" in said for said in heard.notes)


def grey_png(path: Path, numbers: np.ndarray, bits: int) -> None:
    """Write a grey PNG of few bits a pixel, which Pillow cannot (PNG specification, section 7.2)."""
    high, wide = numbers.shape
    rows = [np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1) for row in numbers.astype(np.uint8)]
    packed = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", wide, high, bits, 0, 0, 0, 0)), (b"IDAT", zlib.compress(packed)))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*parts, (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_few_bits_keeps_its_numbers(bits: int, tmp_path: Path) -> None:
    numbers = np.random.default_rng(3).integers(0, min(2**bits, 5), (HIGH, WIDE))
    numbers[0, 0] = 1
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (WIDE, HIGH)).save(tmp_path / "images" / "a.png")
    grey_png(tmp_path / "masks" / "a.png", numbers, bits)
    assert (maps_of(tmp_path)[0] == numbers).all()


def test_class_names_in_the_folder_are_found_among_those_of_the_model(tmp_path: Path) -> None:
    """They are in another order than the model's, which has one more."""
    numbers = np.array([[0, 1], [1, 255]], np.uint8)
    for place in ("images", "masks"):
        (tmp_path / "data" / place).mkdir(parents=True)
    Image.new("RGB", (2, 2), (0, 0, 255)).save(tmp_path / "data" / "images" / "a.png")
    Image.fromarray(numbers).save(tmp_path / "data" / "masks" / "a.png")
    (tmp_path / "data" / "classes.txt").write_text("sky\nroad\n", "utf-8")
    options: dict[str, Any] = {"latency": ONCE, "out": tmp_path / "out"}
    file, source = segmenter(tmp_path / "m.onnx"), f"masks:{tmp_path / 'data'}"
    run = ep.evaluate(file, source, "local/onnxruntime", labels=("road", "tree", "sky"), **options)
    (row,) = run.results.measurements
    assert row.metrics == pytest.approx({"pixel accuracy": 1 / 3, "IoU road": 0, "IoU sky": 1 / 3})
    run = ep.evaluate(file, source, "local/onnxruntime", **options)
    assert run.results.measurements[0].metrics["IoU road"] == 0
    with pytest.raises(InputError, match=r"it does not know road; road is in \d+ samples, first in \d+ \(from 0\)"):
        ep.evaluate(file, source, "local/onnxruntime", labels=("water", "tree", "sky"), **options)
    with pytest.raises(InputError, match="holds maps of classes, which is no multilabel"):
        ep.evaluate(file, source, "local/onnxruntime", task="multilabel", **options)


def spoil(folder: Path, case: str) -> None:
    mask, numbers = folder / "masks" / "1.png", np.asarray(Image.open(folder / "masks" / "1.png"))
    if case == "no mask":
        mask.unlink()
    elif case == "another size":
        Image.fromarray(numbers[:-1]).save(mask)
    elif case == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = Image.open(folder / "images" / "1.jpg")
        picture.load()
        picture.save(folder / "images" / "1.jpg", exif=exif)
    elif case == "colours":
        Image.fromarray(np.stack([numbers] * 3, axis=-1)).save(mask)
    elif case == "a class too many":
        Image.fromarray(np.where(numbers == 2, 7, numbers).astype(np.uint8)).save(mask)
    elif case == "more than names":
        (folder / "labels.txt").write_text("a\nb\n", "utf-8")
    elif case == "sixteen bits":
        Image.fromarray(numbers.astype(np.uint16) * 300).save(mask)
    elif case == "black and white":
        for path in (folder / "masks").iterdir():
            stored = np.asarray(Image.open(path))
            Image.fromarray(np.where(stored == 1, 255, 0).astype(np.uint8)).save(path)
    elif case == "broken":
        mask.write_bytes(mask.read_bytes()[:60])
    elif case == "jpeg":
        mask.unlink()
        Image.fromarray(numbers).save(mask.with_suffix(".jpg"))
    elif case == "two masks":
        Image.fromarray(numbers).save(mask.with_suffix(".bmp"))
    elif case == "a link":
        mask.unlink()
        mask.symlink_to("/etc/hostname")
    elif case == "no pictures":
        for path in (folder / "images").iterdir():
            path.unlink()


BAD = {
    "no mask": "1.jpg has no mask",
    "another size": "masks/1.png is .* pixels, and its picture images/1.jpg",
    "turned": "turned by its EXIF orientation",
    "colours": "masks/1.png holds colours .RGB., and no class numbers",
    "a class too many": "masks/1.png has a pixel of the class 7, and the model tells 3 apart",
    "more than names": "has a pixel of the class 2, and labels.txt names 2",
    "sixteen bits": "masks/1.png has the number",
    "black and white": "hold 0 and 255 alone",
    "broken": "masks/1.png cannot be read",
    "jpeg": "1.jpg cannot be read as a label picture: expected PNG",
    "two masks": "two masks have one name",
    "a link": "a link that leads out",
    "no pictures": "no pictures are there",
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_by_name(case: str, tmp_path: Path) -> None:
    write(tmp_path, 3)
    mask = tmp_path / "masks" / "1.png"
    numbers = np.array(Image.open(mask))
    numbers[0, :3] = [0, 1, 2]
    Image.fromarray(np.where(numbers == 255, 255, numbers).astype(np.uint8)).save(mask)
    spoil(tmp_path, case)
    with pytest.raises(InputError, match=BAD[case]):
        maps_of(tmp_path, answer=(HIGH, WIDE, CLASSES))


def test_masks_are_for_models_of_pictures(tmp_path: Path) -> None:
    write(tmp_path, 2)
    data = Data(source=f"masks:{tmp_path}")
    with pytest.raises(InputError, match="holds pictures, and the model takes tensors"):
        with_arrays(data, InputSpec("tensor"), Path(), use="test", targets=True, listener=Silent())
    with pytest.raises(InputError, match="there is no folder"):
        maps_of(tmp_path / "nowhere")


def test_answers_with_the_classes_first_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    for answer in ((3, HIGH, WIDE), (3, HIGH // 2, WIDE // 2)):
        with pytest.raises(InputError, match="with the classes before the pixels") as refused:
            maps_of(tmp_path, answer=answer)
        assert "transpose" in refused.value.remedy
    assert maps_of(tmp_path, answer=(HIGH, WIDE, 3)).shape[1:] == (HIGH, WIDE)
