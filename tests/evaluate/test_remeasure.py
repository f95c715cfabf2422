"""Both runs' files timed together: what differs is found, what does not is not, and each failure is that of its cell.

The processes are scripted, with a clock of their own: a run takes as long as the script says, times the machine's
speed, which changes from round to round by a fifth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import LatencyTable
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.evaluate.compare import BY_ROUNDS, SAME_FILE, Remeasured, Together, compare
from edgeproof.evaluate.gate import parse_limit
from edgeproof.evaluate.remeasure import Pair, Side, groups_of, time_pairs
from edgeproof.report.comparison import comparison_table

from ..support.two_runs import changed, noise, run
from .test_compare import shown

TABLE = LatencyTable(processes=6, max_seconds=60)


@dataclass
class Machine:
    """The time, and how fast the machine is in each round: the same for all who run then."""

    seed: int = 1
    now: float = 0.0
    speeds: dict[Any, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def clock(self) -> float:
        return self.now

    def speed(self, turn: int) -> float:
        key = (round(self.now / 2), turn)
        return self.speeds.setdefault(key, float(self.random.lognormal(0, 0.2)))


@dataclass
class Scripted:
    """A runner whose runs take `ms`; its process crashes at the request `dies_at`."""

    machine: Machine
    ms: float = 3.0
    dies_at: str = ""
    inputs: list[Path] = field(default_factory=list)
    artifact: Artifact = field(default_factory=lambda: Artifact("m--tflite-int8", "m", "tflite", "int8", Path("f")))
    target: Target = field(default_factory=lambda: Target("local", "litert"))
    kind: str = "measured"
    timed: bool = True

    def free_bytes(self) -> int:
        return 1 << 40

    def rest(self) -> None:
        """It is never hot."""

    def identity(self) -> dict[str, Any]:
        return {}

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Any:
        self.inputs.append(inputs)
        process = float(self.machine.random.lognormal(0, 0.005))  # medians of processes differ
        return SimpleNamespace(
            ready=lambda: Outcome("ok"), close=lambda: None,
            ask=lambda request, seconds=None: self._ask(request, process),
        )  # fmt: skip

    def _ask(self, request: dict[str, Any], process: float) -> Outcome:
        if request["do"] == self.dies_at:
            return Outcome("crashed", "the process was killed by signal 11")
        if request["do"] == "warm":
            return Outcome("ok", data={"warmup_ms": [self.ms] * 3, "steady": True})
        if request["do"] == "burst":
            speed = self.machine.speed(request["sample"])
            jitter = self.machine.random.lognormal(0, 0.01, request["runs"])
            runs = self.ms * process * speed * jitter
            self.machine.now += float(runs.sum()) / 1000
            return Outcome("ok", data={"runs_ms": list(runs)})
        return Outcome("ok", data={"peak_memory_bytes": 1, "import_memory_bytes": 1, "conditions": {}})


def pair(machine, a=3.0, b=3.0, variant="tflite:int8", memory=None, **b_facts):
    key = (variant, "local/litert", "")
    first, second = Scripted(machine, a), Scripted(machine, b, **b_facts)
    return Pair(key, Side(first, Path("a.npy"), memory), Side(second, Path("b.npy"), memory))


def timed(machine, pairs, tmp_path, limit=None, table=TABLE):
    return time_pairs(
        pairs, table=table, limit=limit, seed=1, cores=2, folder=tmp_path / f"r{machine.seed}", listener=Silent(),
        clock=machine.clock,
    )  # fmt: skip


def test_what_takes_longer_is_slower_and_equal_files_are_not_distinguishable(tmp_path):
    machine = Machine()
    pairs = [pair(machine, variant="tflite:float32"), pair(machine, 3.0, 3.09), pair(machine, 3.0, 2.7, "onnx:float32")]
    found, (bench,) = timed(machine, pairs, tmp_path)
    same, slower, faster = (found[p.key] for p in pairs)
    assert same.change.verdict == "not distinguishable" and same.change.low < 1 < same.change.high
    assert slower.change.verdict == "higher" and slower.change.low < 1.03 < slower.change.high
    assert faster.change.verdict == "lower" and faster.change.method == BY_ROUNDS
    assert slower.latency_b.median > 0 and slower.latency_b.threads == 1 and slower.why == ""
    assert bench["copy"]["verdict"] == "not distinguishable" and bench["told_apart"] < 0.05 and bench["certain"]


def test_equal_files_are_seldom_called_different(tmp_path):
    """Of 60 pairs of equal files at 95 %: at most as many as chance allows (P(more) < 0.001)."""
    found = []
    for seed in range(10):
        machine = Machine(seed)
        pairs = [pair(machine, variant=f"tflite:v{number}") for number in range(6)]
        found += timed(machine, pairs, tmp_path)[0].values()
    assert len(found) == 60
    assert sum(together.change.verdict != "not distinguishable" for together in found) <= 9


def test_each_file_is_fed_the_samples_of_its_own_run(tmp_path):
    machine = Machine()
    pairs = [pair(machine)]
    timed(machine, pairs, tmp_path)
    assert set(pairs[0].a.runner.inputs) == {Path("a.npy")} and set(pairs[0].b.runner.inputs) == {Path("b.npy")}


@pytest.mark.parametrize("request_", ["open", "warm", "burst"])
def test_a_file_that_crashes_has_a_reason_and_the_others_go_on(tmp_path, request_):
    machine = Machine()
    pairs = [pair(machine, dies_at=request_), pair(machine, 3.0, 3.3, "tflite:float32")]
    found, _ = timed(machine, pairs, tmp_path)
    crashed, other = (found[p.key] for p in pairs)
    assert crashed.change is None and "b: crashed, the process was killed by signal 11" in crashed.why
    assert other.change.verdict == "higher"


def test_a_first_file_that_crashes_takes_no_other_cell_with_it(tmp_path):
    """It is the anchor of its group; the other pairs are compared in their own rounds."""
    machine = Machine()
    broken = pair(machine)
    broken.a.runner.dies_at = "open"
    found, _ = timed(machine, [broken, pair(machine, 3.0, 3.3, "tflite:float32")], tmp_path)
    assert [bool(together.change) for together in found.values()] == [False, True]


def test_blocks_go_on_until_the_limit_is_decided_or_time_is_over(tmp_path):
    """A file 3.4 % slower is told apart from its other at once; that it is beyond 3 % takes more blocks."""
    blocks = {}
    for limit, seconds in ((None, 600.0), (0.03, 600.0), (0.03, 0.1)):
        machine = Machine(1)
        table = TABLE.model_copy(update={"max_seconds": seconds})
        found, (bench,) = timed(machine, [pair(machine, 3.0, 3.102)], tmp_path / f"{limit}-{seconds}", limit, table)
        blocks[limit, seconds] = bench["blocks"]
        (together,) = found.values()
        assert bench["certain"] == (seconds > 1)
        if limit and seconds > 1:
            assert together.change.low > 1.03 or together.change.high <= 1.03
    assert blocks[0.03, 0.1] == blocks[None, 600.0] == 6 < blocks[0.03, 600.0]


def test_pairs_are_grouped_so_that_their_processes_fit_and_no_pair_is_divided(tmp_path):
    machine = Machine()
    pairs = [pair(machine, variant=f"tflite:v{n}", memory=100) for n in range(5)]
    assert [len(group) for group in groups_of(pairs, 500)] == [2, 2, 1]
    assert [len(group) for group in groups_of(pairs, 10)] == [1] * 5, "what never fits is timed all the same"
    assert [len(group) for group in groups_of(pairs, 10_000)] == [5]


def test_latencies_of_now_take_the_place_of_the_runs_own_whatever_machines_they_are_of():
    a, b = run("a", noise(3, 1)), run("b", noise(9, 2), environment={"cpu": "other"})
    machine_says = {"anchor": "x", "copy": None, "told_apart": None, "resolution": 0.02, "seconds": 1.0, "blocks": 1,
                    "certain": True, "disturbances": []}  # fmt: skip
    limits = [parse_limit("latency > 3 %")]
    key = ("tflite:int8", "local/litert", "")

    def compared(together):
        cells = {} if together is None else {key: together}
        return compare(a, b, remeasured=Remeasured(cells, (machine_says,)), fail_on=limits)

    same = compared(Together(is_same=True))
    assert same.cells[0].latency.method == SAME_FILE and same.gate.verdict == "met" and same.warnings == ()
    assert "= same file" in shown(comparison_table(same, 80), 80)
    failed = compared(Together("it could not be timed now (b: crashed, boom)"))
    assert failed.cells[0].latency is None and failed.gate.verdict == "not shown"
    for width in (40, 80, 200):
        assert "could not be timed now (b: crashed, boom)" in " ".join(
            shown(comparison_table(failed, width), width).split()
        )
    assert "did not run in both runs" in compared(None).cells[0].latency_why
    assert compare(changed(a, kind="measured"), a).bench == ()
