"""The history of runs: order, changes from run to run, the table at any width, and the page."""

import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from edgeproof.cli.main import status
from edgeproof.core.errors import InputError
from edgeproof.evaluate.history import history as history_of
from edgeproof.report.history import LATEST, history_table
from edgeproof.report.history_page import render
from edgeproof.workflows.compare import compare
from edgeproof.workflows.history import history

from ..support import contract
from ..support.example_results import HOSTILE, Page, example
from ..support.two_runs import changed, noise, run

BOTH = ("tflite:int8", "tflite:float32")


def started(results, day):
    results.run["started"] = f"2026-11-{day:02d}T10:00:00+00:00"
    return results


def shown(result, width):
    stream = io.StringIO()
    console = Console(file=stream, width=width, no_color=True)
    for part in history_table(result, width):
        console.print(part)
    return stream.getvalue()


@pytest.fixture
def folders(tmp_path):
    """Three runs on disk: the second is slower, and in the third int8 fails."""
    folders = []
    for day, ms in ((3, 3.0), (4, 3.6), (5, 3.6)):
        folder = tmp_path / f"run{day}"
        results = started(run(f"run {day}", noise(ms, day), folder=folder, variants=BOTH), day)
        if day == 5:
            first, second = results.measurements
            results.measurements = [replace(first, status="crashed", accuracy=None, latency_ms=None), second]
        results.save(folder)
        folders.append(folder)
    return folders


def test_runs_are_put_in_order_and_changes_are_from_the_run_before(folders):
    result = history([folders[1], folders[2], folders[0]])
    assert [r.name for r in result.runs] == ["run 3", "run 4", "run 5"]
    int8, float32 = result.series
    assert [p.status for p in int8.points] == ["ok", "ok", "crashed"]
    verdicts = [p.latency_change and p.latency_change.verdict for p in float32.points]
    assert verdicts == [None, "higher", "not distinguishable"]
    assert (int8.points[2].accuracy, int8.points[2].latency_ms, int8.points[2].latency_change) == (None, None, None)
    assert result.warnings == () and result.page is None


def test_a_change_is_from_the_last_run_that_has_the_figure(folders):
    again = started(run("run 6", noise(9, 6), variants=BOTH), 6)
    result = history([*folders, again])
    assert result.series[0].points[3].latency_change.estimate == pytest.approx(9 / 3.6, rel=0.1)


def test_without_dates_runs_stay_as_they_are_named():
    result = history_of([(run("b", [3.0]), None), (run("a", [3.0]), None)])
    assert [r.name for r in result.runs] == ["b", "a"]


def test_latencies_of_unlike_machines_are_not_compared_and_other_data_is_a_warning():
    a, b = started(run("a", noise(3, 1)), 1), started(run("b", noise(9, 1), environment={"cpu": "other"}), 2)
    b.data = {"sha256": "another"}
    result = history_of([(a, None), (b, None)])
    assert result.series[0].points[1].latency_change is None
    assert result.series[0].points[1].accuracy_change is not None
    assert "unlike machines" in result.warnings[0] and "different prepared data" in result.warnings[1]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_has_each_run_of_each_cell_at_any_width(folders, width):
    text = shown(history(folders), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    words = " ".join(text.split())
    for part in (
        "tflite:int8 on local/litert",
        "2026-11-03 10:00",
        "82.0 %",
        "slower",
        "crashed",
        "3.00 MiB",
        "measured",
    ):
        assert part in words


def test_of_many_runs_the_latest_are_in_the_table_and_all_on_the_page():
    runs = [(started(run(f"run {day}", [3.0]), day), None) for day in range(1, LATEST + 4)]
    text = shown(history_of(runs), 80)
    assert f"the latest {LATEST} of {LATEST + 3} runs" in text and "2026-11-03" not in text and "2026-11-04" in text
    assert "2026-11-01" in Page(render(history_of(runs))).words


def test_the_page_is_self_contained_and_has_every_figure(folders, tmp_path):
    file = tmp_path / "made" / "h.html"
    assert history(folders, out=file).page == file
    page = Page(source := file.read_text(encoding="utf-8"))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids)) and "<script" not in source
    for part in (
        "2026-11-03 to 2026-11-05",
        "Accuracy",
        "Median latency",
        "Size",
        "slower",
        "crashed",
        "run 4",
        "Some CPU",
    ):
        assert part in page.words
    assert source.count('class="plot wide"') == source.count('class="plot narrow"') == 3
    assert not re.search("#0e1f[0-9a-f]{2}", source), "every colour follows the page's theme"


def test_a_page_of_a_real_run_with_failures_and_several_models_is_made():
    runs = [(started(example(models=("one", "two"), seed=seed), seed), None) for seed in (1, 2)]
    runs.append((started(changed(example(models=("one", "two")), status="failed"), 3), None))
    page = Page(render(history_of(runs)))
    assert "int8 of two on local/" in page.words


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_texts_on_the_page_and_in_the_table(name):
    a = started(run(name, noise(3, 1), environment={"cpu": name}), 1)
    a.artifacts = [replace(artifact, model=name) for artifact in a.artifacts]
    a.run["edgeproof_version"] = name
    b = started(run("b", noise(3, 1), model="other"), 2)
    b.artifacts += a.artifacts
    b.measurements += a.measurements
    result = history_of([(a, None), (b, None)])
    source = render(result)
    assert "<script>" not in source and "<img" not in source
    Page(source)
    assert "\u202e" not in shown(result, 80)


def test_the_command_writes_a_page_and_prints_one_document(folders, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    names = [str(folder) for folder in folders]
    assert status(["history", *names]) == 0
    out = capfd.readouterr().out
    assert out.endswith("page: history.html\n") and "slower" in out
    assert status(["history", *names]) == 0, "a page of ours is replaced"
    (tmp_path / "history.html").unlink()
    capfd.readouterr()
    assert status(["history", *names, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    contract.hold_document("history --json", document)
    assert document["page"] is None and not (tmp_path / "history.html").exists()
    assert document["series"][1]["points"][1]["latency_change"]["verdict"] == "higher"
    assert len(history(folders).to_pandas()) == 6


def test_a_file_that_is_no_history_of_ours_is_not_replaced(folders, tmp_path):
    mine = tmp_path / "mine.html"
    mine.write_text("my page")
    link = tmp_path / "link.html"
    link.symlink_to(mine)
    for path in (mine, link, tmp_path):
        with pytest.raises(InputError, match="in the way"):
            history(folders, out=path)
    assert mine.read_text() == "my page"


def test_a_folder_in_which_no_run_has_ended_is_left_out_with_a_warning(folders, tmp_path):
    (unfinished := tmp_path / "unfinished").mkdir()
    result = history([folders[0], unfinished, folders[1]])
    assert [r.name for r in result.runs] == ["run 3", "run 4"]
    assert f"no run has ended there: {str(unfinished)[:40]}" in result.warnings[-1]  # long paths are shortened
    with pytest.raises(InputError, match="no run has ended there"):
        history([unfinished])


def test_a_killed_run_is_left_out_decides_no_gate_and_is_said_to_have_been_killed(folders):
    results = json.loads((folders[1] / "results.json").read_text())
    results["run"]["finished"] = None  # as a run writes it while it goes on
    (folders[1] / "results.json").write_text(json.dumps(results))
    result = history(folders)
    assert [r.name for r in result.runs] == ["run 3", "run 5"]
    assert "no run has ended there" in result.warnings[-1]
    alone = history([folders[1]])
    assert [r.name for r in alone.runs] == ["run 4"]
    assert "ended before everything was measured" in alone.warnings[-1]
    for limits in ("new-failures", "accuracy_drop > 20 points"):
        with pytest.raises(InputError, match="run b ended before everything was measured"):
            compare(folders[0], folders[1], fail_on=limits)
    assert "run a ended before everything was measured" in compare(folders[1], folders[0]).warnings[-1]
    assert not any("ended" in words for words in compare(folders[0], folders[2]).warnings)


def test_a_junit_file_replaces_its_like_and_nothing_else(folders, tmp_path, capfd):
    a, b = map(str, folders[:2])
    limit = ["compare", a, b, "--fail-on", "new-failures", "--junit"]
    made, link = tmp_path / "j.xml", tmp_path / "link.xml"
    link.symlink_to(tmp_path / "elsewhere.xml")
    assert [status([*limit, str(made)]), status([*limit, str(made)])] == [0, 0] and "<testcase" in made.read_text()
    results = folders[0] / "results.json"
    before = results.read_bytes()
    os.mkfifo(tmp_path / "pipe")
    (picture := tmp_path / "p.svg").write_text('<?xml version="1.0"?><svg/>')
    for path in (results, link, tmp_path / "pipe", tmp_path, picture):
        capfd.readouterr()
        assert status([*limit, str(path)]) == 2
        assert "is in the way: it is no JUnit file" in " ".join(capfd.readouterr().err.split())
    assert results.read_bytes() == before and link.is_symlink() and (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc here")
def test_a_place_where_nothing_can_be_written_is_refused_before_anything_is_read(folders, capfd):
    runs = list(map(str, folders[:2]))
    for arguments in (
        ["compare", *runs, "--fail-on", "new-failures", "--junit", "/proc/none/j.xml"],
        ["history", *runs, "--out", "/proc/none/h.html"],
    ):
        assert status(arguments) == 2
        said = " ".join(capfd.readouterr().err.split())
        assert "cannot make the folder /proc/none" in said and f"name another file with {arguments[-2]}" in said


def test_what_is_no_list_of_runs_is_refused(folders):
    for wrong, message in (
        (folders[0], "are one run"),
        ([], "0 runs"),
        ([3], "is a int"),
        (["none"], "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            history(wrong)
    assert status(["history"]) == 2
    assert status(["history", "none"]) == 2


def test_several_metrics_in_one_history_are_named():
    first, second = (started(run(name, [3.0]), day) for name, day in (("a", 3), ("b", 4)))
    scored = {"metric": "MAE", "accuracy": None, "accuracy_low": None, "accuracy_high": None, "score": 247.0}
    words = shown(history_of([(first, None), (changed(second, **scored), None)]), 120)
    assert re.search(r"accuracy 82.0 %", words) and "MAE 247" in words
    alone = shown(history_of([(first, None)]), 120)
    assert "accuracy 82.0 %" not in alone and "82.0 %" in alone
