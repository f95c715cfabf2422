"""What reaches the terminal: no text from outside steers it, and no encoding ends a command."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

import edgeproof.cli
from edgeproof.cli import terminal
from edgeproof.cli.main import status
from edgeproof.core.documents import encode_json
from edgeproof.core.visible import visible

from ..support.bundle_models import mean_colour_model

STEERING = "\x1b]0;title\x07\x1b[2J\x9b31m\r\x00\x7f\u202egpj\u2066\u200f\u061c\u2028\ufeff\U000e0041\udcff\ud800"


def harmless(text: str) -> bool:
    """Whether every character is one that is seen, or a tab or line feed."""
    return not set(text) & {character for character in STEERING if not character.isprintable()}


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_what_is_visible_stays_as_it_is_and_the_rest_is_written_out(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert harmless(shown)
    assert shown == text or not all(character.isprintable() for character in text)
    shown.encode()


def test_names_in_every_script_are_left_alone() -> None:
    for name in ("Ünïcode ✓ 日本語 العربية עברית हिन्दी ไทย", "👩\u200d🚀 tab\tline\n", 'a\\x1b "b"'):
        assert visible(name) == name
        assert json.loads(encode_json(name)) == name


def test_the_console_writes_out_texts_and_keeps_its_own_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = terminal.console()
    screen.file, screen.width = io.StringIO(), 200
    table = Table(f"head {STEERING}", title=Text(STEERING))
    table.add_row(STEERING)
    table.add_row(Text(STEERING, style="bold red"))
    for part in (table, f"[bold]{STEERING}[/]", Text(STEERING)):
        screen.print(part)
    shown = screen.file.getvalue()
    assert "\x1b[1m" in shown  # its own
    assert shown.count("\\x1b]0;title") == 6
    assert not any(sequence in shown for sequence in ("\x1b]", "\x1b[2J", "\x07", "\u202e", "\x9b", "\udcff"))


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("case", ["recipe", "set", "file", "inspect", "usage", "data"])
def test_no_command_lets_a_name_steer_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str, as_json: bool
) -> None:
    name = "\x1b[31m\u202eevil\x9b"
    file = tmp_path / f"{name}.tflite"
    file.write_bytes(mean_colour_model())
    (tmp_path / "r.toml").write_text(f'name = "{name.encode("unicode_escape").decode()}"'.replace("\\x", "\\u00"))
    arguments = {
        "recipe": ["run", str(tmp_path / "r.toml")],
        "set": ["run", str(tmp_path / "r.toml"), "--set", f"{name}={name}"],
        "file": ["inspect", str(tmp_path / f"{name}.onnx")],
        "inspect": ["inspect", str(file)],
        "usage": [name, f"--{name}"],
        "data": ["evaluate", str(file), "--data", f"folder:{name}", "--out", str(tmp_path / "out")],
    }[case]
    code = status([*arguments, *(["--json"] if as_json and case != "usage" else [])])
    printed = capfd.readouterr()
    assert code == (0 if case == "inspect" else 2)
    assert harmless(printed.out + printed.err)
    assert "evil" in printed.out + printed.err
    if case == "inspect" and as_json:
        assert json.loads(printed.out)["file"] == str(file)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_in_any_encoding_is_whole_and_json_stays_json(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / os.fsdecode("é✓\udcff.tflite".encode("utf-8", "surrogateescape"))
    file.write_bytes(mean_colour_model())
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "edgeproof", "inspect", file, "--json"], env=environment, capture_output=True, check=True
    )
    document = json.loads(done.stdout.decode(encoding or "utf-8"))
    assert document["file"].endswith("\\xff.tflite")
    plain = subprocess.run(
        [sys.executable, "-m", "edgeproof", "inspect", file], env=environment, capture_output=True, check=True
    )
    assert b"Traceback" not in plain.stderr
    assert "float32" in plain.stdout.decode(encoding or "utf-8")


def test_nothing_prints_but_through_the_terminal() -> None:
    folder = Path(edgeproof.cli.__file__).parent
    for path in folder.rglob("*.py"):
        if path.name in ("terminal.py",) or "templates" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "click.echo", "click.secho", "Console", "sys.stdout.write"), path
