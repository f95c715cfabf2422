"""Training images in their encoded form: the rows are those of a decoded array, and a changed file is never one."""

from __future__ import annotations

import io
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.codec import sha256_of
from edgeproof.core.dataset import PreparedData, load_prepared
from edgeproof.core.decode import decode
from edgeproof.core.encoded_images import ENCODED as BYTES
from edgeproof.core.encoded_images import ENTRY, FILE, GREY, KEEP, RGB, ROW, EncodedImages, EncodedWriter, decode_block
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.core.recipe_training import Augment
from edgeproof.core.sample_files import Payload, SampleFile
from edgeproof.core.store import Store
from edgeproof.data import images as image_passes
from edgeproof.data import preparing
from edgeproof.data.files import FolderSource
from edgeproof.train.feature_pass import FeaturePass
from edgeproof.train.features import Extractor
from edgeproof.workflows.input_spec import InputSpec
from edgeproof.workflows.prepare_data import prepared

SIZE = 20
KINDS = {"row.bmp": "RGB", "a.png": "RGB", "b.jpg": "RGB", "c.png": "LA", "d.gif": "P", "e.webp": "RGB", "f.png": "L"}


def picture(number: int, mode: str = "RGB", size: tuple[int, int] = (12, 9)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders of images in several formats; each has one whose file is much larger than its row."""
    for label in "ab":
        (tmp_path / "set" / label).mkdir(parents=True)
        for number, (name, mode) in enumerate(KINDS.items()):
            large = name.startswith("row")
            for turn in range(3):
                image = picture(ord(label) * 100 + number * 10 + turn, mode, (60, 40) if large else (12, 9))
                exif = Image.Exif()
                exif[0x0112] = 6
                image.save(tmp_path / "set" / label / f"{turn}-{name}", **({"exif": exif} if name == "b.jpg" else {}))
    return tmp_path


def prepare(folder: Path, out: str, resize: str = "stretch", source: str = "folder:set") -> PreparedData:
    return preparing.prepare(
        Data(source=source, limit_train=50, limit_test=20), seed=1, image_size=SIZE, resize=resize, folder=folder,
        workspace=folder / out, listener=Silent(), workers=2,
    )  # fmt: skip


@pytest.mark.parametrize("source", ["folder:set", "builtin:fashion-mnist-mini"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_rows_are_bit_identical_to_the_decoded_array(
    folder: Path, source: str, resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = prepare(folder, "encoded", resize, source)
    monkeypatch.setattr(preparing, "image_pass", lambda *a, **o: image_passes.image_pass(*a, **{**o, "encoded": False}))
    decoded = prepare(folder, "decoded", resize, source)
    assert not encoded.images("train").exists() and decoded.images("train").exists()
    assert encoded.sha256 == decoded.sha256 and encoded.report == decoded.report
    rows, array = encoded.rows("train"), np.load(decoded.images("train"))
    assert rows.shape == array.shape and len(rows) == len(array) and rows.dtype == array.dtype
    np.testing.assert_array_equal(rows[:], array)
    kinds = set(np.fromfile(encoded.folder / "train.index", ENTRY)["kind"].tolist())
    assert kinds == ({FILE, ROW} if source.startswith("folder") else {GREY})


def test_every_index_that_an_array_takes(folder: Path) -> None:
    rows = prepare(folder, "out").rows("train")
    array = rows[:]
    shuffled = np.random.default_rng(0).permutation(len(rows))
    for key in (slice(3, 9), slice(None, None, 7), slice(0, 0), shuffled, shuffled.tolist(), [], shuffled > 4, 5, -1):
        np.testing.assert_array_equal(rows[key], array[key])
    assert isinstance(rows, EncodedImages)
    spans = [(at, min(at + 10, len(rows))) for at in range(0, len(rows), 10)]
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks(spans))), array)
    assert list(rows.blocks([])) == []
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_each_image_is_stored_in_its_smallest_form(tmp_path: Path) -> None:
    stream = io.BytesIO()
    picture(1).save(stream, "PNG")
    small, grey = np.zeros((5, 4, 3), np.uint8), np.full((5, 4), 7, np.uint8)
    for name, size in (("small", (12, 9)), ("large", (90, 90))):
        picture(2, size=size).save(tmp_path / f"{name}.bmp")
    root = str(tmp_path.resolve())
    payloads: list[tuple[Payload, int]] = [
        (stream.getvalue(), BYTES), (small, RGB), (grey, GREY), (np.zeros((90, 90, 3), np.uint8), ROW),
        (SampleFile(f"{root}/small.bmp", root), FILE), (SampleFile(f"{root}/large.bmp", root), ROW),
    ]  # fmt: skip
    decoded = [decode(payload, size=SIZE, resize="pad", max_pixels=10**6) for payload, _ in payloads]
    with EncodedWriter(tmp_path, "train") as writer:
        writer.append([(payload, one) for (payload, _), one in zip(payloads, decoded, strict=True)])
    rows = EncodedImages(tmp_path, "train", SIZE, "pad")
    assert np.fromfile(tmp_path / "train.index", ENTRY)["kind"].tolist() == [kind for _, kind in payloads]
    np.testing.assert_array_equal(rows[:], [one.pixels for one in decoded])
    # What a block needs travels as bytes, and is decoded anywhere.
    np.testing.assert_array_equal(decode_block(rows.encoded(range(2, 5)), SIZE, "pad"), rows[2:5])
    assert (tmp_path / "large.bmp").stat().st_size >= KEEP * decoded[0].pixels.nbytes
    (tmp_path / "large.bmp").unlink()
    np.testing.assert_array_equal(rows[5], decoded[5].pixels)


def change(path: Path) -> None:
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def divert(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (change, "has changed since the data were prepared"),
        (Path.unlink, "cannot be read any more: the file does not exist"),
        (
            lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
            "cannot be read any more: a link that leads out",
        ),
    ],
)
def test_a_file_that_was_changed_or_removed_is_reported(folder: Path, harm: Any, message: str) -> None:
    data = prepare(folder, "out")
    rows = data.rows("train")
    assert isinstance(rows, EncodedImages)
    kinds = np.fromfile(data.folder / "train.index", ENTRY)["kind"]
    place = int(np.flatnonzero(kinds == FILE)[3])
    file = Path(rows.file(place).path)
    harm(file)
    with pytest.raises(InputError, match=f"{file.name} {message}") as caught:
        rows[:]
    assert caught.value.remedy and rows.failure is not None
    others = np.setdiff1d(np.arange(len(rows)), [place])
    assert len(rows[others]) == len(others)
    engine = Extractor("sums", 2, lambda images: images.sum((1, 2))[:, :2].astype(np.float32))
    computing = FeaturePass(
        {"train": rows, "validation": data.rows("validation")}, folder / "scratch", None, Augment(), 1, Silent()
    )
    computing.start(engine)
    with pytest.raises(InputError, match=message):
        computing.result()


def test_features_are_those_of_the_decoded_array(folder: Path) -> None:
    data = prepare(folder, "out")
    rows, validation = data.rows("train"), data.rows("validation")
    engine = Extractor("sums", 3, lambda images: (images.astype(np.float32) ** 2).mean((1, 2)))
    results = []
    for name, train in (("encoded", rows), ("array", rows[:])):
        images = {"train": train, "validation": validation}
        computing = FeaturePass(images, folder / name, None, Augment(), 1, Silent())
        computing.start(engine)
        results.append(computing.result())
    for job, features in results[0].items():
        np.testing.assert_array_equal(features, results[1][job])
    assert len(results[0]["train", 0]) == len(rows) > 0


def test_data_that_were_moved_are_prepared_again(folder: Path) -> None:
    spec, store = InputSpec("image", SIZE, "stretch"), Store(folder / "run" / ".store")
    get = partial(prepared, Data(source="folder:set"), spec, seed=1, listener=Silent())
    first = get(folder=folder, store=store)
    array = first.rows("train")[:]
    assert not first.missing() and get(folder=folder, store=store) == first
    shutil.move(folder / "set", folder / "elsewhere" / "set")
    assert first.missing().startswith(str(folder / "set"))
    moved = get(folder=folder / "elsewhere", store=store)
    assert moved.sha256 == first.sha256 and not load_prepared(moved.folder).missing()
    np.testing.assert_array_equal(moved.rows("train")[:], array)


def test_the_disk_needs_room_for_the_encoded_form_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)
    data = prepare(folder, "out")
    used = sum(path.stat().st_size for path in data.folder.iterdir() if path.name != "data.json")
    shutil.rmtree(data.folder)
    rows = sum(data.counts.values()) * 3 * SIZE * SIZE
    assert used < rows

    def left(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free))

    left(used // 2)
    with pytest.raises(StageError, match="the disk is too small"):
        prepare(folder, "out")
    left(int(used * 1.2))
    assert prepare(folder, "out").sha256 == data.sha256


def test_a_listing_is_sorted_by_name_and_its_identity_is_that_of_all_rows_at_once(tmp_path: Path) -> None:
    for label in ("a", "a b", "a!", "A", "é", "a-\udcff"):
        for name in ("2.png", "10.png", "sub/1.png", "sub.png"):
            path = tmp_path / "set" / label / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
    source = FolderSource("folder:set", tmp_path / "set")
    probe = source.probe()
    assert probe.listing is not None
    names = list(probe.listing.names)
    assert names == sorted(names) and len(names) == 24 and names[2:4] == probe.listing.names[2:4]
    files = [file for file in probe.listing.stream(np.arange(24)) if isinstance(file, SampleFile)]
    assert [Path(file.path).name for file in files] == [name.rpartition("/")[2] for name in names]
    assert all(Path(file.path).is_file() for file in files)
    stats = [Path(file.path).stat() for file in files]
    rows = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, stats, strict=True)]
    assert probe.identity == {"labels": list(probe.listing.labels), "files": 24, "sha256": sha256_of(rows)}
