"""ssh: what goes wrong on the way to a device is said with what to do, and what was measured stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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
from edgeproof.core.device_tables import DEVICE_KINDS, Devices, SshTable
from edgeproof.core.environment import boot_id
from edgeproof.core.errors import InputError, StageError
from edgeproof.core.recipe_file import parse_table
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.feeds import CODE
from edgeproof.devices.remote import device as remote
from edgeproof.devices.remote import ssh as ssh_module
from edgeproof.devices.remote.device import Away, RemoteDevice
from edgeproof.devices.remote.replies import About
from edgeproof.devices.remote.ssh import SshLink
from edgeproof.devices.remote.wheels import Platform

from ..support.ssh_server import SshServer, ssh_server

TARGET = Target("board", "litert")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd") / "s") as server:
        yield server


@pytest.fixture
def devices(server: SshServer) -> Iterator[OpenDevices]:
    with OpenDevices(server.devices()) as devices:
        yield devices


def board(devices: OpenDevices) -> RemoteDevice:
    device = devices["board"]
    assert isinstance(device, RemoteDevice)
    return device


def away(server: SshServer, **changes: object) -> Away:
    with OpenDevices(server.devices(**changes)) as devices:
        about = board(devices).about()
        assert isinstance(about, Away)
        return about


def written(folder: Path, text: str) -> str:
    """A program that takes the place of Python."""
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "reason", "remedy"),
    [
        ({"python": "python3.99"}, "there is no python3.99 on board", "apt install python3"),
        ({"host": "nowhere.invalid"}, "nowhere.invalid is not known", "devices.toml"),
        ({"port": 1}, "refuses connections", "systemctl start ssh"),
        ({"user": "stranger"}, "without a password", "ssh-copy-id board"),
        ({"config": "/nonexistent"}, "does not take its configuration", "correct that file"),
    ],
)
def test_what_is_in_the_way_is_said_with_what_to_do(
    server: SshServer, changes: dict[str, Any], reason: str, remedy: str
) -> None:
    found = away(server, **changes)
    assert reason in found.reason and remedy in found.remedy


def test_another_host_key_and_an_unknown_one_are_not_accepted(server: SshServer, tmp_path: Path) -> None:
    text = server.config.read_text()
    known = server.config.with_name("known_hosts")
    other = tmp_path / "config"
    other.write_text(text.replace(str(known), str(tmp_path / "none")))
    assert "host key of board is not known" in away(server, config=str(other)).reason
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "k")], check=True)
    kind, key = (tmp_path / "k.pub").read_text().split()[:2]
    (tmp_path / "none").write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
    changed = away(server, config=str(other))
    assert "another host key" in changed.reason and "ssh-keygen -R board" in changed.remedy


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("#!/bin/sh\necho 'Welcome to board!'\ncat > /dev/null\n", "not readable JSON: .*begins 'Welcome to board!'"),
        ("#!/bin/sh\necho '[1]'\n", "is not what it must be"),
        ('#!/bin/sh\necho \'{"status": "ok", "data": {"cores": -1}}\'\n', "is not what it must be"),
        ("#!/bin/sh\nkill -9 $$\n", "the process on board"),
        ("#!/bin/sh\necho '  File \"<string>\", line 1\nSyntaxError: invalid syntax' >&2; exit 1\n", "is too old"),
        ("\x7fELF\x02\x01\x01 of another machine", "cannot run .*python"),
    ],
)
def test_a_program_that_is_no_python_is_recognised(
    server: SshServer, tmp_path: Path, program: str, reason: str
) -> None:
    found = away(server, python=written(tmp_path, program))
    assert found.remedy
    assert __import__("re").search(reason, found.reason), found.reason


def test_a_gigabyte_of_reply_is_cut_off(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_MOST_BYTES", 1 << 20)
    program = written(tmp_path, "#!/bin/sh\nhead -c 1000000000 /dev/zero\n")
    assert "longer than any can be" in away(server, python=program).reason


def test_a_folder_that_cannot_be_written_and_a_full_one_are_said(
    server: SshServer, devices: OpenDevices, tmp_path: Path, artifact: Artifact, inputs: Path
) -> None:
    (tmp_path / "file").write_text("")
    with OpenDevices(server.devices(folder=f"{tmp_path}/file/shelf")) as others:
        outcome = others.open_runner(artifact, TARGET, timeout_seconds=60).load(inputs)
        assert outcome.status == "failed" and "file" in outcome.reason
    device = board(devices)
    for error, words in ((28, "board is full"), (30, "cannot write its folder"), (13, "cannot write its folder")):
        reason, remedy = device.explain(f"OSError: [Errno {error}] {os.strerror(error)}: '/x'")
        assert words in reason and ("clean board" in remedy or "folder = …" in remedy)
    huge = {"verb": "put", "name": "0" * 64, "bytes": 1 << 60}
    assert device.ask(huge, seconds=60).reason == "board is full"


def test_a_file_system_that_cannot_be_written_is_said(tmp_path: Path, artifact: Artifact, inputs: Path) -> None:
    """Each command runs in a mount namespace of its own, in which the device's folder is truly read-only."""
    shelf = tmp_path / "read-only"
    shelf.mkdir()
    inner = f"mount --bind {shelf} {shelf} && mount -o remount,ro,bind {shelf} {shelf}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", inner], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    within = written(tmp_path, f'#!/bin/sh\n{inner} && exec {sys.executable} "$@"\n')
    python = tmp_path / "within"
    python.write_text(f'#!/bin/sh\nexec unshare -rm {within} "$@"\n')
    python.chmod(0o755)
    with ssh_server(tmp_path / "s") as own, OpenDevices(own.devices(folder=str(shelf), python=str(python))) as devices:
        outcome = devices.open_runner(artifact, TARGET, timeout_seconds=60).load(inputs)
        assert outcome.status == "failed" and "board cannot write its folder" in outcome.reason, outcome
        assert "folder = …" in outcome.remedy
        checks = [check for check in devices["board"].checks() if check.state == "missing"]
        assert any("cannot be written" in check.found for check in checks), checks


def test_what_is_damaged_on_the_way_or_there_is_not_used(
    server: SshServer, devices: OpenDevices, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    device = board(devices)
    wrong = {"verb": "put", "name": "0" * 64, "bytes": 3}
    assert "damaged on its way" in device.ask(wrong, seconds=60, payload=[b"abc"]).reason
    assert not list((server.home / "files").glob("0*"))
    for name in ("../../x", "0" * 63, "x" * 64, "0" * 64 + "/../y", "/etc/passwd"):
        assert "names nothing here" in device.ask({"verb": "put", "name": name, "bytes": 0}, seconds=60).reason
    for inner in ("../x", "/x", "a/../b", ""):
        tree = {"verb": "tree", "name": "1" * 64, "paths": {inner: "0" * 64}}
        assert "no path below a folder" in device.ask(tree, seconds=60).reason
    runner = devices.open_runner(artifact, TARGET, timeout_seconds=60)
    assert runner.load(inputs).ok
    stored = server.home / "files" / f"{artifact.sha256}.tflite"
    stored.write_bytes(b"damaged")
    with OpenDevices(server.devices()) as again:
        assert again.open_runner(artifact, TARGET, timeout_seconds=60).load(inputs).ok
    assert sha256_file(stored) == artifact.sha256
    stored.unlink()
    assert runner.load(inputs).ok, "what somebody has removed is put there again"


def test_a_tokenizer_and_a_saved_model_are_folders_there_and_code_is_code(
    server: SshServer, devices: OpenDevices, inputs: Path, tmp_path: Path
) -> None:
    model, tokenizer = tmp_path / "saved_model", tmp_path / "m.tokenizer"
    for path in (model / "variables" / "variables.data-00000-of-00001", model / "saved_model.pb", tokenizer / "t.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    feed = {"kind": "text", "tokenizer": str(tokenizer), "code": str(CODE)}
    staged = board(devices).stage({"verb": "load", "artifact": str(model), "inputs": str(inputs), "feed": feed})
    assert not isinstance(staged, Outcome), staged.reason
    files = server.home / "files"
    assert (files / staged["artifact"] / "variables" / "variables.data-00000-of-00001").is_file()
    assert (files / staged["feed"]["tokenizer"] / "t.json").read_text() == "t.json"
    assert staged["feed"]["code"].endswith(".py") and sha256_file(files / staged["feed"]["code"]) == sha256_file(CODE)


@pytest.mark.parametrize("stage", ["put", "load", "infer", "import"])
def test_the_cable_is_pulled_at_any_stage_and_what_comes_after_goes_on(
    server: SshServer, artifact: Artifact, inputs: Path, tmp_path: Path, stage: str
) -> None:
    """The connection is cut while the device works; a program that sleeps stands for work that takes its time."""
    asleep, cut = tmp_path / "asleep", tmp_path / "cut"
    python = written(
        tmp_path,
        f'#!/bin/sh\nif [ -e {cut} ]; then touch {asleep}; sleep 60; fi\nexec {server.table().python} "$@"\n',
    )
    with OpenDevices(server.devices(python=python)) as devices:
        runner = devices.open_runner(artifact, TARGET, timeout_seconds=60)
        if stage == "put":
            assert isinstance(board(devices).about(), About)
        else:
            assert runner.load(inputs).ok

        def pull() -> None:
            while not asleep.exists():
                time.sleep(0.02)
            server.cut()

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
        assert "connection to board ended" in outcome.reason and "run this again" in outcome.remedy
        assert not (tmp_path / "a.npy").exists()
        assert runner.infer(inputs, tmp_path / "b.npy", 0, 4).ok
        assert np.load(tmp_path / "b.npy").shape == (4, 3)


def test_a_connection_that_stalls_ends_by_itself_and_what_comes_after_goes_on(
    artifact: Artifact, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is closed: the server and its processes are stopped, as by a network that drops everything."""
    monkeypatch.setattr(ssh_module, "_ALIVE", (1, 2))
    with ssh_server(tmp_path / "s") as own, OpenDevices(own.devices()) as devices:
        runner = devices.open_runner(artifact, TARGET, timeout_seconds=60)
        assert runner.load(inputs).ok
        process = runner.serve(inputs)
        assert not isinstance(process, Outcome) and process.ready().ok and process.ask({"do": "open"}).ok
        with own.stalled():
            gone = process.ask({"do": "burst", "runs": 5, "sample": 0})
        process.close()
        assert gone.status == "crashed" and "connection to board ended" in gone.reason and gone.remedy, gone
        assert runner.infer(inputs, tmp_path / "b.npy", 0, 4).ok


def test_a_device_that_goes_away_is_not_asked_again_at_once(
    artifact: Artifact, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ssh_server(tmp_path / "s") as own, OpenDevices(own.devices()) as devices:
        runner = devices.open_runner(artifact, TARGET, timeout_seconds=60)
        assert runner.load(inputs).ok
        identity = runner.identity()
        own.stop()
        outcome = runner.load(inputs)
        assert outcome.status == "crashed" and "board" in outcome.reason
        began = time.monotonic()
        outcomes = [runner.load(inputs) for _ in range(3)]
        assert {o.status for o in outcomes} == {"skipped"} and "refuses connections" in outcomes[0].reason
        assert runner.identity() == identity, "what is stored of it is still found"
        asked: list[Any] = []
        monkeypatch.setattr(board(devices), "ask", lambda *_, **__: asked.append(1))
        assert runner.load(inputs).status == "skipped" and not asked, time.monotonic() - began
        with pytest.raises(StageError, match="board"):
            monkeypatch.undo()
            board(devices).clean()


def test_two_machines_do_not_time_on_one_device(
    server: SshServer, devices: OpenDevices, artifact: Artifact, inputs: Path
) -> None:
    with OpenDevices(server.devices()) as others:
        board(others).owner["host"] = "lab\x1b[31m7"
        first = others.open_runner(artifact, TARGET, timeout_seconds=60).serve(inputs)
        assert not isinstance(first, Outcome) and first.ready().ok
        runner = devices.open_runner(artifact, TARGET, timeout_seconds=60)
        second = runner.serve(inputs)
        assert not isinstance(second, Outcome)
        refused = second.ready()
        second.close()
        assert refused.status == "skipped" and "lab [31m7 is timing files on board" in refused.reason
        assert runner.load(inputs).ok, "answers are taken all the same"
        first.close()
    for _ in range(100):  # the other one's process ends a moment after its connection
        third = runner.serve(inputs)
        assert not isinstance(third, Outcome)
        outcome = third.ready()
        third.close()
        if outcome.ok:
            break
        time.sleep(0.05)
    assert outcome.ok, outcome.reason


def test_a_hot_device_cools_down_before_it_is_timed(devices: OpenDevices, monkeypatch: pytest.MonkeyPatch) -> None:
    device = board(devices)
    heat = [71.0, 60.0, 46.0, 44.0]
    waits: list[float] = []

    def ask(job: dict[str, Any], **_: Any) -> Outcome:
        assert job == {"verb": "state"}
        return Outcome("ok", data={"conditions": {"at": 1.0, "celsius": heat.pop(0)}})

    monkeypatch.setattr(device, "ask", ask)
    monkeypatch.setattr(remote.time, "sleep", waits.append)
    device.cool_down()
    assert len(heat) == 4, "it says no temperature"
    monkeypatch.setattr(device, "_cool", 43.0)
    device.cool_down()
    assert heat == [44.0] and len(waits) == 2


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"host": "-oProxyCommand=touch x"}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": "board", "folder": "relative"}, "folder"),
        ({"host": "board", "folder": "/x$(touch y)"}, "folder"),
        ({"host": "board", "python": "python3; rm x"}, "python"),
        ({"host": "board", "python": "/usr/bin/python3; rm x"}, "python"),
        ({"host": "board", "python": "rm x; python3"}, "python"),
        ({"host": "board", "python": "python3\n"}, "python"),
        ({"host": "board", "folder": "/x\ny"}, "folder"),
        ({"host": "board\n"}, "host"),
        ({"host": "board", "user": "-x"}, "user"),
        ({"host": "board", "port": 0}, "port"),
        ({}, "host"),
    ],
)
def test_nothing_in_a_table_becomes_an_option_or_a_command(table: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_table(SshTable, table, "device.board")


def test_the_command_has_no_option_from_the_table_but_its_own() -> None:
    table = SshTable(host="pi", user="me", port=2222, python="~/env/bin/python", folder="~/edge")
    command = SshLink(table).command(7)
    assert command[command.index("--") + 1] == "pi" and command.index("--") == len(command) - 3
    assert (
        "BatchMode=yes" in command and command[-1].startswith("exec sh -c ") and '"$HOME/env/bin/python"' in command[-1]
    )
    assert "venv/bin/python" in SshLink(SshTable(host="pi")).command(7)[-1]
    assert DEVICE_KINDS["ssh"].table is SshTable


def test_a_host_with_this_machine_s_kernel_is_this_machine_and_names_of_one_host_are_one_place(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = Devices({name: server.table() for name in ("board", "again")})
    targets = [Target(name, "litert") for name in ("local", *declared.declared)]
    with OpenDevices(declared) as devices:
        assert devices.places(targets) == dict.fromkeys(("local", "board", "again"), THIS_MACHINE)
        monkeypatch.setattr(remote, "boot_id", lambda: "another kernel")
        places = devices.places(targets)
        assert places["board"] == places["again"] == boot_id() and places["local"] == THIS_MACHINE
    monkeypatch.undo()
    with OpenDevices(Devices({"away": server.table(host="nowhere.invalid")})) as devices:
        assert devices["away"].place == "away"


def test_a_process_that_a_signal_ends_there_is_no_lost_connection(server: SshServer, devices: OpenDevices) -> None:
    device = board(devices)
    assert isinstance(device.about(), About)
    assert device.link.explain(Ending(255, b"", "")) is None
    server.cut()
    lost = device.link.explain(Ending(255, b"", "Timeout, server pi not responding.\r\n"))
    assert lost is not None and "connection to board ended" in lost[0]
    assert device.link.explain(Ending(-9, b"", "")) is None


def test_doctor_makes_an_environment_there_and_clean_removes_what_was_put(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import venv
    import zipfile

    from edgeproof.devices.remote import fix as remote_fix

    bare = tmp_path / "bare"  # a Python without any package
    venv.EnvBuilder(with_pip=False, symlinks=True).create(bare)
    wheel = tmp_path / "numpy-9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("numpy.py", "there = True")
        archive.writestr("numpy-9.dist-info/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 9\n")
    asked: list[Platform] = []

    def download(platform: Platform, folder: Path) -> tuple[dict[str, str], list[Path]]:
        asked.append(platform)
        return {"onnxruntime": "no wheel"}, [wheel]

    monkeypatch.setattr(remote_fix, "download", download)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{bare}/bin:{os.environ['PATH']}")
    user_file().parent.mkdir(parents=True)
    shelf = tmp_path / "shelf"
    user_file().write_text(
        f'[device.board]\nkind = "ssh"\nhost = "board"\nconfig = "{server.config}"\nfolder = "{shelf}"\n'
    )
    with OpenDevices(server.devices(python=str(bare / "bin" / "python"), folder=str(shelf))) as devices:
        found = board(devices).checks()
        assert next(check for check in found if check.what == "runtime").state == "missing"
        made = board(devices).checks(fix=True)
        assert made[0].what == "environment" and made[0].state == "ok" and "1 packages" in made[0].found
        assert next(check for check in made if check.what == "board/onnxruntime").found.endswith("no wheel")
    assert asked and asked[0].python.startswith("3.")
    python = shelf / "venv" / "bin" / "python"
    done = subprocess.run(
        [python, "-c", "import numpy; print(numpy.there)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n" and not list((shelf / "files").glob("*.whl"))
    assert status(["doctor", "board", "--json"]) == 1, "it has numpy, and no runtime"
    checks = {check["what"]: check for check in json.loads(capfd.readouterr().out)["checks"]}
    assert checks["Python"]["found"].endswith(f"({python})") and checks["runtime"]["state"] == "missing"
    (shelf / "files" / ("0" * 64)).write_bytes(b"x" * (1 << 20))
    (shelf / "files" / "mine").write_text("not ours")
    assert status(["devices", "clean", "board"]) == 0
    assert capfd.readouterr().out == "board: removed 1 files, 1.0 MiB\n"
    assert [path.name for path in (shelf / "files").iterdir()] == ["mine"]
