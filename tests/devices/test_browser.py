"""Models in the page of a browser: real Chromium, and a program in its place that answers what no page of ours does."""

from __future__ import annotations

import http.client
import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgeproof.cli.main import status
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.device_tables import BrowserTable, Devices
from edgeproof.core.errors import StageError
from edgeproof.core.model import InputContract
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.browser import device as browser
from edgeproof.devices.browser import packages as browser_packages
from edgeproof.devices.browser.packages import PACKAGES
from edgeproof.devices.browser.page_host import GoneError, PageHost
from edgeproof.devices.browser.page_runner import clock_step
from edgeproof.tasks.boxes import reading_of
from edgeproof.workflows.model_files import open_artifact

from ..support.detectors import POSTPROCESS_SIDE, onnx_detector, pictures, postprocess_file
from ..support.device_kinds import browser_program
from ..support.micro_files import CLASSES, dense, dense_int8_inside, difference, features, schema
from ..support.operator_files import built
from ..support.text_probe import probe_artifact
from ..support.text_tokenizers import LENGTH, ODD, tokenizer_folder

LITERT_JS, LOCAL = Target("browser", "litert-js"), Target("local", "litert")


@pytest.fixture(scope="module")
def devices() -> Iterator[OpenDevices]:
    browser_program()
    with OpenDevices() as opened:
        yield opened


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return features(tmp_path_factory.mktemp("samples") / "x.npy", 12)


def answers(devices: OpenDevices, artifact: Artifact, target: Target, inputs: Path, folder: Path) -> np.ndarray:
    path = folder / f"{target.device}.npy"
    outcome = devices.open_runner(artifact, target, timeout_seconds=120).infer(inputs, path, 0, 12)
    assert outcome.ok, outcome.reason
    return np.asarray(np.load(path))


@pytest.mark.parametrize("make", [dense_int8_inside, lambda path: dense(path, "float32")], ids=["int8", "float32"])
def test_answers_in_a_page_are_those_of_this_machine(
    devices: OpenDevices, samples: Path, tmp_path: Path, make: Callable[[Path], Artifact]
) -> None:
    artifact = make(tmp_path / "m.tflite")
    here, there = (answers(devices, artifact, target, samples, tmp_path) for target in (LOCAL, LITERT_JS))
    assert len(np.unique(here, axis=0)) > 3
    np.testing.assert_allclose(there, here, rtol=0, atol=0 if artifact.scheme == "int8" else 1e-5)


def test_inputs_find_their_places_by_name(devices: OpenDevices, tmp_path: Path) -> None:
    kind = np.dtype([("about_right", np.float32, (CLASSES,)), ("left", np.float32, (CLASSES,))])
    values = np.zeros(12, kind)
    values["left"], values["about_right"] = 3.0, np.arange(12)[:, None]
    np.save(tmp_path / "x.npy", values)
    found = answers(devices, difference(tmp_path / "m.tflite"), LITERT_JS, tmp_path / "x.npy", tmp_path)
    np.testing.assert_array_equal(found, np.repeat(3.0 - np.arange(12, dtype=np.float32)[:, None], CLASSES, 1))


def test_an_onnx_file_answers_as_on_this_machine(devices: OpenDevices, samples: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed here")
    rng = np.random.default_rng(2)
    weights = onnx.numpy_helper.from_array(rng.normal(size=(16, 5)).astype(np.float32), "w")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["s"]), onnx.helper.make_node("Softmax", ["s"], ["y"])],
        "m", [value("x", onnx.TensorProto.FLOAT, ["batch", 16])], [value("y", onnx.TensorProto.FLOAT, ["batch", 5])],
        [weights],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    contract = InputContract("x", (1, 16), kind="tensor")
    artifact = Artifact("m", "m", "onnx", "float32", path, sha256=sha256_file(path), contract=contract)
    here = answers(devices, artifact, Target("local", "onnxruntime"), samples, tmp_path)
    there = answers(devices, artifact, Target("browser", "onnxruntime-web"), samples, tmp_path)
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-5)


def test_all_outputs_of_a_detector_come_back_also_where_pictures_have_another_number_of_boxes(
    devices: OpenDevices, tmp_path: Path
) -> None:
    x = pictures(POSTPROCESS_SIDE, 12).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    x[5] = 0  # it has no box
    np.save(tmp_path / "planes.npy", x.transpose(0, 3, 1, 2))
    for path, ours, name, theirs in (
        (onnx_detector(tmp_path / "rows.onnx", False), "onnxruntime", "planes.npy", "onnxruntime-web"),
        (postprocess_file(tmp_path / "ends.tflite"), "litert", "x.npy", "litert-js"),
    ):
        artifact = open_artifact(path)
        first = artifact.inputs[0]
        contract = InputContract(first.name, first.shape, first.dtype, kind="tensor")
        artifact = replace(artifact, contract=contract, boxes=reading_of(artifact.outputs, (8, 8)))
        targets = Target("local", ours), Target("browser", theirs)
        here, there = (answers(devices, artifact, target, tmp_path / name, tmp_path) for target in targets)
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-5)
        assert len({int((row != 0).sum()) for row in here}) > 2 and (ours == "litert" or not here[5].any())


def test_texts_are_tokenized_here(devices: OpenDevices, tmp_path: Path) -> None:
    tokenizer_folder("wordpiece", tmp_path)
    texts = tmp_path / "x.jsonl"
    texts.write_text("".join(f"{json.dumps(text)}\n" for text in ODD[:12]))
    artifact = probe_artifact(tmp_path, LENGTH)
    here, there = (answers(devices, artifact, target, texts, tmp_path) for target in (LOCAL, LITERT_JS))
    assert len(np.unique(here, axis=0)) > 2
    np.testing.assert_array_equal(there, here)


def test_a_file_with_int8_edges_is_refused_with_what_to_do(devices: OpenDevices, samples: Path, tmp_path: Path) -> None:
    outcome = devices.open_runner(dense(tmp_path / "m.tflite", "int8"), LITERT_JS, timeout_seconds=120).load(samples)
    assert outcome.status == "unsupported" and "INT8" in outcome.reason and "tflite:int8" in outcome.remedy


@pytest.mark.parametrize(
    ("found", "step"), [(4.9999999, 5.0), (5.0000001, 5.0), (99.99999, 100.0), (1000.1, 1000.0), (16.6, 20.0)]
)
def test_a_clock_s_step_is_the_same_each_time_it_is_found(found: float, step: float) -> None:
    assert clock_step(found) == step


def test_a_page_says_what_it_is_and_leaves_nothing(devices: OpenDevices, samples: Path, tmp_path: Path) -> None:
    checks = {check.what: check for check in devices["browser"].checks()}
    assert checks["page"].state == "ok" and "isolated" in checks["page"].found
    outcome = devices.open_runner(dense(tmp_path / "m.tflite", "float32"), LITERT_JS, timeout_seconds=120).load(samples)
    assert outcome.ok and outcome.data["kernels"] == "wasm" and 0 < outcome.data["timer_us"] < 1e5
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended, or is a zombie
            assert "edgeproof-browser-" not in " ".join(process.cmdline())


def test_two_threads_are_two_threads(devices: OpenDevices, samples: Path, tmp_path: Path) -> None:
    runner = devices.open_runner(dense(tmp_path / "m.tflite", "float32"), LITERT_JS, timeout_seconds=120)
    server = runner.serve(samples, threads=2)
    assert not isinstance(server, Outcome)
    try:
        assert server.ready().ok and server.ask({"do": "open"}).data["kernels"] == "wasm, 2 threads"
        assert server.ask({"do": "burst", "runs": 3, "sample": 0}).ok
    finally:
        server.close()
    refused = runner.serve(samples, batch=4)
    assert isinstance(refused, Outcome) and refused.status == "unsupported" and refused.remedy


# A program in the browser's place: it claims the link as our page does, and answers what the test says.
_STAND_IN = """#!{python} -I
import http.client, json, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[-1])
about = {{"agent": "<b>x</b>\\n", "cores": 1, "isolated": True, "secure": True}}
link = http.client.HTTPConnection(url.netloc)
link.request("POST", url.path + "claim", json.dumps(about))
answer = link.getresponse()
answer.read()
cookie = {{"Cookie": answer.headers["Set-Cookie"].split(";")[0]}}
while True:
    link = http.client.HTTPConnection(url.netloc)
    link.request("POST", url.path + "poll", "", cookie)
    for request in json.loads(link.getresponse().read()):
        if request["do"] == "end":
            sys.exit()
        if request["do"] != {at!r}:
            reply = json.dumps({{"status": "ok", "data": {data!r}[request["do"]]}}).encode()
        else:
            reply = {reply!r}
        if reply is None:
            sys.exit(3)
        link = http.client.HTTPConnection(url.netloc)
        link.putrequest("POST", url.path + "reply/" + str(request["id"]))
        for name, value in cookie.items():
            link.putheader(name, value)
        link.putheader("Content-Length", str({length!r} or len(reply)))
        link.endheaders()
        try:
            link.send(reply)
            link.getresponse().read()
        except OSError:
            pass
"""
_EDGE = {"name": "x", "dtype": "float32", "shape": [1, 16]}
_GOOD: dict[str, Any] = {
    "import": {"import_ms": 1.0, "import_memory_bytes": 1},
    "open": {"inputs": [_EDGE], "outputs": [{**_EDGE, "name": "y"}], "load_ms": 1.0, "whole": True},
    "feed": {},
    "first": {
        "first_ms": 1.0, "run_ms": 1.0, "timer_us": 5.0, "dtype": "float32", "answers": "AACAPw==",
        "peak_memory_bytes": 2,
    },
    "answer": {"dtype": "float32", "answers": "AACAPw==" , "peak_memory_bytes": 2},
}  # fmt: skip


@contextmanager
def stand_in(folder: Path, at: str, reply: bytes | None, length: int = 0) -> Iterator[OpenDevices]:
    """Open devices with one, ``odd``, whose browser answers `reply` at a request, and as our page does before."""
    program = folder / "browser"
    program.write_text(_STAND_IN.format(python=sys.executable, at=at, reply=reply, data=_GOOD, length=length))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with OpenDevices(Devices({"odd": BrowserTable(program=str(program))})) as devices:
        yield devices


def ok(**data: Any) -> bytes:
    return json.dumps({"status": "ok", "reason": "", "data": data}).encode()


@pytest.mark.parametrize(
    ("at", "reply", "length", "status", "words"),
    [
        ("import", b"<html>hello", 0, "failed", "is not readable JSON"),
        ("import", b"[" * 100_000, 0, "failed", "nested deeper"),
        ("import", ok(import_ms="1", import_memory_bytes=1), 0, "failed", "import_ms"),
        ("open", ok(**{**_GOOD["open"], "inputs": []}), 0, "failed", "inputs"),
        ("open", ok(**{**_GOOD["open"], "inputs": [{**_EDGE, "dtype": "object"}]}), 0, "failed", "dtype"),
        ("open", b"x", 1 << 30, "failed", "longer than any can be"),
        ("first", ok(**{**_GOOD["first"], "first_ms": -1.0}), 0, "failed", "first_ms"),
        ("first", ok(**{**_GOOD["first"], "answers": "AAA="}), 0, "failed", "bytes of float32"),
        ("answer", ok(**{**_GOOD["answer"], "answers": "%%%"}), 0, "failed", "not base64"),
        ("open", b'{"status": "unsupported", "reason": "no\\u001bkernel", "data": {}}', 0, "unsupported", "no kernel"),
        *((at, None, 0, "crashed", "the browser ended with exit status 3") for at in _GOOD),
    ],
)  # fmt: skip
def test_a_page_that_answers_anything_is_a_row(
    samples: Path, tmp_path: Path, at: str, reply: bytes | None, length: int, status: str, words: str
) -> None:
    browser_program()
    artifact = dense(tmp_path / "m.tflite", "float32")
    with stand_in(tmp_path, at, reply, length) as devices:
        runner = devices.open_runner(artifact, Target("odd", "litert-js"), timeout_seconds=30)
        outcome = runner.infer(samples, tmp_path / "y.npy", 0, 1)
    assert outcome.status == status, outcome
    assert words in outcome.reason and outcome.reason.isprintable() and len(outcome.reason) < 600
    assert not (tmp_path / "y.npy").exists()


def test_a_page_that_crashes_in_a_browser_that_lives_is_a_row(
    devices: OpenDevices, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "_GRACE", 1.0)
    server = devices.open_runner(dense(tmp_path / "m.tflite", "float32"), LITERT_JS, timeout_seconds=60).serve(samples)
    assert not isinstance(server, Outcome)
    try:
        assert server.ready().ok and server.ask({"do": "open"}).ok
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just ended, or is a zombie
                if "--type=renderer" in process.cmdline():
                    process.kill()
        gone = server.ask({"do": "burst", "runs": 5, "sample": 0})
        assert gone.status == "crashed" and "does not answer any more" in gone.reason and gone.remedy
    finally:
        server.close()


def test_a_file_whose_batch_is_of_any_size_is_refused_with_what_to_do(
    devices: OpenDevices, samples: Path, tmp_path: Path
) -> None:
    """As tf.lite.TFLiteConverter makes them of a Keras model."""
    artifact = dense(tmp_path / "m.tflite", "float32")
    assert artifact.path is not None
    model = schema.ModelT.InitFromPackedBuf(artifact.path.read_bytes(), 0)
    x = model.subgraphs[0].tensors[0]
    x.shapeSignature, x.hasRank = [-1, 16], True
    artifact.path.write_bytes(built(model))
    refused = devices.open_runner(artifact, LITERT_JS, timeout_seconds=120).load(samples)
    assert refused.status == "unsupported" and "its input x has the shape [-1, 16]" in refused.reason
    assert "batch_size=1" in refused.remedy


def test_a_killed_run_leaves_no_browser() -> None:
    """The browser ends with who started it; its profile is removed by `edgeproof devices clean`."""
    browser_program()
    code = (
        "import time; from edgeproof.core.device_tables import BrowserTable; from edgeproof.core.target import Target; "
        "from edgeproof.devices.browser.device import BrowserDevice; "
        "device = BrowserDevice('browser', BrowserTable()); talk = device.talk(Target('browser', 'litert-js'), 60); "
        "print(talk._browser.process.pid, flush=True); "
        "time.sleep(60)"
    )
    place = Path(tempfile.mkdtemp(prefix="edgeproof-test-", dir="/tmp"))
    environment = {**os.environ, "TMPDIR": str(place)}
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout is not None
    started = psutil.Process(int(owner.stdout.readline()))
    family = [started, *started.children(recursive=True)]
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until = time.monotonic() + 30
    while any(map(browser._runs, family)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(browser._runs, family))
    assert list(place.glob("edgeproof-browser-*"))
    subprocess.run(
        [sys.executable, "-m", "edgeproof", "devices", "clean", "browser"], env=environment, check=True,
        capture_output=True,
    )  # fmt: skip
    place.rmdir()  # it is empty


def test_the_path_of_temporary_files_may_be_long(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser makes a socket there, and the paths of sockets are short."""
    browser_program()
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with OpenDevices() as devices:
        loaded = devices.open_runner(dense(tmp_path / "m.tflite", "float32"), LITERT_JS, timeout_seconds=60).load(
            samples
        )
    assert loaded.ok, loaded.reason


def test_a_browser_that_shows_nothing_is_a_time_out(samples: Path, tmp_path: Path) -> None:
    browser_program()
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    with OpenDevices(Devices({"odd": BrowserTable(program=str(program))})) as devices:
        runner = devices.open_runner(
            dense(tmp_path / "m.tflite", "float32"), Target("odd", "litert-js"), timeout_seconds=1
        )
        assert runner.load(samples).status == "timeout"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PageHost]:
    (tmp_path / "model.bin").write_bytes(b"x" * 10)
    host = PageHost("box", {"runtime/a/model.bin": tmp_path / "model.bin"})
    yield host
    host.close()


def asked(
    host: PageHost, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, dict[str, str]]:
    link = http.client.HTTPConnection(host.address, timeout=10)
    link.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = link.getresponse()
    answer.read()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def test_a_link_is_for_one_page_and_serves_only_what_is_named(host: PageHost) -> None:
    base = "/" + host.link().split("/", 3)[3]
    runtime = f"{base}runtime/a/model.bin"
    assert asked(host, "GET", runtime)[0] == 403, "nothing but the page itself before it has claimed the link"
    status, headers = asked(host, "GET", base)
    assert status == 200 and headers["cross-origin-opener-policy"] == "same-origin"
    assert "default-src 'none'" in headers["content-security-policy"] and "unsafe-inline" not in str(headers)
    status, headers = asked(host, "POST", f"{base}claim", "{}")
    cookie = headers["set-cookie"].split(";")[0]
    assert status == 200 and {"HttpOnly", "SameSite=Strict"} <= set(headers["set-cookie"].split("; "))
    assert asked(host, "POST", f"{base}claim", "{}")[0] == 409, "a second page"
    assert asked(host, "POST", f"{base}claim", "{}", Cookie=cookie)[0] == 200, "the same page, loaded again"
    assert asked(host, "GET", runtime, Cookie=cookie)[0] == 200
    for path in (
        "runtime/a/../../index.html",
        "file/" + "0" * 64,
        "file/..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "nothing",
    ):
        assert asked(host, "GET", base + path, Cookie=cookie)[0] == 404
    assert asked(host, "GET", runtime, Cookie="edgeproof=guessed")[0] == 403
    assert asked(host, "GET", "/wrong/", Cookie=cookie)[0] == 403
    assert asked(host, "GET", runtime, Cookie=cookie, Host="evil.example")[0] == 403, "a name that leads here"
    assert asked(host, "POST", f"{base}poll", "", Cookie=cookie, Origin="http://evil.example")[0] == 403
    assert asked(host, "POST", f"{base}reply/1", "{}", Cookie=cookie)[0] == 204, "an answer that nobody waits for"


def test_a_page_that_was_away_comes_back_unless_another_has_come(host: PageHost) -> None:
    base = "/" + host.link().split("/", 3)[3]
    cookie = asked(host, "POST", f"{base}claim", "{}")[1]["set-cookie"].split(";")[0]
    talk = host.talk()
    assert asked(host, "POST", f"{base}bye", "", Cookie=cookie)[0] == 204
    assert host.gone == "the page was closed"
    with pytest.raises(GoneError, match="closed"):
        talk.ask({"do": "state"}, 10)
    assert asked(host, "POST", f"{base}poll", "", Cookie=cookie)[0] == 403, "it is to load itself again"
    other = "/" + host.link().split("/", 3)[3]
    assert asked(host, "POST", f"{base}claim", "{}", Cookie=cookie)[0] == 200 and host.claimed.is_set()
    with pytest.raises(GoneError, match="loaded again"):
        talk.ask({"do": "state"}, 10)
    assert asked(host, "POST", f"{other}claim", "{}")[0] == 403, "the link that was shown in the meantime"
    asked(host, "POST", f"{base}bye", "", Cookie=cookie)
    assert asked(host, "POST", "/" + host.link().split("/", 3)[3] + "claim", "{}")[0] == 200
    assert asked(host, "POST", f"{base}claim", "{}", Cookie=cookie)[0] == 403, "another page has come"


def test_a_package_is_taken_only_as_it_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match="there is no npm") as raised:
        browser_packages.install("litert-js")
    assert (
        "npm pack @litertjs/core@" in raised.value.remedy and str(browser_packages.downloads()) in raised.value.remedy
    )
    browser_packages.downloads().mkdir(parents=True)
    (browser_packages.downloads() / PACKAGES[0].archive).write_bytes(b"something else")
    with pytest.raises(StageError, match="SHA-512 is another one"):
        browser_packages.install("litert-js")
    assert not browser_packages.installed("litert-js")
    assert sorted(path.name for path in browser_packages.browser_cache().iterdir()) == ["downloads"]


def test_what_is_missing_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with OpenDevices(Devices({"other": BrowserTable(program="/nowhere/chrome")})) as devices:
        missing = devices.missing_runtime(Target("other", "litert-js"))
        assert missing is not None and "/nowhere/chrome" in missing[0] and "program" in missing[1]
        reason, remedy = devices.missing_runtime(LITERT_JS) or ("", "")
        if os.access("/usr/bin/chromium", os.X_OK):
            assert "not installed" in reason and remedy == "edgeproof doctor browser --fix"
        reason, remedy = devices.missing_runtime(Target("local", "litert-js")) or ("", "")
        assert "browsers" in reason and "browser/litert-js" in remedy
    assert status(["doctor", "browser"]) == 1
    assert "doctor browser --fix" in capfd.readouterr().out
