"""Two boards over real connections, each with a queue of its own, beside this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.dataset import PreparedData
from edgeproof.core.device_tables import Devices
from edgeproof.core.measurement import Measurement
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate, LatencyTable
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.evaluate.measure import measure

from ..support.bundle_models import mean_colour_model
from ..support.ssh_server import SshServer, ssh_server

BOARDS = ("board", "other")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    with ssh_server(tmp_path / "s") as server:
        yield server


def test_two_boards_and_this_machine_are_measured_at_once_and_a_rerun_asks_none(
    server: SshServer, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(mean_colour_model())
    contract = InputContract("image", (1, 8, 8, 3), low=0.0, high=1.0)
    artifact = Artifact("m", "m", "tflite", "float32", path, sha256=sha256_file(path), contract=contract)
    data = PreparedData(tmp_path, "d", tuple("rgb"), 0, 0, "", {"test": 6}, "1" * 64, kind="tensor")
    np.save(data.inputs("test"), np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8))
    np.save(data.targets("test"), np.zeros(6, np.int64))
    declared = Devices({name: server.table(folder=str(tmp_path / name)) for name in BOARDS})
    rows: dict[str, Measurement] = {}
    settings = Evaluate(latency=LatencyTable(processes=2, run_seconds=0.06, max_seconds=0))

    def measured() -> dict[str, Measurement]:
        with OpenDevices(declared) as devices:
            targets = [Target(name, "litert") for name in ("local", *BOARDS)]
            measure(
                [devices.open_runner(artifact, target) for target in targets], data, references={"m": "m"},
                settings=settings, seed=1, cores=2, store=Store(tmp_path / "store"), raw_folder=tmp_path / "raw",
                listener=Silent(), on_row=lambda row: rows.update({row.device: row}),
                places={name: name for name in BOARDS}, interrupt=devices.interrupt,
            )  # fmt: skip
        return dict(rows)

    found = measured()
    assert found.keys() == {"local", *BOARDS}
    assert all(row.status == "ok" and row.latency_ms and row.drop == 0 for row in found.values()), found
    server.stop()
    again = measured()
    assert {name: row.latency_ms for name, row in again.items()} == {n: row.latency_ms for n, row in found.items()}
