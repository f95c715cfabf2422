"""What is seen while work goes on: no silence, the model and the step by name, and an estimate of the rest."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from edgeproof.core.device import THIS_MACHINE
from edgeproof.core.errors import InputError
from edgeproof.core.progress import Step
from edgeproof.core.recipe import Evaluate
from edgeproof.core.recipe_file import parse_recipe
from edgeproof.core.run_log import RunLog
from edgeproof.core.target import Target
from edgeproof.report.estimate import Estimate, about, clock_time
from edgeproof.report.progress_bars import ProgressBars
from edgeproof.workflows.plan import measuring, run_steps, share_of_samples


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def drawn(width: int | None = None, silence: float = 0.05) -> tuple[ProgressBars, io.StringIO]:
    """A listener that draws, in a terminal of `width` or in a pipe, and what it draws into."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=width is not None, width=width or 500, color_system=None)
    return ProgressBars(console, silence), stream


def waits_for(stream: io.StringIO, words: str) -> str:
    """Wait until words are drawn; a hang is the test's time-out."""
    for _ in range(400):
        if words in stream.getvalue():
            return stream.getvalue()
        time.sleep(0.02)
    raise AssertionError(f"{words!r} was never drawn, but {stream.getvalue()!r}")


def test_a_silent_step_is_told_again_and_again_in_a_pipe() -> None:
    listener, stream = drawn()
    with listener:
        listener.plan([Step("train", 100.0, "wide"), Step("train", 140.0, "narrow")])
        listener.begin("train", "wide")
        waits_for(stream, "wide: training, 0:00; about 4 min left of the whole run\n")
        listener.note("step", "build")
        waits_for(stream, "wide: building the network, 0:00")
        listener.progress("features", 40, 4500, "litert")
        shown = waits_for(stream, "wide: features 40/4,500 (litert), 0:00; about ")
        listener.progress("features", 4500, 4500)
        listener.begin("train", "narrow")
        waits_for(stream, "narrow: training")
    assert shown.count("\n") >= 3 and "\x1b" not in stream.getvalue()
    assert "✓ wide: features: 4,500 samples in" in stream.getvalue()


def test_lines_begin_before_any_step_is_named_and_end_with_the_work() -> None:
    listener, stream = drawn()
    with listener:
        waits_for(stream, "· starting, 0:00\n")
    output = stream.getvalue()
    time.sleep(0.2)
    assert stream.getvalue() == output


@pytest.mark.parametrize(("width", "rest"), [(40, "~2 min"), (72, "about 2 min left"), (120, "about 2 min left")])
def test_a_terminal_of_any_width_shows_model_step_and_what_is_left(width: int, rest: str) -> None:
    listener, stream = drawn(width)
    with listener:
        listener.plan([Step("train", 120.0, "mobilenet_v2")])
        listener.begin("train", "mobilenet_v2")
        waits_for(stream, rest)
        assert "mobilenet_v2: training" in stream.getvalue()
        listener.progress("features", 100, 4500)
        waits_for(stream, "mobilenet_v2: features")


def test_a_bar_that_ended_early_does_not_stay() -> None:
    listener, stream = drawn()
    with listener:
        listener.begin("train", "m")
        listener.progress("train head", 3, 10)
        waits_for(stream, "m: train head 3/10")
        listener.begin("export", "m")
        length = len(stream.getvalue())
        waits_for(stream, "m: making the files")
        assert "train head" not in stream.getvalue()[length:]


def test_answers_are_scored_by_the_metric_that_was_noted() -> None:
    listener, stream = drawn()
    with listener:
        listener.progress("accuracy", 9, 9)
        listener.note("info", "answers are scored by MAE", metric="MAE")
        for task in ("accuracy", "accuracy on validation", "load"):
            listener.progress(task, 9, 9)
    lines = [line.partition(" in ")[0] for line in stream.getvalue().splitlines()]
    assert lines == [
        "✓ accuracy: 9 answers", "✓ MAE: 9 answers", "✓ MAE on validation: 9 answers", "✓ load: 9 cells",
    ]  # fmt: skip


def test_what_is_done_is_told_with_what_was_counted() -> None:
    listener, stream = drawn()
    with listener:
        listener.begin("train", "m")
        for task, total, note in (
            ("features", 4500, "litert"),
            ("train head", 1, "val accuracy 0.936"),
            ("load", 28, "the last one of them"),
            ("export m", 6, "onnx:float32"),
            ("diagnose m--tflite-int8", 64, ""),
            ("diagnose", 2, "m--tflite-int8"),
            ("freeze", 3, "m"),
        ):
            listener.progress(task, 0, total)
            listener.progress(task, total, total, note)
    lines = [re.sub(r"[\d.]+ s\b", "T s", line) for line in stream.getvalue().splitlines() if line.startswith("✓")]
    assert lines == [
        "✓ m: features: 4,500 samples in T s (litert)",
        "✓ m: train head: 1 epoch in T s (val accuracy 0.936)",
        "✓ m: load: 28 cells in T s",
        "✓ export m: 6 files in T s",
        "✓ diagnose m--tflite-int8: 64 samples in T s",
        "✓ m: diagnose: 2 files in T s",
        "✓ m: freeze: done in T s",
    ]


def test_lines_are_broken_between_words_in_a_terminal_and_nowhere_in_a_pipe() -> None:
    message = "5 images could not be read and are left out: 円/é.jpg"
    remedy = "mend or remove them, or see /a/long/path"
    for width in (24, None):
        listener, stream = drawn(width)
        with listener:
            listener.note("warning", message, remedy=remedy)
        output = stream.getvalue()
        if width is None:
            assert output == f"! {message}\n  → {remedy}\n"
            continue
        lines = ["! 5 images could not be", "  read and are left out:", "  円/é.jpg",
                 "  → mend or remove them,", "    or see /a/long/path"]  # fmt: skip
        assert "\n".join(lines) + "\n" in output


def test_a_listener_that_draws_is_entered_again_for_the_next_run() -> None:
    listener, stream = drawn()
    for name in ("one", "other"):
        with RunLog(None, listener) as log:
            log.begin("train", name)
            waits_for(stream, f"{name}: training")
    assert "other: training" not in stream.getvalue().partition("one: training")[0]


def test_the_log_has_tasks_notes_and_the_error_and_seconds_by_task(tmp_path: Path) -> None:
    with pytest.raises(InputError), RunLog(tmp_path / "log.jsonl") as log:
        log.progress("features", 0, 10)
        log.progress("features", 10, 10, "litert")
        log.note("warning", "few samples", remedy="give more")
        raise InputError("no", "do")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("info", "features"), ("warning", "few samples"), ("error", "no\n  → do"),
    ]  # fmt: skip
    assert lines[0]["total"] == 10 and lines[1]["remedy"] == "give more"
    assert list(log.seconds) == ["features"]


def test_what_is_left_follows_the_pace_of_the_step_under_way() -> None:
    clock = Clock()
    estimate = Estimate([Step("accuracy", 60.0), Step("latency", 100.0, fixed=True)], clock)
    assert estimate.left() == 160
    estimate.begin("accuracy")
    estimate.progress("accuracy", 0, 100)
    clock.now += 10
    estimate.progress("accuracy", 25, 100)
    assert estimate.left() == pytest.approx(30 + 100)
    clock.now += 10
    estimate.progress("latency", 0, 50)
    assert estimate.left() == pytest.approx(100), "latency follows from the recipe, not from the machine"
    clock.now += 50
    estimate.progress("latency", 50, 50)
    estimate.end()
    assert estimate.left() == 0


def test_few_samples_are_expected_to_take_less_and_many_more() -> None:
    estimate = Estimate([Step("accuracy", 60.0), Step("latency", 100.0, fixed=True)], Clock())
    estimate.scale("accuracy", share_of_samples(500))
    assert estimate.left() == pytest.approx(15 + 100)
    assert (share_of_samples(2000), share_of_samples(0), share_of_samples(70_000)) == (1, 0.1, 35)


def test_what_a_model_took_is_expected_of_the_next() -> None:
    clock = Clock()
    estimate = Estimate([Step("train", 10.0, "a"), Step("train", 20.0, "b"), Step("export", 5.0, "a")], clock)
    estimate.begin("train", "a")
    clock.now += 30
    estimate.begin("train", "b")
    assert estimate.left() == pytest.approx(60 + 15), "three times slower than usual, in every step"
    clock.now += 1000
    assert estimate.left() == pytest.approx(15), "never less than nothing"
    estimate.begin("export", "a")
    clock.now += 1
    assert estimate.left() is not None and estimate.left() > 0


def test_steps_that_were_passed_over_are_not_waited_for() -> None:
    estimate = Estimate([Step("data", 3.0), Step("train", 50.0), Step("report", 2.0)], Clock())
    estimate.begin("report")
    assert estimate.left() == pytest.approx(2)
    assert Estimate([]).left() is None


def test_queues_run_at_the_same_time_and_the_longest_one_is_waited_for() -> None:
    clock = Clock()
    steps = [
        Step("data", 5.0), Step("load", 10.0, queue="here"), Step("latency", 50.0, fixed=True, queue="here"),
        Step("load on pi", 20.0, queue="pi"), Step("latency on pi", 100.0, fixed=True, queue="pi"),
        Step("report", 2.0, fixed=True),
    ]  # fmt: skip
    estimate = Estimate(steps, clock)
    assert estimate.left() == pytest.approx(5 + 120 + 2)
    estimate.begin("data")
    clock.now += 5
    estimate.progress("load", 1, 2)
    estimate.progress("load on pi", 0, 2)
    assert estimate.left() == pytest.approx(120 + 2), "what begins here ends nothing there"
    clock.now += 10
    estimate.progress("latency", 0, 10)
    assert estimate.left() == pytest.approx(110 + 2)
    estimate.progress("load on pi", 1, 2)
    estimate.progress("latency on pi", 1, 10)
    clock.now += 10
    estimate.progress("latency", 1, 10)
    assert estimate.left() == pytest.approx(90 + 2)
    estimate.begin("report")
    assert estimate.left() == pytest.approx(2)


def test_the_plan_has_a_queue_for_each_machine() -> None:
    targets = [Target("local", "litert"), Target("pi", "litert"), Target("again", "litert"), Target("board", "litert")]
    places = {"local": THIS_MACHINE, "board": THIS_MACHINE, "pi": "boot 1", "again": "boot 1"}
    steps = {step.kind: step for step in measuring(["tflite"], targets, Evaluate(), places)}
    assert list(steps) == ["load", "accuracy", "latency", "load on pi", "accuracy on pi", "latency on pi"]
    assert steps["load"].usual == steps["load on pi"].usual and steps["load"].queue != steps["load on pi"].queue
    assert [step.queue for step in measuring(["tflite"], targets, Evaluate())] == ["", "", ""]


def test_where_no_bars_can_be_drawn_a_line_has_the_task_of_each_device() -> None:
    bars, stream = drawn()
    with bars:
        bars.begin("measure")
        bars.progress("accuracy", 12, 100, "m on local/litert")
        bars.progress("latency on pi", 3, 60, "block 1, round 3")
        waits_for(stream, "accuracy 12/100 (m on local/litert), 0:00; latency on pi 3/60 (block 1, round 3), 0:00")


def test_durations_are_told_as_estimates() -> None:
    assert [about(s) for s in (0, 7, 52, 58, 200, 3700)] == ["5 s", "5 s", "50 s", "1 min", "3 min", "1 h 02 min"]
    assert [clock_time(s) for s in (7, 61, 3723)] == ["0:07", "1:01", "1:02:03"]


def test_the_plan_of_a_run_has_every_step_and_latency_by_the_recipe() -> None:
    recipe = parse_recipe(
        {
            "data": {"source": "builtin:fashion-mnist-mini"},
            "model": [{"name": n, "backbone": "package:mobilenet_v2"} for n in ("a", "b")],
            "export": {"variants": ["tflite:float32", "tflite:int8"]},
            "evaluate": {"latency": {"processes": 10, "warmup_seconds": 1, "run_seconds": 4}},
        },
        Path(),
        "r.toml",
    )
    steps = list(run_steps(recipe, [Target("local", "litert"), Target("local", "onnxruntime")]))
    names = [(step.kind, step.model) for step in steps]
    assert names == [
        ("data", "a"), ("train", "a"), ("data", "b"), ("train", "b"), ("export", "a"), ("export", "b"),
        ("load", ""), ("accuracy", ""), ("latency", ""), ("accuracy on validation", ""), ("diagnose", ""),
        ("report", ""),
    ]  # fmt: skip
    latency = steps[8]
    assert latency.fixed and 4 * 10 * 5 <= latency.usual <= 4 * 10 * 6.5, "4 cells that are read, 10 processes of 5 s"
    (validation,) = (step for step in steps if step.kind == "accuracy on validation")
    assert 0 < validation.usual < steps[7].usual, "a file that two tools make is chosen on these samples"
