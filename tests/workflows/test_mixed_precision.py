"""int8-mixed recovers what a per-tensor outlier costs, keeps no more than that takes, and goes on where it stopped."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edgeproof.core.artifact import Artifact
from edgeproof.core.diagnosis import Diagnosis, TensorError
from edgeproof.core.errors import InputError
from edgeproof.core.maker import CONVERTER, QUANTIZER
from edgeproof.core.measurement import Measurement
from edgeproof.core.model import load_model
from edgeproof.core.progress import Silent
from edgeproof.core.recipe import Evaluate, Export, LatencyTable
from edgeproof.core.recipe_budget import Budget
from edgeproof.core.recipe_quantize import Mixed
from edgeproof.core.run_log import RunLog
from edgeproof.core.store import Store
from edgeproof.core.target import Target
from edgeproof.core.variant import Variant
from edgeproof.export.mixed import export_mixed
from edgeproof.quantize.diagnosis import Group, ranked_groups
from edgeproof.quantize.diagnosis.graph import read_graph
from edgeproof.workflows.candidate_trial import trial
from edgeproof.workflows.mixed_precision import Step, choose, fits, search_mixed
from edgeproof.workflows.steps import calibrate, make_file
from edgeproof.workflows.tensorflow_process import TensorFlowProcess

from ..support.defective_files import Defective, make

TARGET = Target("local", "litert")
OPTIONS = Export(trial_samples=1000)
EVALUATE = Evaluate(targets=(str(TARGET),), latency=LatencyTable(processes=2, warmup_seconds=0.01, run_seconds=0.02))


class Idle(TensorFlowProcess):
    """Refuses work: everything must be found."""

    def call(self, job: str, *, timeout: float | None = None, **facts: Any) -> None:
        raise AssertionError(f"{job} was not in the store")


class Search:
    """The hard model's search, with one process of TensorFlow for all tests."""

    def __init__(self, defective: Defective, tf: TensorFlowProcess, store: Store) -> None:
        self.defective, self.tf, self.store = defective, tf, store
        self.model = load_model(defective.folder / "hard")
        self.calibration = calibrate(defective.data, 100, 1, store, None)
        self.reference = self.file("float32")
        self.int8 = self.file("int8")

    def file(self, scheme: str) -> Artifact:
        variant = Variant("tflite", scheme)
        calibration = self.calibration if variant.scheme.calibrated else None
        return make_file(self.model, variant, OPTIONS, calibration, maker=CONVERTER, store=self.store, tf=self.tf)

    def run(self, **changes: Any) -> Artifact:
        asked: dict[str, Any] = {
            "settings": Mixed(max_steps=3), "budget": Budget(max_accuracy_drop=0.02), "tf": self.tf,
            "makers": (CONVERTER, QUANTIZER), "listener": Silent(), "int8": self.int8, **changes,
        }  # fmt: skip
        return search_mixed(
            self.model, asked["int8"], self.reference, self.defective.data, self.calibration, asked["settings"],
            asked["budget"], options=OPTIONS, evaluate=EVALUATE, target=TARGET, makers=asked["makers"], seed=1,
            store=self.store, tf=asked["tf"], listener=asked["listener"],
        )  # fmt: skip


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("mixed")
    store = Store(folder / "store")
    with (
        RunLog(folder / "log.jsonl") as listener,
        TensorFlowProcess(folder / "tf", listener) as tf,
    ):
        tf.start()
        yield Search(make(folder, "hard"), tf, store)


@pytest.mark.slow
def test_it_recovers_what_an_outlier_costs(search: Search) -> None:
    result = search.run()
    assert result.status == "ok" and result.path is not None
    assert (result.id, result.scheme) == ("hard--tflite-int8-mixed", "int8-mixed")
    plain, mixed = result.trade[0], result.trade[1]
    assert plain["kept"] == [] and plain["drop"] > 0.3 and not plain["chosen"]
    assert len(result.trade) == 2 and mixed["chosen"] and "fits" in mixed["why"]
    # The layer that makes the outlier and the one that reads it, and nothing else.
    assert len(mixed["kept"]) == 2 and "first" in mixed["kept"][0] and "second" in mixed["kept"][1]
    assert mixed["bytes"] > plain["bytes"] and mixed["samples"] == 1000
    assert mixed["samples_of"] == "1,000 validation samples"
    assert result.chosen_on == search.defective.data.counts["validation"] == 1000
    assert all(step["latency_ms"]["median"] > 0 and step["latency_ms"]["processes"] == 2 for step in result.trade)
    (other,) = result.alternatives
    assert {result.made_by, other["made_by"]} == {mixed["made_by"], other["made_by"]} and other["bytes"] > 0
    assert f"% of {mixed['samples_of']}, the other on" in other["why"]
    # On the test split, which the search never saw, all but half a point of the loss is back.
    rows, _ = trial(
        [search.int8, result], replace(search.reference, id="float"), search.defective.data,
        targets=[TARGET], evaluate=EVALUATE, seed=1, store=search.store, listener=Silent(), timed=False,
    )  # fmt: skip
    assert (rows[search.int8.id, str(TARGET)].drop or 0) > 0.3
    assert (rows[result.id, str(TARGET)].drop or 0) <= 0.005


@pytest.mark.slow
def test_no_conversions_stand_between_neighbours(search: Search) -> None:
    result = search.run()
    assert result.path is not None
    ops = read_graph(result.path).ops
    casts = Counter(op.name for op in ops)
    # One island: in at its front and out at its back, beside the file's own edges.
    assert casts["DEQUANTIZE"] == 2 and casts["QUANTIZE"] == 2


@pytest.mark.slow
def test_a_second_search_makes_and_measures_nothing(search: Search, tmp_path: Path) -> None:
    first = search.run()
    assert search.run(tf=Idle(tmp_path / "log", Silent())) == first


@pytest.mark.slow
def test_sixteen_bits_are_kept_by_the_tool_that_can(search: Search) -> None:
    result = search.run(settings=Mixed(keep="int16", max_steps=1), makers=(CONVERTER,))
    assert result.path is not None and "ai-edge-quantizer" in result.made_by
    assert result.trade[1]["keep"] == "int16" and result.trade[1]["drop"] < 0.05
    sixteen_bit = [t for t in read_graph(result.path).tensors if t.dtype == "INT16"]
    assert sixteen_bit
    assert result.bytes < 1.1 * search.int8.bytes  # weights stay int8


@pytest.mark.slow
def test_plain_int8_that_fits_is_the_answer(search: Search) -> None:
    result = search.run(budget=Budget(max_accuracy_drop=1.0))
    assert result.sha256 == search.int8.sha256 and result.scheme == "int8-mixed"
    (only,) = result.trade
    assert only["chosen"] and only["kept"] == [] and "fits already" in only["why"]


@pytest.mark.slow
def test_a_file_that_is_not_there_is_a_row(search: Search) -> None:
    result = search.run(int8=search.int8.failed("failed", "no kernel", "use another"))
    assert result.status == "failed" and "no kernel" in result.reason and result.remedy == "use another"


@pytest.mark.slow
def test_when_no_tool_makes_a_step_the_search_ends_with_what_it_has(
    search: Search, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The groups' names are wrong on purpose: both tools then keep nothing, which they themselves do not say."""
    wrong = Group(("no such tensor",), 1.0, ("nothing (ADD)",))
    monkeypatch.setattr("edgeproof.quantize.diagnosis.ranked_groups", lambda *_: [wrong])
    heard = Listening()
    result = search.run(listener=heard)
    assert result.path is not None and len(result.trade) == 1 and "no step fits" in result.trade[0]["why"]
    assert len([note for note in heard.notes if "kept none of 1" in note]) == 2


class Listening(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, level: str, message: str, **facts: Any) -> None:
        self.notes.append(message)


def test_a_tool_that_cannot_keep_layers_so_is_told(tmp_path: Path) -> None:
    model = cast(Any, None)  # it is not looked at
    with pytest.raises(InputError, match="cannot keep layers in int16"):
        export_mixed(model, ["a"], keep="int16", maker=CONVERTER, folder=tmp_path, calibration=tmp_path / "none.npy")


def _step(number: int, drop: float, high: float, agreement: float, samples: int = 500) -> Step:
    artifact = Artifact(f"m.step{number}", "m", "tflite", "int8-mixed", Path("m.tflite"))
    row = Measurement(
        artifact.id, "local/litert", "local", "litert",
        drop=drop, drop_low=2 * drop - high, drop_high=high, agreement=agreement, samples=samples,
    )  # fmt: skip
    return Step(artifact, (), row)


def test_the_first_step_that_fits_is_taken_else_the_simplest_of_the_best() -> None:
    steps = [_step(0, 0.03, 0.05, 0.94), _step(1, 0.008, 0.018, 0.966), _step(2, -0.002, 0.009, 0.97)]
    by_interval, by_estimate = Budget(max_accuracy_drop=0.01), Budget(max_accuracy_drop=0.01, drop_by="estimate")
    assert choose(steps, by_interval, "")[0] is steps[2] and choose(steps, by_estimate, "")[0] is steps[1]
    assert not fits(steps[1].row, by_interval) and fits(steps[1].row, by_estimate)
    chosen, why = choose(steps, Budget(max_accuracy_drop=0.001), "481 validation and 19 training samples")
    assert chosen is steps[1], "0.966 can hardly be told from 0.97"
    assert "no step fits on 481 validation and 19 training samples (the whole" in why
    assert choose(steps[:1], Budget(max_accuracy_drop=0.001), "")[0] is steps[0]


@pytest.mark.slow
def test_groups_are_ranked_by_what_they_undo(search: Search) -> None:
    assert search.int8.path is not None and search.reference.path is not None
    graph = read_graph(search.int8.path)
    place = {op.name + str(op.position): op for op in graph.ops}
    convolutions = [op for op in place.values() if op.name == "CONV_2D"]

    def tensor(kind: Any, position: int, share: float) -> TensorError:
        return TensorError(f"t{position}", kind, "CONV_2D", position, (1,), "int8", share=share)

    def ranked(*tensors: TensorError) -> list[tuple[str, ...]]:
        diagnosis = Diagnosis("m", "", "", "", 1, None, tensors, ())
        assert search.int8.path is not None and search.reference.path is not None
        return [group.words for group in ranked_groups(search.int8.path, search.reference.path, diagnosis, 5)]

    first, second, third = (op.position for op in convolutions)
    # Weights are undone by their own layer; a result only together with what reads it.
    (words,) = ranked(tensor("weight", second, 1.0))
    assert len(words) == 1 and "second" in words[0]
    (words,) = ranked(tensor("activation", first, 1.0))
    assert len(words) == 2 and "first" in words[0] and "second" in words[1]
    # The layer between two that are kept goes with them, as does what only moves values between them.
    several = ranked(tensor("weight", first, 0.6), tensor("weight", third, 0.4))
    assert [len(words) for words in several] == [1, 2] and "second" in " ".join(several[1])
    dense = next(op.position for op in graph.ops if op.name == "FULLY_CONNECTED")
    several = ranked(tensor("weight", third, 0.6), tensor("weight", dense, 0.4))
    assert any("Reshape" in word for word in several[1])
    assert ranked() == []


@pytest.mark.slow
def test_trials_use_validation_samples(search: Search) -> None:
    from edgeproof.workflows.candidate_trial import trial_data

    drawn = trial_data(search.defective.data, 50, 1, search.store)
    images = {image.tobytes() for image in np.load(search.defective.data.images("validation"))}
    assert all(image.tobytes() in images for image in np.load(drawn.images("test")))
