"""Several devices in one run: each is timed against itself, accuracy is compared, and the commands name them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgeproof as ep
from edgeproof.cli.main import status
from edgeproof.core.codec import read_json
from edgeproof.core.device_files import user_file
from edgeproof.core.progress import Silent
from edgeproof.core.results import load_results
from edgeproof.evaluate import sustained
from edgeproof.workflows.devices import target_names

from ..support.adb_device import AdbDevice, adb_device
from ..support.bundle_models import mean_colour_model
from ..support.ssh_server import SshServer, ssh_server

DEVICES = '[device.bench]\nkind = "local"\n'
LATENCY = {"processes": 2, "warmup_seconds": 0.001, "run_seconds": 0.02}


@pytest.fixture(autouse=True)
def _declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    user_file().parent.mkdir(parents=True)
    user_file().write_text(DEVICES)


def test_devices_are_timed_apart_and_their_accuracies_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sustained, "BURST_SECONDS", 0.01)
    for name in ("one", "two"):
        (tmp_path / f"{name}.tflite").write_bytes(mean_colour_model())
    rng = np.random.default_rng(0)
    samples = (rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), [2] * 6)
    run = ep.evaluate(
        [tmp_path / "one.tflite", tmp_path / "two.tflite"], samples, ["local/litert", "bench/litert"],
        out=tmp_path / "run", latency={**LATENCY, "sustained_minutes": 0.001}, value_range=(0, 1),
        labels=("red", "green", "blue"),
        budget={"max_accuracy_drop": 1.0},
    )  # fmt: skip
    rows = {(m.artifact, m.target): m for m in run.results.measurements}
    assert {m.device for m in rows.values()} == {"local", "bench"} and len(rows) == 4
    assert all(m.status == "ok" and m.accuracy == 1.0 and m.latency_ms for m in rows.values())
    for m in rows.values():
        assert m.latency_ratio is not None and m.latency_ratio.anchor.endswith(f"@{m.device}/litert")
    assert {row["anchor"].rpartition("@")[2] for row in run.results.bench} == {"local/litert", "bench/litert"}
    assert [row["target"] for row in run.results.sustained] == ["local/litert", "bench/litert"]
    assert all(row["status"] == "ok" and len(row["by_minute"]) == 1 for row in run.results.sustained)
    assert run.results.environments.keys() == {"local", "bench"}
    assert load_results(run.folder).environments == run.results.environments
    chosen = run.results.recommendation
    assert chosen["target"] == "local/litert" and "not compared with those on bench" in chosen["why"]
    assert {choice["target"]: choice["artifact"] for choice in chosen["targets"]}.keys() == {
        "local/litert", "bench/litert",
    }  # fmt: skip
    page, words = (run.folder / "report.html").read_text(), (run.folder / "report.md").read_text()
    assert "one" in page and page.count("scatter") >= 2 and "bench: Processor" in page and "bench: Processor" in words
    if "could tell apart" in words:
        assert "The device bench could tell apart" in words


def test_the_commands_name_declared_devices(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert status(["devices", "--json"]) == 0
    listed = {row["target"]: row for row in json.loads(capfd.readouterr().out)}
    assert listed["bench/litert"]["version"] == listed["local/litert"]["version"]
    assert {"bench/litert", "local/litert"} <= set(target_names())
    assert status(["devices", "clean", "bench"]) == 0
    assert capfd.readouterr().out.startswith("bench: nothing was put there")
    assert status(["doctor", "bench", "--json"]) == 0
    assert "bench/litert" in {check["what"] for check in json.loads(capfd.readouterr().out)["checks"]}
    for command in (["devices", "clean", "bnch"], ["doctor", "bnch"]):
        assert status(command) == 2
        assert "did you mean 'bench'" in capfd.readouterr().err
    assert status(["doctor", "--fix"]) == 2
    capfd.readouterr()
    (tmp_path / "m.tflite").write_bytes(mean_colour_model())
    on = ["evaluate", str(tmp_path / "m.tflite"), "--data", "builtin:fashion-mnist-mini", "--on"]
    assert status([*on, "pi/litert"]) == 2
    assert "unknown device 'pi'" in capfd.readouterr().err


def test_a_device_that_is_away_keeps_no_other_from_being_cleaned(
    capfd: pytest.CaptureFixture[str],
) -> None:
    user_file().write_text(f'{DEVICES}\n[device.away]\nkind = "ssh"\nhost = "nowhere.invalid"\n')
    assert status(["devices", "clean", "away", "bench"]) == 3
    error = capfd.readouterr().err
    assert "nowhere.invalid is not known" in error and "bench: nothing was put there" in error
    user_file().write_text('[device.away]\nkind = "ssh"\nhost = "no where"\n')
    assert status(["devices"]) == 2
    error = capfd.readouterr().err
    assert "device.away.host: not of the form that this key takes" in " ".join(error.split()) and "no where" in error


class Pulls(Silent):
    """Pulls the cable in the middle of the first latency measurement on a device."""

    def __init__(self, server: SshServer | AdbDevice) -> None:
        self.server, self.pulled = server, False

    def progress(self, task: str, done: float, total: float, detail: str = "") -> None:
        if task == "latency" and not self.pulled:
            self.pulled = True
            self.server.cut()


def test_pulling_the_cable_in_the_middle_loses_nothing_that_was_measured(tmp_path: Path) -> None:
    with ssh_server(tmp_path / "s") as server:
        table = server.table()
        user_file().write_text(
            f'[device.board]\nkind = "ssh"\nhost = "board"\nconfig = "{table.config}"\npython = "{table.python}"\n'
            f'folder = "{table.folder}"\n'
        )
        (tmp_path / "m.tflite").write_bytes(mean_colour_model())
        samples = (np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), [2] * 6)

        def evaluated(listener: Silent) -> ep.Run:
            return ep.evaluate(
                tmp_path / "m.tflite", samples, ["board/litert"], out=tmp_path / "run",
                latency={**LATENCY, "run_seconds": 0.2},
                value_range=(0, 1), labels=("red", "green", "blue"), progress=listener,
            )  # fmt: skip

        pulls = Pulls(server)
        (first,) = evaluated(pulls).results.measurements
        assert pulls.pulled and first.status == "crashed" and "connection to board ended" in first.reason
        assert first.accuracy == 1.0 and first.latency_ms is None
        answers = next((tmp_path / "run" / ".store" / "answers").iterdir())
        stamp = (answers / "outputs.npy").stat().st_mtime_ns
        run = evaluated(Silent())
        (row,) = run.results.measurements
        assert row.status == "ok" and row.accuracy == 1.0 and row.latency_ms is not None
        assert (answers / "outputs.npy").stat().st_mtime_ns == stamp, "what it answered is taken from the store"
        server.stop()
        (offline,) = evaluated(Silent()).results.measurements
        assert replace(offline, measured_at="") == replace(row, measured_at=""), "what was measured stays"
        assert run.results.environment["cores"] >= 1 and "The device board" in (run.folder / "report.md").read_text()


def test_pulling_the_cable_of_a_phone_loses_nothing_that_was_measured(tmp_path: Path) -> None:
    with adb_device(tmp_path / "d") as device:
        table = device.table()
        user_file().write_text(
            f'[device.phone]\nkind = "adb"\nserial = "{table.serial}"\nadb = "{table.adb}"\nfolder = "{table.folder}"\n'
            f'benchmark_model = "{device.tool()}"\n'
        )
        (tmp_path / "m.tflite").write_bytes(mean_colour_model())
        samples = (np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8), [2] * 3)

        def evaluated(listener: Silent) -> ep.Run:
            return ep.evaluate(
                tmp_path / "m.tflite", samples, ["phone/benchmark-model"], out=tmp_path / "run", latency=LATENCY,
                value_range=(0, 1), labels=("red", "green", "blue"), progress=listener,
            )  # fmt: skip

        pulls = Pulls(device)
        (first,) = evaluated(pulls).results.measurements
        assert pulls.pulled and first.status == "crashed" and first.remedy
        assert first.accuracy == 1.0 and first.latency_ms is None
        run = evaluated(Silent())
        (row,) = run.results.measurements
        assert row.status == "ok" and row.accuracy == 1.0 and row.latency_ms is not None
        raw = read_json(run.folder / str(row.raw))
        assert all(set(process["bursts"]) == {3} for process in raw["processes"])
        assert (
            run.results.environment["battery_percent"] == 84.0 and "Battery" in (run.folder / "report.md").read_text()
        )
        device.stop()
        (offline,) = evaluated(Silent()).results.measurements
        assert replace(offline, measured_at="") == replace(row, measured_at=""), "what was measured stays"
