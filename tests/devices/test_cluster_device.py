"""Devices at workers of a Dask cluster; tests/test_device_contract.py holds what they share with all devices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.device_tables import Devices, SshTable, WorkerTable
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.cluster import device as cluster_device
from edgeproof.devices.cluster import session as cluster_session
from edgeproof.devices.cluster.connection import open_cluster
from edgeproof.devices.cluster.device import ClusterDevice
from edgeproof.devices.cluster.session import Session

from ..support.bundle_models import mean_colour_model
from ..support.clusters import RunningCluster, dask_cluster

DECLARED = Devices({"pi": WorkerTable(), "other": WorkerTable(), "undeclared": WorkerTable()})


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.said = threading.Event()

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(f"{level}: {message}")
        if "waiting for" in message:
            self.said.set()


@dataclass
class Lab:
    running: RunningCluster
    settings: Path

    def start(self, name: str, resources: str) -> None:
        self.running.start_worker(name, "--resources", resources, env={"XDG_CONFIG_HOME": str(self.settings)})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "edgeproof").mkdir()
    (folder / "edgeproof" / "devices.toml").write_text('[device.pi]\nkind = "local"\n')
    with dask_cluster(folder) as running:
        lab = Lab(running, folder)
        lab.start("lab", "pi=1 undeclared=1")
        yield lab


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "test.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    return path


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    path = tmp_path / "model.tflite"
    path.write_bytes(mean_colour_model())
    contract = InputContract("image", (1, 8, 8, 3), low=0.0, high=1.0)
    return Artifact("m", "m", "tflite", "float32", path, sha256=sha256_file(path), contract=contract)


def test_two_machines_never_share_a_device(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_device, "_SAY", 0.0)
    notes, order = Notes(), list[str]()
    with open_cluster(lab.running.address, Silent()) as one, open_cluster(lab.running.address, notes) as two:
        first, second = OpenDevices(DECLARED, one), OpenDevices(DECLARED, two)
        assert "cpu" in first["pi"].environment()

        def other() -> None:
            with second:
                assert "cpu" in second["pi"].environment()
                order.append("second had it")

        thread = threading.Thread(target=other)
        thread.start()
        assert notes.said.wait(30)
        assert "cpu" in first["pi"].environment()
        order.append("first gave it back")
        first.close()
        thread.join(30)
    assert order == ["first gave it back", "second had it"]
    assert "warning: waiting for pi, which another job has" in notes.notes


def test_a_worker_that_declares_a_device_as_another_worker_s_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgeproof").mkdir()
    (tmp_path / "edgeproof" / "devices.toml").write_text('[device.pi]\nkind = "worker"\n')
    with pytest.raises(InputError, match=r"the worker's own devices.toml declares pi"):
        Session("pi")


def test_a_lease_ends_when_nothing_is_asked_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgeproof").mkdir()
    (tmp_path / "edgeproof" / "devices.toml").write_text('[device.pi]\nkind = "local"\n')
    monkeypatch.setattr(cluster_session, "_LOOK", 0.01)
    monkeypatch.setattr(cluster_session, "IDLE_SECONDS", 0.0)
    session = Session("pi")
    busy, release = threading.Event(), threading.Event()

    def slow(**_: Any) -> None:
        busy.set()
        release.wait(30)

    monkeypatch.setattr(session, "_have", slow)
    asking = threading.Thread(target=session.do, args=[{"do": "have", "names": []}])
    waiting = threading.Thread(target=session.wait)
    asking.start()
    assert busy.wait(30)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()  # while something is done, however long it takes
    release.set()
    waiting.join(30)
    asking.join(30)
    assert not waiting.is_alive()
    folder = Path(session._scratch.name)
    assert folder.exists()
    session.close()
    assert not folder.exists()


def test_a_lease_that_has_ended_is_taken_again_and_files_are_put_there_again(
    lab: Lab, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    with open_cluster(lab.running.address, Silent()) as cluster, OpenDevices(DECLARED, cluster) as devices:
        runner = devices.open_runner(artifact, Target.parse("pi/litert"), timeout_seconds=60)
        device = devices["pi"]
        assert isinstance(device, ClusterDevice) and runner.load(inputs).ok
        server = runner.serve(inputs)
        lease = device.lease()
        assert not isinstance(server, Outcome) and not isinstance(lease, Outcome)
        device.ask_lease(lease, {"do": "close"})
        lease.task.result(timeout=30)
        gone = server.ready()
        assert gone.status == "crashed" and "has ended" in gone.reason and gone.remedy
        assert runner.infer(inputs, tmp_path / "o.npy", 0, 3).ok
        assert device.lease() != lease


def test_a_device_that_is_not_there_is_an_outcome_and_what_it_was_is_remembered(
    lab: Lab, artifact: Artifact, inputs: Path
) -> None:
    for name, words in [("other", "no worker of tcp://"), ("undeclared", "unknown device 'undeclared'")]:
        with open_cluster(lab.running.address, Silent()) as cluster, OpenDevices(DECLARED, cluster) as devices:
            runner = devices.open_runner(artifact, Target(name, "litert"))
            assert runner.kind == "measured" and runner.identity() == {
                "target": f"{name}/litert",
                "runtime_version": "",
            }
            outcome = runner.load(inputs)
            assert outcome.status == "skipped" and words in outcome.reason and name in outcome.remedy
            served = runner.serve(inputs)
            assert isinstance(served, Outcome) and served.status == "skipped"
            assert devices.environments([runner.target])[name]["unreachable"] == outcome.reason
            assert [check.state for check in devices[name].checks()] == ["missing"]
            assert devices.missing_runtime(runner.target) == (outcome.reason, outcome.remedy)
            with pytest.raises(StageError, match=name):
                devices[name].clean()
    with open_cluster(lab.running.address, Silent()) as cluster, OpenDevices(DECLARED, cluster) as devices:
        there = devices.open_runner(artifact, Target("pi", "litert")).identity()
        assert there["runtime_version"] and there["cpu"]
    with OpenDevices(DECLARED) as devices:  # without a cluster
        runner = devices.open_runner(artifact, Target("pi", "litert"))
        assert runner.identity() == there
        outcome = runner.load(inputs)
        assert outcome.status == "skipped" and "--cluster" in outcome.remedy


def test_a_device_that_is_declared_otherwise_here_is_the_workers_one(lab: Lab, artifact: Artifact) -> None:
    declared = Devices({"pi": SshTable(host="nowhere.invalid")})
    with open_cluster(lab.running.address, Silent()) as cluster, OpenDevices(declared, cluster) as devices:
        assert isinstance(devices["pi"], ClusterDevice) and "cpu" in devices["pi"].environment()


def test_a_session_checks_what_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgeproof").mkdir()
    (tmp_path / "edgeproof" / "devices.toml").write_text('[device.pi]\nkind = "local"\n')
    session = Session("pi")
    try:
        name = "0" * 64
        assert session.do({"do": "have", "names": [name]}) == {"is": [name]}
        assert session.do({"do": "put", "name": name, "content": b"x", "last": False}) == {"is": None}
        assert "damaged" in session.do({"do": "put", "name": name, "content": b"y", "last": True})["error"]
        assert "plain file name" in session.do({"do": "put", "name": "../x", "content": b"", "last": True})["error"]
        assert session.do({"do": "have", "names": [name]}) == {"is": [name]}
    finally:
        session.close()
