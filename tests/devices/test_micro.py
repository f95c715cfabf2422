"""The interpreter of microcontrollers: answers, reference kernels, the arena, and operators that it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproof import evaluate
from edgeproof.core.artifact import Artifact, Operator
from edgeproof.core.codec import from_json, to_json
from edgeproof.core.measurement import Arena, Measurement, ReferenceMatch
from edgeproof.core.results import Results, load_results
from edgeproof.core.runner import Outcome
from edgeproof.core.target import Target
from edgeproof.devices import open_runner
from edgeproof.devices.local import LocalRunner
from edgeproof.devices.remote.replies import ReplyError, read_reply
from edgeproof.report import html, markdown

from ..support.example_results import HOSTILE
from ..support.micro_files import CLASSES, dense, difference, features

pytest.importorskip("tflite_micro", reason="tflite-micro is not installed here")
MICRO, LITERT = Target("local", "tflite-micro"), Target("local", "litert")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return features(tmp_path_factory.mktemp("samples") / "x.npy")


def test_an_int8_file_answers_as_the_reference_kernels_and_its_arena_is_known(tmp_path: Path, inputs: Path) -> None:
    artifact = dense(tmp_path / "d.tflite", "int8")
    runner = open_runner(artifact, MICRO)
    assert runner.kind == "emulated" and not runner.timed
    loaded = runner.load(inputs)
    assert loaded.ok, loaded.reason
    arena = from_json(Arena, loaded.data["arena"], "arena")
    assert 0 < arena.activations < arena.bytes <= 1 << 16 and arena.activations + arena.persistent == arena.bytes
    match = from_json(ReferenceMatch, loaded.data["reference"], "reference")
    assert match.by.startswith("litert ") and (match.samples, match.identical, match.difference) == (32, 32, 0)
    assert "peak_memory_bytes" not in loaded.data and loaded.data["kernels"] == "reference"
    assert runner.infer(inputs, tmp_path / "a.npy", 5, 9).ok
    assert open_runner(artifact, LITERT).infer(inputs, tmp_path / "b.npy", 5, 9).ok
    answers = np.load(tmp_path / "a.npy")
    assert answers.shape == (4, CLASSES) and len(np.unique(answers)) > 4
    np.testing.assert_allclose(answers, np.load(tmp_path / "b.npy"), atol=0.051)  # a step of the output
    for outcome in (runner.serve(inputs), runner.profile(inputs, runs=1)):
        assert isinstance(outcome, Outcome) and outcome.status == "unsupported" and "say nothing" in outcome.reason


def test_answers_that_differ_from_the_reference_are_counted(
    tmp_path: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = open_runner(dense(tmp_path / "d.tflite", "int8"), MICRO)
    real = LocalRunner.infer

    def wrong(self: LocalRunner, inputs: Path, outputs: Path, start: int, stop: int, *, kernels: str = "") -> Outcome:
        outcome = real(self, inputs, outputs, start, stop, kernels=kernels)
        if kernels:
            answers = np.load(outputs)
            answers[3, 1] += 0.5
            np.save(outputs, answers)
        return outcome

    monkeypatch.setattr(LocalRunner, "infer", wrong)
    match = runner.load(inputs).data["reference"]
    assert (match["samples"], match["identical"]) == (32, 31) and match["difference"] == pytest.approx(0.5)
    monkeypatch.setattr(LocalRunner, "infer", lambda *_, **__: Outcome("unsupported", "litert is not installed"))
    assert runner.load(inputs).data["reference"] is None


def test_refused_operators_are_named(tmp_path: Path, inputs: Path) -> None:
    artifact = dense(tmp_path / "gelu.tflite", "float32", then="GELU")
    outcome = open_runner(replace(artifact, ops=(*artifact.ops, Operator("SIGN", 1, 1))), MICRO).load(inputs)
    assert outcome.status == "unsupported" and outcome.remedy
    assert outcome.reason == "needs operator GELU, which tflite-micro does not have; no resolver has SIGN"
    outcome = open_runner(dense(tmp_path / "dynamic.tflite", "dynamic"), MICRO).load(inputs)
    assert outcome.status == "unsupported" and "tflite:int8" in outcome.remedy
    assert outcome.reason.startswith(
        "operator FULLY_CONNECTED of tflite-micro does not compute this: Input type: FLOAT32 with"
    )


def test_inputs_are_matched_by_name(tmp_path: Path) -> None:
    kinds = [("about_right", "<f4", (CLASSES,)), ("left", "<f4", (CLASSES,))]
    samples = np.zeros(3, kinds)
    samples["left"], samples["about_right"] = 5, np.arange(12).reshape(3, CLASSES)
    np.save(tmp_path / "x.npy", samples)
    runner = open_runner(difference(tmp_path / "d.tflite"), MICRO)
    outcome = runner.infer(tmp_path / "x.npy", tmp_path / "y.npy", 0, 3)
    assert outcome.ok, outcome.reason
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), 5 - np.arange(12).reshape(3, CLASSES))
    one = open_runner(dense(tmp_path / "wide.tflite", "float32"), MICRO)
    np.save(tmp_path / "narrow.npy", np.zeros((2, 3), np.float32))
    refused = one.load(tmp_path / "narrow.npy")
    assert refused.status == "unsupported" and "[1, 3]" in refused.reason


def test_an_evaluation_has_its_accuracy_and_no_latency(tmp_path: Path, inputs: Path) -> None:
    files = [dense(tmp_path / f"m--tflite-{scheme}.tflite", scheme) for scheme in ("float32", "int8")]
    x = np.load(inputs)
    run = evaluate(files, (x, np.arange(len(x)) % CLASSES), [str(MICRO)], out=tmp_path / "out")
    results = load_results(run.folder)
    rows = [m for m in results.measurements if m.runtime == "tflite-micro"]
    assert [m.status for m in rows] == ["ok", "ok"], [m.reason for m in rows]
    for m in rows:
        assert m.kind == "emulated" and m.accuracy is not None and m.samples == len(x) and m.latency_ms is None
        assert m.arena is not None and m.reference is not None and m.peak_memory_bytes is None
    assert "reference_identical" in (run.folder / "results.csv").read_text("utf-8")


def test_reports_say_what_is_known_and_hostile_words_do_nothing() -> None:
    nasty = "".join(HOSTILE)
    artifact = Artifact("m--tflite-int8", "m", "tflite", "int8", Path("x"), bytes=10)
    row = Measurement(
        artifact.id, str(MICRO), "local", "tflite-micro", kind="emulated", accuracy=0.9, accuracy_low=0.8,
        accuracy_high=1.0, samples=40, arena=Arena(614592, 461184, 153408),
        reference=ReferenceMatch(nasty, 32, 28, 9.2e-5),
    )  # fmt: skip
    assert from_json(Measurement, to_json(row), "row") == row
    made = Results(run={"name": "r"}, environment={}, artifacts=[artifact], measurements=[row])
    for page in (html.render(made), markdown.render(made)):
        assert "600 KiB: 450 KiB activations, 150 KiB of the interpreter, on a 64-bit machine" in page
        assert "28 of 32 samples" in page and "9.2e-05" in page and "emulated" in page
        assert "<script>" not in page.replace("<script>\n", "")
    assert "614592,32,28" in made.to_csv()


def test_an_arena_from_another_device_is_checked() -> None:
    figures = dict.fromkeys(("import_ms", "load_ms", "first_ms", "run_ms"), 1.0)
    figures |= dict.fromkeys(("import_memory_bytes", "peak_memory_bytes"), 1)
    figures |= dict.fromkeys(("kernels", "runtime_version", "python", "numpy"), "x") | {"finite": True}

    def reply(size: int) -> dict[str, object]:
        arena = {"bytes": size, "activations": 1, "persistent": 1, "bits": 32}
        document = {"status": "ok", "reason": "", "data": {**figures, "arena": arena}}
        return read_reply(str(document).replace("'", '"').replace("True", "true").encode(), {"verb": "load"})[2]

    assert reply(2)["arena"] == {"bytes": 2, "activations": 1, "persistent": 1, "bits": 32}
    with pytest.raises(ReplyError, match="arena"):
        reply(-1)
