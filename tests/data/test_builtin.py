"""The shipped set: its files are those of its card, and the script cuts the same ones again."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import fingerprint, prepare
from edgeproof.data.builtin import cut_fashion_mnist_mini
from edgeproof.data.catalogs import FASHION_MNIST
from edgeproof.data.idx import read_idx
from edgeproof.data.sources import BUILTIN

HERE = BUILTIN / "fashion-mnist-mini"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CARD = (HERE / "DATACARD.md").read_text(encoding="utf-8")
HASHES = dict(re.findall(r"^\| `([\w.-]+)` \| `([0-9a-f]{64})`", CARD, re.MULTILINE))
UNPACKED = dict(re.findall(r"^\| `([\w.-]+)` \| `[0-9a-f]{64}` \| `([0-9a-f]{64})`", CARD, re.MULTILINE))


def test_the_files_are_those_of_the_card() -> None:
    data = {path.name for path in HERE.iterdir()} - {"DATACARD.md", "LICENSE"}
    assert data == set(HASHES)
    for name, expected in HASHES.items():
        content = (HERE / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == expected, name
        if name in UNPACKED:
            assert hashlib.sha256(gzip.decompress(content)).hexdigest() == UNPACKED[name], name
    assert len(UNPACKED) == 4
    assert sum(path.stat().st_size for path in HERE.iterdir()) < 5_000_000


def test_the_card_and_the_licence_say_what_they_must() -> None:
    for phrase in ("MIT", "Zalando", "1708.07747", *FASHION_MNIST):
        assert phrase in CARD
    licence = (HERE / "LICENSE").read_text(encoding="utf-8")
    assert "Zalando SE" in licence
    assert "Permission is hereby granted" in licence


def test_five_hundred_and_two_hundred_a_class_and_no_image_twice() -> None:
    seen = set()
    for part, number in (("train", 500), ("t10k", 200)):
        images = read_idx(HERE / f"{part}-images-idx3-ubyte.gz", 3)
        labels = read_idx(HERE / f"{part}-labels-idx1-ubyte.gz", 1)
        assert images.shape == (10 * number, 28, 28)
        assert np.bincount(labels).tolist() == [number] * 10
        seen |= {image.tobytes() for image in images}
    assert len(seen) == 7000
    assert tuple((HERE / "labels.txt").read_text(encoding="utf-8").splitlines()) == FASHION_MNIST


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_the_script_cuts_the_same_files(tmp_path: Path) -> None:
    assert cut_fashion_mnist_mini.main([str(DEBIAN), str(tmp_path)]) == 0
    named = re.search(r"with zlib ([\d.]+);", CARD)
    assert named is not None
    for name, expected in HASHES.items():
        content = (tmp_path / name).read_bytes()
        if name in UNPACKED:
            assert hashlib.sha256(gzip.decompress(content)).hexdigest() == UNPACKED[name], name
        if name not in UNPACKED or named[1] == zlib.ZLIB_RUNTIME_VERSION:
            assert hashlib.sha256(content).hexdigest() == expected, name


def test_the_script_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cut_fashion_mnist_mini.main([]) == 2
    assert cut_fashion_mnist_mini.main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert "t10k-images-idx3-ubyte.gz" in capsys.readouterr().err


def test_it_prepares(tmp_path: Path) -> None:
    data = Data(source="builtin:fashion-mnist-mini", limit_train=900, limit_test=500)
    expected = fingerprint(data, seed=3, folder=tmp_path)
    assert expected["sources"]["source"]["labels.txt"] == HASHES["labels.txt"]
    prepared = prepare(
        data, seed=3, image_size=32, resize="stretch", folder=tmp_path, workspace=tmp_path / "w", listener=Silent(),
        workers=2,
    )  # fmt: skip
    assert prepared.counts == {"train": 900, "validation": 100, "test": 500}
    assert prepared.labels == FASHION_MNIST
    for split, number in (("train", 90), ("validation", 10), ("test", 50)):
        assert np.bincount(np.load(prepared.targets(split))).tolist() == [number] * 10
    assert prepared.report["leaks"]["count"] == 0
    assert prepared.report["warnings"] == []
