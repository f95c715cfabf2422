"""Decoding and features on a Dask cluster: the same bytes as without one, also when a worker is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeproof.core.dataset import PreparedData
from edgeproof.core.encoded_images import EncodedImages
from edgeproof.core.helpers import Helpers, Room
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Data
from edgeproof.data import images, prepare
from edgeproof.devices.cluster.connection import Cluster, open_cluster
from edgeproof.train import shared_features
from edgeproof.train.feature_process import FeatureProcess
from edgeproof.train.feature_worker import BATCH
from edgeproof.train.shared_features import SharedFeatures

from ..support.bundle_models import mean_colour_model
from ..support.clusters import RunningCluster, dask_cluster

SIZE = 16


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with dask_cluster(tmp_path_factory.mktemp("cluster"), ["first", "second"]) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 40 pictures; in each a broken one, one twice, and a link that leads elsewhere."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(3)
    for name in "ab":
        (folder / name).mkdir()
        for number in range(40):
            side = 20 + number
            pixels = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.{'jpg' if number % 2 else 'png'}")
        (folder / name / "broken.jpg").write_bytes((folder / name / "01.jpg").read_bytes()[:200])
        (folder / name / "twice.png").write_bytes((folder / name / "02.png").read_bytes())
        (folder / name / "link.png").symlink_to("/etc/hostname")
    return folder


def prepared(pictures: Path, workspace: Path, helpers: Helpers | None = None) -> PreparedData:
    return prepare(
        Data(source=f"folder:{pictures}"), seed=1, image_size=SIZE, resize="pad", folder=Path(), workspace=workspace,
        listener=Silent(), workers=1, helpers=helpers,
    )  # fmt: skip


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pictures_that_workers_decode_are_the_same_bytes_also_when_one_is_killed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "BATCH_IMAGES", 1)
    alone = prepared(pictures, tmp_path / "alone")
    with dask_cluster(tmp_path, ["first", "second"]) as running, open_cluster(running.address, Silent()) as cluster:
        assert cluster is not None
        call, killed = Cluster.call, list[str]()

        def call_and_kill(self: Cluster, *args: Any) -> Any:
            result = call(self, *args)
            if self.done and not killed:
                killed.append(next(name for name in running.workers if next(iter(self.done)) in running.log(name)))
                running.kill(killed[0])
            return result

        monkeypatch.setattr(Cluster, "call", call_and_kill)
        monkeypatch.setattr(Room, "do", do_there_first)
        shared = prepared(pictures, tmp_path / "shared", cluster)
        assert killed and len(cluster.done) == 2 and sum(cluster.done.values()) > 5, cluster.done
    assert shared.sha256 == alone.sha256
    assert content(tmp_path / "shared") == content(tmp_path / "alone")


def do_there_first(self: Room, here: Any, there: Any) -> Any:
    result = there()
    return here() if result is None else result


@pytest.mark.parametrize("form", ["encoded", "float rows"])
def test_features_that_workers_compute_are_the_same_bits(
    form: str, pictures: Path, running: RunningCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepared(pictures, tmp_path / "data")
    rows = EncodedImages(data.folder, "train", SIZE, "pad")
    spans = [(start, min(start + 8, len(rows))) for start in range(0, len(rows), 8)]
    blocks = [rows[start:stop] for start, stop in spans]
    if form == "float rows":
        blocks = [block.astype(np.float32) / 3 for block in blocks]
    model = mean_colour_model(SIZE, batch=BATCH)
    alone = FeatureProcess(model, 2)
    with open_cluster(running.address, Silent()) as cluster:
        assert cluster is not None
        shared = SharedFeatures(model, 2, cluster)
        with monkeypatch.context() as patch:
            patch.setattr(Room, "do", do_there_first)
            found = list(shared.stream_encoded(rows, spans) if form == "encoded" else shared.stream(iter(blocks)))
        assert sum(cluster.done.values()) == len(spans)
        for answer, block in zip(found, blocks, strict=True):
            np.testing.assert_array_equal(answer, alone.compute(block))
        # What no worker can do is done here.
        monkeypatch.setattr(shared_features, "PACKAGES", ("no-such-package",))
        monkeypatch.setattr(cluster, "_here", {**cluster._here, "arithmetic": {}})
        np.testing.assert_array_equal(next(shared.stream(iter(blocks))), found[0])
        shared.close()
    alone.close()
