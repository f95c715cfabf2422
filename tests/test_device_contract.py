"""One contract for all kinds of devices: each runs a real file in a real runtime, and fails in the same typed ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.runner import Outcome
from edgeproof.core.runtime import RUNTIMES
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.cluster.connection import open_cluster

from .support.bundle_models import mean_colour_model
from .support.device_kinds import KINDS, Subject
from .support.micro_files import dense
from .support.serving import served

SAMPLES = 9


@pytest.fixture(scope="module", params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with KINDS[request.param](tmp_path_factory.mktemp("device")) as subject:
        yield subject


@pytest.fixture(scope="module")
def devices(subject: Subject) -> Iterator[OpenDevices]:
    with open_cluster(subject.cluster, Silent()) as cluster, OpenDevices(subject.declared, cluster) as devices:
        yield devices


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "test.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (SAMPLES, 8, 8, 3), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def artifact(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A file in a folder whose name no shell may read, with an id that is no path. An NPU has one of integers."""
    path = tmp_path_factory.mktemp("files") / "$(touch hacked) 'x'.tflite"
    if subject.kind == "estimated":
        return replace(dense(path, "int8"), id="m; rm -rf $HOME")
    path.write_bytes(mean_colour_model())
    contract = InputContract("image", (1, 8, 8, 3), low=0.0, high=1.0)
    return Artifact("m; rm -rf $HOME", "m", "tflite", "float32", path, sha256=sha256_file(path), contract=contract)


@pytest.fixture
def target(subject: Subject) -> Target:
    return Target(subject.name, subject.runtime)


def expected(inputs: Path) -> np.ndarray:
    means = (np.load(inputs) / 255.0).mean(axis=(1, 2)) * [1.0, 2.0, 4.0]
    powers = np.exp(means)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def test_a_device_says_what_it_is_and_what_runs_there(
    subject: Subject, devices: OpenDevices, target: Target, artifact: Artifact
) -> None:
    device = devices[subject.name]
    assert device.name == subject.name and devices[subject.name] is device
    environment = devices.environments([target])[subject.name]
    assert "unreachable" not in environment, environment
    assert {"cpu", "architecture", "cores", "memory_bytes", "os", "python"} <= environment.keys()
    assert environment["cores"] >= 1 and (environment["memory_bytes"] > 1 << 20 or subject.kind == "estimated")
    runtimes = device.runtimes()
    assert runtimes.keys() <= RUNTIMES.keys() and runtimes[target.runtime]
    assert device.missing_runtime(target) is None
    located = device.locate(target)
    assert located is not None and located.version == runtimes[target.runtime]
    assert devices.locate(replace(target, version="0.0.1")) is None
    reason, remedy = device.missing_runtime(replace(target, version="0.0.1")) or ("", "")
    assert "0.0.1" in reason and remedy
    checks = {check.what: check.state for check in device.checks()}
    assert checks[str(target)] == "ok"
    runner = devices.open_runner(artifact, target)
    assert runner.kind == subject.kind and runner.identity()["target"] == str(target)
    assert runner.timed == (subject.kind == "measured") and runner.answers == (subject.kind != "estimated")
    assert runner.free_bytes() > 1 << 20
    runner.rest()


def test_a_file_is_loaded_answers_samples_and_is_timed(
    devices: OpenDevices, target: Target, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    runner = devices.open_runner(artifact, target, timeout_seconds=120)
    loaded = runner.load(inputs)
    assert loaded.ok, loaded.reason
    assert loaded.data["finite"] is True
    if not runner.answers:
        assert {"npu", "placement"} <= loaded.data.keys() and not {"load_ms", "run_ms"} & loaded.data.keys()
        refused = runner.infer(inputs, tmp_path / "all.npy", 0, SAMPLES), runner.serve(inputs)
        assert all(isinstance(outcome, Outcome) and outcome.status == "unsupported" for outcome in refused)
        assert not list(tmp_path.iterdir())
        return
    assert loaded.data["load_ms"] > 0 and loaded.data["run_ms"] > 0
    if runner.timed:
        assert loaded.data["peak_memory_bytes"] >= loaded.data["import_memory_bytes"] > 1 << 20
    assert loaded.data["runtime_version"] == runner.identity()["runtime_version"]

    assert runner.infer(inputs, tmp_path / "all.npy", 0, SAMPLES).ok
    assert runner.infer(inputs, tmp_path / "part.npy", 3, 5).ok
    answers = np.load(tmp_path / "all.npy")
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, expected(inputs), atol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "part.npy"), answers[3:5])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.npy", "part.npy"]

    if not runner.timed:
        refused = runner.serve(inputs)
        assert isinstance(refused, Outcome) and refused.status == "unsupported" and refused.reason and refused.remedy
        return
    with served(runner, inputs) as server:
        assert server.ask({"do": "open"}).ok
        warm = server.ask({"do": "warm", "seconds": 0.001})
        assert len(warm.data["warmup_ms"]) >= 1 and warm.data["steady"] in (True, False)
        for sample in (0, 99):
            burst = server.ask({"do": "burst", "runs": 5, "sample": sample})
            told = warm.data.get("runs_each", 5)  # a tool may tell only the last ones
            assert burst.ok and len(burst.data["runs_ms"]) == told and min(burst.data["runs_ms"]) > 0
        state = server.ask({"do": "state"})
        assert state.data["peak_memory_bytes"] > 1 << 20 and state.data["conditions"]["at"] > 0


def test_operators_are_timed_where_times_count(
    subject: Subject, devices: OpenDevices, target: Target, artifact: Artifact, inputs: Path
) -> None:
    runner = devices.open_runner(artifact, target, timeout_seconds=120)
    profiled = runner.profile(inputs, runs=3)
    if not subject.profiles:
        assert profiled.status == "unsupported" and profiled.reason and profiled.remedy
        return
    if not runner.timed:
        assert profiled.status == "unsupported" and profiled.reason and profiled.remedy
        return
    assert profiled.ok, profiled.reason
    assert len(profiled.data["runs_ms"]) == 3 and profiled.data["engine"]
    assert all(len(operator["us"]) == 3 for operator in profiled.data["operators"])


def test_what_fails_is_an_outcome_with_a_status(
    devices: OpenDevices, target: Target, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    def load(artifact: Artifact, target: Target = target, seconds: float = 120) -> Outcome:
        return devices.open_runner(artifact, target, timeout_seconds=seconds).load(inputs)

    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 200)
    outcome = load(replace(artifact, path=damaged, sha256=sha256_file(damaged)))
    assert outcome.status in ("unsupported", "failed", "crashed") and 0 < len(outcome.reason) < 600
    outcome = load(replace(artifact, format="onnx"))
    assert outcome.status == "unsupported" and "does not read onnx" in outcome.reason
    outcome = load(artifact, replace(target, version="0.0.1"))
    assert outcome.status == "unsupported" and "0.0.1" in outcome.reason and outcome.remedy
    outcome = load(Artifact("a", "m", "tflite", "int8", None).failed("failed", "no integer kernel", "use float16"))
    assert (outcome.status, outcome.remedy) == ("skipped", "use float16") and "no integer kernel" in outcome.reason
    outcome = load(artifact, seconds=0.01)
    assert outcome.status == "timeout" and "timeout_seconds" in outcome.remedy
    runner = devices.open_runner(artifact, target)
    if runner.answers:
        outcome = runner.load(tmp_path / "texts.jsonl")
        assert outcome.status == "unsupported" and "texts" in outcome.reason


def test_a_device_that_disappears_in_the_middle_is_an_outcome_and_comes_back(
    subject: Subject, devices: OpenDevices, target: Target, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    runner = devices.open_runner(artifact, target, timeout_seconds=120)
    if not runner.answers:
        pytest.skip("nothing runs there")
    if runner.timed:
        server = runner.serve(inputs)
        assert not isinstance(server, Outcome)
        assert server.ready().ok and server.ask({"do": "open"}).ok
        subject.disappear()
        gone = server.ask({"do": "burst", "runs": 5, "sample": 0})
        assert gone.status == "crashed" and gone.reason and gone.remedy
        again = server.ask({"do": "state"})
        assert again.status == "crashed"
        server.close()
    else:
        gone = ended_while(subject.disappear, lambda: runner.infer(inputs, tmp_path / "gone.npy", 0, SAMPLES))
        assert gone.status == "crashed" and gone.reason and gone.remedy and not (tmp_path / "gone.npy").exists()
    assert subject.back is None or subject.back.wait(60)
    assert runner.infer(inputs, tmp_path / "again.npy", 0, 2).ok
    np.testing.assert_allclose(np.load(tmp_path / "again.npy"), expected(inputs)[:2], atol=1e-5)


def ended_while(disappear: Callable[[], None], verb: Callable[[], Outcome]) -> Outcome:
    """Return the outcome of a verb during which the device disappears again and again."""
    done = threading.Event()

    def pull() -> None:
        while not done.wait(0.02):
            disappear()

    thread = threading.Thread(target=pull)
    thread.start()
    try:
        return verb()
    finally:
        done.set()
        thread.join()


def test_what_was_put_there_is_removed_and_put_again(
    subject: Subject, devices: OpenDevices, target: Target, artifact: Artifact, inputs: Path
) -> None:
    assert devices[subject.name].clean()
    assert devices.open_runner(artifact, target, timeout_seconds=120).load(inputs).ok
