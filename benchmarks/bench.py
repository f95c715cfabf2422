"""The bench held to what it says: false alarms among copies of a file, and how often files with more work are found.

Networks of 100, 101, 102, 103 and 105 equal convolutions do 0, 1, 2, 3 and 5 % more work. In each session all of them,
copies of the first, and a bare loop in the runtime's own API are timed side by side by the product's own bench. Each
pair is then judged as a run judges it; and each cell is compared with the cells of other sessions, made minutes before
or later, as ``edgeproof compare`` compares stored runs. There is no side by hand: the row says whether the claims hold.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from .sides import BenchmarkError, Job, Row, Scale, run_side, serve

# Percent more work, by the name of the network; the copies have none.
MORE = {"plus-1": 1, "plus-2": 2, "plus-3": 3, "plus-5": 5}
COPIES = ("anchor", "copy-1", "copy-2")
SIDE, CHANNELS, CONVOLUTIONS = 32, 16, 100
SESSIONS, SECONDS, RESOLUTION = 11, 90.0, 0.005
MOST_ALARMS, LEAST_FOUND, BARE = 0.05, 0.9, 0.02
# What is to be found in 90 %: across runs the errors of two of them add up.
WITHIN, ACROSS = "plus-1", "plus-2"


@dataclass
class Tally:
    """How many of some comparisons said that there is a difference, and how far off the ratios were."""

    found: int = 0
    asked: int = 0

    def add(self, verdict: str, expected: str) -> None:
        self.asked += 1
        self.found += verdict == expected if expected else verdict != "not distinguishable"

    @property
    def share(self) -> float:
        return self.found / self.asked if self.asked else float("nan")

    def __str__(self) -> str:
        return f"{self.found} of {self.asked}"


# --- Making the files -------------------------------------------------------------------------------------------------


def _make(job: Job) -> Job:
    from edgeproof.frameworks.tensorflow import load

    tensorflow, keras = load()
    folder = Path(job["folder"])
    for name, more in (("anchor", 0), *MORE.items()):
        keras.utils.set_random_seed(1)
        outputs = inputs = keras.Input((SIDE, SIDE, 3))
        for _ in range(job["convolutions"] * (100 + more) // 100):
            outputs = keras.layers.Conv2D(CHANNELS, 3, padding="same", activation="relu")(outputs)
        outputs = keras.layers.Dense(10, activation="softmax")(keras.layers.GlobalAveragePooling2D()(outputs))
        model = keras.Model(inputs, outputs)
        (folder / f"{name}.tflite").write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())
    for name in COPIES[1:]:
        shutil.copy(folder / "anchor.tflite", folder / f"{name}.tflite")
    return {}


# --- Timing a session -------------------------------------------------------------------------------------------------


def _bare(runner: Any) -> Any:
    """Return a runner of the same file whose processes are bare loops."""
    from edgeproof.devices.local import LocalRunner

    class Bare(LocalRunner):
        @property
        def command(self) -> list[str]:
            return [sys.executable, "-I", str(Path(__file__).with_name("bare_loop.py"))]

    return Bare(runner.artifact, runner.target)


def _session(folder: Path, inputs: Path, out: Path, plan: Any, seed: int) -> tuple[dict[str, Any], Any]:
    """Time all cells side by side; return their records by name, and what the bench found out."""
    from edgeproof.core.artifact import Artifact
    from edgeproof.core.codec import sha256_file
    from edgeproof.core.model import InputContract
    from edgeproof.core.progress import Silent
    from edgeproof.core.target import Target
    from edgeproof.devices import open_runner
    from edgeproof.evaluate.bench import Bench, Timed
    from edgeproof.evaluate.certainty import Asked, open_cells

    out.mkdir(parents=True)
    target = Target("local", "litert")

    def cell(name: str, file: str = "", bare: bool = False) -> Timed:
        path = folder / f"{file or name}.tflite"
        contract = InputContract("tensor", (1, SIDE, SIDE, 3), kind="tensor")
        artifact = Artifact(name, name, "tflite", "float32", path, sha256=sha256_file(path), contract=contract)
        runner: Any = open_runner(artifact, target)
        return Timed(_bare(runner) if bare else runner, out / f"{name}.json", name)

    names = [*COPIES, *MORE, "bare loop"]
    cells = [cell(name) for name in names[:-1]] + [cell("bare loop", "anchor", bare=True)]
    race = Asked((tuple((name, "") for name in names[:-1]),))

    def question(records: Any, error: float) -> set[int]:
        by_name = {(names[i], ""): record for i, record in records.items()}
        unsettled = open_cells(race, by_name, error, plan.resolution)
        # All cells go on together, so that every pair of a session has as many blocks.
        return set(records) if unsettled else set()

    records: dict[str, Any] = {}

    def done(index: int, outcome: Any, record: dict[str, Any]) -> None:
        if not outcome.ok:
            raise BenchmarkError(f"{names[index]}: {outcome.reason}")
        records[names[index]] = record

    finding = Bench(
        cells, inputs, anchor=0, copy=cell("copy-0", "anchor"), plan=plan, question=question,
        deadline=time.monotonic() + plan.max_seconds, seed=seed, starts=2, listener=Silent(),
    ).run(done)  # fmt: skip
    records["copy-0"] = finding.copy
    return records, finding


# --- Judging ----------------------------------------------------------------------------------------------------------


def _within(sessions: Iterable[dict[str, Any]]) -> dict[str, Tally]:
    """Judge the pairs of each session as a run does."""
    from edgeproof.evaluate.bursts import between, ratio_of

    tallies = {name: Tally() for name in ("same", *MORE)}
    for records in sessions:
        same = [*COPIES, "copy-0"]
        for a, b in combinations(same, 2):
            tallies["same"].add(ratio_of(between(records[a], records[b]), "").verdict, "")  # type: ignore[arg-type]
        for more in MORE:
            for a in same:
                ratio = ratio_of(between(records[a], records[more]), "")  # type: ignore[arg-type]
                tallies[more].add(ratio.verdict, "slower")
    return tallies


def _across(sessions: list[dict[str, Any]]) -> dict[str, Tally]:
    """Judge cells of different sessions as ``edgeproof compare`` does, through the anchor of each."""
    from edgeproof.evaluate.bursts import ratio_of, through_anchor

    tallies = {name: Tally() for name in ("same", *MORE)}
    for first, second in combinations(sessions, 2):
        for a, b, kind in [(c, c, "same") for c in COPIES[1:]] + [("copy-1", more, more) for more in MORE]:
            error = min(first[a]["error"], second[b]["error"])
            ratio = ratio_of(through_anchor(first[a], second[b], error), "")  # type: ignore[arg-type]
            tallies[kind].add(ratio.verdict, "" if kind == "same" else "slower")
    return tallies


def _bare_ratio(sessions: Iterable[dict[str, Any]]) -> tuple[float, float, float]:
    """Return the median of the agent's bursts over the bare loop's of the same rounds, with its 95 % interval."""
    from edgeproof.core.sequential import block_interval

    values = []
    for records in sessions:
        medians = [_medians(records[name]) for name in ("anchor", "bare loop")]
        for block in medians[0].keys() & medians[1].keys():
            rounds = medians[0][block].keys() & medians[1][block].keys()
            values.append(float(np.median([np.log(medians[0][block][n] / medians[1][block][n]) for n in rounds])))
    ratio, low, high = np.exp(block_interval(values, 0.05))
    return float(ratio), float(low), float(high)


def _medians(record: Any) -> dict[str, dict[int, float]]:
    """Return the median of each burst, by block and round."""
    blocks = {}
    for process in record["processes"]:
        bursts = np.split(np.asarray(process["runs_ms"]), np.cumsum(process["bursts"])[:-1])
        blocks[process["block"]] = {n: float(np.median(b)) for n, b in zip(process["rounds"], bursts, strict=True)}
    return blocks


# --- The benchmark ----------------------------------------------------------------------------------------------------


def run(scale: Scale, folder: Path) -> list[Row]:
    """Time the sessions and judge them."""
    from edgeproof.evaluate.bench import Plan

    mine = folder / "bench"
    files = mine / "files"
    files.mkdir(parents=True)
    run_side("bench", "make", {"folder": str(files), "convolutions": 20 if scale.quick else CONVOLUTIONS}, mine)
    inputs = mine / "x.npy"
    np.save(inputs, np.random.default_rng(0).random((16, SIDE, SIDE, 3), np.float32))
    plan = Plan(resolution=RESOLUTION, max_seconds=SECONDS)
    if scale.quick:
        plan = Plan(processes=2, run_seconds=0.06, warmup_seconds=0.01, max_seconds=0)
    count, began = 2 if scale.quick else SESSIONS, time.perf_counter()
    timed = [_session(files, inputs, mine / f"session-{n}", plan, n) for n in range(count)]
    spent = time.perf_counter() - began
    sessions = [records for records, _ in timed]
    blocks = [finding.blocks for _, finding in timed]
    within, across = _within(sessions), _across(sessions)
    ratio, low, high = _bare_ratio(sessions)
    judge: Callable[[bool], bool | None] = lambda met: None if scale.quick else met  # noqa: E731
    how = f"{count} sessions of {min(blocks)} to {max(blocks)} blocks, {spent:.0f} s"
    return [
        Row(
            f"The bench: {title}", (), (spent,),
            f"false alarms ≤ {MOST_ALARMS:.0%}; {MORE[least]} % more work found ≥ {LEAST_FOUND:.0%}",
            judge(tallies["same"].share <= MOST_ALARMS and tallies[least].share >= LEAST_FOUND),
            f"called different: copies {tallies['same']}; found slower: "
            + ", ".join(f"{percent} % more work {tallies[name]}" for name, percent in MORE.items())
            + f" ({how})",
        )
        for title, tallies, least in (
            ("cells of one run, bursts of the same rounds", within, WITHIN),
            ("cells of runs made on different minutes, through their anchors", across, ACROSS),
        )
    ] + [
        Row(
            "The bench's median, against a bare loop in LiteRT's own API in the same rounds", (), (spent,),
            f"within {BARE:.0%}", judge(abs(ratio - 1) <= BARE),
            f"{ratio:.4f} of the bare loop's (95 % interval {low:.4f} to {high:.4f})",
        )
    ]  # fmt: skip


if __name__ == "__main__":
    serve({"make": _make})
