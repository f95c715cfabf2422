"""recipes/devices.toml and its script: a real sshd for the time of a command, and its files for the recipe's board."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgeproof.core.device_tables import SshTable
from edgeproof.core.recipe_file import load_recipe
from edgeproof.workflows import shipped

from ..support.ssh_server import MISSING, SSHD

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("board", RECIPES / "devices" / "sshd.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_board_is_there_for_the_command_and_gone_after_it(tmp_path: Path) -> None:
    if SSHD is None:
        pytest.skip(MISSING)
    table = load_recipe(RECIPES / "devices.toml").device["board"]
    assert isinstance(table, SshTable)
    config, python = (text.replace("~", str(tmp_path)) for text in (table.config, table.python))
    ask = ["ssh", "-o", "BatchMode=yes", "-F", config, table.host, f"'{python}' -c 'import sys; print(sys.version)'"]
    command = [sys.executable, str(RECIPES / "devices" / "sshd.py"), *ask]
    done = subprocess.run(
        command, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout.strip() == sys.version.strip()
    again = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 255 and "refused" in again.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {".cache", ".ssh"}


def test_a_signal_to_end_is_passed_on_and_the_board_is_gone(tmp_path: Path) -> None:
    if SSHD is None:
        pytest.skip(MISSING)
    told = "import time; print('it runs', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, str(RECIPES / "devices" / "sshd.py"), sys.executable, "-c", told],
        env={**os.environ, "HOME": str(tmp_path)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"it runs\n"
        process.terminate()
        assert process.wait(30) == 256 - signal.SIGTERM
    board = ["ssh", "-o", "BatchMode=yes", "-F", str(tmp_path / ".cache/edgeproof/board/config"), "board", "true"]
    gone = subprocess.run(board, capture_output=True, timeout=60, check=False)
    assert gone.returncode == 255 and b"refused" in gone.stderr


def test_without_sshd_the_command_runs_all_the_same_and_its_status_counts(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "program", lambda name: None)
    assert script.main([sys.executable, "-c", "print('it ran'); raise SystemExit(3)"]) == 3
    told = capfd.readouterr()
    assert "it ran" in told.out and "no board: sshd, ssh, ssh-keygen not found" in told.err


def test_a_copy_of_the_recipe_has_the_script(tmp_path: Path) -> None:
    written = shipped.copy_recipe("devices", tmp_path / "mine.toml", force=False)
    assert tmp_path / "devices" / "sshd.py" in written
    assert (tmp_path / "devices" / "sshd.py").read_bytes() == (RECIPES / "devices" / "sshd.py").read_bytes()
