"""A Dask cluster: real schedulers and workers on loopback; some are killed in the middle."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.environment import usable_cores
from edgeproof.core.errors import InputError
from edgeproof.core.helpers import Room
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.cluster import connection as cluster_module
from edgeproof.devices.cluster import worker as cluster_worker
from edgeproof.devices.cluster.connection import helpers_of, open_cluster
from edgeproof.devices.cluster.shared_runner import SharedRunner

from ..support.bundle_models import mean_colour_model
from ..support.clusters import RunningCluster, dask_cluster

SAMPLES = 9


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(f"{level}: {message} → {facts.get('remedy', '')}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with dask_cluster(tmp_path_factory.mktemp("cluster"), ["first", "second"]) as running:
        yield running


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "test.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (SAMPLES, 8, 8, 3), dtype=np.uint8))
    return path


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    path = tmp_path / "model.tflite"
    path.write_bytes(mean_colour_model())
    contract = InputContract("image", (1, 8, 8, 3), low=0.0, high=1.0)
    return Artifact("m", "m", "tflite", "float32", path, sha256=sha256_file(path), contract=contract)


def shared(devices: OpenDevices, artifact: Artifact, target: str = "local/litert") -> SharedRunner:
    runner = devices.open_runner(artifact, Target.parse(target), timeout_seconds=60)
    assert isinstance(runner, SharedRunner)
    return runner


def by_worker(runner: SharedRunner, inputs: Path, outputs: Path, start: int = 0, stop: int = SAMPLES) -> Outcome | None:
    return runner.cluster.answer(runner.here, inputs, outputs, start, stop, seconds=60)


def test_workers_answer_as_this_machine_does_and_where_none_is_left_it_does_so_itself(
    running: RunningCluster, artifact: Artifact, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "_PIECE_BYTES", 2 * 8 * 8 * 3)  # two samples
    notes = Notes()
    with open_cluster(running.address, notes) as cluster, OpenDevices(None, cluster) as devices:
        assert cluster is not None and cluster.helpers == 2 and devices.answerers == usable_cores() + 2
        runner = shared(devices, artifact)
        assert runner.here.infer(inputs, tmp_path / "here.npy", 3, 8).ok
        there = by_worker(runner, inputs, tmp_path / "there.npy", 3, 8)
        assert there is not None and there.ok and sum(cluster.done.values()) == 1
        np.testing.assert_array_equal(np.load(tmp_path / "there.npy"), np.load(tmp_path / "here.npy"))
        # Each file has travelled once, by its hash: the model, and the pieces of samples 2 to 7.
        assert len(cluster._blobs) == 4 and sha256_file(inputs) not in cluster._blobs
        assert artifact.sha256 in cluster._blobs

        # While there is room here, samples are answered here; else there.
        assert runner.infer(inputs, tmp_path / "a.npy", 0, 2).ok and sum(cluster.done.values()) == 1
        cluster.room = Room(0)
        assert runner.infer(inputs, tmp_path / "b.npy", 0, 2).ok and sum(cluster.done.values()) == 2
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))

        # What a file does to its process is no worker's end, and the row is this machine's.
        damaged = tmp_path / "damaged.tflite"
        damaged.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 200)
        broken = Artifact("d", "m", "tflite", "float32", damaged, contract=artifact.contract)
        assert by_worker(shared(devices, broken), inputs, tmp_path / "c.npy") is None
        assert not (tmp_path / "c.npy").exists() and len(cluster.workers()) == 2
    assert notes.notes[0].startswith("info: cluster tcp://") and "2 workers, 2 threads" in notes.notes[0]
    assert notes.notes[-1].startswith("info: cluster tcp://") and "3 tasks by" in notes.notes[-1]


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("edgeproof", "0.0.1", "it has Edgeproof 0.0.1"),
        ("code", "x", "other code"),
        ("arithmetic", {"cpu": "Another CPU\x1b[31m"}, "other processor"),
        ("arithmetic", {"flags": "x"}, "other instructions"),
    ],
)
def test_a_worker_whose_answers_could_differ_gives_none_and_one_line_says_so(
    fact: str, value: Any, words: str, running: RunningCluster, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    notes = Notes()
    with open_cluster(running.address, notes) as cluster, OpenDevices(None, cluster) as devices:
        assert cluster is not None
        ours = cluster_worker.about()
        theirs = {**ours, fact: {**ours[fact], **value} if isinstance(value, dict) else value}
        found = cluster.client.scheduler_info()["workers"]
        cluster._workers = {name: cluster._described(name, info, theirs) for name, info in found.items()}
        cluster.describe()
        assert by_worker(shared(devices, artifact), inputs, tmp_path / "o.npy") is None
    (line,) = [note for note in notes.notes if note.startswith("warning")]
    assert words in line and "\x1b" not in line


def test_a_worker_looks_itself_before_it_answers(
    running: RunningCluster, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    with open_cluster(running.address, Silent()) as cluster, OpenDevices(None, cluster) as devices:
        assert cluster is not None
        assert len(cluster.workers()) == 2
        cluster._here["arithmetic"]["numpy"] = "0.1"
        assert by_worker(shared(devices, artifact), inputs, tmp_path / "o.npy") is None
        assert len(cluster._unfit) == 2 and not cluster.done


def test_a_cluster_that_is_none_is_an_input_error(running: RunningCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 1)
    for address, words in [
        ("lab", "no address"),
        ("tcp://127.0.0.1:1", "cannot be reached"),
        ("tcp://", "cannot be reached"),
        ("nonsense://x:1", "cannot be reached"),
        ("tls://" + running.address.partition("//")[2], "cannot be reached"),
        ("tcp://127.0.0.1:8786\x1b[2J" + "x" * 10_000, "cannot be reached"),
    ]:
        with pytest.raises(InputError) as caught, open_cluster(address, Silent()):
            pass
        assert words in caught.value.message and caught.value.remedy, address
        assert len(caught.value.message) < 600 and "\x1b" not in caught.value.message
    half_made = [one for one in gc.get_objects() if issubclass(type(one), distributed.Client)]
    assert all(one.status == "closed" for one in half_made), "one that is not ends at exit, late and with a traceback"
    with open_cluster("", Silent()) as none:
        assert none is None
    notes = Notes()
    with helpers_of("tcp://127.0.0.1:1", notes) as none:  # lost since the run began
        assert none is None
    assert "cannot be reached" in notes.notes[0] and "done here" in notes.notes[0]
    monkeypatch.setattr(cluster_worker, "recorded_version", lambda name: "0.0.1")
    with pytest.raises(InputError, match="another Edgeproof"), open_cluster(running.address, Silent()):
        pass


def test_where_the_scheduler_is_lost_the_rest_is_done_here_and_a_new_worker_helps(
    artifact: Artifact, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 3)
    notes = Notes()
    with (
        dask_cluster(tmp_path, []) as running,
        open_cluster(running.address, notes) as cluster,
        OpenDevices(None, cluster) as devices,
    ):
        assert cluster is not None and "0 workers" in notes.notes[0]
        runner = shared(devices, artifact)
        assert by_worker(runner, inputs, tmp_path / "a.npy") is None
        running.start_worker("late")
        # One that has just come may not be reached yet: the work is done here, and a later task finds it.
        for _ in range(40):
            if (helped := by_worker(runner, inputs, tmp_path / "a.npy")) is not None:
                break
            time.sleep(0.5)
        assert helped is not None, (notes.notes, cluster.workers(), running.log("late"))
        running.kill("late")
        assert by_worker(runner, inputs, tmp_path / "b.npy") is None
        assert runner.infer(inputs, tmp_path / "b.npy", 0, SAMPLES).ok
        running.kill_scheduler()
        for _ in range(200):  # the connection's end is noticed a moment later
            assert by_worker(runner, inputs, tmp_path / "c.npy") is None
            if any("is lost" in note for note in notes.notes):
                break
            time.sleep(0.05)
        assert any("is lost" in note for note in notes.notes)
        assert runner.infer(inputs, tmp_path / "c.npy", 0, SAMPLES).ok
