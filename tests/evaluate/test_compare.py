"""Comparison of runs: matching, intervals from raw files and without them, refusal of unlike machines."""

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from edgeproof.core.boxes import BoxReading
from edgeproof.core.errors import InputError
from edgeproof.evaluate.compare import BY_ANCHOR, BY_MEDIANS, compare
from edgeproof.report.comparison import comparison_table

from ..support.two_runs import ENVIRONMENT, noise, run


def shown(table, width=200):
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True).print(table)
    return stream.getvalue()


def test_a_run_beside_itself_is_not_distinguishable(tmp_path):
    same = run("a", noise(3, 1), folder=tmp_path)
    (cell,) = compare(same, same, folder_a=tmp_path, folder_b=tmp_path).cells
    assert cell.accuracy.estimate == 0
    assert cell.accuracy.verdict == cell.latency.verdict == "not distinguishable"
    assert cell.latency.low <= 1 <= cell.latency.high


def test_what_only_one_run_has_is_named_and_which_run_is_which():
    a = run("monday", noise(3, 1), variants=("tflite:int8", "tflite:float16"))
    b = run("tuesday", noise(3, 2), variants=("tflite:int8", *(f"tflite:dynamic-{i}" for i in range(10))))
    table = shown(comparison_table(compare(a, b), 200))
    assert "a: monday\nb: tuesday\n" in table
    assert "only in a: tflite:float16 of m on local/litert\n" in table
    assert "only in b: tflite:dynamic-0 of m on local/litert, " in table and " and 2 more\n" in table


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.4])
def test_a_slower_file_is_found_through_the_anchor_whatever_the_machine_does(tmp_path, speed):
    a = run("a", noise(3, 1), folder=tmp_path / "a")
    b = run("b", noise(3.6, 2), folder=tmp_path / "b", speed=speed)
    (cell,) = compare(a, b, folder_a=tmp_path / "a", folder_b=tmp_path / "b").cells
    assert cell.latency.method == BY_ANCHOR
    assert cell.latency.verdict == "higher"
    assert cell.latency.low < 1.2 < cell.latency.high
    assert cell.latency.confidence >= 0.95


def test_a_machine_that_is_slower_today_is_not_a_slower_file(tmp_path):
    a = run("a", noise(3, 1), folder=tmp_path / "a")
    b = run("b", noise(3, 2), folder=tmp_path / "b", speed=1.3)
    (cell,) = compare(a, b, folder_a=tmp_path / "a", folder_b=tmp_path / "b").cells
    assert cell.latency_ms_b > 1.2 * cell.latency_ms_a
    assert cell.latency.verdict == "not distinguishable" and cell.latency.low < 1 < cell.latency.high


def test_without_a_common_anchor_no_latency_is_called_different(tmp_path):
    a = run("a", noise(3, 1), folder=tmp_path / "a")
    for folder_b, sha256 in ((tmp_path / "b", "b" * 64), (None, "a" * 64)):
        b = run("b", noise(6, 2), folder=folder_b, anchor=sha256)
        comparison = compare(a, b, folder_a=tmp_path / "a", folder_b=folder_b)
        (cell,) = comparison.cells
        assert cell.latency.method == BY_MEDIANS and cell.latency.verdict == "not distinguishable"
        assert cell.latency.estimate == pytest.approx(2, rel=0.05)
        assert any("no anchor in common" in warning for warning in comparison.warnings)


def test_one_process_each_distinguishes_nothing():
    (cell,) = compare(run("a", [3.0]), run("b", [9.0])).cells
    assert cell.latency.estimate == pytest.approx(3)
    assert cell.latency.verdict == "not distinguishable"


def test_a_raw_file_outside_the_run_is_not_read(tmp_path):
    outside = run("a", noise(3, 1), folder=tmp_path)
    inside = tmp_path / "run"
    inside.mkdir()
    outside.measurements = [replace(m, raw=f"../{m.raw}") for m in outside.measurements]
    (cell,) = compare(outside, outside, folder_a=inside, folder_b=inside).cells
    assert cell.latency.method == BY_MEDIANS


@pytest.mark.parametrize(
    "facts", [{"error": "0.05"}, {"error": 0}, {"fastest": 0}, {"fastest": -1.0}, {"fastest": 1e-300}]
)
def test_a_raw_record_of_impossible_times_is_as_none(tmp_path, facts):
    a = run("a", noise(3, 1), folder=tmp_path)
    path = tmp_path / a.measurements[0].raw
    record = json.loads(path.read_text())
    for block in record["anchor"]["blocks"] if "fastest" in facts else ():
        block["fastest_ms"][0] = facts["fastest"]
    path.write_text(json.dumps({**record, **facts}))
    (cell,) = (comparison := compare(a, a, folder_a=tmp_path, folder_b=tmp_path)).cells
    assert cell.latency.method == BY_MEDIANS and cell.latency.estimate == 1
    assert "raw latencies are gone" in shown(comparison_table(comparison))


@pytest.mark.parametrize("content", ["{", "[]", '{"processes": [{"runs_ms": "x"}]}', '{"processes": [{}]}'])
def test_a_broken_raw_file_is_as_none(tmp_path, content):
    a = run("a", noise(3, 1), folder=tmp_path)
    (tmp_path / a.measurements[0].raw).write_text(content)
    (cell,) = compare(a, a, folder_a=tmp_path, folder_b=tmp_path).cells
    assert cell.latency.method == BY_MEDIANS


def test_accuracy_has_a_verdict_of_its_own():
    (cell,) = compare(run("a", [3.0], right=1640), run("b", [3.0], right=1500)).cells
    assert cell.accuracy.estimate == pytest.approx(-0.07)
    assert cell.accuracy.low < -0.07 < cell.accuracy.high < 0
    assert cell.accuracy.verdict == "lower"


@pytest.mark.parametrize("key", ["cpu", "cores", "os"])
def test_unlike_machines_are_refused_unless_forced(key):
    other = run("b", [3.0], environment={**ENVIRONMENT, key: "other"})
    with pytest.raises(InputError, match=f"unlike machines: {key} is") as refusal:
        compare(run("a", [3.0]), other)
    assert "--force" in refusal.value.remedy
    forced = compare(run("a", [3.0]), other, force=True)
    assert "unlike machines" in forced.warnings[0]


def test_boxes_that_were_read_in_another_way_are_a_warning():
    reading = BoxReading("outputs", "yxyx", "shares", ("b", "s"), ("boxes", "scores"), ((1, 3, 4), (1, 3)), 8, 8)

    def warned(**changes):
        runs = [run("a", [3.0]), run("b", [3.0])]
        for one, boxes in zip(runs, (reading, replace(reading, **changes)), strict=True):
            one.artifacts[:] = [replace(artifact, boxes=boxes) for artifact in one.artifacts]
        return [words for words in compare(*runs).warnings if "read as boxes in another way" in words]

    assert len(warned(corners="xyxy")) == 1 and "int8" in warned(corners="xyxy")[0]
    assert not warned() and not warned(outputs=("c", "s"))


def test_other_data_is_a_warning():
    other = run("b", [3.0])
    other.data = {"sha256": "another"}
    assert "prepared data" in compare(run("a", [3.0]), other).warnings[0]
    assert not any("prepared data" in words for words in compare(run("a", [3.0]), run("b", [3.0])).warnings)


def test_one_model_each_is_the_same_one_whatever_its_name_and_several_go_by_name():
    assert len(compare(run("a", [3.0], model="one"), run("b", [3.0], model="two")).cells) == 1
    both = run("b", [3.0], model="two")
    extra = run("b", [3.0], model="one")
    both.artifacts += extra.artifacts
    both.measurements += extra.measurements
    comparison = compare(run("a", [3.0], model="one"), both)
    assert [c.model for c in comparison.cells] == ["one"]
    assert comparison.only_b == ("tflite:int8 of two on local/litert",)


def test_nothing_in_common_is_an_error():
    with pytest.raises(InputError, match="in common"):
        compare(run("a", [3.0]), run("b", [3.0], variants=("tflite:float32",)))


def test_a_cell_that_fails_now_is_shown_as_such():
    b = run("b", [3.0])
    b.measurements = [replace(b.measurements[0], status="crashed", accuracy=None, latency_ms=None)]
    comparison = compare(run("a", [3.0]), b)
    assert comparison.cells[0].latency is None
    assert "ok → crashed" in shown(comparison_table(comparison))


def test_different_kinds_have_no_latency_ratio():
    b = run("b", [3.0])
    b.measurements = [replace(b.measurements[0], kind="estimated")]
    (cell,) = compare(run("a", [3.0]), b).cells
    assert cell.latency is None
    assert (cell.kind_a, cell.kind_b) == ("measured", "estimated")


def test_table_and_json_hold_every_cell_and_survive_hostile_names():
    a = run("[red]a\n", noise(3, 1), variants=("tflite:int8", "tflite:float32"))
    comparison = compare(a, a)
    text = shown(comparison_table(comparison, 200))
    assert "[red]a" in text
    for part in ("tflite:int8", "tflite:float32", "82.0 %", "0.00 points [", "1.000× [", "3.00 MiB", "measured"):
        assert part in text
    assert json.loads(json.dumps(comparison.to_dict()))["cells"][1]["variant"] == "tflite:float32"


def test_what_makes_two_runs_hard_to_compare_is_said_on_the_terminal_too():
    a, b = run("a", noise(3, 1)), run("b", noise(3, 2))
    assert "same prepared data" not in shown(comparison_table(compare(a, b)))
    b.data = {"sha256": "other"}
    for width in (200, 40):
        assert "were not tested on the same prepared data" in " ".join(
            shown(comparison_table(compare(a, b), width)).split()
        )


def test_files_without_known_classes_are_shown_by_their_agreement():
    a, b = run("a", noise(3, 1)), run("b", noise(3, 2))
    for results, share in ((a, 0.98), (b, 0.995)):
        (m,) = results.measurements
        results.measurements = [replace(m, accuracy=None, accuracy_low=None, accuracy_high=None, agreement=share)]
        results.comparisons = [{"a": "x", "b": "y", "verdict": "not compared"}]
        results.models = [{"name": "m", "tokenizer": None, "repeats": []}]
    comparison = compare(a, b)
    (cell,) = comparison.cells
    assert cell.accuracy is None
    assert (cell.agreement_a, cell.agreement_b) == (0.98, 0.995)
    assert "98.0 % → 99.5 % agree" in shown(comparison_table(comparison))
    json.dumps(comparison.to_dict())


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (("class", "class"), "99.0 % agree\n"),
        (("", "class"), "99.0 % agree\n"),
        (("class of each element", "class of each element"), "99.0 % agree, of elements\n"),
        (("class", "side of one half of each element"), "99.0 % agree, of samples → elements\n"),
    ],
)
def test_what_an_agreement_is_a_share_of_is_said(by, words):
    a, b = run("a", noise(3, 1)), run("b", noise(3, 2))
    for results, kind in zip((a, b), by, strict=True):
        (m,) = results.measurements
        unknown = {"accuracy": None, "accuracy_low": None, "accuracy_high": None}
        results.measurements = [replace(m, **unknown, agreement=0.99, agreement_by=kind)]
    comparison = compare(a, b)
    (cell,) = comparison.to_dict()["cells"]
    assert (cell["agreement_by_a"], cell["agreement_by_b"]) == by
    assert words in shown(comparison_table(comparison, 40))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_comparison_is_readable_at_any_width(width):
    a = run("a", noise(3, 1), variants=("tflite:int8-per-tensor", "tflite:float32"))
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True).print(comparison_table(compare(a, a), width))
    lines = stream.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "…" not in stream.getvalue()
    words = " ".join(stream.getvalue().split())
    for part in ("tflite:int8-per-tensor", "local/litert", "82.0 %", "= 1.000×", "3.00 MiB", "measured", "distinguish"):
        assert part in words


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_rows_of_a_comparison_can_be_told_apart(tmp_path, width):
    """In a narrow terminal a free line stands after each cell, and each cell begins with what it is."""
    variants = ("tflite:int8", "tflite:float32", "onnx:float32")
    folders = tmp_path / "a", tmp_path / "b"
    a = run("a", noise(3, 1), variants=variants, folder=folders[0])
    b = run("b", noise(9, 1), right=1400, variants=variants, folder=folders[1])
    text = shown(comparison_table(compare(a, b, folder_a=folders[0], folder_b=folders[1]), width), width)
    assert "slower" in text and "points, lower" in text
    blocks = [block.split() for block in re.split(r"\n\s*\n", text)]
    found = [block[0] for block in blocks if block and block[0] in variants]
    lines = [line.split()[0] for line in text.splitlines() if line.split() and line.split()[0] in variants]
    assert (lines if width == 200 else found) == list(variants)


def test_machines_are_compared_device_by_device() -> None:
    """A board that was replaced is an unlike machine, although this machine is the same."""
    a, b = run("a", noise(3, 1)), run("b", noise(3, 2))
    for results, cpu in ((a, "Cortex-A72"), (b, "Cortex-A76")):
        (row,) = results.measurements
        results.add_measurement(replace(row, target="pi/litert", device="pi"))
        results.environments = {"local": results.environment, "pi": {**results.environment, "cpu": cpu}}
    with pytest.raises(InputError, match="unlike machines: cpu of pi is 'Cortex-A72' in one and 'Cortex-A76'"):
        compare(a, b)
    b.environments["pi"] = {"unreachable": "it does not answer", "packages": {}}
    assert len(compare(a, b).cells) == 2
    b.environments["pi"] = a.environments["pi"]
    assert len(compare(a, b).cells) == 2
