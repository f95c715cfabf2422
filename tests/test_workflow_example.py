"""The GitHub Actions workflow of docs/ci.md: each of its `run:` steps is run here, in bash, as a runner does it.

`gh` is a script that takes only the calls which the workflow makes; the rest (edgeproof, pip) is real. Expressions and
conditions are those of a table: a new one must be added here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from .conftest import TinyRun

PAGE = Path(__file__).parents[1] / "docs" / "ci.md"
PULL_REQUEST = "github.event_name == 'pull_request'"
NOT_A_FORK = "github.event.pull_request.head.repo.full_name == github.repository"
# The value of each expression on a pull request.
VALUES = {
    "github.token": "a token",
    "github.repository": "me/mine",
    "github.event.pull_request.base.ref": "main",
    "github.event.pull_request.number": "7",
}
# Whether a step with this condition runs: (on a push, on a pull request whose steps before succeeded, after a failure).
CONDITIONS = {
    "": (True, True, False),
    PULL_REQUEST: (False, True, False),
    f"always() && {NOT_A_FORK}": (False, True, True),
    f"always() && {PULL_REQUEST}": (False, True, True),
}
GH = r"""#!/bin/bash
set -eu
echo "$@" >> "$FAKE/calls"
test "$GH_TOKEN" = "a token" -a "$GH_REPO" = me/mine
case "$*" in
  "run list --workflow edgeproof.yml --branch main --event push --status success --limit 1 "\
"--json databaseId --jq .[0].databaseId // empty")
    cat "$FAKE/id" ;;
  "run download 41 --name edgeproof-run --dir runs/baseline") cp -r "$FAKE/baseline" runs/baseline ;;
  "pr comment 7 --edit-last --body-file comparison.md") exit 1 ;;
  "pr comment 7 --body-file comparison.md") cp comparison.md "$FAKE/comment.md" ;;
  *) echo "unknown: $*" >&2; exit 99 ;;
esac
"""


def workflow() -> dict[str, Any]:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    document: dict[str, Any] = yaml.safe_load(block)
    return document


def steps() -> list[dict[str, Any]]:
    (job,) = workflow()["jobs"].values()
    assert job["defaults"]["run"]["shell"] == "bash"
    return list(job["steps"])


class Runner:
    """A checkout in `folder` with a recipe and, as from the cache, its finished run; `fake` holds what `gh` knows."""

    def __init__(self, tiny: TinyRun, folder: Path) -> None:
        self.folder, self.fake = folder / "checkout", folder / "fake"
        (self.fake / "bin").mkdir(parents=True)
        self.folder.mkdir()
        (self.folder / "recipe.toml").write_text(tiny.recipe.to_toml(), encoding="utf-8")
        shutil.copytree(tiny.folder, self.folder / "runs" / "now", symlinks=True)
        shutil.copytree(
            tiny.folder, self.fake / "baseline", symlinks=True, ignore=shutil.ignore_patterns(".*")
        )  # what an artifact keeps
        (self.fake / "id").write_text("41\n")
        gh = self.fake / "bin" / "gh"
        gh.write_text(GH)
        gh.chmod(0o755)

    def run(self, event: int) -> dict[str, int]:
        """Run the steps of a push (0) or a pull request (1); return their exit statuses by name."""
        statuses: dict[str, int] = {}
        failed = False
        for step in steps():
            condition = CONDITIONS[step.get("if", "")]
            if "run" not in step or not (condition[2] if failed else condition[event]):
                continue
            done = self.step(step)
            statuses[step["name"]] = done.returncode
            failed = failed or done.returncode != 0
            assert done.returncode in (0, 1), done.stderr
        return statuses

    def step(self, step: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        assert "${{" not in step["run"], "values reach a script as variables"
        variables = {**workflow()["env"], **step.get("env", {})}
        for name, value in variables.items():
            variables[name] = re.sub(r"\$\{\{ (.*?) \}\}", lambda found: VALUES[found[1]], value)
        places = (self.fake / "bin", Path(sys.executable).parent)
        environment = {
            **os.environ, **variables, "PATH": os.pathsep.join([*map(str, places), os.environ["PATH"]]),
            "FAKE": str(self.fake), "GITHUB_STEP_SUMMARY": str(self.fake / "summary.md"),
            "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }  # fmt: skip
        script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(
            script, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture
def runner(tiny: TinyRun, tmp_path: Path) -> Runner:
    return Runner(tiny, tmp_path)


def test_every_condition_and_action_of_the_workflow_is_known() -> None:
    assert {step.get("if", "") for step in steps()} == set(CONDITIONS)
    actions = {step["uses"].partition("@")[0] for step in steps() if "uses" in step}
    assert actions == {f"actions/{name}" for name in ("checkout", "setup-python", "cache", "upload-artifact")}
    assert workflow()["permissions"] == {"actions": "read", "contents": "read", "pull-requests": "write"}
    kept = [step["with"]["name"] for step in steps() if step.get("uses", "").startswith("actions/upload")]
    assert kept == ["edgeproof-run", "edgeproof-gate"], "the baseline is what a push kept"


@pytest.mark.slow
def test_a_push_proves_and_compares_nothing(runner: Runner) -> None:
    assert runner.run(0) == {"Install": 0, "Train, export and evaluate": 0}
    assert not (runner.fake / "calls").exists()


@pytest.mark.slow
def test_a_pull_request_is_compared_with_the_baseline_and_commented(runner: Runner) -> None:
    assert set(runner.run(1).values()) == {0}
    comment = (runner.fake / "comment.md").read_text(encoding="utf-8")
    assert comment.startswith("## Gate ") and "Gate not met" not in comment and "| tflite:int8 |" in comment
    assert (runner.fake / "summary.md").read_text(encoding="utf-8") == comment
    suite = ElementTree.fromstring((runner.folder / "gate.xml").read_text(encoding="utf-8"))[0]
    assert suite.get("failures") == "0" and int(suite.get("tests", 0)) > 40


@pytest.mark.slow
def test_a_limit_that_is_not_met_fails_the_job_and_is_commented_all_the_same(runner: Runner) -> None:
    path = runner.fake / "baseline" / "results.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for artifact in document["artifacts"]:
        artifact["bytes"] = int(artifact["bytes"] * 0.9)
    path.write_text(json.dumps(document), encoding="utf-8")
    statuses = runner.run(1)
    assert statuses.pop("Compare with the baseline") == 1
    assert set(statuses.values()) == {0} and "Comment on the pull request" in statuses
    assert "Gate not met" in (runner.fake / "comment.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_without_a_baseline_nothing_is_compared(runner: Runner) -> None:
    (runner.fake / "id").write_text("")
    assert set(runner.run(1).values()) == {0}
    assert not (runner.fake / "comment.md").exists() and not (runner.folder / "comparison.md").exists()
