"""What `run` and `evaluate` exit with: 3 when nothing was proved, 1 when the budget is not met, else 0."""

from pathlib import Path

import pytest

from edgeproof.cli.exit_status import exit_status
from edgeproof.core.artifact import Artifact
from edgeproof.core.measurement import Measurement
from edgeproof.core.results import Results


def run(*rows, budget=None):
    """Each row: (format, target, status)."""
    results = Results(run={}, environment={}, budget=budget or {})
    for format_, target, status in rows:
        results.add_artifact(Artifact(f"m--{format_}", "m", format_, "float32", Path("f")))
        results.add_measurement(Measurement(f"m--{format_}", target, "local", target.split("/")[1], status=status))
    return results


@pytest.mark.parametrize("status", ["crashed", "timeout", "failed", "unsupported", "skipped"])
def test_a_file_that_runs_nowhere_is_a_failure_though_its_float_model_runs(status):
    nowhere = [("tflite", "local/litert", status), ("tflite", "local/tflite-runtime", status)]
    assert exit_status(run(*nowhere)) == 3
    assert exit_status(run(("savedmodel", "local/tensorflow", "ok"), *nowhere)) == 3
    assert exit_status(run(*nowhere, budget={"met": False, "verdict": "not met"})) == 3, "there is nothing to judge"
    assert exit_status(run(*nowhere, ("onnx", "local/onnxruntime", "ok"))) == 0, "one file was proved"


def test_nothing_asked_and_nothing_measured_is_no_success_and_a_lone_float_model_is_one():
    assert exit_status(run()) == 3
    assert exit_status(run(("savedmodel", "local/tensorflow", "ok"))) == 0


@pytest.mark.parametrize(
    ("budget", "plain", "strict"),
    [
        ({}, 0, 0),
        ({"met": True, "verdict": "met"}, 0, 0),
        ({"met": False, "verdict": "not met"}, 1, 1),
        ({"met": False, "verdict": "not shown"}, 0, 1),
        ({"met": False}, 1, 1),  # a run of before there were three verdicts
    ],
)
def test_a_budget_that_is_not_shown_to_be_met_fails_only_a_strict_command(budget, plain, strict):
    proved = run(("tflite", "local/litert", "ok"), budget=budget)
    assert (exit_status(proved), exit_status(proved, strict=True)) == (plain, strict)
    assert exit_status(proved, failures=1) == 3, "a model could not be made"


def test_devices_name_the_extra_that_a_runtime_comes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from edgeproof.cli.commands.devices import command
    from edgeproof.core import extras

    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "ai_edge_litert" else real(name))
    monkeypatch.setenv("COLUMNS", "200")
    assert "pip install 'edgeproof[litert]'" in CliRunner().invoke(command).stdout


@pytest.mark.parametrize("programs", [True, False])
def test_devices_cut_no_name_off_on_a_narrow_terminal(programs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from edgeproof.cli.commands.devices import command

    monkeypatch.setenv("COLUMNS", "60")
    if not programs:  # then every device says what to install or to name
        monkeypatch.setenv("PATH", "")
    assert "…" not in CliRunner().invoke(command).stdout
