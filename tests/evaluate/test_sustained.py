"""A sustained run tells minute by minute what is left of a latency; a device that disappears leaves what it ran."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeproof.core.progress import Silent
from edgeproof.core.results import load_results
from edgeproof.core.runner import Outcome
from edgeproof.evaluate.sustained import fastest, sustained

from ..support.example_results import HOSTILE, example, section, written
from ..support.scripted_bench import Machine, Runner


class Warms(Silent):
    """Halves the speed after the first minute, as a chip that throttles."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        assert task == "sustained" and total == 3
        if done == 1:
            self.runner.ms *= 2


def test_each_minute_has_its_figures(tmp_path: Path) -> None:
    machine = Machine()
    runner = Runner(machine, "a", 4.0)
    row = sustained(runner, tmp_path, 3, threads=1, listener=Warms(runner), clock=lambda: machine.now)
    assert row["status"] == "ok" and row["kind"] == "measured" and machine.alive == 0
    first, second, third = row["by_minute"]
    assert first["median_ms"] <= first["p95_ms"] and first["runs"] > second["runs"] > 100
    assert second["median_ms"] > 1.5 * first["median_ms"] and third["median_ms"] > 1.5 * first["median_ms"]


def test_a_device_that_disappears_leaves_the_minutes_that_it_ran(tmp_path: Path) -> None:
    machine = Machine()
    gone = Outcome("crashed", "the connection to pi ended")
    row = sustained(
        Runner(machine, "a", 4.0, script={(1, 45): gone}), tmp_path, 3, threads=1, listener=Silent(),
        clock=lambda: machine.now,
    )  # fmt: skip
    assert (row["status"], row["reason"]) == ("crashed", gone.reason) and 1 <= len(row["by_minute"]) < 3
    assert machine.alive == 0
    dead = Runner(machine, "b", 4.0, script={(1, -1): gone})
    assert sustained(dead, tmp_path, 3, threads=1, listener=Silent(), clock=lambda: machine.now)["by_minute"] == []


def test_the_fastest_file_is_chosen_and_tensorflow_only_if_there_is_no_other() -> None:
    rows = [m for m in example().measurements if m.latency_ms]
    chosen = fastest(rows)
    assert chosen is not None and chosen.artifact.endswith("tflite-int8") and chosen.runtime == "litert"
    reference = [m for m in rows if m.runtime == "tensorflow"]
    assert fastest(reference) == reference[0]
    assert fastest([replace(rows[0], status="failed")]) is None


def test_the_report_draws_it_and_hostile_words_are_only_shown(tmp_path: Path) -> None:
    results = example(labels=HOSTILE)
    artifact = results.artifacts[1].id
    minutes = [{"runs": 9, "median_ms": 2.0, "p95_ms": 3.0 + n, "celsius": 50.0 + n, "mhz": None} for n in range(3)]
    base = {"artifact": artifact, "target": "pi/litert", "kind": "measured", "threads": 1}
    results.sustained = [
        {**base, "status": "ok", "reason": "", "by_minute": minutes},
        {**base, "status": "crashed", "reason": HOSTILE[0], "by_minute": []},
    ]
    page, words = written(results, tmp_path)
    shown = section(page, "sustained").words
    assert "3.00 ms in the first minute, 5.00 ms in the last of 3" in shown and "up to 52 °C" in shown
    assert "measured" in shown and HOSTILE[0] in shown
    assert "Under sustained load" in words and "it did not run a minute" in words and "<script" not in words
    results.save(tmp_path)
    assert load_results(tmp_path).sustained == results.sustained
