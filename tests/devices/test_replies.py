"""Replies of devices: what is not what was asked for is refused, whatever a device sends."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from edgeproof.core.device import Check
from edgeproof.core.device_tables import SshTable
from edgeproof.devices.remote.checks import checks
from edgeproof.devices.remote.device import RemoteDevice
from edgeproof.devices.remote.replies import About, ReplyError, answers_of, read_reply
from edgeproof.devices.remote.ssh import SshLink

LOADED = {
    "import_ms": 1.0, "import_memory_bytes": 9, "load_ms": 1.0, "first_ms": 1.0, "run_ms": 1, "peak_memory_bytes": 9,
    "finite": True, "kernels": "xnnpack", "runtime_version": "2.3", "python": "3.11", "numpy": "1.26",
}  # fmt: skip
ABOUT = {
    "cpu": "Cortex-A72", "model": "Raspberry Pi 4", "architecture": "aarch64", "cores": 4, "memory_bytes": 4 << 30,
    "available_bytes": 3 << 30, "os": "Linux", "python": "3.11.2", "clock": 1e9, "folder": "/home/pi/.cache/edgeproof",
    "writable": True, "free_bytes": 1 << 30, "temporary": "/home/pi", "conditions": {"at": 1.0},
    "packages": {"numpy": "1.24", "ai-edge-litert": "2.3.0"},
}  # fmt: skip


def reply(data: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"status": "ok", "reason": "", "data": data, **more}).encode()


def test_what_was_asked_for_is_taken_and_what_nobody_asked_for_is_dropped() -> None:
    status, _, data = read_reply(reply({**LOADED, "surprise": 1}), {"verb": "load"})
    assert status == "ok" and data == LOADED
    burst = {"runs_ms": [1.0, 2.0], "set_ms": [0.0, 0.1], "surprise_ms": [1]}
    _, _, data = read_reply(reply(burst), {"do": "burst", "runs": 2})
    assert data == {"runs_ms": [1.0, 2.0], "set_ms": [0.0, 0.1]}
    status, reason, data = read_reply(reply({"x": 1}, status="failed", reason="y" * 9999), {"verb": "load"})
    assert (status, len(reason), data) == ("failed", 4000, {})


def test_texts_are_short_and_on_one_line() -> None:
    hostile = "\x1b[31m<script>\n" + "x" * 999
    _, _, data = read_reply(reply({**ABOUT, "cpu": hostile, "packages": {hostile: hostile}}), {"verb": "about"})
    (name, version), *_ = data["packages"].items()
    for text in (data["cpu"], name, version):
        assert len(text) <= 200 and text.isprintable()


@pytest.mark.parametrize(
    ("answer", "request_"),
    [
        (b"", {"verb": "load"}),
        (b"\xff\xfe", {"verb": "load"}),
        (b"null", {"verb": "load"}),
        (b"[" * 10_000, {"verb": "load"}),
        (b"9" * 10_000, {"verb": "load"}),
        (reply({**LOADED, "load_ms": -1}), {"verb": "load"}),
        (reply({**LOADED, "load_ms": "1"}), {"verb": "load"}),
        (reply({**LOADED, "finite": 1}), {"verb": "load"}),
        (reply({**LOADED, "peak_memory_bytes": 2**62}), {"verb": "load"}),
        (reply({**LOADED, "placement": {"delegated": -1, "operators": 1}}), {"verb": "load"}),
        (reply(LOADED).replace(b'"load_ms": 1.0', b'"load_ms": NaN'), {"verb": "load"}),
        (reply(LOADED).replace(b'"load_ms": 1.0', b'"load_ms": 1e999'), {"verb": "load"}),
        (reply({k: v for k, v in LOADED.items() if k != "run_ms"}), {"verb": "load"}),
        (reply(LOADED, status="excellent"), {"verb": "load"}),
        (reply({"runs_ms": [1.0]}), {"do": "burst", "runs": 2}),
        (reply({"runs_ms": [1.0, 0.0]}), {"do": "burst", "runs": 2}),
        (reply({"runs_ms": [1.0, 1.0], "set_ms": [1.0]}), {"do": "burst", "runs": 2}),
        (reply({"warmup_ms": [], "steady": True}), {"do": "warm"}),
        (reply({**ABOUT, "cores": 0}), {"verb": "about"}),
        (reply({**ABOUT, "conditions": {}}), {"verb": "about"}),
        (reply({**ABOUT, "packages": {str(n): "" for n in range(2000)}}), {"verb": "about"}),
    ],
)
def test_anything_else_is_refused_with_what_is_wrong(answer: bytes, request_: dict[str, Any]) -> None:
    with pytest.raises(ReplyError) as caught:
        read_reply(answer, request_)
    assert 0 < len(str(caught.value)) < 400


def test_answers_have_the_size_that_was_asked_for() -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    good = {"shape": [2, 3], "answers": base64.b64encode(values.tobytes()).decode()}
    np.testing.assert_array_equal(answers_of(good, 2), values)
    for wrong in ({**good, "shape": [3, 2]}, {**good, "shape": [2, 2**40]}, {**good, "answers": "AAA"},
                  {**good, "answers": "ä"}, {**good, "shape": [2, 0]}):  # fmt: skip
        with pytest.raises(ReplyError):
            answers_of(wrong, 2)


def test_doctor_says_what_is_wrong_with_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = {"at": 1.0, "celsius": 81.0, "throttling_flags": 0x50005}
    about = About.model_validate({
        **ABOUT, "writable": False, "temporary": "", "governor": "ondemand", "max_mhz": 1500.0,
        "conditions": conditions, "battery_percent": 40, "packages": {"ai-edge-litert": "2.3.0"},
    })  # fmt: skip
    device = RemoteDevice("pi", SshLink(SshTable(host="pi")))
    monkeypatch.setattr(device, "about", lambda **_: about)
    found: dict[str, Check] = {check.what: check for check in checks(device, fix=False)}
    assert (found["folder"].state, found["runtime"].state) == ("missing", "missing")
    assert "folder = …" in found["folder"].remedy and "doctor pi --fix" in found["runtime"].remedy
    assert "days behind" in found["clock"].found and "set-ntp" in found["clock"].remedy
    assert "files' folder is used" in found["temporary files"].remedy
    assert found["governor"].state == "note" and "ondemand, up to 1500 MHz" in found["governor"].found
    assert "81 °C" in found["temperature"].found and found["temperature"].state == "note"
    assert found["throttling"].found == "now its voltage is too low and it is throttled"
    assert "40 %" in found["battery"].found
    assert found["pi/litert"].found == "pi has no numpy"
