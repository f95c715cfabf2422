"""``tfds:``: a tiny set is made by TensorFlow Datasets itself and read back from its folder, without its code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.dataset import PreparedData
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import fingerprint, prepare

pytest.importorskip("tensorflow_datasets")

# Made in a process of its own: its builder class must not be known where the set is read.
MAKE = """
import sys
import numpy as np
import tensorflow_datasets as tfds

class EdgeproofTiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("plain", "odd", "single")]

    def _info(self):
        features = {
            "picture": tfds.features.Image(shape=(None, None, 3)),
            "kind": tfds.features.ClassLabel(names=["zebra", "ape"]),
            "id": tfds.features.Text(),
        }
        if self.builder_config.name == "odd":
            features["second"] = tfds.features.Image(shape=(None, None, 3))
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        if self.builder_config.name == "single":
            return {"train": self._generate_examples(0, 20)}
        return {"train": self._generate_examples(0, 20), "test": self._generate_examples(20, 30),
                "extra": self._generate_examples(30, 33)}

    def _generate_examples(self, start, end):
        for i in range(start, end):
            picture = np.full((10, 14, 3), 8 * i, np.uint8)
            example = {"picture": picture, "kind": i % 2, "id": str(i)}
            if self.builder_config.name == "odd":
                example["second"] = picture
            yield i, example

for name in ("plain", "odd", "single"):
    EdgeproofTiny(data_dir=sys.argv[1], config=name).download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("tfds")
    (folder / "make.py").write_text(MAKE)
    (folder / "kept").mkdir()
    done = subprocess.run(
        [sys.executable, str(folder / "make.py"), str(folder / "kept")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    yield folder


def run(home: Path, source: str, **options: object) -> PreparedData:
    return prepare(
        Data(source=source, root="kept", **options), seed=1, image_size=16, resize="pad", folder=home,
        workspace=home / "out", listener=Silent(), workers=2,
    )  # fmt: skip


def test_given_splits_labels_and_pixels(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = run(home, "tfds:edgeproof_tiny/plain")
    assert prepared.labels == ("zebra", "ape")
    assert prepared.counts == {"train": 18, "validation": 2, "test": 10}
    assert prepared.report["formats"] == {"PNG": 30}
    assert "'extra'" in prepared.report["warnings"][0]["what"]
    for split in ("train", "validation", "test"):
        pixels = prepared.rows(split)[:][:, 8, 8, 0] // 8  # the example's number
        assert (pixels % 2).tolist() == np.load(prepared.targets(split)).tolist()
        assert len(set(pixels.tolist())) == len(pixels)
        assert all((number >= 20) == (split == "test") for number in pixels.tolist())
    assert capsys.readouterr().out == ""


def test_a_set_with_one_split_has_others_cut_off_and_limits_hold(home: Path) -> None:
    assert run(home, "tfds:edgeproof_tiny/single").counts == {"train": 14, "validation": 2, "test": 4}
    assert run(home, "tfds:edgeproof_tiny/single", limit_train=4).counts["train"] == 4


def test_a_set_of_another_kind_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match=r"id: Text, kind: ClassLabel, picture: Image, second: Image"):
        run(home, "tfds:edgeproof_tiny/odd")


def test_an_unknown_set_and_a_missing_folder(home: Path) -> None:
    with pytest.raises(InputError, match="not known to TensorFlow Datasets"):
        run(home, "tfds:edgeproof_nothing")
    with pytest.raises(InputError, match="not known to TensorFlow Datasets"):
        run(home, "tfds:edgeproof_tiny/no_such_config")
    with pytest.raises(InputError, match="could not be loaded"):
        run(home, "tfds:mnist/no_such_config")
    with pytest.raises(InputError, match=r"data\.root = .* is not a folder"):
        fingerprint(Data(source="tfds:mnist", root="nowhere"), seed=1, folder=home)


def test_the_fingerprint_is_of_what_is_kept(home: Path) -> None:
    first, second = (
        fingerprint(Data(source=f"tfds:edgeproof_tiny/{name}", root="kept"), seed=1, folder=home)
        for name in ("plain", "single")
    )
    assert first["sources"]["source"]["files"] > 0
    assert first["sources"] != second["sources"]
