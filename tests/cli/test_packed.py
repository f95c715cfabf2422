"""What a newcomer finds at the prompt: docs and recipes that are installed, completion of values, near names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import tomllib
from click.testing import CliRunner

from edgeproof.cli import completing
from edgeproof.cli.main import COMMANDS, edgeproof
from edgeproof.core.errors import InputError
from edgeproof.core.recipe_file import load_recipe, parse_recipe
from edgeproof.workflows import shipped

REPO = Path(__file__).parents[2]


def test_every_page_of_the_docs_is_shown_as_it_is_written() -> None:
    listed = CliRunner().invoke(edgeproof, ["docs"]).stdout
    for path in (REPO / "docs").glob("*.md"):
        assert path.stem in listed
        for name in (path.stem, path.name, f"docs/{path.name}"):
            assert CliRunner().invoke(edgeproof, ["docs", name]).stdout == path.read_text(encoding="utf-8")


def test_an_unknown_page_names_the_nearest_one() -> None:
    with pytest.raises(InputError, match="no page 'recip'") as caught:
        shipped.page("recip")
    assert "did you mean 'recipe'" in caught.value.remedy


def test_mistakes_in_a_recipe_point_to_a_page_that_is_installed() -> None:
    with pytest.raises(InputError) as caught:
        parse_recipe({"data": {"source": "folder:x", "sauce": 1}}, Path(), "r.toml")
    command = caught.value.remedy.split("`")[1]
    done = CliRunner().invoke(edgeproof, command.split()[1:])
    assert done.exit_code == 0 and "| `source` |" in done.stdout


@pytest.mark.parametrize("name", shipped.recipe_names())
def test_every_recipe_is_copied_with_the_data_that_it_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine" / "copy.toml"
    done = CliRunner().invoke(edgeproof, ["init", "--from", name, str(path)], catch_exceptions=False)
    assert done.exit_code == 0 and f"wrote {path}" in done.stdout
    assert path.read_text() == (REPO / "recipes" / f"{name}.toml").read_text()
    recipe = load_recipe(path)
    scheme, _, rest = recipe.data.source.partition(":")
    if scheme in ("folder", "csv", "tsv", "jsonl", "textfolder") and not name.startswith("tiny-"):  # those have none
        assert (path.parent / rest).read_bytes() == (REPO / "recipes" / rest).read_bytes()


def test_copying_a_recipe_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "reviews.tsv").write_text("mine")
    with pytest.raises(InputError, match=r"reviews\.tsv exists already"):
        shipped.copy_recipe("tutorial-sentence-encoder", path, force=False)
    assert not path.exists() and (tmp_path / "data" / "reviews.tsv").read_text() == "mine"
    shipped.copy_recipe("tutorial-sentence-encoder", path, force=True)
    with pytest.raises(InputError, match=r"r\.toml exists already"):
        shipped.copy_recipe("quickstart", path, force=False)
    assert tomllib.loads(path.read_text())["name"] == "tutorial-sentence-encoder"


def test_a_copied_recipe_takes_no_other_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its own data"):
        CliRunner().invoke(
            edgeproof, ["init", str(tmp_path / "r.toml"), "--from", "qat", "--data", "x"], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rn", "run"),
        ("Run", "run"),
        ("benchmark", ""),
        ("doktor", "doctor"),
        ("a/recipe.toml", "run a/recipe.toml"),
        ("m.onnx", "inspect m.onnx"),
    ],
)
def test_a_command_that_is_mistyped_is_guessed(typed: str, meant: str) -> None:
    done = CliRunner().invoke(edgeproof, [typed])
    assert done.exit_code == 2 and f"No such command '{typed}'." in done.stderr
    assert (f"Did you mean: edgeproof {meant}\n" in done.stderr) if meant else ("Did you mean" not in done.stderr)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_and_values_with_colons_and_equals_signs(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "phone.toml").touch()
    (tmp_path / "phone.txt").touch()
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    starter = bin_folder / "edgeproof"
    # Click takes the name of the program from argv[0].
    starter.write_text(
        f"#!{sys.executable}\nimport sys\nsys.argv[0] = 'edgeproof'\nfrom edgeproof.cli.main import main\nmain()\n"
    )
    starter.chmod(0o755)
    beside = tmp_path / "runtimes"
    cases = {
        "edgeproof ru": "run",
        "edgeproof export m --to tflite:int16": "int16x8",
        "edgeproof export m --to onnx": "onnx:float32 onnx:float16 onnx:dynamic onnx:int8",
        "edgeproof evaluate m.tflite --on local/tflite": "local/tflite-runtime local/tflite-micro",
        f"edgeproof run {tmp_path}/pho": f"{tmp_path}/phone.toml {tmp_path}/photos/",
        "edgeproof init --from q": "quickstart qat",
        "edgeproof docs cov": "coverage",
    }
    lines = ['eval "$(edgeproof completion bash)"']
    for line in cases:
        lines += [f"COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; _edgeproof_completion edgeproof 2>/dev/null"]
        lines += ['echo "${COMPREPLY[*]}"']
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "EDGEPROOF_RUNTIMES": str(beside)},
    )
    assert done.stdout.splitlines() == list(cases.values())


def test_targets_complete_to_versions_that_lie_beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / f"litert-1.0.1-py{sys.version_info.major}{sys.version_info.minor}").mkdir()
    monkeypatch.setenv("EDGEPROOF_RUNTIMES", str(tmp_path))
    context, parameter = click.Context(edgeproof), click.Option(["--on"])
    completions = [item.value for item in completing.targets(context, parameter, "local/litert")]
    assert completions == ["local/litert", "local/litert-gpu", "local/litert==1.0.1"]


def test_every_command_that_takes_a_recipe_a_variant_or_a_target_completes_it() -> None:
    context = click.Context(edgeproof)
    wanting = {"recipe", "variants", "targets", "origin", "page"}
    completed = set()
    for name in COMMANDS:
        command = edgeproof.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if parameter.name in wanting:
                assert parameter.shell_complete(click.Context(command), ""), (name, parameter.name)
                completed.add(parameter.name)
    assert completed == wanting
