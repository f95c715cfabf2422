"""The command line: exit statuses, one JSON document, light start, and a README whose commands are real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeproof.cli.main import COMMANDS, status
from edgeproof.core.results import load_results
from edgeproof.data import builtin

from ..conftest import TinyRun, class_folders
from ..support.contract import hold_document
from ..support.quick import ONCE, as_options

REPO = Path(__file__).parents[2]


def edgeproof(*arguments: str, status: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "edgeproof", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **more},
        timeout=300,
    )
    assert status is None or done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def printed(capfd: pytest.CaptureFixture[str], *arguments: str, expected: int | None = 0) -> str:
    """Run a command in this process and return what it printed."""
    capfd.readouterr()
    outcome = status([*arguments])
    said = capfd.readouterr()
    assert expected in (None, outcome) and "Traceback" not in said.err, said.err
    return said.out


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\n{code}\nprint(' '.join(m.split('.')[0] for m in sys.modules), file=sys.stderr)",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return set(done.stderr.split())


HEAVY = {"tensorflow", "tf_keras", "keras", "numpy", "scipy", "matplotlib", "pydantic", "PIL", "onnx", "rich"}


def test_importing_edgeproof_loads_nothing_heavy() -> None:
    assert not loaded_by("import edgeproof") & HEAVY


def test_help_loads_nothing_heavy() -> None:
    code = "from edgeproof.cli.main import edgeproof\nedgeproof.main(['--help'], standalone_mode=False)"
    assert not loaded_by(code) & HEAVY


def test_reading_results_loads_no_framework(tiny: TinyRun) -> None:
    code = f"from edgeproof.core.results import load_results, Path\nload_results(Path({str(tiny.folder)!r}))"
    assert not loaded_by(code) & {"tensorflow", "tf_keras", "keras", "onnx", "ai_edge_litert"}


def test_help_names_every_command_and_the_exit_statuses(capfd: pytest.CaptureFixture[str]) -> None:
    text = edgeproof("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert "2 the input is wrong" in text
    for command in COMMANDS:
        assert status([command, "--help"]) == 0
        assert "Usage:" in capfd.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "none.toml"),
        ("run", str(REPO / "recipes" / "quickstart.toml"), "--set", "train.epoch=3"),
        ("run", str(REPO / "recipes" / "quickstart.toml"), "--out", "/proc/none"),
        ("run", str(REPO / "recipes" / "quickstart.toml"), "--out", str(REPO / "LICENSE")),
        ("run",),
        ("frobnicate",),
        ("report", "none"),
        ("inspect", "none.tflite"),
        ("inspect", str(REPO / "README.md")),
        ("compare", "none", "none"),
    ],
)
def test_wrong_input_is_exit_status_2_with_a_message(
    arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert status([*arguments]) == 2
    said = capfd.readouterr()
    assert said.err.strip() and not said.out and "Traceback" not in said.err


def test_the_exit_status_is_that_of_the_process() -> None:
    done = edgeproof("inspect", "none.tflite", status=2)
    assert done.stderr.strip() and not done.stdout


def test_init_writes_a_recipe_that_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my recipe.toml"
    edgeproof("init", str(path))
    assert "init" not in printed(capfd, "init", str(path), expected=2)
    from edgeproof import load_recipe

    assert load_recipe(path).model[0].backbone == "package:mobilenet_v2"
    class_folders(path.parent / 'a"b')
    printed(capfd, "init", str(path), "--force", "--data", 'folder:a"b', "--backbone", "keras:MobileNet")
    assert load_recipe(path).data.source == 'folder:a"b'


@pytest.mark.parametrize("command", ["devices", "doctor"])
def test_what_is_here_is_told_as_text_and_as_json(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert "local/litert" in printed(capfd, command, expected=None)
    assert json.loads(printed(capfd, command, "--json", expected=None))


@pytest.mark.slow
def test_in_a_pipe_no_line_is_broken(tiny: TinyRun) -> None:
    """There nobody has 80 columns; COLUMNS asks for a width all the same."""
    wide = edgeproof("report", str(tiny.folder), COLUMNS="").stdout.splitlines()
    narrow = edgeproof("report", str(tiny.folder), COLUMNS="60").stdout.splitlines()
    assert len(max(wide[:-1], key=len)) > 100 and len(max(narrow[:-1], key=len)) <= 60, "the last is the report's path"
    assert any(line.split()[:1] == ["file"] and "size" in line for line in wide)


def test_completion_scripts() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_EDGEPROOF_COMPLETE" in edgeproof("completion", shell).stdout


@pytest.mark.slow
def test_run_prints_one_json_document_or_the_table_and_the_report(tiny: TinyRun, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tiny.recipe.to_toml())
    done = edgeproof("run", str(recipe), "--out", str(tiny.folder), "--json")
    assert json.loads(done.stdout)["run"]["name"] == "tiny"
    done = edgeproof("run", str(recipe), "--out", str(tiny.folder), NO_COLOR="1", COLUMNS="150")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"report: {tiny.folder / 'report.html'}"
    assert (lines[-2] == f"next: edgeproof bundle {tiny.folder}") == (
        load_results(tiny.folder).recommendation["artifact"] is not None
    )
    assert "\n\n\n" not in done.stdout
    assert "\x1b[" not in done.stdout and "int8" in done.stdout


@pytest.mark.slow
def test_report_inspect_and_compare(tiny: TinyRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(tiny.folder, tmp_path / "copy")
    (tmp_path / "copy" / "report.html").unlink()
    printed(capfd, "report", str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "report.html").exists()
    file = tiny.folder / "artifacts" / "tiny--tflite-int8-int8io.tflite"
    facts = json.loads(printed(capfd, "inspect", str(file), "--json"))
    assert facts["inputs"][0]["dtype"] == "int8" and facts["inputs"][0]["scale"] > 0
    assert {"name": "CONV_2D", "version": 3}.items() <= next(o for o in facts["ops"] if o["name"] == "CONV_2D").items()
    assert "CONV_2D" in printed(capfd, "inspect", str(file))
    facts = json.loads(printed(capfd, "inspect", str(file.with_name("tiny--onnx-float32.onnx")), "--json"))
    assert facts["inputs"][0]["shape"] == [1, 32, 32, 3] and facts["outputs"][0]["name"] == "probabilities"
    assert json.loads(printed(capfd, "compare", str(tiny.folder), str(tiny.folder), "--json"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three random pictures for each class of the tiny run."""
    labels = (Path(builtin.__file__).parent / "fashion-mnist-mini" / "labels.txt").read_text().splitlines()
    random = np.random.default_rng(0)
    rows = ["path,label"]
    for number, label in enumerate(labels):
        for copy in range(3):
            pixels = random.integers(0, 255, (24, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number}-{copy}.png")
            rows.append(f"{number}-{copy}.png,{label}")
    (tmp_path / "pictures.csv").write_text("\n".join(rows))
    return tmp_path / "pictures.csv"


@pytest.mark.slow
def test_export_makes_more_files_of_a_trained_model(tiny: TinyRun, tmp_path: Path, pictures: Path) -> None:
    model = str(tiny.folder / "models" / "tiny")
    done = edgeproof("export", model, "--to", "tflite:int8", "--out", str(tmp_path / "o"), status=2)
    assert "--calibrate" in done.stderr
    done = edgeproof(
        "export", model, "--to", "tflite:float16", "--to", "tflite:int8", "--calibrate", f"csv:{pictures}",
        "--samples", "15", "--out", str(tmp_path / "o"), "--json",
    )  # fmt: skip
    float16, int8 = json.loads(done.stdout)
    hold_document("export --json", [float16, int8])
    assert float16["sha256"] == tiny.artifact("tflite:float16").sha256
    assert int8["calibration"]["count"] == 15 and Path(int8["path"]).stat().st_size == int8["bytes"]
    no_model = ("export", str(tmp_path), "--to", "tflite:float32", "--out", str(tmp_path / "p"))
    assert "is not a SavedModel" in edgeproof(*no_model, status=2).stderr


@pytest.mark.slow
def test_evaluate_proves_finished_files(tiny: TinyRun, tmp_path: Path, pictures: Path) -> None:
    folder = tiny.folder / "artifacts"
    bare = tmp_path / "bare.tflite"  # without its sidecar: the file alone must do
    shutil.copy(folder / "tiny--tflite-float32.tflite", bare)
    done = edgeproof(
        "evaluate", str(bare), str(folder / "tiny--onnx-float32.onnx"), str(tiny.folder / "models" / "tiny"),
        "--data", f"csv:{pictures}", "--on", "local/litert", "--on", "local/onnxruntime", "--on", "local/tensorflow",
        "--out", str(tmp_path / "e"), "--json", "--labels", "from-folders", *as_options(ONCE),
    )  # fmt: skip
    document = json.loads(done.stdout)
    hold_document("evaluate --json", document)
    rows = {(m["artifact"], m["target"]): m for m in document["measurements"]}
    assert len(rows) == 9 and sum(m["status"] == "ok" for m in rows.values()) == 3
    assert {m["samples"] for m in rows.values() if m["status"] == "ok"} == {30}, "a source without splits is used whole"
    assert rows["tiny--onnx-float32", "local/onnxruntime"]["agreement"] == 1.0
    assert rows["bare", "local/litert"]["agreement"] is None, "nobody knows what it came from"
    assert (tmp_path / "e" / "report.html").exists()


@pytest.mark.slow
def test_evaluate_refuses_other_classes(tiny: TinyRun, tmp_path: Path, pictures: Path) -> None:
    pictures.write_text(pictures.read_text().replace("Bag", "Rucksack"))
    file = tiny.folder / "artifacts" / "tiny--tflite-float32.tflite"
    done = edgeproof("evaluate", str(file), "--data", f"csv:{pictures}", "--out", str(tmp_path / "e"), status=2)
    assert "Rucksack" in done.stderr and "same classes" in done.stderr


def test_the_readme_s_commands_are_real() -> None:
    text = (REPO / "README.md").read_text()
    commands = re.findall(r"^\s*(?:\$ )?edgeproof ([a-z]+)", text, re.MULTILINE)
    assert commands and set(commands) <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    asked = set(re.findall(r"`?make ([a-z]+)`?", text))
    assert {"demo", "test"} <= asked <= targets
