"""The gate of two runs: its grammar, its verdicts by intervals, and what the command, Markdown and JUnit say."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from edgeproof.cli.main import status
from edgeproof.core.errors import InputError
from edgeproof.evaluate.compare import compare
from edgeproof.evaluate.gate import Limit, parse_limit
from edgeproof.report.comparison_markdown import comparison_markdown
from edgeproof.report.comparison_words import gate_lines
from edgeproof.report.junit import junit

from ..support import contract
from ..support.example_results import HOSTILE
from ..support.two_runs import changed, noise, run

RIGHT = np.random.default_rng(5).random(2000) < 0.82
ALL = ("accuracy_drop > 0.5 points", "latency > 3 %", "size > 5 %", "new-failures")


def worse_by(count):
    """The scores RIGHT with `count` right answers lost."""
    scores = RIGHT.copy()
    scores[np.flatnonzero(RIGHT)[:count]] = False
    return scores


def gate(tmp_path, b, *limits, a=None):
    """The gate of the run b of the folder b, against a run that answers RIGHT in 3 ms."""
    a = a or run("a", noise(3, 1), scores=RIGHT, folder=tmp_path / "a")
    limits = [parse_limit(text) for text in limits]
    return compare(a, b, folder_a=tmp_path / "a", folder_b=tmp_path / "b", fail_on=limits).gate


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("accuracy_drop > 0.5 points", Limit("accuracy_drop > 0.5 points", "accuracy_drop", 0.5)),
        ("  accuracy_drop>1point ", Limit("accuracy_drop > 1 points", "accuracy_drop", 1.0)),
        ("latency > 3%", Limit("latency > 3 %", "latency", 3.0)),
        ("size > 0 %", Limit("size > 0 %", "size", 0.0)),
        ("new-failures", Limit("new-failures", "new-failures")),
    ],
)
def test_a_limit_is_read(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("latancy > 3 %", "no known figure", "did you mean latency?"),
        ("accuracy-drop > 3 points", "no known figure", "did you mean accuracy_drop?"),
        ("new_failures", "no known figure", "did you mean new-failures?"),
        ("frobnicate > 3 %", "no known figure", "write one of 'accuracy_drop > 0.5 points'"),
        ("", "no known figure", "write one of"),
        ("> 3 %", "no known figure", "write one of"),
        ("latency", "how much is too much", "'latency > 3 %'"),
        ("latency < 3 %", "how much is too much", "'latency > 3 %'"),
        ("latency >= 3 %", "how much is too much", "'latency > 3 %'"),
        ("latency > 3", "how much is too much", "'latency > 3 %'"),
        ("latency > -3 %", "how much is too much", "'latency > 3 %'"),
        ("latency > nan %", "how much is too much", "'latency > 3 %'"),
        ("latency > 1e9 %", "how much is too much", "'latency > 3 %'"),
        ("latency > 3 % > 4 %", "how much is too much", "'latency > 3 %'"),
        ("metric_drop > 200", "how much is too much", "'metric_drop > 3 %'"),
        ("latency > 3 points", "latency is in %", "'latency > 3 %'"),
        ("accuracy_drop > 0.5 %", "accuracy_drop is in points", "'accuracy_drop > 0.5 points'"),
        ("new-failures > 0", "has an amount", "write new-failures alone"),
    ],
)
def test_a_wrong_limit_is_refused_with_how_to_write_it(text, message, remedy):
    with pytest.raises(InputError, match=message) as refusal:
        parse_limit(text)
    assert remedy in refusal.value.remedy


def test_a_run_beside_a_copy_of_itself_is_never_beyond_a_limit(tmp_path):
    b = run("b", noise(3, 1), scores=RIGHT, folder=tmp_path / "b")
    assert gate(tmp_path, b, *ALL).verdict == "met"
    tighter = gate(tmp_path, b, "accuracy_drop > 0 points", "latency > 0 %", "size > 0 %", "new-failures")
    assert [j.verdict for j in tighter.judgements] == ["not shown", "not shown", "met", "met"]


@pytest.mark.parametrize(("lost", "verdict"), [(0, "met"), (14, "not shown"), (60, "not met")])
def test_an_accuracy_drop_is_decided_by_its_whole_interval(tmp_path, lost, verdict):
    """Of 2,000 samples: none lost; 0.7 points, whose interval goes from below 0.5 to above; 3 points."""
    b = run("b", noise(3, 2), scores=worse_by(lost), folder=tmp_path / "b")
    result = gate(tmp_path, b, "accuracy_drop > 0.5 points")
    (judgement,) = result.judgements
    assert judgement.verdict == result.verdict == verdict
    assert judgement.value == pytest.approx(lost / 20)
    assert judgement.low < judgement.value < judgement.high or lost == 0


def scored(name, value, **facts):
    """A run whose one file has an MAE and no accuracy."""
    facts = {"metric": "MAE", "accuracy": None, "score": value, "score_low": value, "score_high": value, **facts}
    return changed(run(name, [3.0]), **{"accuracy_low": None, "accuracy_high": None, **facts})


@pytest.mark.parametrize(("b", "verdict"), [(0.0, "met"), (247.0, "not met")])
def test_any_loss_of_an_mae_of_0_is_beyond_a_part_of_it(tmp_path, b, verdict):
    (judgement,) = gate(tmp_path, scored("b", b), "metric_drop > 2 %", a=scored("a", 0.0)).judgements
    assert judgement.verdict == verdict and judgement.why.endswith("from 0")
    assert (judgement.value, judgement.low) == ((None, None) if b else (0, 0)), "no number of per cent"


def test_a_limit_of_what_no_file_has_is_refused_and_does_not_pass(tmp_path):
    a, b = scored("a", 1.0), scored("b", 3.0)
    with pytest.raises(InputError, match="the metric of the runs is MAE, which is no share") as refusal:
        gate(tmp_path, b, "size > 5 %", "accuracy_drop > 1 points", a=a)
    assert "metric_drop > 2 %" in refusal.value.remedy
    assert gate(tmp_path, b, "metric_drop > 2 %", a=a).verdict == "not met"
    assert "<th>MAE a</th>" in (shown := compare(a, b)._repr_html_()) and "<td>3</td>" in shown
    alike = [scored(name, None, metric="", agreement=0.9) for name in "ab"]
    for limit in ("accuracy_drop > 1 points", "metric_drop > 2 %"):
        with pytest.raises(InputError, match="the classes are not known in either run"):
            gate(tmp_path, alike[1], limit, a=alike[0])
    assert gate(tmp_path, changed(b, status="failed"), "accuracy_drop > 1 points", a=a).verdict == "not shown"


def test_a_gain_is_within_any_limit(tmp_path):
    a = run("a", noise(3, 1), scores=worse_by(60), folder=tmp_path / "a")
    b = run("b", noise(2, 2), scores=RIGHT, folder=tmp_path / "b")
    assert gate(tmp_path, b, "accuracy_drop > 0 points", "latency > 0 %", a=a).verdict == "met"


@pytest.mark.parametrize(("ms", "verdict"), [(2.5, "met"), (3.09, "not shown"), (3.6, "not met")])
def test_a_latency_is_decided_by_its_whole_interval(tmp_path, ms, verdict):
    b = run("b", noise(ms, 2), scores=RIGHT, folder=tmp_path / "b")
    assert gate(tmp_path, b, "latency > 3 %").verdict == verdict


def test_a_latency_without_an_interval_shows_nothing(tmp_path):
    a, b = run("a", [3.0]), run("b", [9.0])
    (judgement,) = gate(tmp_path, b, "latency > 3 %", a=a).judgements
    assert judgement.verdict == "not shown" and "use --remeasure" in judgement.why
    beside = [run(name, [ms], folder=tmp_path / name) for name, ms in (("a", 3.0), ("b", 9.0))]
    (judgement,) = gate(tmp_path, beside[1], "latency > 3 %", a=beside[0]).judgements
    assert judgement.verdict == "not shown" and "too few processes" in judgement.why
    (judgement,) = gate(tmp_path, changed(b, kind="estimated"), "latency > 3 %", a=a).judgements
    assert judgement.verdict == "not shown" and "measured in a and estimated in b" in judgement.why


@pytest.mark.parametrize(("factor", "verdict"), [(0.5, "met"), (1.05, "met"), (1.051, "not met")])
def test_a_size_is_exact(tmp_path, factor, verdict):
    a, b = run("a", [3.0], size=100_000), run("b", [3.0], size=int(100_000 * factor))
    assert gate(tmp_path, b, "size > 5 %", a=a).verdict == verdict
    (by_bytes,) = gate(tmp_path, run("b", [3.0], size=100_003), "size > 0 %", a=a).judgements
    assert (by_bytes.verdict, by_bytes.why) == ("not met", "+0.003 %")


def test_what_ran_before_and_does_not_now_is_a_new_failure(tmp_path):
    both = ("tflite:int8", "tflite:float32")
    a, b = run("a", [3.0], variants=both), run("b", [3.0], variants=both)
    assert gate(tmp_path, b, "new-failures", a=a).verdict == "met"
    first, second = b.measurements
    failed = replace(b, measurements=[replace(first, status="crashed", reason="signal 11", accuracy=None), second])
    result = gate(tmp_path, failed, "new-failures", a=a)
    (judgement,) = result.of("not met")
    assert result.verdict == "not met" and judgement.variant == "tflite:int8" and "crashed, signal 11" in judgement.why
    assert gate(tmp_path, a, "new-failures", a=failed).verdict == "met", "it runs again"
    assert gate(tmp_path, failed, "accuracy_drop > 1 points", a=a).verdict == "not shown"
    gone = run("b", [3.0], variants=both[1:])
    assert "is not in b" in gate(tmp_path, gone, "new-failures", a=a).of("not met")[0].why
    nothing = gate(tmp_path, changed(a, status="failed"), "new-failures", a=changed(a, status="failed"))
    assert (nothing.verdict, nothing.judgements) == ("not shown", ())


def test_the_float_model_ships_nowhere_and_is_judged_only_where_there_is_nothing_else(tmp_path):
    both = ("savedmodel:float32", "tflite:int8")
    a, b = run("a", [3.0], variants=both), run("b", [3.0], variants=both, size=2**30)
    assert [j.variant for j in gate(tmp_path, b, "size > 5 %", a=a).judgements] == ["tflite:int8"]
    a, b = run("a", [3.0], variants=both[:1]), run("b", [3.0], variants=both[:1], size=2**30)
    assert gate(tmp_path, b, "size > 5 %", a=a).verdict == "not met"


def saved(tmp_path, lost=60, ms=3.6):
    """Two runs on disk, of which b loses `lost` answers and takes `ms`; their folders."""
    folders = (tmp_path / "a", tmp_path / "b")
    run("a", noise(3, 1), scores=RIGHT, folder=folders[0]).save(folders[0])
    run("b", noise(ms, 2), scores=worse_by(lost), folder=folders[1]).save(folders[1])
    return [str(folder) for folder in folders]


def limits(*texts):
    return [part for text in texts for part in ("--fail-on", text)]


def test_the_exit_status_is_1_where_a_limit_is_not_met_and_the_document_says_which(tmp_path, capfd):
    runs = saved(tmp_path)
    assert status(["compare", *runs]) == 0
    capfd.readouterr()
    assert status(["compare", *runs, *limits(*ALL), "--json"]) == 1
    document = json.loads(capfd.readouterr().out)
    contract.hold_document("compare --fail-on --json", document["gate"])
    assert document["gate"]["verdict"] == "not met"
    assert status(["compare", *runs, *limits("size > 5 %", "new-failures")]) == 0
    assert status(["compare", runs[0], runs[0], *limits(*ALL, "latency > 0.1 %")]) == 0
    out = capfd.readouterr().out
    assert "latency > 0.1 %: not shown on 1 of 1" in out and out.rstrip().endswith("gate not shown")
    assert status(["compare", runs[0], runs[0], *limits("latency > 0.1 %"), "--strict"]) == 1
    assert status(["compare", runs[0], runs[0], *limits(*ALL), "--strict"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        limits("latancy > 3 %"), ["--markdown", "--json"], ["--junit", "x.xml"],
    ],
)  # fmt: skip
def test_wrong_options_are_exit_status_2_before_anything_is_read(tmp_path, capfd, arguments):
    assert status(["compare", "none", "none", *arguments]) == 2
    assert "does not exist" not in capfd.readouterr().err


def test_markdown_is_a_table_with_the_verdicts(tmp_path, capfd):
    assert status(["compare", *saved(tmp_path), *limits(*ALL), "--markdown"]) == 1
    page = capfd.readouterr().out.replace("&gt;", ">")
    assert page.startswith("## Gate not met: b compared with a\n")
    assert "- **accuracy\\_drop > 0.5 points: not met on 1 of 1: tflite:int8 on local/litert (" in page
    assert "- size > 5 %: met on 1 of 1\n" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| tflite:int8")]
    assert row.count("|") == 9 and "slower**" in row and "lower**" in row
    assert "  \n" not in page and "\n\n\n" not in page


def test_junit_has_a_case_for_each_limit_and_cell(tmp_path, capfd):
    file = tmp_path / "made" / "gate.xml"
    assert status(["compare", *saved(tmp_path, ms=3.09), *limits(*ALL), "--junit", str(file)]) == 1
    suite = ElementTree.fromstring(file.read_text())[0]
    assert dict(suite.attrib) == {
        "name": "edgeproof compare", "tests": "4", "failures": "1", "skipped": "1", "errors": "0",
    }  # fmt: skip
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases == {
        "accuracy_drop > 0.5 points": ["failure"], "latency > 3 %": ["skipped"],
        "size > 5 %": ["system-out"], "new-failures": ["system-out"],
    }  # fmt: skip
    assert status(["compare", *saved(tmp_path, lost=0, ms=3.09), *limits(*ALL), "--strict", "--junit", str(file)]) == 1
    suite = ElementTree.fromstring(file.read_text())[0]
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "0")


@pytest.mark.parametrize("name", [*HOSTILE, "a\x00\x1b[31m\ud800\ufffe]]>"])
def test_hostile_names_are_texts_in_markdown_and_junit(tmp_path, name):
    a = run("a", [3.0], model="x")
    b = run(name, [3.0], model="x")
    for results, model in ((a, name), (b, name)):
        results.artifacts = [replace(artifact, model=model) for artifact in results.artifacts]
        extra = run("c", [3.0], model="y")
        results.artifacts += extra.artifacts
        results.measurements += extra.measurements
    b = changed(b, status="failed", reason=name)
    comparison = compare(a, b, fail_on=[parse_limit(text) for text in ALL])
    page = comparison_markdown(comparison)
    assert not [part for part in ("<script", "<img", "[f](g)", "{{ 7*7 }}\n\n#") if part in page]
    assert not [line for line in page.splitlines() if line.startswith("|") and line.replace("\\|", "").count("|") != 9]
    root = ElementTree.fromstring(junit(comparison).encode())
    assert [case.tag for case in root[0]] == ["testcase"] * 8
    assert all(line.isprintable() for _, line in gate_lines(comparison))


def test_a_comparison_without_limits_has_no_junit():
    with pytest.raises(ValueError, match="without limits"):
        junit(compare(run("a", [3.0]), run("b", [3.0])))
