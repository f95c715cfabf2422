"""Where images come from: folders, CSV files, idx files and Keras's catalogue; and what is said when they don't."""

from __future__ import annotations

import csv
import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeproof.core import unpacking
from edgeproof.core.dataset import PreparedData, load_prepared
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import fingerprint, prepare
from edgeproof.data.catalogs import CIFAR100, FASHION_MNIST
from edgeproof.data.idx import read_idx, write_idx


def draw(path: Path, number: int) -> None:
    """Write an image that no other number gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path, "PNG")


def draw_classes(folder: Path, names: list[str], each: int = 6, start: int = 0) -> None:
    for at, name in enumerate(names):
        for i in range(each):
            draw(folder / name / f"{i}.png", start + 1000 * at + i)


def run(folder: Path, source: str, **options: object) -> PreparedData:
    data = Data(source=source, **options)
    fingerprint(data, seed=1, folder=folder)
    return prepare(
        data, seed=1, image_size=16, resize="stretch", folder=folder, workspace=folder / "out", listener=Silent(),
        workers=2,
    )  # fmt: skip


def warned(prepared: PreparedData) -> str:
    return " ".join(warning["what"] for warning in prepared.report["warnings"])


# --- folder:


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set", ["cat", "dog"], 10)
    draw(tmp_path / "set" / "dog" / "deeper" / "x.png", 77)
    draw(tmp_path / "set" / "beside.png", 78)
    for litter in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db"):
        (tmp_path / "set" / litter).write_bytes(b"litter")
    draw(tmp_path / "set" / ".net" / "x.png", 79)
    prepared = run(tmp_path, "folder:set")
    assert prepared.labels == ("cat", "dog")
    assert prepared.counts == {"train": 15, "validation": 2, "test": 4}
    assert prepared.report["unreadable"]["count"] == 0
    assert "1 file beside" in warned(prepared)
    assert "hidden folders are left out: '.net'" in warned(prepared)
    assert load_prepared(tmp_path / "out") == prepared


def test_given_splits_are_kept(tmp_path: Path) -> None:
    for at, split in enumerate(("train", "val", "test")):
        draw_classes(tmp_path / "set" / split, ["a", "b"], 3 + at, start=100 * at)
    prepared = run(tmp_path, "folder:set")
    assert prepared.counts == {"train": 6, "validation": 8, "test": 10}
    assert set(prepared.report["splits"].values()) == {"given"}
    assert prepared.labels == ("a", "b")


def test_classes_called_train_and_test_are_classes(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set", ["train", "test", "tram"])
    assert run(tmp_path, "folder:set").labels == ("test", "train", "tram")


def test_train_alone_has_a_test_split_cut_off(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set" / "train", ["a", "b"], 10)
    assert run(tmp_path, "folder:set").counts == {"train": 14, "validation": 2, "test": 4}


def test_splits_with_other_classes_are_refused(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set" / "train", ["a", "b"])
    draw_classes(tmp_path / "set" / "test", ["a", "c"], start=500)
    with pytest.raises(InputError, match=r"train has 'a', 'b'; only the others have 'c'"):
        run(tmp_path, "folder:set")


def test_a_test_source_of_its_own(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set", ["a", "b"], 10)
    draw_classes(tmp_path / "later", ["a", "b"], 3, start=500)
    prepared = run(tmp_path, "folder:set", test_source="folder:later")
    assert prepared.counts == {"train": 18, "validation": 2, "test": 6}
    draw_classes(tmp_path / "wrong", ["a", "x"], 3, start=900)
    with pytest.raises(InputError, match=r"only 'folder:set' has 'b'; only 'folder:wrong' has 'x'"):
        fingerprint(Data(source="folder:set", test_source="folder:wrong"), seed=1, folder=tmp_path)


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set", ["a", "b"])
    draw_classes(tmp_path / "private", ["c"], start=700)
    (tmp_path / "set" / "a" / "stolen.png").symlink_to(tmp_path / "private" / "c" / "0.png")
    (tmp_path / "set" / "a" / "more").symlink_to(tmp_path / "private")
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set")
    prepared = run(tmp_path, "folder:set")
    why = {example["file"]: example["why"] for example in prepared.report["unreadable"]["examples"]}
    assert set(why) == {"a/stolen.png", "a/more/", "a/loop/"}
    assert "leads out" in why["a/stolen.png"]
    assert sum(prepared.counts.values()) == 12
    (tmp_path / "set" / "c").symlink_to(tmp_path / "private" / "c")
    with pytest.raises(InputError, match=r"'c'.*a link to a folder"):
        run(tmp_path, "folder:set")


HOSTILE = [
    "<script>alert(1)</script>".replace("/", "\N{DIVISION SLASH}"),
    "=cmd()",
    "-rf",
    "🐈 émoji",
    "new\nline",
    "x" * 200,
]


def test_hostile_folder_names_are_only_text(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set", HOSTILE, 4)
    raw = os.fsencode(tmp_path / "set") + b"/\xff\xfe"  # not UTF-8
    os.mkdir(raw)  # noqa: PTH102 - the point is a name that pathlib would not write
    for i in range(4):
        draw(tmp_path / "one.png", 9000 + i)
        os.rename(tmp_path / "one.png", raw + b"/\xe9%d.png" % i)  # noqa: PTH104
    prepared = run(tmp_path, "folder:set")
    assert set(prepared.labels) == {*HOSTILE, "\\xff\\xfe"}
    assert load_prepared(tmp_path / "out").labels == prepared.labels


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folder:nowhere", "there is no folder"),
        ("folder:file.txt", "is not a folder"),
        ("folder:empty", "holds no class folders"),
        ("folder:", "names nothing"),
        ("folder:a\0b", "zero byte"),
        ("set", "begins with no known scheme"),
        ("foldr:set", "begins with no known scheme"),
        ("builtin:fashion", "unknown name"),
        ("keras:fashion-mnist", "unknown name"),
        ("csv:none.csv", "there is no file"),
        ("idx:empty", "holds no train-images-idx3-ubyte"),
        ("idx:nowhere", "there is no folder"),
        ("folder:one", "only one class"),
        ("folder:hollow", "without a usable training image"),
    ],
)
def test_what_is_not_there_is_said_before_anything_starts(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    draw_classes(tmp_path / "one", ["a"])
    draw_classes(tmp_path / "hollow", ["a", "b"])
    (tmp_path / "hollow" / "c").mkdir()
    with pytest.raises(InputError, match=message) as caught:
        fingerprint(Data(source=source), seed=1, folder=tmp_path)
    assert caught.value.remedy


def test_did_you_mean() -> None:
    with pytest.raises(InputError, match="did you mean folder:"):
        fingerprint(Data(source="foldr:set"), seed=1, folder=Path())
    with pytest.raises(InputError, match="did you mean 'fashion_mnist'"):
        fingerprint(Data(source="keras:fashion-mnist"), seed=1, folder=Path())


def test_the_fingerprint_changes_with_the_files_and_the_settings(tmp_path: Path) -> None:
    draw_classes(tmp_path / "set", ["a", "b"])
    data = Data(source="folder:set")
    first = fingerprint(data, seed=1, folder=tmp_path)
    assert fingerprint(data, seed=1, folder=tmp_path) == first
    assert fingerprint(data, seed=2, folder=tmp_path) != first
    assert fingerprint(Data(source="folder:set", test=0.3), seed=1, folder=tmp_path) != first
    draw(tmp_path / "set" / "a" / "0.png", 555)
    assert fingerprint(data, seed=1, folder=tmp_path) != first


# --- csv:


def write_rows(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows(rows)


def test_a_csv_file_with_hostile_labels(tmp_path: Path) -> None:
    labels = [*HOSTILE, "../x", "y" * 300]
    rows = [["Path", "label", "comment"]]
    for at, label in enumerate(labels):
        for i in range(3):
            draw(tmp_path / "images" / f"{at}-{i}.png", 100 * at + i)
            rows.append([f"images/../images/{at}-{i}.png", label, "a, b"])
    write_rows(tmp_path / "set.csv", rows, "utf-8-sig")
    prepared = run(tmp_path, "csv:set.csv")
    assert prepared.labels == tuple(sorted(labels))
    assert prepared.counts == {"train": len(labels), "validation": len(labels), "test": len(labels)}


def test_a_csv_file_with_splits_and_a_root(tmp_path: Path) -> None:
    rows = [["split", "label", "path"]]
    for at, (split, label) in enumerate([(s, c) for s in ("train", "VAL", "Test") for c in "ab" for _ in range(2)]):
        draw(tmp_path / "elsewhere" / f"{at}.png", at)
        rows.append([split, label, str(tmp_path / "elsewhere" / f"{at}.png") if at % 2 else f"{at}.png"])
    rows.append(["train", "a", "missing.png"])
    write_rows(tmp_path / "set.csv", rows)
    prepared = run(tmp_path, "csv:set.csv", root="elsewhere")
    assert prepared.counts == {"train": 4, "validation": 4, "test": 4}
    assert prepared.report["unreadable"]["examples"] == [
        {"file": "missing.png", "split": "train", "why": "the file does not exist"}
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the header lacks 'path' and 'label'"),
        (b"file;label\n1.png;a\n", "found 'file;label'"),
        (b"path,label\n", "no rows"),
        (b"path,label\n1.png,a\n../2.png,a\n", r"row 3: the path '../2.png' leads out"),
        (b"path,label\n/etc/passwd,a\n", r"row 2: the path '/etc/passwd' leads out"),
        (b"path,label\n1.png,a\n2.png, \n,b\n", r"row 3: the label is empty\n  - row 4: the path is empty"),
        (b"path,label\n1.png,a,b\n", "row 2: 3 cells, and the header has 2"),
        (b"path,label,split\n1.png,a,dev\n", "row 2: unknown split 'dev'"),
        (b"path,label,split\n1.png,a,train\n2.png,b,\n", "some rows have a split and some do not"),
        (b"path,label,split\n1.png,a,test\n2.png,b,val\n", "no row has the split train"),
        (b"path,label\n\xff\xfe.png,a\n", "not UTF-8"),
        (b'path,label\n1.png,"a\n', "row"),
        (b"path,label\n1.png,a\n2.png,a\n", "only one class"),
        (b"path,label\n1.png,a\n2.png,b\n", "2 classes with only one image"),
    ],
)
def test_a_wrong_csv_file_is_explained(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "set.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        fingerprint(Data(source="csv:set.csv"), seed=1, folder=tmp_path)


def test_rows_may_name_the_folder_through_a_link(tmp_path: Path) -> None:
    draw_classes(tmp_path / "real", ["a", "b"], 4)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files = [(label, f"{label}/{i}.png") for label in "ab" for i in range(4)]
    for base in ("link", "real"):
        rows = [[str(tmp_path / base / name), label] for label, name in files]
        write_rows(tmp_path / "set.csv", [["path", "label"], *rows])
        assert sum(run(tmp_path, "csv:set.csv", root="link").counts.values()) == 8


def test_a_csv_file_whose_images_are_elsewhere(tmp_path: Path) -> None:
    write_rows(tmp_path / "set.csv", [["path", "label"], *[[f"{i}.png", "ab"[i % 2]] for i in range(8)]])
    with pytest.raises(InputError, match=r"without a usable training image|none of 8 images could be read"):
        run(tmp_path, "csv:set.csv")


# --- idx:


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_family(folder: Path, train: int = 60, test: int = 20, classes: int = 10, prefix: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    for part, number in (("train", train), ("t10k", test)):
        if number:
            write_idx(folder / f"{prefix}{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (number, 8, 8), np.uint8))
            labels = (np.arange(number) % classes).astype(np.uint8)
            write_idx(folder / f"{prefix}{part}-labels-idx1-ubyte.gz", labels)


def test_idx_files(tmp_path: Path) -> None:
    write_family(tmp_path / "mnist")
    prepared = run(tmp_path, "idx:mnist")
    assert prepared.labels == tuple("0123456789")
    assert prepared.counts == {"train": 50, "validation": 10, "test": 20}
    original = read_idx(tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz", 3)
    expected = np.asarray(Image.fromarray(original[3]).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.load(prepared.images("test"))[3], np.repeat(expected[..., None], 3, axis=2))
    # Unpacked, the same files give the same arrays.
    (tmp_path / "plain").mkdir()
    for path in (tmp_path / "mnist").iterdir():
        (tmp_path / "plain" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert run(tmp_path, "idx:plain").sha256 == prepared.sha256


def test_idx_labels_and_a_missing_test_split(tmp_path: Path) -> None:
    write_family(tmp_path / "x", test=0, classes=3, prefix="emnist-letters-")
    (tmp_path / "x" / "labels.txt").write_text("eins\nzwei\n<b>drei\n", encoding="utf-8")
    prepared = run(tmp_path, "idx:x")
    assert prepared.labels == ("eins", "zwei", "<b>drei")
    assert prepared.counts["test"] == 12
    for text, message in (("eins\n", "names 1 labels"), ("a\na\nb\n", "repeated"), ("a\n\nb\n", "empty")):
        (tmp_path / "x" / "labels.txt").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            run(tmp_path, "idx:x")


GOOD = idx_bytes(np.arange(18, dtype=np.uint8).reshape(2, 3, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x89PNG\r\n", "starts with 89 50 4e 47"),
        (GOOD[:10], "ends inside its header"),
        (GOOD[:-1], "truncated|holds 17 bytes"),
        (GOOD + b"x", "holds 19 bytes|more than 18"),
        (b"\0\0\x0d\x03" + GOOD[4:], "type code is 0x0d"),
        (b"\0\0\x08\x01" + GOOD[4:], "with 1 dimensions"),
        (struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated, or a wrong header"),
        (struct.pack(">BBBBIII", 0, 0, 8, 3, 0, 28, 28), "so it is empty"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_wrong_idx_file_is_explained(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    path = tmp_path / ("x-idx3-ubyte" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=message):
        read_idx(path, 3)


def test_a_gzip_bomb_is_told_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures shrink, but not a thousand times; what claims so is refused by its header."""
    monkeypatch.setattr(unpacking, "FREE", 1 << 10)
    bomb = struct.pack(">BBBBIII", 0, 0, 8, 3, 1000, 100, 10) + bytes(1_000_000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bomb, 9))
    with pytest.raises(InputError, match=r"declares 1,000,000 bytes, and it has 1,0\d\d"):
        read_idx(tmp_path / "x.gz", 3)
    pixels = np.random.default_rng(2).integers(0, 2, (10, 20, 20), np.uint8)
    (tmp_path / "y.gz").write_bytes(gzip.compress(idx_bytes(pixels), 9))
    np.testing.assert_array_equal(read_idx(tmp_path / "y.gz", 3), pixels)


def test_a_broken_gzip_file_is_explained(tmp_path: Path) -> None:
    compressed = gzip.compress(idx_bytes(np.random.default_rng(1).integers(0, 256, (9, 9, 9), np.uint8)))
    for content in (b"no gzip", compressed[:-20], compressed[:200] + b"\0\0\0\0" + compressed[204:]):
        (tmp_path / "x.gz").write_bytes(content)
        with pytest.raises(InputError, match="is not a valid idx file"):
            read_idx(tmp_path / "x.gz", 3)


def test_idx_files_that_do_not_belong_together(tmp_path: Path) -> None:
    write_family(tmp_path / "x")
    write_idx(tmp_path / "x" / "train-labels-idx1-ubyte.gz", np.zeros(59, np.uint8))
    with pytest.raises(InputError, match=r"holds 60 images, and train-labels-idx1-ubyte.gz 59 labels"):
        run(tmp_path, "idx:x")
    write_family(tmp_path / "x")
    with pytest.raises(InputError, match=r"more than data.max_pixels = 63"):
        run(tmp_path, "idx:x", max_pixels=63)
    (tmp_path / "x" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="but not the labels"):
        run(tmp_path, "idx:x")
    write_family(tmp_path / "x", prefix="other-")
    with pytest.raises(InputError, match="several data sets: '', 'other-'"):
        run(tmp_path, "idx:x")


# --- keras:


def test_keras_fashion_mnist_from_a_filled_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("tf_keras")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    write_cache(tmp_path / "keras" / "datasets" / "fashion-mnist")
    prepared = run(tmp_path, "keras:fashion_mnist")
    assert prepared.labels == FASHION_MNIST
    assert prepared.counts == {"train": 50, "validation": 10, "test": 20}
    assert capsys.readouterr().out == ""


def write_cache(folder: Path) -> None:
    """Files as tf_keras wants them: 28 × 28."""
    write_family(folder)
    for part, number in (("train", 60), ("t10k", 20)):
        images = np.random.default_rng(number).integers(0, 256, (number, 28, 28), np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)


def test_keras_without_a_network_names_the_offline_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tf_keras")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(InputError, match="could not be loaded") as caught:
        run(tmp_path, "keras:mnist")
    for choice in ("builtin:fashion-mnist-mini", "folder:", "idx:"):
        assert choice in caught.value.remedy


@pytest.mark.parametrize(
    ("source", "module", "extra"),
    [("keras:mnist", "tf_keras", "train"), ("tfds:mnist", "tensorflow_datasets", "tfds")],
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, source: str, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match="not installed") as caught:
        fingerprint(Data(source=source), seed=1, folder=Path())
    assert f"edgeproof[{extra}]" in caught.value.remedy


def test_cifar100_has_a_hundred_names() -> None:
    assert len(set(CIFAR100)) == 100
    assert list(CIFAR100) == sorted(CIFAR100)


def test_no_framework_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from edgeproof.core.recipe import Data\n"
        "from edgeproof.data import fingerprint\n"
        "fingerprint(Data(source='keras:mnist'), seed=1, folder=Path())\n"
        "print(sorted({'tensorflow', 'tf_keras', 'tensorflow_datasets', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
