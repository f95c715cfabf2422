"""The Python API: it does what the commands do, takes models and arrays in memory, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import edgeproof as ep
from edgeproof.cli.main import status
from edgeproof.core.artifact import Artifact
from edgeproof.core.codec import to_json
from edgeproof.core.results import Results
from edgeproof.workflows.files import Files

from ..conftest import TinyRun
from ..support.bundle_models import mean_colour_model
from ..support.quick import OPTIONS, QUICK

COLOURS = ("blue", "green", "red")
HOSTILE = "<script>alert(1)</script>\x1b[2J&"


def printed(capfd: pytest.CaptureFixture[str], *arguments: object, expected: int = 0) -> Any:
    """Run a command with --json and return the document that it prints."""
    capfd.readouterr()
    assert status([*map(str, arguments), "--json"]) == expected
    return json.loads(capfd.readouterr().out)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that answers with the strongest colour of a picture: red, green or blue, in this order."""
    path = tmp_path_factory.mktemp("model") / "colour.tflite"
    path.write_bytes(mean_colour_model())
    return path


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Thirty pictures (30, 8, 8, 3) uint8 of noise, and what the file answers: R, 2 G or 4 B is the largest mean."""
    x = np.random.default_rng(1).integers(0, 60, (30, 8, 8, 3), dtype=np.uint8)
    x[np.arange(30), :, :, np.arange(30) % 3] += 180
    return x, (x.mean((1, 2)) * [1, 2, 4]).argmax(1)


Measured = tuple[ep.Run, list[Path], list[psutil.Process]]


@pytest.fixture(scope="module")
def measured(model: Path, samples: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The file measured on arrays in memory, by a thread; the temporary files and the processes that it left."""
    temporary, out = tmp_path_factory.mktemp("temporary"), tmp_path_factory.mktemp("api") / "run"
    runs: list[ep.Run] = []

    def work() -> None:
        files = [model, Artifact("lost", "colour", "tflite", "int4", None, status="crashed", reason="out of memory")]
        budget = {"min_accuracy": 0.5}
        options: dict[str, Any] = {"value_range": (0, 255), "out": out, "budget": budget, "latency": QUICK}
        runs.append(ep.evaluate(files, samples, "local/litert", **options))

    processes = psutil.Process().children(recursive=True)  # other tests may still hold theirs
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    finally:
        tempfile.tempdir = before
    left = [process for process in psutil.Process().children(recursive=True) if process not in processes]
    return runs[0], list(temporary.iterdir()), left


def test_arrays_with_classes_are_measured_by_accuracy(measured: Measured) -> None:
    run, left_files, left_processes = measured
    (row,) = run.results.measurements
    assert (row.status, row.accuracy, row.samples) == ("ok", 1.0, 30)
    assert run.results.data["source"] == "arrays in memory"
    assert run.budget_met and run.verdict == "met"
    artifact = run.recommendation.artifact
    assert artifact is not None and artifact.path is not None and artifact.path.is_file()
    assert run.recommendation.target == "local/litert" and run.report.is_file()
    assert run.artifacts["lost"].status == "crashed" and "out of memory" in run.report.read_text(encoding="utf-8")
    assert not left_files and not left_processes


def test_arrays_without_classes_are_measured_by_agreement_and_need_a_float_model(
    model: Path, samples: tuple[Any, Any], tmp_path: Path
) -> None:
    with pytest.raises(ep.InputError, match="its classes are not known"):
        ep.evaluate(model, (samples[0],), "local/litert", value_range=(0, 255), out=tmp_path)


def test_evaluate_does_what_the_command_does(
    model: Path, samples: tuple[Any, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for index, (picture, number) in enumerate(zip(*samples, strict=True)):
        folder = tmp_path / "pictures" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{index}.png")
    source, out = f"folder:{tmp_path / 'pictures'}", tmp_path / "run"
    budget = {"max_bytes": 100_000, "min_accuracy": 0.2}
    run = ep.evaluate(
        [model], source, ["local/litert"], value_range=(0, 255), labels="from-folders", resize="crop", out=out,
        budget=ep.Budget(**budget), latency={"threads": 2, **QUICK},
    )  # fmt: skip
    assert run.results.measurements[0].latency_ms.threads == 2
    assert run.results.measurements[0].latency_ms.processes == 2
    document = printed(
        capfd, "evaluate", model, "--data", source, "--on", "local/litert", "--value-range", "0,255", "--labels",
        "from-folders", "--resize", "crop", "--out", out, "--latency", "threads=2",
        *OPTIONS,
        *(f"--budget={key}={value}" for key, value in budget.items()),
    )  # fmt: skip
    assert _without_times(document) == _without_times(run.results.to_json())
    assert json.loads((out / "results.json").read_text()) == document
    assert ep.Run.load(out).results.to_json() == document


TIMES = {"started", "finished", "measured_at", "latency_ms", "load_ms", "first_ms", "peak_memory_bytes", "why"}


def _without_times(value: Any) -> Any:
    """Return a document without what differs from one measurement to the next."""
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [_without_times(inner) for inner in value] if isinstance(value, list | tuple) else value


def test_inspect_does_what_the_command_does(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inspection = ep.inspect(model)
    assert inspection.contents.inputs[0].shape == (1, 8, 8, 3)
    assert json.loads(json.dumps(inspection.to_dict())) == printed(capfd, "inspect", model)


def test_compare_and_report_do_what_the_commands_do(measured: Measured, capfd: pytest.CaptureFixture[str]) -> None:
    run, *_ = measured
    comparison = ep.compare(run, run.folder)
    assert json.loads(json.dumps(comparison.to_dict())) == printed(capfd, "compare", run.folder, run.folder)
    assert [cell.latency and cell.latency.estimate for cell in comparison.cells] == [1.0]
    run.report.unlink()
    again = ep.report(run.folder)
    assert again.report.is_file() and again.results.to_json() == printed(capfd, "report", run.folder)


def test_devices_and_doctor_do_what_the_commands_do(capfd: pytest.CaptureFixture[str]) -> None:
    rows = [row.__dict__ for row in ep.devices()]
    assert json.loads(json.dumps(rows)) == printed(capfd, "devices")
    checks = [check.__dict__ for check in ep.doctor() if check.what != "disk"]
    missing = any(check["state"] == "missing" for check in checks)
    document = printed(capfd, "doctor", expected=int(missing))
    assert [check for check in document["checks"] if check["what"] != "disk"] == checks


def test_init_does_what_the_command_does(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("words,kind\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(20)))
    source = ep.Data(source="csv:t.csv", text_column="words", label_column="kind")
    written = ep.init(tmp_path / "api.toml", data=source, backbone="scratch:average-embedding")
    arguments = ["--data", "csv:t.csv", "--text-column", "words", "--label-column", "kind"]
    assert status(["init", str(tmp_path / "command.toml"), *arguments]) == 0
    command = (tmp_path / "command.toml").read_text()
    assert written.path.read_text() == command.replace('name = "command"', 'name = "api"')
    assert ep.init(tmp_path / "q.toml", copy="quickstart").written == (tmp_path / "q.toml",)
    with pytest.raises(ep.InputError, match="exists already"):
        ep.init(tmp_path / "api.toml")


def test_bundle_does_what_the_command_does(
    measured: Measured, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, *_ = measured
    bundle = ep.bundle(run, out=tmp_path / "a", samples=3)
    document = printed(capfd, "bundle", run.folder, "--out", tmp_path / "b", "--samples", 3)
    assert bundle.manifest["golden"]["count"] == 3 and "arrays in memory" in bundle.manifest["golden"]["source"]
    places = {"folder": str(tmp_path / "b" / bundle.folder.name), "archive": str(tmp_path / "b" / bundle.archive.name)}
    assert document == {**json.loads(json.dumps(bundle.manifest)), **places}


@pytest.mark.slow
def test_run_and_diagnose_do_what_the_commands_do(
    tiny: TinyRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tiny.recipe.to_toml())
    before = ep.run(tiny.recipe.to_dict(), tiny.folder)  # other tests may have left something to do
    # Nothing has changed since, so that all of these take the finished run.
    run = ep.run(recipe, tiny.folder, overrides={"train.epochs": 2, "seed": 3})
    assert run.results.to_json() == before.results.to_json()
    document = printed(capfd, "run", recipe, "--out", tiny.folder, "--set", "train.epochs=2")
    assert document == run.results.to_json() == ep.run(tiny.recipe.to_dict(), tiny.folder).results.to_json()
    assert all(artifact.path is None or artifact.path.exists() for artifact in run.artifacts.values())

    file = run.artifacts["tiny--tflite-int8"]
    diagnosis = ep.diagnose(file, samples=4, out=tmp_path)
    assert to_json(diagnosis) == printed(capfd, "diagnose", file.path, "--samples", 4, "--out", tmp_path)
    of_arrays = ep.diagnose(
        file, data=(np.load(tiny.data.inputs("test"))[:4],), reference=run.artifacts["tiny--tflite-float32"],
        out=tmp_path / "arrays",
    )  # fmt: skip
    assert of_arrays.samples == 4 and of_arrays.source.startswith("arrays in memory")


def test_export_of_a_file_does_what_the_command_does(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = ep.export(model, "tflite:float32", out=tmp_path, value_range=(0, 255), labels=COLOURS)
    (tmp_path / "labels.txt").write_text("\n".join(COLOURS))
    document = printed(
        capfd, "export", model, "--to", "tflite:float32", "--out", tmp_path, "--value-range", "0,255", "--labels",
        tmp_path / "labels.txt",
    )  # fmt: skip
    assert [to_json(file) for file in files.values()] == document
    assert files["tflite:float32"].labels == COLOURS and files.model is None and files.all_ok


class Interrupting(ep.Silent):
    """Interrupts the work as Ctrl+C does, when it tells how far a task is."""

    def __init__(self, task: str) -> None:
        self.task = task

    def progress(self, task: str, done: float, total: float, note: str = "") -> None:
        """Interrupt at the task."""
        if task == self.task:
            raise KeyboardInterrupt


@pytest.mark.parametrize("task", ["load", "accuracy", "latency"])
def test_an_interrupt_leaves_neither_processes_nor_temporary_files(
    model: Path, samples: tuple[Any, Any], tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before = psutil.Process().children(recursive=True)  # other tests may still hold theirs
    with pytest.raises(KeyboardInterrupt):
        ep.evaluate(
            model, samples, "local/litert", value_range=(0, 255), out=tmp_path / "run", progress=Interrupting(task),
            latency=QUICK,
        )  # fmt: skip
    assert not list((tmp_path / "temporary").iterdir())
    assert not [process for process in psutil.Process().children(recursive=True) if process not in before]


def test_a_listener_hears_the_work_and_is_entered_and_left(
    model: Path, samples: tuple[Any, Any], tmp_path: Path
) -> None:
    class Heard(ep.Silent):
        """Notes what it hears."""

        def __init__(self) -> None:
            self.events: list[str] = []

        def __enter__(self) -> Heard:
            self.events.append("entered")
            return self

        def __exit__(self, *_: object) -> None:
            self.events.append("left")

        def begin(self, step: str, model: str = "") -> None:
            self.events.append(step)

    heard = Heard()
    ep.bundle(model, out=tmp_path / "b", data=(samples[0],), samples=2, progress=heard)
    assert heard.events == ["entered", "bundle", "left"]


RECIPE: dict[str, Any] = {
    "name": "tiny", "data": {"source": "folder:none"}, "model": [{"name": "m", "backbone": "package:mobilenet_v2"}],
}  # fmt: skip
WRONG: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "no recipe": (lambda _, here: ep.run(here / "none.toml"), "does not exist"),
    "a key that is none": (lambda *_: ep.run({"data": {"sauce": 1}}), "sauce"),
    "overrides as one text": (lambda *_: ep.run({}, overrides="a=1"), "a single text"),
    "overrides that are none": (lambda *_: ep.run({}, overrides=3), "overrides are 3"),  # type: ignore[arg-type]
    "an override that is no text": (
        lambda *_: ep.run({}, overrides=[3]), "overrides are .3.",  # type: ignore[list-item]
    ),
    "no model": (lambda _, here: ep.export(here / "none.keras", "tflite:float32"), "does not exist"),
    "a recipe that is none": (lambda *_: ep.run(3), "the recipe is a int"),  # type: ignore[arg-type]
    "a recipe's path with a zero byte": (lambda *_: ep.init("a\0b"), "zero byte"),
    "a backbone that is no text": (
        lambda _, here: ep.init(here / "r.toml", backbone=3), "the backbone is a int",  # type: ignore[arg-type]
    ),
    "an object that is no model": (lambda *_: ep.export(object(), "tflite:float32"), "the model is a object"),
    "a variant that is none": (lambda file, _: ep.export(file, "tflite:int7"), "int7"),
    "no variants": (lambda file, _: ep.export(file, []), "no variants"),
    "variants that are none": (lambda file, _: ep.export(file, 8), "variants is a int"),  # type: ignore[arg-type]
    "a variant that is no text": (lambda file, _: ep.export(file, [8]), "variants has a int"),  # type: ignore[list-item]
    "labels that are none": (
        lambda file, _: ep.export(file, "tflite:int8", labels=3), "labels is a int",  # type: ignore[arg-type]
    ),
    "shapes that are none": (
        lambda file, _: ep.export(file, "tflite:int8", shapes=3), "3 are no shapes",  # type: ignore[arg-type]
    ),
    "an output that is no name": (
        lambda file, _: ep.export(file, "tflite:int8", output=3), "output is a int",  # type: ignore[arg-type]
    ),
    "modules that are none": (
        lambda file, _: ep.export(file, "tflite:int8", custom_objects=3), "custom_objects",  # type: ignore[arg-type]
    ),
    "a value range without an end": (
        lambda file, _: ep.export(file, "tflite:int8", value_range=(0, float("inf"))), "0,inf is none",
    ),
    "a folder that is none": (
        lambda file, _: ep.export(file, "tflite:float32", out=3), "out is a int",  # type: ignore[arg-type]
    ),
    "a folder in bytes": (lambda file, _: ep.bundle(file, out=b"b"), "out is a bytes"),  # type: ignore[arg-type]
    "a listener that is none": (
        lambda file, here: ep.bundle(file, out=here, progress=3), "no listener",  # type: ignore[arg-type]
    ),
    "a listener's class": (
        lambda file, here: ep.bundle(file, out=here, progress=ep.Silent), "is the class",  # type: ignore[arg-type]
    ),
    "calibration missing": (lambda file, here: ep.export(file, "tflite:int8", out=here), "calibrated"),
    "a budget that is none": (lambda *_: ep.Budget(max_latency=5), "max_latency_ms"),
    "no files": (lambda *_: ep.evaluate([], (np.zeros((2, 3)),)), "no files"),
    "files that are none": (lambda *_: ep.evaluate(3, (np.zeros((2, 3)),)), "int"),  # type: ignore[arg-type]
    "a target that is none": (lambda file, _: ep.evaluate(file, (np.zeros((2, 3)),), "local/tflight"), "litert|known"),
    "targets that are none": (
        lambda file, _: ep.evaluate(file, (np.zeros((2, 3)),), 3), "targets is a int",  # type: ignore[arg-type]
    ),
    "a way to resize that is none": (
        lambda file, _: ep.evaluate(file, (np.zeros((2, 3)),), resize="pat"), "resize is 'pat'",  # type: ignore[arg-type]
    ),
    "settings of latency as a text": (
        lambda file, _: ep.evaluate(file, (1,), latency="threads=4"), "a table",  # type: ignore[arg-type]
    ),
    "data of three parts": (lambda file, _: ep.evaluate(file, (1, 2, 3)), "3 parts"),
    "data that are no numbers": (lambda file, _: ep.evaluate(file, ([object()],)), "no array of numbers"),
    "classes that do not fit": (lambda file, _: ep.evaluate(file, (np.zeros((2, 3)), [1])), "1 entries for 2 samples"),
    "one-hot classes": (lambda file, _: ep.evaluate(file, (np.zeros((2, 3)), np.eye(2))), "expected"),
    "pictures from 0 to 1": (
        lambda file, here: ep.evaluate(file, (np.zeros((2, 8, 8, 3)), [0, 1]), "local/litert", out=here / "e"),
        "whole numbers from 0 to 255",
    ),
    "a class that is none": (
        lambda file, here: ep.evaluate(
            file, (np.eye(2, 192, dtype="uint8").reshape(2, 8, 8, 3), [0, 9]), "local/litert", out=here / "e"
        ),
        "class number 9",
    ),
    "texts for a model of pictures": (
        lambda file, here: ep.evaluate(file, (["a", "b"],), "local/litert", out=here / "e"), "texts",
    ),
    "a file that is none": (lambda *_: ep.inspect("none.tflite"), "does not exist"),
    "a diagnosis without samples": (lambda file, _: ep.diagnose(file), "not known"),
    "no golden vectors": (lambda file, _: ep.bundle(file, samples=0), "from 1 to 1000"),
    "a run that is no path": (lambda *_: ep.compare(3, "none"), "the run is a int"),  # type: ignore[arg-type]
    "runs that are none": (lambda *_: ep.compare("none", "none"), "none"),
    "a runtime without a version": (lambda *_: ep.devices(install=["litert"]), "NAME==VERSION"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_the_caller_did_wrong_is_an_input_error(case: str, model: Path, tmp_path: Path) -> None:
    call, words = WRONG[case]
    with pytest.raises(ep.InputError, match=words) as caught:
        call(model, tmp_path)
    assert str(tempfile.gettempdir()) + "/edgeproof-" not in str(caught.value)


@pytest.mark.parametrize("name", ["run", "export", "evaluate", "inspect", "compare", "report", "init", "bundle"])
def test_what_the_system_refuses_is_a_stage_error(name: str, model: Path, tmp_path: Path) -> None:
    long = str(tmp_path / ("a" * 300))
    calls: dict[str, Callable[[], Any]] = {
        "run": lambda: ep.run({**RECIPE, "data": {"source": f"folder:{long}"}}, tmp_path / "run"),
        "export": lambda: ep.export(long, "tflite:float32"),
        "evaluate": lambda: ep.evaluate(model, (np.zeros((2, 3)),), "local/litert", out=long),
        "inspect": lambda: ep.inspect(f"{long}.tflite"),
        "compare": lambda: ep.compare(long, long),
        "report": lambda: ep.report(long),
        "init": lambda: ep.init(long),
        "bundle": lambda: ep.bundle(long),
    }
    with pytest.raises(ep.EdgeproofError, match="too long") as caught:
        calls[name]()
    assert len(str(caught.value)) < 500


def test_hostile_names_are_escaped_in_a_notebook(measured: Measured) -> None:
    run, *_ = measured
    artifact = Artifact("a", "a", "tflite", "int8", None, status="failed", reason=HOSTILE)
    results = Results(run={"name": HOSTILE}, environment={})
    results.add_artifact(artifact)
    results.add_measurement(replace(run.results.measurements[0], artifact=HOSTILE, target=HOSTILE, reason=HOSTILE))
    comparison = ep.compare(run, run)
    cell = replace(comparison.cells[0], model=HOSTILE, variant=HOSTILE, target=HOSTILE)
    shown = [
        results._repr_html_(),
        replace(run, results=results)._repr_html_(),
        Files([artifact], Path(), None)._repr_html_(),
        replace(comparison, run_a=HOSTILE, cells=(cell,))._repr_html_(),
    ]  # fmt: skip
    for html in shown:
        assert html.startswith("<table>") and "script&gt;" in html
        assert not re.search("<(?!/?(table|caption|thead|tbody|tr|th|td)>)", html) and "\x1b" not in html


def test_frames_have_a_row_for_each_measurement_and_say_what_is_missing(
    measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, *_ = measured
    shown: list[Any] = [run, run.results, ep.compare(run, run), Files([], Path(), None)]
    assert [len(one.to_pandas()) for one in shown] == [1, 1, 1, 0]
    frame = run.to_pandas()
    assert frame["artifact"].tolist() == [row.artifact for row in run.results.measurements]
    monkeypatch.setitem(sys.modules, "pandas", None)
    for one in shown:
        with pytest.raises(ep.InputError, match="pandas") as caught:
            one.to_pandas()
        assert caught.value.remedy == "pip install pandas"
