"""benchmark_model on a phone: delegates are judged by their answers, and what goes wrong is a row with a remedy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli.main import status
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.device_files import user_file
from edgeproof.core.errors import StageError
from edgeproof.core.model import InputContract
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target, with_cpu
from edgeproof.devices import OpenDevices
from edgeproof.devices.adb import benchmark_runner
from edgeproof.devices.adb.phone import AdbPhone
from edgeproof.tasks.boxes import reading_of
from edgeproof.workflows.model_files import open_artifact

from ..support.adb_device import AdbDevice, adb_device
from ..support.bundle_models import mean_colour_model
from ..support.detectors import POSTPROCESS_SIDE, pictures, postprocess_file
from ..support.serving import served

CPU, GPU, NNAPI = (Target("phone", f"benchmark-model{name}") for name in ("", "-gpu", "-nnapi"))

FOR_ARM = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\xb7\0"  # the head of a program for arm64


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbDevice]:
    with adb_device(tmp_path_factory.mktemp("adb") / "d") as device:
        yield device


@pytest.fixture
def devices(device: AdbDevice) -> Iterator[OpenDevices]:
    with OpenDevices(device.devices(benchmark_model=device.tool())) as devices:
        yield devices


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "test.npy"
    np.save(path, np.random.default_rng(1).random((3, 8, 8, 3), np.float32))
    return path


def phone(devices: OpenDevices) -> AdbPhone:
    opened = devices["phone"]
    assert isinstance(opened, AdbPhone)
    return opened


def program(folder: Path, text: str | bytes) -> str:
    path = folder / "benchmark_model"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o755)
    return str(path)


def loaded(device: AdbDevice, artifact: Artifact, inputs: Path, tool: str, target: Target = CPU) -> Outcome:
    with OpenDevices(device.devices(benchmark_model=tool)) as devices:
        return devices.open_runner(artifact, target, timeout_seconds=60).load(inputs)


def test_a_delegate_says_what_it_took_and_answers_the_same_samples(
    devices: OpenDevices, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    assert with_cpu([str(GPU)]) == (str(CPU), str(GPU))
    outcome = devices.open_runner(artifact, GPU, timeout_seconds=60).load(inputs)
    assert outcome.ok, outcome.reason
    assert outcome.data["placement"] == {
        "delegated": 2, "operators": 3, "partitions": 2, "adapter": "GPU (OpenCL)", "kept": {"OTHERS": 1},
        "software": False,
    }  # fmt: skip
    assert devices.open_runner(artifact, GPU, timeout_seconds=60).infer(inputs, tmp_path / "gpu.npy", 0, 3).ok
    assert devices.open_runner(artifact, Target("local", "litert")).infer(inputs, tmp_path / "cpu.npy", 0, 3).ok
    np.testing.assert_allclose(np.load(tmp_path / "gpu.npy"), np.load(tmp_path / "cpu.npy"), atol=1e-6)
    none = devices.open_runner(artifact, NNAPI, timeout_seconds=60).load(inputs)
    assert none.status == "unsupported" and "runs none of the file's 3 operators" in none.reason and none.remedy
    environment = phone(devices).environment()
    assert environment["packages"]["benchmark_model"].startswith("SHA-256 ")
    assert phone(devices).runtimes()["benchmark-model-gpu"] == phone(devices).tool.version != ""


def test_all_outputs_of_a_detector_come_back(devices: OpenDevices, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pictures(POSTPROCESS_SIDE, 3).astype(np.float32))
    artifact = open_artifact(postprocess_file(tmp_path / "ends.tflite"))
    reading = reading_of(artifact.outputs, (8, 8))
    assert len(reading.outputs) == 4
    contract = InputContract("image", artifact.inputs[0].shape, "float32", kind="tensor")
    artifact = replace(artifact, contract=contract, boxes=reading)
    for target, name in ((CPU, "there.npy"), (Target("local", "litert"), "here.npy")):
        outcome = devices.open_runner(artifact, target, timeout_seconds=60).infer(
            tmp_path / "x.npy", tmp_path / name, 0, 3
        )
        assert outcome.ok, outcome.reason
    here, there = np.load(tmp_path / "here.npy"), np.load(tmp_path / "there.npy")
    assert there.shape == (3, sum(reading.values)) and np.count_nonzero(there[0]) > 20
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_older_tools_tell_less_and_are_used_all_the_same(
    device: AdbDevice, devices: OpenDevices, artifact: Artifact, inputs: Path
) -> None:
    runner = devices.open_runner(artifact, CPU, timeout_seconds=60)
    device.variables["STAND_IN"] = "old"
    try:
        outcome = runner.load(inputs)
        assert outcome.ok and outcome.data["load_ms"] > 0 and outcome.data["peak_memory_bytes"] == 0
        with served(runner, inputs) as server:
            assert server.ask({"do": "open"}).ok
            warm = server.ask({"do": "warm", "seconds": 0.01})
            assert (
                warm.data["warmup_runs"] >= 1 and warm.data["runs_each"] == 3 and warm.data["steady"] in (True, False)
            )
            assert len(server.ask({"do": "burst", "runs": 40, "sample": 1}).data["runs_ms"]) == 3
        device.variables["STAND_IN"] = "mute"
        refused = runner.load(inputs)
        assert refused.status == "unsupported" and "writes no answers" in refused.reason
        assert "2.11 or newer" in refused.remedy
    finally:
        device.variables.clear()
    several = runner.serve(inputs, batch=4)
    assert isinstance(several, Outcome) and several.status == "unsupported" and "latency.batch" in several.remedy


@pytest.mark.parametrize(
    ("text", "state", "reason", "remedy"),
    [
        (FOR_ARM, "unsupported", "is built for arm64-v8a, the device runs x86_64", "nightly"),
        ("#!/nonexistent\n", "failed", "cannot run benchmark_model", "for this device's processor"),
        ("#!/bin/sh\nkill -SEGV $$\n", "crashed", "ended by signal 11", "do not ship"),
        ("#!/bin/sh\necho hello\n", "failed", "printed no times", "benchmark_model = …"),
        ("#!/bin/sh\necho 'ERROR: Failed to apply GPU delegate.'; exit 1\n", "unsupported", "GPU delegate", "another"),
        ("#!/bin/sh\necho \"Didn't find op for builtin opcode 'GELU' version '2'\" >&2; exit 1\n", "unsupported",
         "needs operator GELU version 2", "newer runtime"),
        ("#!/bin/sh\nhead -c 300000 /dev/zero\n", "failed", "longer than any can be", "in place of"),
    ],
)  # fmt: skip
def test_a_program_that_is_not_the_tool_is_a_row_with_a_remedy(
    device: AdbDevice, artifact: Artifact, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    text: str | bytes, state: str, reason: str, remedy: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(benchmark_runner, "_MOST_LOG", 1 << 16)
    outcome = loaded(device, artifact, inputs, program(tmp_path, text))
    assert outcome.status == state and reason in outcome.reason and remedy in outcome.remedy, outcome


def test_a_folder_has_a_tool_for_each_processor(device: AdbDevice, tmp_path: Path) -> None:
    def tool(place: str) -> tuple[Path | None, str]:
        with OpenDevices(device.devices(benchmark_model=place)) as devices:
            found = phone(devices).tool
            return found.path, found.reason

    assert "no benchmark_model is named" in tool("")[1] and "there is no" in tool(str(tmp_path / "none"))[1]
    assert "has no benchmark_model for x86_64, x86" in tool(str(tmp_path))[1]
    for name in ("android_aarch64_benchmark_model", "android_x86_benchmark_model", "x86_64/benchmark_model"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
        assert tool(str(tmp_path))[0] == (None if "aarch64" in name else tmp_path / name)


def test_a_full_phone_and_a_file_that_is_damaged_on_its_way(
    device: AdbDevice, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.tflite"
    other.write_bytes(mean_colour_model() + b"\0" * 64)
    fresh = replace(artifact, path=other, sha256=sha256_file(other))
    device.full = True
    try:
        outcome = loaded(device, fresh, inputs, device.tool())
    finally:
        device.full = False
    assert outcome.status == "crashed" and "is full" in outcome.reason and "devices clean phone" in outcome.remedy
    device.program("sha256sum", f"#!/bin/sh\necho '{'0' * 64}  ../../x'\n")
    try:
        damaged = loaded(device, fresh, inputs, device.tool())
    finally:
        (device.bin / "sha256sum").unlink()
    assert damaged.status == "failed" and "damaged on its way" in damaged.reason and damaged.remedy
    assert not (device.home / "files" / f"{fresh.sha256}.tflite").exists()
    assert loaded(device, fresh, inputs, device.tool()).ok


@pytest.mark.parametrize("stage", ["put", "load", "infer", "burst"])
def test_the_cable_is_pulled_at_any_stage_and_what_comes_after_goes_on(
    device: AdbDevice, artifact: Artifact, inputs: Path, tmp_path: Path, stage: str
) -> None:
    asleep, cut = tmp_path / "asleep", tmp_path / "cut"
    pause = f"#!/bin/sh\nif [ -e {cut} ]; then touch {asleep}; sleep 60; fi\nexec "
    tool = program(tmp_path, f'{pause}{device.tool()} "$@"\n')
    if stage == "put":
        device.program("sha256sum", f'{pause}/usr/bin/sha256sum "$@"\n')
    with OpenDevices(device.devices(benchmark_model=tool, folder=str(tmp_path / "shelf"))) as devices:
        runner = devices.open_runner(artifact, CPU, timeout_seconds=60)
        server = runner.serve(inputs)
        assert not isinstance(server, Outcome) and server.ready().ok
        if stage != "put":
            assert server.ask({"do": "open"}).ok
        if stage != "burst":
            server.close()

        def pull() -> None:
            while not asleep.exists():
                time.sleep(0.02)
            device.cut()

        cut.touch()
        thread = threading.Thread(target=pull)
        thread.start()
        doing: dict[str, Callable[[], Outcome]] = {
            "infer": lambda: runner.infer(inputs, tmp_path / "a.npy", 0, 3),
            "burst": lambda: server.ask({"do": "burst", "runs": 3, "sample": 0}),
        }
        outcome = doing.get(stage, lambda: runner.load(inputs))()
        thread.join()
        cut.unlink()
        if stage == "burst":
            assert server.ask({"do": "state"}).status == "crashed"
            server.close()
        assert outcome.status == "crashed", outcome
        assert re.search(r"connection to 127\.0\.0\.1:\d+ ended|127\.0\.0\.1:\d+ is offline", outcome.reason)
        assert outcome.remedy
        assert not (tmp_path / "a.npy").exists()
        assert runner.infer(inputs, tmp_path / "b.npy", 0, 3).ok
        assert np.load(tmp_path / "b.npy").shape == (3, 3)
    (device.bin / "sha256sum").unlink(missing_ok=True)


def test_two_machines_do_not_time_on_one_phone(
    device: AdbDevice, devices: OpenDevices, artifact: Artifact, inputs: Path
) -> None:
    runner = devices.open_runner(artifact, CPU, timeout_seconds=60)
    with OpenDevices(device.devices(benchmark_model=device.tool())) as others:
        phone(others).owner["host"] = "lab'; reboot #7"
        with served(others.open_runner(artifact, CPU, timeout_seconds=60), inputs):
            second = runner.serve(inputs)
            assert not isinstance(second, Outcome)
            refused = second.ready()
            assert second.ask({"do": "open"}) == refused
            second.close()
            assert refused.status == "skipped" and "lab???reboot??7 is timing files on" in refused.reason
            assert runner.load(inputs).ok, "answers are taken all the same"
    for _ in range(100):  # the other one's process ends a moment after its connection
        third = runner.serve(inputs)
        assert not isinstance(third, Outcome)
        outcome = third.ready()
        third.close()
        if outcome.ok:
            break
        time.sleep(0.05)
    assert outcome.ok, outcome.reason
    claim = device.home / "claim"
    claim.mkdir(exist_ok=True)
    for name, text in (("pid", "999999999"), ("token", "another"), ("host", "another")):
        (claim / name).write_text(text)
    with served(runner, inputs):
        pass  # what a process left that has ended holds nobody up


def test_what_is_stored_of_a_phone_is_found_while_it_is_away(
    device: AdbDevice, artifact: Artifact, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    other = AdbDevice(device.folder, device.server_port)
    declared = other.devices(benchmark_model=device.tool())
    with OpenDevices(declared) as devices:
        runner = devices.open_runner(artifact, CPU, timeout_seconds=60)
        identity = runner.identity()
        assert runner.load(inputs).ok and identity["runtime_version"] and identity["model"]
    other.stop()
    with OpenDevices(declared) as devices:
        runner = devices.open_runner(artifact, CPU, timeout_seconds=60)
        assert runner.identity() == identity and phone(devices).environment()["unreachable"]
        outcome = runner.load(inputs)
        assert outcome.status == "skipped" and "is not connected" in outcome.reason and outcome.remedy
        with pytest.raises(StageError, match="phone"):
            phone(devices).clean()


def test_one_machine_times_several_files_side_by_side(devices: OpenDevices, artifact: Artifact, inputs: Path) -> None:
    first, second, python = (
        devices.open_runner(artifact, target, timeout_seconds=60)
        for target in (CPU, GPU, replace(CPU, runtime="litert"))
    )
    with served(first, inputs) as one, served(second, inputs) as other, served(python, inputs):
        assert one.ask({"do": "open"}).ok and other.ask({"do": "open"}).ok
        one.close()
        assert other.ask({"do": "burst", "runs": 3, "sample": 0}).ok, "the device is still this machine's"
    for _ in range(3):
        with served(first, inputs):
            pass  # its own process that is about to end holds nobody up


def test_what_was_put_there_is_there_once_and_put_again_when_somebody_removes_it(
    device: AdbDevice, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    with OpenDevices(device.devices(benchmark_model=device.tool(), folder=str(shelf))) as devices:
        runner = devices.open_runner(artifact, CPU, timeout_seconds=60)
        assert runner.load(inputs).ok
        stored = shelf / "files" / f"{artifact.sha256}.tflite"
        stored.unlink()
        assert runner.infer(inputs, tmp_path / "a.npy", 0, 2).ok, "what somebody has removed is put there again"
        assert stored.is_file() and not list(shelf.glob("work-*")) and not list(shelf.glob("files/*.part"))
        (shelf / "files" / "mine").write_text("not ours")
        (shelf / "work-old").mkdir()
        assert phone(devices).clean().startswith("removed ")
        assert [path.name for path in shelf.rglob("*")] == ["files", "mine"]
        (shelf / "files" / "mine").unlink()
        assert phone(devices).clean() == "removed 0 files, 0.0 MiB" and not shelf.exists()
        assert phone(devices).clean() == "removed 0 files, 0.0 MiB"


def alive(pid: Path) -> bool:
    return Path(f"/proc/{pid.read_text().strip() or 0}").exists()


def test_the_scripts_are_those_of_android_s_shell(
    device: AdbDevice, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    """mksh and toybox are Android's shell and its programs; Debian's toybox lacks dd, which Android's has."""
    shell, toybox = shutil.which("mksh"), shutil.which("toybox")
    if not shell or not toybox:
        pytest.skip("mksh and toybox are not installed (Debian: mksh, toybox)")
    for name in subprocess.run([toybox], capture_output=True, text=True, check=True).stdout.split():
        if name != "[":
            (tmp_path / name).symlink_to(toybox)
    if not (tmp_path / "dd").exists():
        (tmp_path / "dd").symlink_to(shutil.which("dd") or "/bin/dd")
    device.shell, device.variables["PATH"] = shell, f"{device.bin}:{tmp_path}"
    shelf = tmp_path / "shelf"
    try:
        with OpenDevices(device.devices(benchmark_model=device.tool(), folder=str(shelf))) as devices:
            runner = devices.open_runner(artifact, CPU, timeout_seconds=60)
            assert runner.load(inputs).ok and runner.infer(inputs, tmp_path / "a.npy", 0, 2).ok
            with served(runner, inputs) as server:
                assert server.ask({"do": "open"}).ok and server.ask({"do": "burst", "runs": 3, "sample": 1}).ok
                assert server.ask({"do": "state"}).data["conditions"]["screen"] == "on"
            while (shelf / "claim").exists() and (shelf / "claim" / "pid").exists() and alive(shelf / "claim" / "pid"):
                time.sleep(0.02)
            assert phone(devices).clean().startswith("removed ") and not shelf.exists()
    finally:
        device.shell = "/bin/sh"
        device.variables.clear()


def test_doctor_says_that_the_tool_is_missing_or_for_another_processor(
    device: AdbDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    user_file().parent.mkdir(parents=True)
    table = device.table()

    def doctor(tool: str) -> tuple[int, dict[str, dict[str, Any]]]:
        user_file().write_text(
            f'[device.phone]\nkind = "adb"\nserial = "{table.serial}"\nadb = "{table.adb}"\nfolder = "{table.folder}"\n'
            f'python = "python3.99"\nbenchmark_model = "{tool}"\n'
        )
        code = status(["doctor", "phone", "--json"])
        return code, {check["what"]: check for check in json.loads(capfd.readouterr().out)["checks"]}

    code, checks = doctor("")
    assert code == 1 and checks["runtime"]["state"] == "missing" and checks["Python"]["state"] == "note"
    assert "no benchmark_model is named" in checks["phone/benchmark-model"]["found"]
    code, checks = doctor(program(tmp_path, FOR_ARM))
    assert code == 1 and "built for arm64-v8a" in checks["benchmark_model"]["found"]
    assert checks["benchmark_model"]["remedy"]
    code, checks = doctor(device.tool())
    assert (
        code == 0 and checks["phone/benchmark-model"]["state"] == checks["phone/benchmark-model-gpu"]["state"] == "ok"
    )
