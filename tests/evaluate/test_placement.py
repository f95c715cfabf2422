"""What rows of accelerators say: what ran there, wrong answers, zeros, emulation. The accelerator here is scripted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproof.core.artifact import Artifact
from edgeproof.core.dataset import PreparedData
from edgeproof.core.measurement import Latency, Measurement, Placement
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Budget, Evaluate, LatencyTable
from edgeproof.core.results import Results
from edgeproof.core.runner import Outcome
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.evaluate.consistency import inconsistent_rows
from edgeproof.evaluate.measure import Answered, measure
from edgeproof.evaluate.placement import share, words
from edgeproof.evaluate.select import verdict

PLACED = {"delegated": 8, "operators": 8, "partitions": 1, "kept": {}, "adapter": "GPU", "software": False}
PARTLY = {**PLACED, "delegated": 5, "partitions": 2, "kept": {"SOFTMAX": 1, "MEAN": 2}}


@dataclass
class Scripted:
    """A runner whose answers and placement are given. `outputs` are (samples, classes)."""

    target: Target
    outputs: NDArray[Any]
    placement: dict[str, Any] | None = None
    kind: Any = "measured"
    timed: bool = True
    answers: bool = True
    artifact: Artifact = field(default_factory=lambda: Artifact("m--tflite-int8", "m", "tflite", "int8", None))

    def free_bytes(self) -> int:
        return 1 << 40

    def rest(self) -> None:
        """It is never hot."""

    def identity(self) -> dict[str, Any]:
        return {"target": str(self.target), "answers": self.outputs.tolist(), "placement": self.placement}

    def _facts(self) -> dict[str, Any]:
        facts = {
            "import_ms": 1.0, "load_ms": 1.0, "first_ms": 1.0, "run_ms": 1.0, "finite": True, "runs_ms": [1.0, 2.0],
            "peak_memory_bytes": 1, "kernels": "",
        }  # fmt: skip
        return {**facts, "placement": self.placement} if self.target.engine.cpu else facts

    def load(self, inputs: Path) -> Outcome:
        return Outcome("ok", data=self._facts())

    def infer(self, inputs: Path, outputs: Path, start: int, stop: int) -> Outcome:
        np.save(outputs, self.outputs[start:stop].astype(np.float32))
        return Outcome("ok")

    def serve(self, inputs: Path, *, threads: int = 1, batch: int = 1) -> Scripted:
        return self

    def ready(self) -> Outcome:
        return Outcome("ok", data=self._facts())

    def ask(self, request: dict[str, Any], *, seconds: float | None = None) -> Outcome:
        runs = [1.0, 2.0] * 30
        warm = {"warmup_ms": runs, "steady": True, "import_memory_bytes": 1, "conditions": {}}
        return Outcome("ok", data={"runs_ms": runs} if request["do"] == "burst" else {**self._facts(), **warm})

    def close(self) -> None:
        """Nothing was started."""


CLASSES = 4
TRUTH = np.arange(60) % CLASSES
RIGHT = np.eye(CLASSES)[TRUTH] * 0.7 + 0.1


def measured(folder: Path, gpu: Scripted, *, strict: bool = False) -> Iterator[Measurement]:
    """Yield the rows of a file on LiteRT, which answers rightly, and on an accelerator."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "test.npy", np.zeros((60, 1), np.float32))
    np.save(folder / "test-targets.npy", TRUTH)
    data = PreparedData(folder, "d", tuple("abcd"), 0, 0, "", {"test": 60}, "1" * 64, kind="tensor")
    np.save(data.inputs("test"), np.zeros((60, 1), np.float32))
    np.save(data.targets("test"), TRUTH)
    rows: dict[tuple[str, str], Measurement] = {}
    cpu = Scripted(Target("local", "litert"), RIGHT)
    short = LatencyTable(processes=2, run_seconds=0.06, max_seconds=0)
    answers: dict[tuple[str, str], Answered] = measure(
        [cpu, gpu], data, references={}, settings=Evaluate(strict=strict, latency=short), seed=1, cores=1,
        store=Store(folder / "store"), raw_folder=folder / "raw", listener=Silent(),
        on_row=lambda row: rows.update({(row.artifact, row.target): row}),
    )  # fmt: skip
    failed = inconsistent_rows(list(rows.values()), [gpu.artifact], answers, references={})
    rows |= {(row.artifact, row.target): row for row in failed}
    yield from (rows[gpu.artifact.id, str(runner.target)] for runner in (cpu, gpu))


def on_gpu(answers: NDArray[Any], placement: dict[str, Any] | None) -> Scripted:
    return Scripted(Target("local", "litert-gpu"), answers, placement)


def test_a_whole_file_on_the_gpu_is_measured_and_on_a_software_gpu_emulated(tmp_path: Path) -> None:
    cpu, gpu = measured(tmp_path / "a", on_gpu(RIGHT, PLACED), strict=True)
    assert (cpu.status, cpu.placement, cpu.kind) == ("ok", None, "measured")
    assert (gpu.status, gpu.kind) == ("ok", "measured") and gpu.latency_ms is not None
    assert gpu.placement == Placement(8, 8, 1, {}, "GPU", False) and share(gpu) == "100 %"
    _, emulated = measured(tmp_path / "b", on_gpu(RIGHT, {**PLACED, "software": True}))
    assert (emulated.status, emulated.kind) == ("ok", "emulated")


def test_a_file_that_runs_in_part_says_so_and_fails_if_strict(tmp_path: Path) -> None:
    _, gpu = measured(tmp_path / "a", on_gpu(RIGHT, PARTLY))
    assert gpu.status == "ok" and share(gpu) == "62.5 %"
    assert words(gpu.placement) == "5 of 8 operators on the accelerator, in 2 parts; on the CPU: 2 MEAN, 1 SOFTMAX"
    _, strict = measured(tmp_path / "a", on_gpu(RIGHT, PARTLY), strict=True)
    assert strict.status == "failed" and strict.placement == gpu.placement and strict.latency_ms is None
    assert (
        "litert-gpu does not run the whole file: 5 of 8 operators on the accelerator" in strict.reason
        and "litert" in strict.remedy
    )
    _, unknown = measured(tmp_path / "b", on_gpu(RIGHT, None), strict=True)
    assert unknown.status == "failed" and "not known" in unknown.reason


def test_wrong_answers_zeros_and_nan_of_an_accelerator_are_failed_rows_with_their_figures(tmp_path: Path) -> None:
    _, wrong = measured(tmp_path / "a", on_gpu(np.roll(RIGHT, 1, axis=1), PLACED))
    assert wrong.status == "failed" and wrong.accuracy == 0.0 and wrong.placement is not None and wrong.placement.whole
    assert "answers wrongly" in wrong.reason and "on local/litert it agrees on 100" in wrong.reason
    _, zeros = measured(tmp_path / "b", on_gpu(np.zeros_like(RIGHT), PLACED))
    assert (
        zeros.status == "failed" and zeros.reason == "it answers 0 on all 60 samples, and on local/litert it does not"
    )
    assert zeros.accuracy == 0.25 and zeros.latency_ms is None
    some = RIGHT.copy()
    some[7] = np.nan
    _, nan = measured(tmp_path / "c", on_gpu(some, PLACED))
    assert nan.status == "failed" and "NaN or infinity on 1 of 60 samples" in nan.reason


def test_the_share_never_rounds_to_a_whole_and_unknown_ones_are_marked() -> None:
    row = Measurement(
        "a", "local/litert-gpu", "local", "litert-gpu", placement=Placement(9999, 10000, None, {"ADD": 1})
    )
    assert (
        share(row) == "99.9 %"
        and words(row.placement) == "9999 of 10000 operators on the accelerator; on the CPU: 1 ADD"
    )
    assert share(Measurement("a", "local/litert-gpu", "local", "litert-gpu")) == "?"
    assert share(Measurement("a", "local/litert", "local", "litert")) == ""
    many = Placement(1, 8, None, {"A": 1, "B": 2, "C": 1, "D": 1, "E": 1, "OTHERS": 1})
    assert words(many).endswith("on the CPU: 2 B, 1 A, 1 C, 1 D, 2 more")


@pytest.mark.parametrize("limits", [None, Budget(max_latency_ms=40)])
def test_a_file_on_an_emulated_gpu_is_not_recommended_where_one_is_measured(limits: Budget | None) -> None:
    latency = Latency(1, 1, 1, 0.97, 1, 1, 1, 6, 60, 1)
    rows = [
        Measurement(
            "m--tflite-int8", f"local/{name}", "local", name, kind=kind, accuracy=1.0, accuracy_low=0.9,
            accuracy_high=1.0, samples=40, drop=0.0, drop_low=0.0, drop_high=0.0,
            latency_ms=replace(latency, median=ms),
        )
        for name, kind, ms in (("litert", "measured", 2.0), ("litert-gpu", "emulated", 1.0))
    ]  # fmt: skip
    artifact = Artifact("m--tflite-int8", "m", "tflite", "int8", Path("x"), bytes=10)
    for kept, expected in ((rows, {"local/litert"}), (rows[1:], {"local/litert-gpu"})):
        results = Results(run={}, environment={}, artifacts=[artifact], measurements=list(kept))
        _, recommendation = verdict(results, limits)
        assert {one["target"] for one in recommendation["targets"]} == expected
        assert recommendation["target"] == (None if limits is None else expected.copy().pop())


def test_a_saved_model_on_the_gpu_is_compared_with_the_cpu_too() -> None:
    artifact = Artifact("m--savedmodel-float32", "m", "savedmodel", "float32", Path("x"))
    targets = ("local/tensorflow", "local/tensorflow-gpu")
    rows = [Measurement(artifact.id, target, "local", target[6:]) for target in targets]
    answers = {
        (artifact.id, target): Answered(None, np.full(60, right))
        for target, right in zip(targets, (1.0, 0.2), strict=True)
    }
    (failed,) = inconsistent_rows(rows, [artifact], answers, references={"m": artifact.id})
    assert failed.target == "local/tensorflow-gpu" and "answers wrongly" in failed.reason
