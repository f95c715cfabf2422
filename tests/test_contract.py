"""What scripts see stays: commands, options, exit statuses, keys of the recipe and of every document.

The record is tests/support/contract.json. An entry that is gone or changed fails; a new one is added by
`make contract`. The documents of runs on texts, diagnoses, exports and proofs of finished files are held by the tests
that make them.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeproof.cli import completing
from edgeproof.cli.main import status
from edgeproof.devices.runtimes import installed_versions

from .conftest import TinyRun
from .support import contract
from .support.bundle_models import mean_colour_model


def test_commands_keep_their_arguments_options_defaults_and_choices() -> None:
    contract.hold("commands", contract.commands())


def test_the_recipe_keeps_its_keys_with_their_types_and_defaults() -> None:
    contract.hold("recipe.toml", contract.recipe())


@pytest.mark.slow
def test_a_run_on_images_keeps_what_it_leaves(tiny: TinyRun) -> None:
    for document in ("results.json", "artifacts/tiny--tflite-int8.json", "artifacts/tiny--onnx-float32.json"):
        contract.hold_document(f"images: {document}", _read(tiny.folder / document))
    contract.hold_columns("results.csv", tiny.folder / "results.csv")
    raw = next(m.raw for m in tiny.finished.results.measurements if m.raw and "tflite" in m.artifact)
    contract.hold_document("images: raw latencies", _read(tiny.folder / raw))
    lines = (tiny.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert all({"time", "level", "message"} <= json.loads(line).keys() for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "inspect tflite", "inspect onnx", "compare", "devices", "doctor"])
def test_json_on_stdout_keeps_its_keys(tiny: TinyRun, capfd: pytest.CaptureFixture[str], command: str) -> None:
    arguments = {
        "report": ["report", str(tiny.folder)],
        "inspect tflite": ["inspect", str(tiny.artifact("tflite:int8").path)],
        "inspect onnx": ["inspect", str(tiny.artifact("onnx:float32").path)],
        "compare": ["compare", str(tiny.folder), str(tiny.folder)],
        "devices": ["devices"],
        "doctor": ["doctor"],
    }[command]
    assert status([*arguments, "--json"]) in ((0, 1) if command == "doctor" else (0,))
    name = "images: results.json" if command == "report" else f"{command} --json"
    contract.hold_document(name, json.loads(capfd.readouterr().out))


@pytest.mark.slow
def test_a_bundle_keeps_its_keys(tiny: TinyRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = str(tiny.artifact("tflite:int8").path)
    assert status(["bundle", file, "--out", str(tmp_path), "--samples", "2", "--json"]) == 0
    folder = tmp_path / "tiny--tflite-int8"
    document = _read(folder / "bundle.json")
    contract.hold_document("images: bundle.json", document)
    places = {"folder": str(folder), "archive": str(folder.with_suffix(".zip"))}
    assert json.loads(capfd.readouterr().out) == {**document, **places}


@pytest.mark.slow
def test_a_profile_keeps_its_keys(tiny: TinyRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = str(tiny.artifact("tflite:int8").path)
    assert status(["profile", file, "--runs", "3", "--out", str(tmp_path), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    contract.hold_document("profile --json", document)
    assert document["kinds"][0]["op"] in ("CONV_2D", "DEPTHWISE_CONV_2D")
    assert document["samples"].startswith("the test split")
    name = "tiny--tflite-int8--on--local-litert"
    written = {path.name for path in (tmp_path / "profile").iterdir()}
    assert written == {f"{name}.json", f"{name}.model-explorer.json"}
    if installed_versions()["tflite-runtime"]:
        assert status(["profile", file, "--on", "local/tflite-runtime", "--out", str(tmp_path)]) == 3
        assert "has no profile on local/tflite-runtime" in capfd.readouterr().err


@pytest.mark.slow
def test_a_run_with_profiles_keeps_its_keys(tiny: TinyRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Measured already: only the profiles are made, and a second time they are taken from the store."""
    recipe, out = tmp_path / "tiny.toml", tmp_path / "copy"
    recipe.write_text(tiny.recipe.to_toml(), encoding="utf-8")
    shutil.copytree(tiny.folder, out)
    run = ["run", str(recipe), "--out", str(out), "--json", "--set", "evaluate.profile=true"]
    assert status(run) == 0
    rows = [{"profile": row["profile"]} for row in json.loads(capfd.readouterr().out)["measurements"]]
    contract.hold_document("run with evaluate.profile --json", {"measurements": rows})
    made = [profile for row in rows if (profile := row["profile"]) and profile["status"] == "ok"]
    assert len(made) >= 8 and all((out / profile["path"]).is_file() and profile["kinds"] for profile in made)
    stored = sorted((out / ".store" / "profile").iterdir())
    assert len(stored) == len(made)
    assert status([*run, "--set", "budget.max_bytes=100000000"]) in (0, 1)
    again = json.loads(capfd.readouterr().out)["measurements"]
    assert [row["profile"] for row in again] == [row["profile"] for row in rows]
    assert sorted((out / ".store" / "profile").iterdir()) == stored


@pytest.mark.slow
def test_a_run_with_a_budget_keeps_its_keys_and_exit_statuses(
    tiny: TinyRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Measured already: only what is chosen changes. Of budgets that are not shown to be met: test_exit_status."""
    recipe, out = tmp_path / "tiny.toml", tmp_path / "copy"
    recipe.write_text(tiny.recipe.to_toml(), encoding="utf-8")
    shutil.copytree(tiny.folder, out)
    run = ["run", str(recipe), "--out", str(out), "--json", "--strict", "--set"]
    for limit, expected in (("max_accuracy_drop=1", 0), ("max_bytes=10", 1)):
        assert status([*run, f"budget.{limit}"]) == expected
        document = json.loads(capfd.readouterr().out)
        part = {"budget": document["budget"], "recommendation": document["recommendation"]}
        contract.hold_document(f"run with budget.{limit} --json", part)
        assert (document["recommendation"]["artifact"] is None) == (expected == 1)


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["run", "--help"], ["docs", "recipe"], ["completion", "bash"], ["inspect", "FILE"]],
)
def test_what_is_done_is_exit_status_0(tmp_path: Path, arguments: list[str]) -> None:
    assert status(_with_file(arguments, tmp_path)) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["run"],
        ["run", "none.toml"],
        ["inspect", "FILE", "--frobnicate"],
        ["inspect", "none.tflite"],
        ["export", "none", "--to", "tflite:float32"],
        ["export", "FILE", "--to", "tflite:frobnicate"],
        ["evaluate", "FILE"],
        ["evaluate", "FILE", "--data", "frobnicate:x"],
        ["evaluate", "FILE", "--data", "builtin:fashion-mnist-mini", "--on", "local/frobnicate"],
        ["evaluate", "FILE", "--data", "builtin:fashion-mnist-mini", "--budget", "frobnicate=1"],
        ["diagnose", "FILE"],
        ["profile", "none.tflite"],
        ["profile", "FILE", "--on", "local/frobnicate"],
        ["bundle", "none.tflite"],
        ["compare", "none", "none"],
        ["report", "none"],
        ["devices", "--install", "frobnicate==1"],
        ["init", "r.toml", "--data", "folder:none"],
        ["docs", "frobnicate"],
        ["completion", "frobnicate"],
    ],
)
def test_wrong_input_is_exit_status_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert status(_with_file(arguments, tmp_path)) == 2


@pytest.mark.slow
def test_a_file_that_runs_nowhere_is_exit_status_3(tiny: TinyRun, tmp_path: Path) -> None:
    """An ONNX runtime reads no .tflite: nothing was measured."""
    data = ["--data", "builtin:fashion-mnist-mini", "--on", "local/onnxruntime", "--out", str(tmp_path)]
    assert status(["evaluate", str(tiny.artifact("tflite:float32").path), *data]) == 3


def test_variants_and_targets_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `--to` and `--on` are completed with is what they take."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # not what the one who runs the tests has declared
    for name, complete in (("variants", completing.variants), ("targets", completing.targets)):
        offered = [item.value for item in complete(None, None, "")]  # type: ignore[arg-type]
        contract.hold(name, {value: name.removesuffix("s") for value in offered if "==" not in value})


def test_an_entry_that_is_gone_or_changed_fails_and_a_new_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(contract.ADD, raising=False)
    recorded = contract.tree({"rows": [{"a": 1, "loads": {"x": "ok"}}, {"a": None, "b": []}], "empty": {}})
    assert recorded == {
        "": "table", "empty": "table", "rows": "list", "rows[]": "table", "rows[].a": "integer|null",
        "rows[].b": "absent|list", "rows[].loads": "absent|table", "rows[].loads.*": "text",
    }  # fmt: skip
    columns = json.loads(contract.RECORD.read_text(encoding="utf-8"))["results.csv"]
    contract.hold("results.csv", columns)
    first = next(iter(columns))
    for broken, words in (
        ({key: value for key, value in columns.items() if key != first}, f"{first} is gone"),
        ({**columns, first: "column 99"}, f"{first} was column"),
        ({**columns, "more": "column 99"}, "`make contract` adds it"),
    ):
        with pytest.raises(AssertionError, match=words):
            contract.hold("results.csv", broken)


def test_what_measured_figures_choose_may_be_missing_and_its_keys_may_not() -> None:
    name = "run with budget.max_accuracy_drop=1 --json"
    recorded = json.loads(contract.RECORD.read_text(encoding="utf-8"))[name]
    contract.hold(name, {key: value for key, value in recorded.items() if "targets[].fits[]" not in key})
    for key in ("recommendation.why", "recommendation.targets[].fits[].artifact"):
        with pytest.raises(AssertionError, match=f"{re.escape(key)} is gone"):
            contract.hold(name, {path: value for path, value in recorded.items() if path != key})


def _with_file(arguments: list[str], folder: Path) -> list[str]:
    """Put a real .tflite in the place of FILE."""
    file = folder / "colours.tflite"
    file.write_bytes(mean_colour_model())
    return [str(file) if argument == "FILE" else argument for argument in arguments]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
