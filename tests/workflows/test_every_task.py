"""One model of each kind that people ship, through every command: each figure equals one computed independently."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgeproof as ep
from edgeproof.core.statistics import wilson

from ..support.array_data import table
from ..support.every_task import CASES, COUNT, NAMES, Answers, Case, Taken, save
from ..support.wave_files import write

pytestmark = pytest.mark.slow
QUICK = {"processes": 1, "max_seconds": 0, "run_seconds": 0.03, "warmup_seconds": 0}
RATE = 64
NOUNS = {
    "accuracy": "Classifier", "mAP": "Tagger", "MAE": "Regressor", "recall@1": "Embedder", "mean IoU": "Segmenter",
    "COCO mAP": "Detector",
}  # fmt: skip


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("models")
    return cache(lambda name: save(name, folder))


class Plain:
    """A file in LiteRT's own interpreter; `tensors` keeps what is inside, which takes the kernels of the diagnosis."""

    def __init__(self, path: Path, *, tensors: bool = False) -> None:
        from ai_edge_litert import interpreter

        kernels = interpreter.OpResolverType
        self.interpreter = interpreter.Interpreter(
            model_path=str(path), experimental_preserve_all_tensors=tensors, num_threads=1,
            experimental_op_resolver_type=kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES if tensors else kernels.AUTO,
        )  # fmt: skip
        self.interpreter.allocate_tensors()
        self.details = {one["name"]: one for one in self.interpreter.get_tensor_details() if one["name"]}
        signature = self.interpreter.get_signature_list()["serving_default"]
        runner = self.interpreter.get_signature_runner()
        self.inputs = {name: one["index"] for name, one in runner.get_input_details().items()}
        # The file's order, which is that of a bundle's golden inputs.
        places = [one["index"] for one in self.interpreter.get_input_details()]
        self.order = sorted(self.inputs, key=lambda name: places.index(self.inputs[name]))
        self.outputs = {name: runner.get_output_details()[name]["index"] for name in signature["outputs"]}

    def run(self, sample: Taken) -> None:
        for name, value in sample.items():
            (index,) = [at for key, at in self.inputs.items() if name in key]
            self.interpreter.set_tensor(index, value[None].astype(np.float32))
        self.interpreter.reset_all_variables()
        self.interpreter.invoke()

    def answers(self, x: Taken) -> dict[str, Answers]:
        rows = []
        for number in range(len(next(iter(x.values())))):
            self.run({name: value[number] for name, value in x.items()})
            rows.append({name: self.interpreter.get_tensor(at)[0] for name, at in self.outputs.items()})
        return {name: np.array([row[name] for row in rows]) for name in self.outputs}

    def real(self, name: str) -> np.ndarray:
        """A tensor's values: value = scale × (stored - zero_point)."""
        one = self.details[name]
        stored, (scale, zero) = self.interpreter.get_tensor(one["index"]).astype(np.float64), one["quantization"]
        return np.asarray((stored - zero) * scale if scale else stored)


def source_of(case: Case, y: Any, folder: Path) -> Any:
    """The samples with targets, in the form in which the case has them, for `data=`."""
    x = next(iter(case.x.values()))
    if case.form == "npz":
        np.savez(folder / "held.npz", x=x, y=y)
        return f"npz:{folder / 'held.npz'}"
    if case.form == "csv":
        file = table(folder / "held.csv", target=y[:, 0], features=x)
        return ep.Data(source=f"csv:{file}", features=[f"f{at}" for at in range(x.shape[1])], target="answer")
    if case.form in ("folder", "wav"):
        for number, (values, label) in enumerate(zip(x, y, strict=True)):
            place = folder / case.form / NAMES[label] / f"{number:02d}"
            place.parent.mkdir(parents=True, exist_ok=True)
            if case.form == "wav":
                write(place.with_suffix(".wav"), values, bits=32, real=True, rate=RATE)
            else:
                Image.fromarray(values.squeeze()).save(place.with_suffix(".png"))
        source = f"{case.form}:{folder / case.form}"
        return ep.Data(source=source, sample_rate=RATE) if case.form == "wav" else source
    if case.form == "coco":
        from .test_detection import coco_file

        return coco_file(folder / "boxes.json", x, y, ["jug", "pot", "cup"])
    return (case.x if len(case.x) > 1 else x, y)


def interval(case: Case, answers: Answers, y: Any) -> tuple[float, float] | None:
    """Wilson's, or the percentiles of draws of our own; None where the plain metric is too slow for draws."""
    if case.interval == "wilson":
        return wilson(round(case.score(answers, y) * COUNT), COUNT)
    if case.interval == "basic":
        return None
    random = np.random.default_rng(0)
    drawn = [case.score(answers[at], y[at]) for at in random.integers(0, COUNT, (100, COUNT))]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


# Other modules take these kinds through the commands one by one, with figures of their own.
THOROUGH = {"detector", "tagger", "yes", "conv1d", "grey", "wide", "vectors", "waves"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough if name in THOROUGH else ()) for name in CASES]
)
def test_every_figure_is_that_of_an_independent_computation(
    name: str, model_of: Callable[[str], Path], tmp_path: Path
) -> None:
    case = CASES[name]
    x: Taken = {key: value / np.float32(255) if case.is_picture else value for key, value in case.x.items()}
    given = case.x if len(case.x) > 1 else case.x[""]
    first = {key: value[:20] for key, value in case.x.items()}
    files = ep.export(
        model_of(name), ["tflite:float32", f"tflite:{case.small}"], out=tmp_path / "files",
        calibration=(first if len(first) > 1 else first[""],), **case.export,
    )  # fmt: skip
    assert [one.status for one in files.values()] == ["ok", "ok"], [one.reason for one in files.values()]
    paths = [files[f"tflite:{scheme}"].path for scheme in ("float32", case.small)]
    exact, small = (case.judged(Plain(path).answers(x)) for path in paths)
    y = case.right(exact)
    (tmp_path / "a").mkdir()
    options: dict[str, Any] = {"latency": QUICK, "budget": {"max_drop": 10}, **case.evaluate}
    run = ep.evaluate(files, source_of(case, y, tmp_path / "a"), "local/litert", out=tmp_path / "run a", **options)
    rows = run.results.measurements
    values = []
    for row, answers in zip(rows, (exact, small), strict=True):
        assert (row.status, row.metric) == ("ok", case.metric), row.reason
        values.append(row.accuracy if row.score is None else row.score)
        assert values[-1] == pytest.approx(case.score(answers, y), rel=1e-4, abs=2e-3 if case.is_picture else 1e-6)
        low, high = (row.accuracy_low, row.accuracy_high) if row.score is None else (row.score_low, row.score_high)
        assert low is not None and high is not None and low < values[-1] < high
        if ends := interval(case, answers, y):
            assert (low, high) == pytest.approx(ends, abs=1e-6 if case.interval == "wilson" else 0.2 * (high - low))
    lost = case.score(small, y) - case.score(exact, y)
    assert rows[1].drop == pytest.approx(lost if case.metric == "MAE" else -lost, rel=1e-3, abs=4e-3)
    alike = rows[1].relative_error if case.numbers else rows[1].agreement
    assert alike == pytest.approx(case.same(exact, small), rel=1e-3, abs=2e-3 if case.is_picture else 1e-6)
    compared(case, files, small, y, run, tmp_path, options)
    diagnosed(case, paths, x, given, tmp_path)
    bundled(case, run, source_of(case, y, tmp_path / "a"), tmp_path)


def compared(case: Case, files: Any, small: Answers, y: Any, run: ep.Run, folder: Path, options: Any) -> None:
    """Against the same file on the same samples with other targets."""
    (folder / "b").mkdir()
    other = case.shift(y)
    file = files[f"tflite:{case.small}"]
    again = ep.evaluate(file, source_of(case, other, folder / "b"), "local/litert", out=folder / "run b", **options)
    (change,) = [cell.accuracy for cell in ep.compare(run.folder, again.folder).cells if cell.accuracy]
    difference = case.score(small, other) - case.score(small, y)
    assert abs(difference) > 0.01, "or the test would not tell"
    assert change.estimate == pytest.approx(difference, rel=1e-4, abs=4e-3 if case.is_picture else 1e-6)


def diagnosed(case: Case, paths: list[Path], x: Taken, given: Any, folder: Path) -> None:
    found = ep.diagnose(paths[1], data=(given,), samples=len(next(iter(x.values()))), out=folder)
    exact, small = Plain(paths[0], tensors=True), Plain(paths[1], tensors=True)
    answers = [case.judged(one.answers(x)) for one in (exact, small)]
    expected = None if case.numbers else pytest.approx(case.same(*answers), abs=2e-3)
    assert found.agreement == expected
    named = {one.name: one.snr_db for one in found.tensors if one.kind != "weight" and one.name in exact.details}
    told = found.facts["answer"]
    several = found.facts.get("answers", [])
    assert len(several) == (2 if case.metric == "COCO mAP" else 0), "boxes and scores before the suppression"
    powers: dict[str, list[float]] = {name: [0, 0] for name in [*named, *several, told, "answer"]}
    for number in range(found.samples):
        for one in (exact, small):
            one.run({key: value[number] for key, value in x.items()})
        for name, power in powers.items():
            both = np.stack([one.real(told if name == "answer" else name) for one in (exact, small)])
            if name == "answer" and case.metric in ("accuracy", "mean IoU") and answers[0].shape[1] > 1:
                both -= both.mean(axis=-1, keepdims=True)  # a softmax does not depend on it
            power[0] += float((both[0] ** 2).sum())
            power[1] += float(((both[1] - both[0]) ** 2).sum())
    ratios = {
        name: min(140.0, 10 * math.log10(signal / max(noise, 1e-300))) for name, (signal, noise) in powers.items()
    }
    assert len(named) >= 2 and named == pytest.approx({name: ratios[name] for name in named}, abs=0.02)
    if several:
        mean = np.mean([powers[name][1] / powers[name][0] for name in several])
        ratios["answer"] = -10 * math.log10(mean)
    assert found.facts["answer_snr_db"] == pytest.approx(ratios["answer"], abs=0.02)


def bundled(case: Case, run: ep.Run, source: Any, folder: Path) -> None:
    bundle = ep.bundle(run, data=source, samples=6, out=folder / "bundle")
    golden = np.load(bundle.folder / "golden.npz")
    shipped = Plain(next(bundle.folder.glob("*.tflite")))
    stored = {key: golden[f"input_{at}"][:, 0] for at, key in enumerate(shipped.order)}
    outputs = shipped.answers(stored)
    answers = outputs["scores"] if case.metric == "COCO mAP" else case.judged(outputs)
    assert golden["outputs"] == pytest.approx(answers.reshape(len(answers), -1), rel=1e-5, abs=1e-6)
    noun = NOUNS[case.metric]  # of what the run measured
    assert f"class {noun}(model: File" in (bundle.folder / "android" / f"{noun}.kt").read_text()
    assert f"class {noun} {{" in (bundle.folder / "cpp" / f"{noun.lower()}.cc").read_text()
    verified = subprocess.run(
        [sys.executable, bundle.folder / "verify.py"], capture_output=True, text=True, check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
