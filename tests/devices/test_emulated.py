"""Emulated ARM: real ARM kernels answer as this machine's do, or the report says on which samples they do not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeproof.cli.main import status
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import sha256_file
from edgeproof.core.errors import StageError
from edgeproof.core.target import Target
from edgeproof.devices import OpenDevices
from edgeproof.devices.emulated import userland
from edgeproof.devices.emulated.userland import ARCHITECTURES, Userland

from ..conftest import TinyRun
from ..support.bundle_models import mean_colour_model
from ..support.device_kinds import made_userland
from ..support.serving import served
from ..support.ssh_server import SshServer, ssh_server

ARM = Target("emulated:arm64", "litert")


@pytest.fixture
def arm64() -> Userland:
    return made_userland("arm64")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "test.npy"
    np.save(path, np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3)).astype(np.float32))
    return path


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    path = tmp_path / "m.tflite"
    path.write_bytes(mean_colour_model())
    return Artifact("m", "m", "tflite", "float32", path, sha256=sha256_file(path))


@pytest.mark.slow
def test_int8_answers_on_arm_are_those_of_this_machine_bit_for_bit(
    arm64: Userland, tiny: TinyRun, tmp_path: Path
) -> None:
    inputs, file = tiny.data.images("test"), tiny.artifact("tflite:int8")
    with OpenDevices() as devices:
        for target in (ARM, Target("local", "litert")):
            outcome = devices.open_runner(file, target, timeout_seconds=300).infer(
                inputs, tmp_path / f"{target.device.replace(':', '-')}.npy", 0, 20
            )
            assert outcome.ok, outcome.reason
    np.testing.assert_array_equal(np.load(tmp_path / "emulated-arm64.npy"), np.load(tmp_path / "local.npy"))


@pytest.fixture
def board(arm64: Userland, tmp_path: Path) -> Iterator[SshServer]:
    """An ARM board over ssh: the server's forced command runs what is asked with the userland's Python."""
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    command = " ".join(f"'{part}'" for part in arm64.command(ARCHITECTURES["arm64"]))
    # The userland's packages stand for an environment there. -E, which comes first, would hide the variable.
    python.write_text(f'#!/bin/sh\nshift\nexport PYTHONPATH="{arm64.site}"\nexec {command} -S "$@"\n')
    python.chmod(0o755)
    forced = tmp_path / "forced"
    forced.write_text(f'#!/bin/sh\nPATH="{python.parent}:$PATH"\nexport PATH\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n')
    forced.chmod(0o755)
    with ssh_server(tmp_path / "server", forced=str(forced)) as server:
        yield server


def test_an_arm_board_over_ssh_answers_and_serves_bursts(
    board: SshServer, artifact: Artifact, inputs: Path, tmp_path: Path
) -> None:
    with OpenDevices(board.devices(python="python3")) as devices:
        target = Target("board", "litert")
        environment = devices.environments([target])["board"]
        assert environment["architecture"] == "aarch64", environment
        runner = devices.open_runner(artifact, target, timeout_seconds=120)
        assert runner.infer(inputs, tmp_path / "board.npy", 0, 5).ok
        with served(runner, inputs) as server:
            assert server.ask({"do": "open"}).ok
            assert len(server.ask({"do": "burst", "runs": 3, "sample": 0}).data["runs_ms"]) == 3
        assert devices.open_runner(artifact, Target("local", "litert")).infer(inputs, tmp_path / "here.npy", 0, 5).ok
    np.testing.assert_allclose(np.load(tmp_path / "board.npy"), np.load(tmp_path / "here.npy"), atol=1e-5)


def test_a_machine_that_was_not_made_says_how_it_is_made(
    artifact: Artifact, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with OpenDevices() as devices:
        outcome = devices.open_runner(artifact, ARM).load(inputs)
        assert outcome.status == "skipped" and outcome.remedy == "edgeproof doctor emulated:arm64 --fix"
        assert devices.environments([ARM])[ARM.device]["architecture"] == "aarch64"
    assert status(["doctor", "emulated:armv7"]) == 1
    assert "edgeproof doctor emulated:armv7 --fix" in capfd.readouterr().out


def test_what_is_missing_to_make_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match="there is no apt-get here"):
        userland.make("arm64")
    for name in ("apt-get", "dpkg-deb"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'E: no network' >&2\nexit 100\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(userland, "_KEYS", tmp_path / "none")
    with pytest.raises(StageError, match="Debian's archive"):
        userland.make("arm64")
    monkeypatch.setattr(userland, "_KEYS", Path(sys.executable))
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(shutil.which('sh') or '/bin/sh').parent}")
    with pytest.raises(StageError, match="E: no network"):
        userland.make("arm64", mirror="http://127.0.0.1:1/debian")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()], "nothing is left"
