"""A phone's browser as a device, by a link: a browser of this machine opens it, on loopback and as a phone would."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof import evaluate
from edgeproof.cli.commands.devices import _qr_code
from edgeproof.cli.main import status
from edgeproof.core.device_tables import Devices, LinkTable
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Silent
from edgeproof.core.results import load_results
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.browser.link import LinkDevice
from edgeproof.devices.browser.link_host import _own_addresses, hold, links_folder

from ..support.device_kinds import LinkedBrowser, browser_program
from ..support.micro_files import CLASSES, dense, features


@pytest.fixture(scope="module")
def phone() -> Iterator[LinkedBrowser]:
    with LinkedBrowser() as phone:
        yield phone


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return features(tmp_path_factory.mktemp("samples") / "x.npy", 24)


class ClosesThePage(Silent):
    """Closes the page as soon as files are timed."""

    def __init__(self, phone: LinkedBrowser) -> None:
        self.phone, self.closed = phone, threading.Event()

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        if task.startswith("latency") and not self.closed.is_set():
            self.closed.set()
            self.phone.close_page()


def test_a_page_that_is_closed_in_the_middle_is_a_row_and_a_rerun_goes_on(
    phone: LinkedBrowser, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.toml").write_text(f'[device.{phone.name}]\nkind = "link"\n')
    monkeypatch.chdir(tmp_path)
    file = dense(tmp_path / "m--tflite-float32.tflite", "float32")
    x = np.load(samples)

    def run(listener: Any) -> Any:
        latency = {"warmup_seconds": 0.01, "run_seconds": 0.2, "processes": 2, "max_seconds": 0}
        data, targets = (x, np.arange(len(x)) % CLASSES), [f"{phone.name}/litert-js"]
        folder = evaluate([file], data, targets, out=tmp_path / "out", latency=latency, progress=listener).folder
        (row,) = [m for m in load_results(folder).measurements if m.device == phone.name]
        return row

    closing = ClosesThePage(phone)
    row = run(closing)
    assert closing.closed.is_set() and row.status == "crashed" and "page" in row.reason and "link" in row.remedy
    assert row.accuracy is not None and row.samples == len(x), "what was measured stays"
    assert phone.here.wait(60)
    again = run(Silent())
    assert again.status == "ok" and again.latency_ms is not None and again.accuracy == row.accuracy
    assert again.kind == "measured" and again.fingerprint["timer_us"] > 0 and "Chrome" in again.fingerprint["browser"]


def test_two_processes_do_not_use_one_page(phone: LinkedBrowser, samples: Path, tmp_path: Path) -> None:
    file = dense(tmp_path / "m.tflite", "float32")
    first, second = LinkDevice(phone.name), LinkDevice(phone.name)
    target = Target(phone.name, "litert-js")
    server = first.open_runner(file, target, timeout_seconds=60).serve(samples)
    assert not isinstance(server, Outcome) and server.ready().ok
    refused = second.open_runner(file, target, timeout_seconds=60).load(samples)
    assert refused.status == "skipped" and "another edgeproof" in refused.reason and refused.remedy
    server.close()
    assert second.open_runner(file, target, timeout_seconds=60).load(samples).ok
    with pytest.raises(InputError, match="linked already"):
        hold(phone.name, "127.0.0.1", lambda kind, text: None, threading.Event())


def test_the_page_s_owner_alone_can_ask_it(phone: LinkedBrowser) -> None:
    place = links_folder() / f"{phone.name}.json"
    assert place.stat().st_mode & 0o077 == 0
    port = json.loads(place.read_text("utf-8"))["port"]
    for headers in ({}, {"Authorization": "Bearer guessed"}):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("POST", "/about", b"", headers)
        assert connection.getresponse().status == 403


def test_over_plain_http_a_page_has_one_thread_and_says_so(samples: Path, tmp_path: Path) -> None:
    own = [address for address in _own_addresses() if not address.startswith("127.")]
    if not own:
        pytest.skip("this machine has no address but loopback")
    file = dense(tmp_path / "m.tflite", "float32")
    with LinkedBrowser(own[0]) as phone, OpenDevices(phone.devices) as devices:
        assert phone.links[0].startswith(f"http://{own[0]}:")
        runner = devices.open_runner(file, Target(phone.name, "litert-js"), timeout_seconds=60)
        loaded = runner.load(samples)
        assert loaded.ok and loaded.data["timer_us"] >= 20 and loaded.data["kernels"] == "wasm", loaded
        assert devices[phone.name].environment()["isolated"] is False
        notes = {check.what: check.found for check in devices[phone.name].checks() if check.state == "note"}
        assert "one" in notes["threads"]
        refused = runner.serve(samples, threads=2)
        assert isinstance(refused, Outcome) and "one thread" in refused.reason and refused.remedy
        reason, remedy = devices.missing_runtime(Target(phone.name, "litert-js-webgpu")) or ("", "")
        assert "no WebGPU" in reason and f"{phone.name}/litert-js" in remedy


def test_without_a_page_it_says_what_to_do(samples: Path, tmp_path: Path) -> None:
    browser_program()
    with OpenDevices(Devices({"tablet": LinkTable()})) as devices:
        runner = devices.open_runner(dense(tmp_path / "m.tflite", "float32"), Target("tablet", "litert-js"))
        outcome = runner.load(samples)
        assert outcome.status == "skipped" and "edgeproof devices link --name tablet" in outcome.remedy
        assert "unreachable" in devices["tablet"].environment() and runner.free_bytes() > 1 << 20
        assert [check.state for check in devices["tablet"].checks()] == ["missing"]


def test_a_link_is_on_an_address_that_it_names(capfd: pytest.CaptureFixture[str]) -> None:
    assert status(["devices", "link", "--bind", "192.0.2.1"]) == 2
    assert "127.0.0.1" in capfd.readouterr().err
    assert status(["devices", "link", "--name", "browser"]) == 2
    assert 'kind = "link"' in capfd.readouterr().err


def test_a_code_for_the_camera_is_square() -> None:
    pytest.importorskip("segno", reason="segno is not installed here")
    lines = [line[2:] for line in _qr_code("http://192.168.1.2:40737/" + "x" * 43 + "/") if line]
    assert len({len(line) for line in lines}) == 1 and len(lines) == (len(lines[0]) + 1) // 2
