"""Timing of a run's cells: rows for threads and batches, what the store keeps, what the machine could tell apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.measurement import Measurement
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate
from edgeproof.core.runner import Outcome
from edgeproof.core.store import Store
from edgeproof.evaluate.bursts import Ratios
from edgeproof.evaluate.certainty import everything
from edgeproof.evaluate.disturbances import change_of_speed, disturbances
from edgeproof.evaluate.timing import TimedCell, follow_base, time_cells

from ..support.scripted_bench import Machine, Runner

GONE = Outcome("crashed", "ended by SIGSEGV", "do not ship the pair")


def timed(
    root: Path, runners: list[Runner], **latency: Any
) -> tuple[dict[tuple[str, str], Measurement], list[dict[str, Any]]]:
    """Time runners; return the rows by artifact and target, and the rows of ``bench``."""
    rows: dict[tuple[str, str], Measurement] = {}
    bench: list[dict[str, Any]] = []
    cells = [
        TimedCell(runner, Measurement(runner.name, "local/litert", "local", "litert"), {"artifact": runner.name})  # type: ignore[arg-type]
        for runner in runners
    ]
    time_cells(
        cells, root / "x.npy", settings=Evaluate.model_validate({"latency": {"max_seconds": 0, **latency}}), seed=1,
        cores=2, store=Store(root / "store"), raw_folder=root / "raw", listener=Silent(), asks=everything,
        on_row=lambda row: rows.update({(row.artifact, row.target): row}), on_bench=bench.append,
    )  # fmt: skip
    return rows, bench


def test_each_row_has_its_ratio_and_the_run_says_what_the_machine_could_tell_apart(tmp_path: Path) -> None:
    machine = Machine()
    rows, (bench,) = timed(tmp_path, [Runner(machine, "anchor", 10.0), Runner(machine, "slower", 11.0)])
    slower = rows["slower", "local/litert"]
    assert slower.latency_ratio is not None and slower.latency_ratio.verdict == "slower"
    assert slower.latency_ratio.anchor == bench["anchor"] == "anchor@local/litert"
    assert slower.latency_ms is not None and slower.latency_ms.invoke is not None and slower.latency_ms.steady
    assert (tmp_path / slower.raw).is_file() and slower.file_memory_bytes == 1
    assert 0 < bench["told_apart"] < 0.02 and bench["certain"] and bench["blocks"] == 6
    assert bench["copy"]["verdict"] == "not distinguishable"


def test_threads_and_batches_are_rows_that_were_timed_beside_the_others(tmp_path: Path) -> None:
    machine = Machine()
    rows, bench = timed(
        tmp_path, [Runner(machine, "a", 10.0), Runner(machine, "b", 11.0)], threads=[1, 2], batch=[1, 8]
    )
    targets = ["", ":threads=2", ":batch=8", ":threads=2,batch=8"]
    assert sorted(rows) == sorted((name, f"local/litert{t}") for name in "ab" for t in targets)
    for (_, target), row in rows.items():
        assert row.latency_ms is not None
        assert row.latency_ms.threads == (2 if "threads=2" in target else 1)
        assert row.latency_ms.batch == (8 if "batch=8" in target else 1)
        assert row.latency_ms.throughput == pytest.approx(row.latency_ms.batch * 1000 / row.latency_ms.median)
        assert row.latency_ratio is not None and row.latency_ratio.anchor == "a@local/litert"
    assert len(bench) == 1 and len({row.raw for row in rows.values()}) == 8
    assert not any(character in row.raw for row in rows.values() for character in ":,=")


def test_nothing_is_timed_twice_and_a_new_cell_is_timed_beside_the_anchor(tmp_path: Path) -> None:
    machine = Machine()
    first, bench = timed(tmp_path, [Runner(machine, "anchor", 10.0), Runner(machine, "old", 10.5)])
    again = [Runner(machine, "anchor", 10.0), Runner(machine, "old", 10.5)]
    assert timed(tmp_path, again) == (first, bench)
    assert [runner.started for runner in again] == [0, 0]
    more = [*again, Runner(machine, "new", 12.0)]
    rows, _ = timed(tmp_path, more)
    assert [runner.started for runner in more] == [12, 0, 6], "the anchor and its copy run beside it"
    assert rows["old", "local/litert"] == first["old", "local/litert"]
    ratio = Ratios(tmp_path)(rows["old", "local/litert"], rows["new", "local/litert"])
    assert ratio is not None and ratio.verdict == "slower" and ratio.low < 12 / 10.5 < ratio.high
    assert not list((tmp_path / "store" / "partial").rglob("*.json")), "nothing is left over"


def test_a_cell_that_dies_is_a_row_with_its_reason_and_is_tried_again(tmp_path: Path) -> None:
    machine = Machine()
    rows, _ = timed(tmp_path, [Runner(machine, "anchor", 10.0), Runner(machine, "dies", 10.0, {(1, 3): GONE})])
    dead = rows["dies", "local/litert"]
    assert (dead.status, dead.reason, dead.latency_ms) == ("crashed", GONE.reason, None)
    rows, _ = timed(tmp_path, [Runner(machine, "anchor", 10.0), Runner(machine, "dies", 10.0)])
    assert rows["dies", "local/litert"].status == "ok"


def test_one_block_says_nothing_and_the_run_says_so(tmp_path: Path) -> None:
    machine = Machine()
    rows, (bench,) = timed(tmp_path, [Runner(machine, "a", 10.0), Runner(machine, "b", 30.0)], processes=1)
    ratio = rows["b", "local/litert"].latency_ratio
    assert ratio is not None and ratio.verdict == "not distinguishable" and bench["told_apart"] is None


def test_rows_of_threads_follow_a_row_that_was_failed_for_its_answers() -> None:
    row = Measurement("a", "local/litert", "local", "litert")
    wrong = replace(row, status="failed", reason="answers wrongly")
    more = replace(row, target="local/litert:threads=2")
    assert follow_base([row, more]) == []
    (followed,) = follow_base([wrong, more])
    assert (followed.target, followed.status, followed.reason) == (more.target, "failed", "answers wrongly")


def test_the_load_of_the_bench_s_own_threads_is_no_disturbance() -> None:
    busy = [{"before": {"load": 2.3}, "after": {"load": 2.4}}]
    assert disturbances(busy) and not disturbances(busy, threads=2)
    busy = [{"before": {"busy_s": 4.0, "at": 1.0}, "after": {"busy_s": 24.0, "at": 11.0}}]
    assert disturbances(busy) and not disturbances(busy, threads=2)


def test_a_load_average_that_remembers_the_run_s_own_answers_is_no_disturbance() -> None:
    before, after = {"load": 2.0, "busy_s": 4.0, "at": 1.0}, {"load": 1.8, "busy_s": 14.5, "at": 11.0}
    assert not disturbances([{"before": before, "after": after}])
    assert not disturbances([{"before": {"load": 2.0}, "after": {"load": 1.7}}, {"before": {}, "after": {"load": 1.2}}])


@pytest.mark.parametrize(("slow", "words"), [(1.1, ""), (2.0, "the same work took 1.00 ms to 2.00 ms")])
def test_a_machine_whose_speed_changes_is_named(slow: float, words: str) -> None:
    fast = np.array([1.0])
    found = change_of_speed({"a": dict.fromkeys(range(8), fast), "b": dict.fromkeys(range(4), slow * fast)})
    assert words in "".join(found) and len(found) == bool(words)


def test_few_bursts_say_nothing_of_the_machine_s_speed() -> None:
    assert change_of_speed({"a": {0: np.array([1.0]), 1: np.array([2.0])}}) == [] == change_of_speed({})


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {"load": 3.2}, "the load average was 3.2"),
        ({"busy_s": 5.0, "at": 1.0}, {"busy_s": 20.0, "at": 11.0}, "they took 0.5 cores on average"),
        ({"steal_s": 5.0, "at": 0.0}, {"steal_s": 6.0, "at": 10.0}, "for 1.0 of 10 s (steal)"),
        ({"mhz": 3000.0}, {"mhz": 2400.0}, "between 2400 and 3000 MHz"),
        ({"celsius": 60.0}, {"celsius": 91.0}, "91 °C"),
        ({"throttled": 4}, {"throttled": 6}, "throttled"),
        ({"throttling_flags": 0x50000}, {"throttling_flags": 0x50001}, "the board's voltage was too low"),
        ({"throttling_flags": 0x50000}, {"throttling_flags": 0x50000}, ""),
        ({"load": 1.0, "steal_s": 5.0, "at": 0.0, "mhz": 3000.0}, {"steal_s": 5.0, "at": 9.0, "mhz": 2990.0}, ""),
        ({"thermal_status": 0}, {"thermal_status": 2}, "thermal status 2 of 6"),
        ({"screen": "on"}, {"screen": "off"}, "the screen went on or off"),
        ({"charging": True}, {"charging": False}, "the charger"),
        ({"battery_saver": True}, {}, "battery saver"),
        ({"battery_percent": 21.0}, {"battery_percent": 19.0}, "the battery was at 19 %"),
        ({"thermal_status": 0, "screen": "on", "charging": True, "battery_percent": 90.0}, {"screen": "on"}, ""),
        ({}, {}, ""),
    ],
)
def test_what_disturbed_a_measurement_is_said(before: dict[str, Any], after: dict[str, Any], words: str) -> None:
    found = disturbances([{"before": before, "after": after}])
    assert len(found) == bool(words) and words in "".join(found)
