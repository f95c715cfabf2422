"""The bench with scripted processes: rounds, looks, groups, what goes wrong in the middle, going on after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproof.core.progress import Silent
from edgeproof.core.runner import Outcome
from edgeproof.evaluate.bench import Bench, Plan, Timed, burst_of, burst_seconds, groups_of
from edgeproof.evaluate.bursts import between, bursts_of, fastest_runs, ratio_of, to_anchor

from ..support.scripted_bench import Machine, Runner

GONE = Outcome("crashed", "the process of litert was ended by SIGSEGV", "do not ship the pair")


def bench(
    folder: Path, runners: list[Runner], plan: Plan | None = None, *, question: Any = None, deadline: float = 1e9
) -> tuple[dict[str, Outcome], dict[str, Any], Any]:
    """Time runners, the first being the anchor. Returns the outcomes and records by name, and the finding."""
    cells = [Timed(runner, folder / f"{runner.name}.json", f"{runner.name}@local/litert") for runner in runners]  # type: ignore[arg-type]
    machine = runners[0].machine
    copy = Runner(machine, f"{runners[0].name} copy", runners[0].ms)
    outcomes, records = {}, {}

    def done(index: int, outcome: Outcome, record: dict[str, Any]) -> None:
        outcomes[runners[index].name], records[runners[index].name] = outcome, record

    finding = Bench(
        cells, folder / "x.npy", anchor=0, copy=Timed(copy, folder / "copy.json", "copy"),  # type: ignore[arg-type]
        plan=plan or Plan(max_seconds=0), question=question or (lambda records, error: set()), deadline=deadline,
        seed=1, starts=2, listener=Silent(), clock=lambda: machine.now,
    ).run(done)  # fmt: skip
    assert machine.alive == 0, "every process was ended"
    return outcomes, records, finding


def test_a_small_difference_is_found_on_a_machine_whose_speed_changes_by_a_fifth(tmp_path: Path) -> None:
    machine = Machine()
    outcomes, records, finding = bench(
        tmp_path, [Runner(machine, "anchor", 10.0), Runner(machine, "same", 10.0), Runner(machine, "slower", 10.3)]
    )
    assert all(outcome.ok for outcome in outcomes.values())
    medians = [np.median(process["runs_ms"]) for process in records["same"]["processes"]]
    assert len(medians) == 6
    rounds = bursts_of(records["same"])
    speeds = fastest_runs(rounds)
    assert max(speeds) / min(speeds) > 1.2, "the machine is as unsteady as it should be"
    ratio = to_anchor(records["slower"])
    assert ratio is not None and ratio.anchor == "anchor@local/litert"
    assert ratio.verdict == "slower" and ratio.low < 1.03 < ratio.high and ratio.high - ratio.low < 0.02
    same, own = to_anchor(records["same"]), to_anchor(records["anchor"])
    assert same is not None and same.verdict == "not distinguishable"
    assert own is not None and (own.ratio, own.low, own.high) == (1.0, 1.0, 1.0)
    assert finding.blocks == 6 and finding.certain
    copy = to_anchor(finding.copy)
    assert copy is not None and copy.verdict == "not distinguishable" and 0 < copy.high - copy.low < 0.02
    assert (interval := between(records["same"], records["slower"])) and ratio_of(interval, "").verdict == "slower"


def test_of_two_bursts_equally_many_runs_count(tmp_path: Path) -> None:
    """The fastest of many runs is faster than that of a few: cells with other numbers of runs would seem to differ."""
    machine = Machine()
    _, records, _ = bench(tmp_path, [Runner(machine, "anchor", 10.0), Runner(machine, "cell", 10.1)])
    anchor, cell = records["anchor"], records["cell"]
    assert {process["bursts"][0] for process in anchor["processes"]} == {2}
    assert {process["bursts"][0] for process in cell["processes"]} == {1}
    block = cell["anchor"]["blocks"][0]
    assert set(block["runs"]) == {1} and block["fastest_ms"] == anchor["processes"][0]["runs_ms"][::2][:17]
    ratio, interval = to_anchor(cell), between(anchor, cell)
    assert ratio is not None and interval is not None and ratio.ratio == pytest.approx(np.exp(interval.estimate))
    del block["runs"]  # as records of older versions are
    older = to_anchor(cell)
    assert older is not None and older.ratio == ratio.ratio, "of one run there is nothing else to take"
    assert set(anchor["anchor"]["blocks"][0]["runs"]) == {2}


def test_the_ratio_of_one_block_is_one_that_a_record_holds(tmp_path: Path) -> None:
    """Of one block the interval has no ends; two models of such a run were compared with ends of 1e304."""
    machine = Machine()
    plan = Plan(processes=1, max_seconds=0)
    _, records, _ = bench(tmp_path, [Runner(machine, "anchor", 10.0), Runner(machine, "slower", 20.0)], plan)
    ratio = to_anchor(records["slower"])
    assert ratio is not None and ratio.verdict == "not distinguishable" and ratio.ratio > 1.8
    assert 1e-9 < ratio.low < 1e-6 and 1e6 < ratio.high < 1e9


def test_every_cell_runs_once_in_each_round_and_the_order_changes(tmp_path: Path) -> None:
    machine = Machine()
    runners = [Runner(machine, name, 10.0) for name in ("a", "b", "c")]
    bench(tmp_path, runners, Plan(processes=2, max_seconds=0))
    names = ["a", "a copy", "b", "c"]
    rounds = [machine.log[i : i + 4] for i in range(0, len(machine.log), 4)]
    assert len(rounds) == 34 and all(sorted(turn) == names for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 4


@pytest.mark.parametrize("status", ["crashed", "timeout"])
@pytest.mark.parametrize("when", [(1, -1), (2, 3), (6, 8)], ids=["starting", "in the middle", "at the end"])
def test_a_cell_that_dies_or_hangs_is_a_row_and_the_others_go_on(tmp_path: Path, status: Any, when: Any) -> None:
    machine = Machine()
    broken = Runner(machine, "broken", 12.0, {when: Outcome(status, "why", "what to do")})
    outcomes, records, _ = bench(tmp_path, [Runner(machine, "anchor", 10.0), broken, Runner(machine, "well", 9.5)])
    assert (outcomes["broken"].status, outcomes["broken"].reason) == (status, "why")
    assert outcomes["anchor"].ok and outcomes["well"].ok
    assert len(records["well"]["processes"]) == 6
    ratio = to_anchor(records["well"])
    assert ratio is not None and ratio.low < 0.95 < ratio.high


def test_when_the_anchor_dies_the_other_cells_still_compare(tmp_path: Path) -> None:
    machine = Machine()
    anchor = Runner(machine, "anchor", 10.0, {(1, 1): GONE})
    outcomes, records, _ = bench(tmp_path, [anchor, Runner(machine, "x", 10.0), Runner(machine, "y", 11.0)])
    assert outcomes["anchor"] == GONE and outcomes["x"].ok and outcomes["y"].ok
    assert to_anchor(records["x"]) is None
    interval = between(records["x"], records["y"])
    assert interval is not None and interval.low > 0


def test_a_burst_that_takes_a_hundred_times_as_long_changes_nothing(tmp_path: Path) -> None:
    machine = Machine()
    slow = Outcome("ok", data={"runs_ms": [1000.0] * 7})
    cell = Runner(machine, "cell", 10.0, {(2, 4): slow})
    _, records, _ = bench(tmp_path, [Runner(machine, "anchor", 10.0), cell])
    ratio = to_anchor(records["cell"])
    assert ratio is not None and ratio.verdict == "not distinguishable" and ratio.high - ratio.low < 0.02


def test_blocks_go_on_until_the_question_is_answered_and_only_with_the_cells_it_is_about(tmp_path: Path) -> None:
    machine = Machine()
    runners = [Runner(machine, name, 10.0) for name in ("anchor", "open", "settled")]
    errors = []

    def question(records: dict[int, Any], error: float) -> set[int]:
        errors.append(error)
        return {1} if len(records[1]["processes"]) < 14 else set()

    _, records, finding = bench(tmp_path, runners, Plan(), question=question)
    assert [len(records[name]["processes"]) for name in ("anchor", "open", "settled")] == [14, 14, 6]
    assert errors == [0.025, 0.0125, 0.00625] or np.allclose(errors, [0.025, 0.0125, 0.00625])
    assert records["settled"]["error"] == pytest.approx(0.025) and records["open"]["error"] == pytest.approx(0.00625)
    assert finding.certain


def test_when_time_is_over_no_further_block_begins_and_it_is_said(tmp_path: Path) -> None:
    machine = Machine()
    runners = [Runner(machine, "anchor", 10.0), Runner(machine, "open", 10.0)]
    _, records, finding = bench(tmp_path, runners, Plan(), question=lambda records, error: {1}, deadline=9.0)
    assert len(records["open"]["processes"]) >= 6, "the first look is always taken"
    assert not finding.certain and 9.0 <= machine.now < 14.0
    assert records["anchor"]["error"] == pytest.approx(0.05), "there is no later look to leave anything for"


def test_a_killed_measurement_goes_on_where_it_was(tmp_path: Path) -> None:
    machine = Machine()

    class KilledError(Exception):
        pass

    class Killed(dict[tuple[int, int], Outcome]):
        def get(self, key: Any, default: Any = None) -> Any:
            if key == (4, 2):
                raise KilledError
            return default

    dying = [Runner(machine, "anchor", 10.0), Runner(machine, "cell", 11.0, Killed())]
    with pytest.raises(KilledError):
        bench(tmp_path, dying)
    kept = json.loads((tmp_path / "cell.json").read_text())["processes"]
    assert len(kept) == 3
    runners = [Runner(machine, "anchor", 10.0), Runner(machine, "cell", 11.0)]
    _, records, _ = bench(tmp_path, runners)
    assert runners[1].started == 3
    assert records["cell"]["processes"][:3] == kept and len(records["cell"]["processes"]) == 6


def test_groups_fit_the_memory_and_each_has_room_for_the_anchor_and_its_copy(tmp_path: Path) -> None:
    machine = Machine()
    sizes = [100, 300, 300, 300, 900, 10]
    cells = [
        Timed(Runner(machine, str(i), 1.0), tmp_path / "r", str(i), memory_bytes=size)  # type: ignore[arg-type]
        for i, size in enumerate(sizes)
    ]
    groups = groups_of(cells, 0, 900)
    assert sorted(i for group in groups for i in group) == [1, 2, 3, 4, 5]
    assert groups == [[1, 2], [3], [4], [5]]
    assert groups_of(cells, 0, 10_000) == [[1, 2, 3, 4, 5]]
    assert groups_of(cells[:1], 0, 10_000) == [[]], "the anchor alone is timed, too"


@pytest.mark.parametrize(
    ("run_ms", "expected"),
    [
        (0.05, (300, 1, 33)),
        (1.0, (15, 1, 31)),
        (4.0, (4, 1, 25)),
        (20.0, (1, 1, 12)),
        (60.0, (1, 1, 5)),
        (400.0, (1, 0, 5)),
    ],
)
def test_a_burst_takes_15_ms_and_slow_cells_take_part_in_fewer_rounds(run_ms: float, expected: Any) -> None:
    assert burst_of({"warmup_ms": [run_ms] * 3}, Plan(), 0.015) == expected


def test_bursts_are_longer_where_it_takes_long_to_ask_for_one() -> None:
    """Over a network most of a short burst would be waiting; a tool that starts anew for each would start all day."""
    process = {"warmup_ms": [1.0]}
    assert [burst_seconds([process], asking) for asking in (0.0, 0.0004, 0.001, 0.5)] == [0.015, 0.015, 0.03, 0.06]
    assert burst_seconds([process, {**process, "runs_each": 3}], 0.0) == 0.06
    assert burst_of(process, Plan(), 0.06) == (60, 1, 8) and burst_of(process, Plan(run_seconds=0.01), 0.06)[0] == 10
