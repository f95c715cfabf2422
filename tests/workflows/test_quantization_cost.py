"""What quantization costs is judged on all samples that chose nothing: counted again by hand, on ONNX Runtime."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeproof.core.artifact import Artifact, TensorSpec
from edgeproof.core.codec import sha256_file
from edgeproof.core.dataset import PreparedData
from edgeproof.core.measurement import Measurement, PooledDrop
from edgeproof.core.model import InputContract
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate
from edgeproof.core.runner import Outcome, Runner
from edgeproof.core.statistics import paired_drop
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.devices import open_runner
from edgeproof.evaluate.measure import measure
from edgeproof.workflows.candidate_trial import trial_data, unused
from edgeproof.workflows.quantization_cost import pooled

SIDES, CLASSES, SEED = 6, ("a", "b", "c"), 5
COUNTS = {"train": 10, "validation": 50, "test": 40}
REFERENCE = "net--onnx-float32"
ONNX = "local/onnxruntime"


@pytest.fixture(scope="module")
def weights() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(SIDES, len(CLASSES))).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, weights: np.ndarray[Any, Any]) -> PreparedData:
    """Samples above 0, but for the last one of validation; labels that the network often misses."""
    random, folder = np.random.default_rng(1), tmp_path_factory.mktemp("data")
    for split, count in COUNTS.items():
        samples = random.uniform(0.1, 1, (count, SIDES)).astype(np.float32)
        if split == "validation":
            samples[-1] *= -1
        labels = (samples @ weights + random.normal(size=(count, 3))).argmax(axis=1)
        np.save(folder / f"{split}.npy", samples)
        np.save(folder / f"{split}-labels.npy", labels)
    return PreparedData(folder, "mine", CLASSES, 0, 0, "", COUNTS, "1" * 64, kind="tensor")


def onnx_file(name: str, weights: np.ndarray[Any, Any], folder: Path, *, fails_below_0: bool = False) -> Artifact:
    """A network of one dense layer; the logarithm of a number below 0 is not a number."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel())
    edges = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, size)) for n, size in (("x", SIDES), ("y", 3))]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if fails_below_0:
        nodes = [helper.make_node("Log", ["x"], ["l"]), helper.make_node("Exp", ["l"], ["e"])]
        nodes += [helper.make_node("MatMul", ["e", "w"], ["y"])]
    graph = helper.make_graph(nodes, "net", edges[:1], edges[1:], [weight])
    path = folder / f"{name}.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    spec = TensorSpec("x", (1, SIDES), "float32")
    return Artifact(
        f"net--onnx-{name}", "net", "onnx", name, path, sha256=sha256_file(path), inputs=(spec,),
        outputs=(TensorSpec("y", (1, 3), "float32"),), labels=CLASSES,
        contract=InputContract("x", (1, SIDES), "float32", kind="tensor"),
    )  # fmt: skip


class Runs:
    """Files of one network and their rows on the test split, and pooled."""

    def __init__(self, files: list[Artifact], data: PreparedData, store: Path) -> None:
        self.runners: list[Runner] = [open_runner(file, Target.parse(ONNX)) for file in files]
        self.rows: dict[tuple[str, str], Measurement] = {}
        self.data, self.store = data, Store(store)
        self.given: dict[str, Any] = {
            "references": {"net": REFERENCE}, "settings": Evaluate(), "seed": SEED, "cores": 2, "store": self.store,
            "listener": Silent(),
        }  # fmt: skip
        self.answers = measure(
            self.runners, data, raw_folder=store / "raw", untimed={file.id for file in files},
            on_row=lambda row: self.rows.update({(row.artifact, row.target): row}), **self.given,
        )  # fmt: skip

    def pooled(self, runners: list[Runner] | None = None) -> dict[str, Measurement]:
        costs = pooled(list(self.rows.values()), runners or self.runners, self.answers, self.data, **self.given)
        return {row.artifact: row for row in costs}

    def answered(self) -> int:
        return len(list((self.store.root / "answers").iterdir()))


@pytest.fixture(scope="module")
def runs(data: PreparedData, weights: np.ndarray[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("files")
    coarse = np.round(weights)
    files = [
        onnx_file("float32", weights, folder),
        onnx_file("float16", coarse, folder),
        replace(onnx_file("dynamic", coarse, folder), chosen_on=30),
        replace(onnx_file("int8", coarse, folder), chosen_on=50),
        onnx_file("same", weights, folder),
        onnx_file("strange", weights, folder, fails_below_0=True),
    ]
    return Runs(files, data, folder / "store")


def drop_by_hand(
    data: PreparedData, weights: np.ndarray[Any, Any], validation: slice | np.ndarray[Any, Any]
) -> PooledDrop:
    right: dict[str, list[np.ndarray[Any, Any]]] = {"float": [], "file": []}
    for split, which in (("test", slice(None)), ("validation", validation)):
        samples, labels = (np.load(path)[which] for path in (data.inputs(split), data.targets(split)))
        for name, used in (("float", weights), ("file", np.round(weights))):
            right[name].append((samples @ used).argmax(axis=1) == labels)
    counts = {"test": len(right["file"][0]), "validation": len(right["file"][1])}
    both = [np.concatenate(right[name]) for name in ("float", "file")]
    return PooledDrop(*paired_drop(*both), len(both[0]), {split: n for split, n in counts.items() if n})


def test_each_file_is_judged_on_the_samples_that_did_not_choose_it(
    runs: Runs, data: PreparedData, weights: np.ndarray[Any, Any]
) -> None:
    costs = runs.pooled()
    assert REFERENCE not in costs and len(costs) == 5
    same, strange = costs.pop("net--onnx-same"), costs.pop("net--onnx-strange")
    assert same.pooled_drop == PooledDrop(0.0, 0.0, 0.0, 90, {"test": 40, "validation": 50}), "the very same answers"
    assert (strange.status, strange.pooled_drop) == ("failed", None) and strange.remedy
    assert strange.reason == "on the validation samples: it answers with NaN or infinity on 1 of 50 samples"
    trial = {sample.tobytes() for sample in np.load(trial_data(data, 30, SEED, runs.store).inputs("test"))}
    samples = np.load(data.inputs("validation"))
    left = np.array([at for at, sample in enumerate(samples) if sample.tobytes() not in trial])
    for name, validation in (("float16", slice(None)), ("dynamic", left), ("int8", slice(0))):
        assert costs[f"net--onnx-{name}"].pooled_drop == drop_by_hand(data, weights, validation), name
    assert [len(drop.splits) for row in costs.values() if (drop := row.pooled_drop)] == [2, 2, 1]
    for row in costs.values():  # all else is of the test split, as it was
        assert replace(row, pooled_drop=None) == runs.rows[row.artifact, row.target]
        assert row.drop and row.samples == 40 and row.judged_drop is row.pooled_drop
    assert runs.answered() == 6 + 5, "a file that validation chose does not answer it again"


class Idle:
    """A runner that must find everything in the store."""

    answers = timed = True

    def __init__(self, runner: Runner) -> None:
        self.artifact, self.target, self.kind, self.identity = (
            runner.artifact, runner.target, runner.kind, runner.identity
        )  # fmt: skip

    def load(self, *_: Any) -> Outcome:
        raise AssertionError(f"{self.artifact.id} was loaded again")

    infer = time = load


def test_nothing_is_answered_twice(runs: Runs) -> None:
    idle: list[Any] = [Idle(runner) for runner in runs.runners]
    assert runs.pooled() == runs.pooled(idle)


def test_without_validation_samples_or_classes_there_is_nothing_more(runs: Runs) -> None:
    rows = list(runs.rows.values())
    without = replace(runs.data, counts={"test": 40})
    for row in pooled(rows, runs.runners, runs.answers, without, **runs.given):
        assert row.pooled_drop == PooledDrop(row.drop or 0, row.drop_low, row.drop_high, 40, {"test": 40})
    classless = [replace(row, accuracy=None, drop=None) for row in rows]
    assert list(pooled(classless, runs.runners, runs.answers, runs.data, **runs.given)) == []


def sizes() -> Iterator[tuple[int, int, int]]:
    return itertools.product((0, 1, 30, 50, 2000), (0, 50), (1, 2))


def test_what_a_trial_leaves_aside_is_exactly_what_it_does_not_take(data: PreparedData, tmp_path: Path) -> None:
    samples = np.load(data.inputs("validation"))
    for used, count, seed in sizes():
        few = replace(data, folder=tmp_path, counts={"train": 10, "validation": count}, sha256=f"{count}")
        np.save(few.inputs("validation"), samples[:count])
        np.save(few.targets("validation"), np.zeros(count, np.int64))
        for split in ("inputs", "targets"):
            (tmp_path / getattr(data, split)("train").name).write_bytes(getattr(data, split)("train").read_bytes())
        left = samples[:count][unused(few, used, seed)]
        assert len(left) == max(0, count - used)
        if used:
            tried = np.load(trial_data(few, used, seed, Store(tmp_path / "store")).inputs("test"))
            assert not {one.tobytes() for one in tried} & {one.tobytes() for one in left}


def trainings(count: int, chosen_by: str, seed: int = 1) -> np.ndarray[Any, Any]:
    """Train `count` linear classifiers, keep each one's best epoch, store its weights in 3 bits.

    Returns (2, count): what that costs in accuracy on the validation samples, and on 2,000 others.
    """
    random, sides, classes = np.random.default_rng(seed), 20, 5
    truth = random.normal(size=(count, sides, classes)).astype(np.float32)

    def draw(samples: int) -> tuple[Any, Any]:
        x = random.normal(size=(count, samples, sides)).astype(np.float32)
        return x, (x @ truth + 4 * random.gumbel(size=(count, samples, classes))).argmax(axis=2)

    (x, y), validation, others = draw(200), draw(200), draw(2000)
    weights, best, chosen = np.zeros_like(truth), np.full(count, np.inf), np.zeros_like(truth)
    for _ in range(25):
        for batch in np.array_split(random.permutation(200), 10):
            likely = np.exp(x[:, batch] @ weights)
            wrong = likely / likely.sum(axis=2, keepdims=True) - np.eye(classes)[y[:, batch]]
            weights = weights - 0.15 * np.swapaxes(x[:, batch], 1, 2) @ wrong.astype(np.float32) / len(batch)
        logits = validation[0] @ weights
        logs = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
        loss = -np.take_along_axis(logs, validation[1][..., None], axis=2).mean(axis=(1, 2))
        score = loss if chosen_by == "loss" else -(logits.argmax(axis=2) == validation[1]).mean(axis=1)
        chosen[score < best], best = weights[score < best], np.minimum(score, best)
    step = np.abs(chosen).max(axis=(1, 2), keepdims=True) / 3
    quantized = np.round(chosen / step) * step

    def right(samples: tuple[Any, Any], used: Any) -> Any:
        return ((samples[0] @ used).argmax(axis=2) == samples[1]).mean(axis=1)

    return np.array([right(samples, chosen) - right(samples, quantized) for samples in (validation, others)])


@pytest.mark.slow
def test_the_epoch_that_validation_chose_does_not_make_quantization_look_cheaper() -> None:
    here, elsewhere = trainings(150, "loss").mean(axis=1)
    assert 0.004 < elsewhere < 0.02 and abs(here - elsewhere) < 0.004
    here, elsewhere = trainings(50, "accuracy").mean(axis=1)
    assert here > elsewhere + 0.004, "luck that the float model alone has is lost: the cautious side"
