"""adb: what goes wrong on the way to a phone is said with what to do; its state is read; what was measured stays."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.cli.main import status
from edgeproof.core.artifact import Artifact
from edgeproof.core.children import Ending
from edgeproof.core.codec import sha256_file
from edgeproof.core.device import THIS_MACHINE
from edgeproof.core.device_files import user_file
from edgeproof.core.device_tables import AdbTable
from edgeproof.core.errors import InputError
from edgeproof.core.recipe_file import parse_table
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.adb import client as adb_client
from edgeproof.devices.adb import phone as adb_phone
from edgeproof.devices.adb import state as android_state
from edgeproof.devices.adb.client import Adb, find_adb
from edgeproof.devices.adb.device import AdbLink
from edgeproof.devices.adb.phone import AdbPhone, read_phone
from edgeproof.devices.remote import device as remote
from edgeproof.devices.remote.device import Away
from edgeproof.devices.remote.replies import About

from ..support.adb_device import DUMPSYS, GETPROP, MODEL, AdbDevice, adb_device

TARGET = Target("phone", "litert")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbDevice]:
    with adb_device(tmp_path_factory.mktemp("adb") / "d") as device:
        yield device


@pytest.fixture
def devices(device: AdbDevice) -> Iterator[OpenDevices]:
    with OpenDevices(device.devices()) as devices:
        yield devices


def phone(devices: OpenDevices) -> AdbPhone:
    opened = devices["phone"]
    assert isinstance(opened, AdbPhone)
    return opened


def away(device: AdbDevice, **changes: object) -> Away:
    with OpenDevices(device.devices(**changes)) as devices:
        about = phone(devices).about()
        assert isinstance(about, Away)
        return about


def test_runners_of_two_targets_put_the_same_file_at_the_same_time(devices: OpenDevices, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"x" * 100_000)
    files = {f"{sha256_file(tmp_path / 'm')}.tflite": tmp_path / "m"}
    phone(devices).about()
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: phone(devices).files.put(files), range(4)))
    assert outcomes == [None] * 4


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        ({"serial": "nobody"}, "nobody is not connected", "adb devices"),
        ({"serial": "127.0.0.1:1"}, "127.0.0.1:1 is not connected", "adb devices"),
        ({"adb": "/nonexistent/adb"}, "there is no adb here", "pip install adbutils"),
        ({"python": "python3.99"}, "there is no python3.99 on 127.0.0.1", "run_as = …"),
        ({"run_as": "com.termux"}, "there is no /data/data/com.termux|does not run programs as com.termux", "devices"),
    ],
)
def test_what_is_in_the_way_is_said_with_what_to_do(
    device: AdbDevice, changes: dict[str, Any], reason: str, remedy: str
) -> None:
    if "run_as" in changes:
        changes = {**changes, "python": ""}
        device.program("run-as", '#!/bin/sh\necho "run-as: package not debuggable: $1" >&2; exit 1\n')
    found = away(device, **changes)
    assert re.search(reason, found.reason), found
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("adb: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "does not let this computer in"),
        ("error: device still authorizing", "does not let this computer in"),
        ("adb: device offline", "is offline"),
        ("adb: more than one device/emulator", "several devices are connected"),
        ("adb: no devices/emulators found", "no Android device is connected"),
        (
            "error: insufficient permissions for device: missing udev rules? user is in the plugdev group",
            "may not open",
        ),
        ("adb: cannot connect to daemon at tcp:5037: Connection refused", "adb's server cannot be reached"),
        ("* daemon not running; starting now at tcp:5037\nadb: failed to check server version: closed", "adb's server"),
        ("error: protocol fault (couldn't read status): connection reset", "the connection to"),
    ],
)
def test_what_adb_says_is_told_apart(words: str, reason: str) -> None:
    """The messages are those of adb 29 and 36; without a program for it there is nothing to explain."""
    if find_adb() is None:
        pytest.skip("there is no adb")
    found = Adb("phone", AdbTable(serial="x1")).explain(Ending(1, b"", words))
    assert found is not None and reason in found[0] and found[1]
    assert Adb("phone", AdbTable()).explain(Ending(1, b"", "Traceback: adb: it is not the first word")) is None


def test_a_phone_that_does_not_let_one_in_and_several_without_a_serial(device: AdbDevice) -> None:
    with Second(device) as serial:
        found = away(device, serial="")
        assert "several devices are connected" in found.reason and serial in found.reason
        assert device.serial in found.reason and "serial = " in found.remedy
    device.unauthorized = True
    device.cut()
    try:
        found = away(device)
        assert "does not let this computer in" in found.reason and "USB debugging" in found.remedy
    finally:
        device.unauthorized = False
        device.cut()
    with OpenDevices(device.devices()) as devices:
        assert isinstance(phone(devices).about(), About)


class Second:
    """A second device, connected to the same adb server."""

    def __init__(self, first: AdbDevice) -> None:
        self._first = first

    def __enter__(self) -> str:
        self._second = AdbDevice(self._first.folder, self._first.server_port)
        for device in (self._first, self._second):
            assert Adb("x", device.table()).ask("true").ok
        return self._second.serial

    def __exit__(self, *_: object) -> None:
        self._second.stop()
        adb_client.children.run([find_adb() or "", "disconnect", self._second.serial], timeout=20)


def test_a_gigabyte_of_reply_is_cut_off(device: AdbDevice, devices: OpenDevices, monkeypatch: Any) -> None:
    monkeypatch.setattr(remote, "_MOST_BYTES", 1 << 20)
    python = device.program("gigabyte", "#!/bin/sh\nhead -c 1000000000 /dev/zero\n")
    assert "longer than any can be" in away(device, python=str(python)).reason
    device.program("dumpsys", "#!/bin/sh\nhead -c 1000000000 /dev/zero\n")
    try:
        assert phone(devices).state() == {}
    finally:
        device.program("dumpsys", DUMPSYS)


@pytest.mark.parametrize("stage", ["put", "load", "infer", "import"])
def test_the_cable_is_pulled_at_any_stage_and_what_comes_after_goes_on(
    device: AdbDevice, artifact: Artifact, inputs: Path, tmp_path: Path, stage: str
) -> None:
    """The connection is cut while the device works; a program that sleeps stands for work that takes its time."""
    asleep, cut = tmp_path / "asleep", tmp_path / "cut"
    own = device.table().python
    python = device.program(
        "slow-python", f'#!/bin/sh\nif [ -e {cut} ]; then touch {asleep}; sleep 60; fi\nexec {own} "$@"\n'
    )
    with OpenDevices(device.devices(python=str(python), folder=str(tmp_path / "shelf"))) as devices:
        runner = devices.open_runner(artifact, TARGET, timeout_seconds=60)
        if stage == "put":
            assert isinstance(phone(devices).about(), About)
        else:
            assert runner.load(inputs).ok

        def pull() -> None:
            while not asleep.exists():
                time.sleep(0.02)
            device.cut()

        def imported() -> Outcome:
            process = runner.serve(inputs)
            assert not isinstance(process, Outcome)
            return process.ready()

        cut.touch()
        thread = threading.Thread(target=pull)
        thread.start()
        outcome = {
            "infer": lambda: runner.infer(inputs, tmp_path / "a.npy", 0, 4),
            "import": imported,
        }.get(stage, lambda: runner.load(inputs))()
        thread.join()
        cut.unlink()
        assert outcome.status == "crashed", outcome
        assert re.search(r"connection to 127\.0\.0\.1:\d+ ended|127\.0\.0\.1:\d+ is offline", outcome.reason)
        assert outcome.remedy
        assert not (tmp_path / "a.npy").exists()
        assert runner.infer(inputs, tmp_path / "b.npy", 0, 4).ok
        assert np.load(tmp_path / "b.npy").shape == (4, 3)


def test_the_state_of_a_phone_is_in_its_environment_and_in_each_answer_about_the_state(
    devices: OpenDevices, artifact: Artifact, inputs: Path
) -> None:
    environment = phone(devices).environment()
    assert MODEL in environment["model"] and environment["os"].startswith("Android 14 (API 34)")
    said = {"battery_percent": 84.0, "battery_celsius": 32.6, "charging": True, "thermal_status": 0, "screen": "on",
            "battery_saver": False, "celsius": 31.5}  # fmt: skip
    assert said.items() <= environment.items()
    server = devices.open_runner(artifact, TARGET, timeout_seconds=60).serve(inputs)
    assert not isinstance(server, Outcome) and server.ready().ok
    conditions = server.ask({"do": "state"}).data["conditions"]
    server.close()
    assert conditions["screen"] == "on" and conditions["battery_percent"] == 84.0 and "load" in conditions


def test_a_phone_is_one_machine_by_whatever_names_it_is_declared(
    device: AdbDevice, devices: OpenDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert phone(devices).place == THIS_MACHINE, "it is no phone"
    monkeypatch.setattr(adb_phone, "boot_id", lambda: "another")
    assert phone(devices).place == f"adb:{device.serial}"
    device.program("getprop", "#!/bin/sh\n[ $1 != ro.serialno ] || echo R5CR\n")
    try:
        with OpenDevices(device.devices()) as others:
            assert phone(others).place == "adb:R5CR"
    finally:
        device.program("getprop", GETPROP)


def test_a_hot_phone_cools_down_before_it_is_timed(
    device: AdbDevice, devices: OpenDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, waits = phone(devices), list[float]()
    opened.phone()
    kept = (device.folder / "thermal").read_text()
    (device.folder / "thermal").write_text(kept.replace("31.5", "52.0"))

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        (device.folder / "thermal").write_text(kept)

    monkeypatch.setattr(remote.time, "sleep", sleep)
    opened.cool_down()
    assert waits.count(remote.COOL_STEP) == 1


def test_doctor_says_what_a_phone_has_and_lacks(
    device: AdbDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    user_file().parent.mkdir(parents=True)
    table = device.table()
    (device.folder / "battery").write_text("  level: 9\n  scale: 100\n  status: 3\n")
    user_file().write_text(
        f'[device.phone]\nkind = "adb"\nserial = "{table.serial}"\nadb = "{table.adb}"\nfolder = "{table.folder}"\n'
        f'python = "{table.python}"\n'
    )
    try:
        assert status(["doctor", "phone", "--json"]) == 0
    finally:
        (device.folder / "battery").write_text(BATTERIES["Samsung, Android 8"][0])
    checks = {check["what"]: check for check in json.loads(capfd.readouterr().out)["checks"]}
    assert MODEL in checks["device"]["found"] and checks["adb"]["state"] == "ok"
    assert checks["battery"]["state"] == "note" and checks["battery"]["found"] == "9 %"
    assert checks["screen"]["found"] == "on" and checks["thermal status"]["found"] == "none (0)"
    assert checks["phone/litert"]["state"] == "ok" and checks["folder"]["state"] == "ok"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"serial": "-s x"}, "serial"),
        ({"serial": "x; reboot"}, "serial"),
        ({"serial": "x\n"}, "serial"),
        ({"folder": "~/x"}, "folder"),
        ({"folder": "/data/$(reboot)"}, "folder"),
        ({"folder": "/data/x y"}, "folder"),
        ({"python": "python3; reboot"}, "python"),
        ({"run_as": "com.x; reboot"}, "run_as"),
        ({"run_as": "-x"}, "run_as"),
    ],
)
def test_nothing_in_a_table_becomes_an_option_or_a_command(table: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_table(AdbTable, table, "device.phone")


def test_python_of_an_app_is_started_in_its_place() -> None:
    table = AdbTable(serial="x1", run_as="com.termux", adb="/nonexistent")
    command = AdbLink(table, Adb("phone", table)).command(7)
    assert command[1:5] == ["-s", "x1", "shell", "-T"] and command[5].startswith("exec run-as com.termux sh -c ")
    assert "/data/data/com.termux/files/usr/bin/python -E -c" in command[5] and "read(7)" in command[5]
    assert "python3 -E" in AdbLink(AdbTable(), Adb("phone", AdbTable())).command(7)[-1]


# What dumpsys printed on phones, as published by their users; only lines that are read, and some that look like them.
BATTERIES: dict[str, tuple[str, dict[str, Any]]] = {
    # gh0st.tistory.com/6
    "Samsung, Android 8": (
        "Current Battery Service state:\n  mBootCompleted: true\n  AC powered: false\n  USB powered: true\n"
        "  Wireless powered: false\n  Max charging current: 0\n  status: 2\n  health: 2\n  present: true\n  level: 84\n"
        "  scale: 100\n  voltage: 4063\n  temperature: 326\n  technology: Li-ion\n  mSecPlugTypeSummary: 2\n"
        "  LED Charging: true\n  current now: 321\n  mSavedBatteryAsoc: 77\n"
        "  mSavedBatteryMaxTemp: 490\n",
        {"battery_percent": 84.0, "battery_celsius": 32.6, "charging": True},
    ),
    # ppmy.cn/news/1423084: a box without a battery sensor reports 2.6 °C.
    "a console": (
        "Current Battery Service state:\n  AC powered: false\n  USB powered: false\n  Wireless powered: false\n"
        "  Charge counter: 1000\n  status: 4\n  health: 2\n  present: true\n  level: 90\n  scale: 100\n  voltage: 13\n"
        "  temperature: 26\n  technology: Li-ion\n",
        {"battery_percent": 90.0, "battery_celsius": 2.6, "charging": False},
    ),
    "hostile": ("  level: 1e999\n  scale: 0\n  temperature: 99999999999999999\n  status: 2; reboot\n", {}),
    "none": ("  present: false\n  level: 100\n  scale: 100\n", {}),
    "nothing": ("Can't find service: battery\n", {}),
}


@pytest.mark.parametrize("name", BATTERIES)
def test_what_phones_say_of_their_battery(name: str) -> None:
    text, facts = BATTERIES[name]
    assert android_state.battery(text) == facts


def test_what_phones_say_of_their_heat_and_their_screen() -> None:
    # A Galaxy A52 with Android 12: android.stackexchange.com/questions/246774.
    # It lists sensors that are not there as 0.
    samsung = (
        "IsStatusOverride: false\nThermalStatusListeners:\n\tcallbacks: 4\n\tbroadcasts count: -1\nThermal Status: 0\n"
        "Cached temperatures:\n\tTemperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}\n"
        "\tTemperature{mValue=45.6, mType=0, mName=AP, mStatus=0}\nHAL Ready: true\nHAL connection:\n"
        "\tThermalHAL 2.0 connected: yes\nCurrent temperatures from HAL:\n"
        "\tTemperature{mValue=25.6, mType=0, mName=AP, mStatus=0}\n"
        "\tTemperature{mValue=23.8, mType=2, mName=BAT, mStatus=0}\n"
        "\tTemperature{mValue=25.7, mType=5, mName=PA, mStatus=0}\n"
        "\tTemperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}\n"
        "Current cooling devices from HAL:\n\tCoolingDevice{mValue=99, mType=2, mName=TYPE_CPU}\n"
    )
    assert android_state.thermal(samsung) == {"thermal_status": 0, "celsius": 25.6}
    # Another one with a sensor that says -99.9, from Skia's test machines (types of an older interface).
    skia = (
        "Thermal Status: 2\nHAL Ready: true\nCurrent temperatures from HAL:\n"
        "\tTemperature{mValue=24.0, mType=1, mName=TYPE_CPU, mStatus=0}\n"
        "\tTemperature{mValue=24.4, mType=3, mName=TYPE_BATTERY, mStatus=0}\n"
        "\tTemperature{mValue=-99.9, mType=6, mName=TYPE_POWER_AMPLIFIER, mStatus=0}\n"
    )
    assert android_state.thermal(skia) == {"thermal_status": 2, "celsius": 24.4}
    assert android_state.thermal("Thermal Status: 7\nTemperature{mValue=NaN, mType=0}\nTemperature{") == {}
    assert android_state.power("  mWakefulness=Awake\nDisplay Power: state=OFF\n") == {"screen": "off"}
    assert android_state.power("mWakefulness=Dozing\n  mLowPowerModeEnabled=true\n") == {
        "screen": "doze", "battery_saver": True,
    }  # fmt: skip
    assert android_state.power("mScreenOn=false") == {"screen": "off"} and android_state.power("Display Power: x") == {}


def test_what_a_phone_says_of_itself_is_text_and_numbers_within_bounds() -> None:
    text = (
        "@@props\nro.product.manufacturer=Google\nro.product.model=Pixel 7\x1b[31m\nro.soc.model=GS201\n"
        "ro.build.version.release=14\nro.build.version.sdk=34\nro.product.cpu.abilist=arm64-v8a,armeabi-v7a\n"
        "@@machine\naarch64\n@@cores\n8\n@@memory\nMemTotal:        7700000 kB\nMemAvailable:    3000000 kB\n"
        "@@speeds\n0 160\n7 1024\n@@clocks\n1803000\n2850000\n@@folder\nwritable\n"
        "/dev/block/dm-5 112000000 60000000 52000000  54% /data\n@@clock\n1790000000\n@@tools\n/system/bin/sha256sum\n"
    )
    found = read_phone(text)
    assert (found.model, found.cpu, found.cores) == ("Google Pixel 7 [31m", "GS201", 8) and found.max_mhz == 2850
    assert found.abis == ["arm64-v8a", "armeabi-v7a"] and found.tools == ["sha256sum"] and found.writable
    assert found.free_bytes == 52000000 * 1024 and found.speeds == {0: 160, 7: 1024}
    bare = read_phone("@@props\n@@cores\n99999999\n@@folder\n../../x 1 2 3\n")
    assert (bare.cores, bare.free_bytes, bare.abis, bare.writable) == (1, 0, [], False)
