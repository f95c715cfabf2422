"""Exports to TensorBoard and MLflow: every file on every target with its figures, and nothing without the extra."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from edgeproof.core import extras
from edgeproof.core.errors import NotInstalledError, StageError
from edgeproof.core.results import Results
from edgeproof.evaluate.cells import cells as cells_of
from edgeproof.report.exporters.cells import exported_cells
from edgeproof.report.exporters.mlflow import _without_password, export_to_mlflow
from edgeproof.report.exporters.tensorboard import export_to_tensorboard
from edgeproof.workflows.finished import report

from ..support.example_results import HOSTILE, example


@pytest.fixture(scope="module")
def results() -> Results:
    return example()


def shown(results: Results) -> int:
    """How many cells are not empty by design."""
    return sum(not cell.is_by_design for cell in cells_of(results))


def test_every_measurement_is_a_cell_with_its_figures_and_words(results: Results) -> None:
    cells = list(exported_cells(results))
    assert len(cells) == shown(results) == len({cell.name for cell in cells}) < len(results.measurements)
    int8 = next(cell for cell in cells if cell.name == "mobilenet--tflite-int8 on local/litert")
    assert int8.ok and int8.parameters["scheme"] == "int8" and int8.parameters["target"] == "local/litert"
    row = next(m for m in results.measurements if (m.artifact, m.target) == ("mobilenet--tflite-int8", "local/litert"))
    assert int8.figures["accuracy"] == row.accuracy and row.latency_ms is not None
    assert int8.figures["latency_median"] == row.latency_ms.median and int8.figures["calibration_error"] > 0
    failed = next(cell for cell in cells if not cell.ok)
    assert "accuracy" not in failed.figures and failed.words["status"] != "ok" and failed.words["reason"]


def events(folder: Path) -> list[Any]:
    """Return the summaries of a folder's event files, whose records are length, checksum, message, checksum."""
    from tensorboard.compat.proto.event_pb2 import Event

    values: list[Any] = []
    for path in folder.glob("events.out.tfevents.*"):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            values += Event.FromString(content[at + 12 : at + 12 + length]).summary.value
            at += 16 + length
    return values


def test_tensorboard_gets_scalars_and_hyperparameters(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = export_to_tensorboard(results, tmp_path)
    assert folder == tmp_path / "quickstart"
    runs = [path for path in folder.iterdir() if path.is_dir()]
    assert len(runs) == shown(results)
    int8 = next(path for path in runs if path.name.startswith("mobilenet--tflite-int8-on-local-litert"))
    values = {value.tag: value for value in events(int8)}
    row = next(m for m in results.measurements if (m.artifact, m.target) == ("mobilenet--tflite-int8", "local/litert"))
    assert values["accuracy"].simple_value == pytest.approx(row.accuracy)
    session = values["_hparams_/session_start_info"].metadata.plugin_data
    assert session.plugin_name == "hparams" and b"int8" in session.content
    assert b"`ok`" in values["status"].tensor.string_val[0]
    (experiment,) = events(folder)
    assert experiment.tag == "_hparams_/experiment" and b"latency_median" in experiment.metadata.plugin_data.content


def test_hostile_names_stay_below_the_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    results = example()
    results.run["name"] = "../" + "".join(HOSTILE)
    results.measurements = [replace(m, target=f"../../{m.target}{HOSTILE[0]}") for m in results.measurements]
    export_to_tensorboard(results, tmp_path / "logs")
    assert {path.name for path in tmp_path.iterdir()} == {"logs"}
    assert len(list((tmp_path / "logs").rglob("events*"))) == shown(results) + 1


def test_tensorboard_is_written_without_importing_tensorflow(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    code = (
        "import sys; from pathlib import Path; from edgeproof.core.results import Results; "
        "from edgeproof.report.exporters.tensorboard import export_to_tensorboard as export; "
        "export(Results(run={'name': 'r'}, environment={}), Path(sys.argv[1])); "
        "assert 'tensorflow' not in sys.modules and 'tensorboard.compat.notf' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list((tmp_path / "r").glob("events*"))


def test_mlflow_gets_a_run_for_each_cell_below_one_for_the_whole(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # databases need the whole package
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    (tmp_path / "report.html").write_text("<p>")
    uri = (tmp_path / "store").as_uri()
    whole = export_to_mlflow(results, tmp_path, uri)
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("quickstart")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parent = client.get_run(whole)
    assert parent.data.tags["edgeproof.recommended"] == results.recommendation["artifact"]
    assert [file.path for file in client.list_artifacts(whole)] == ["report.html"]
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == whole]
    assert len(below) == shown(results) == len(runs) - 1
    int8 = next(run for run in below if run.info.run_name == "mobilenet--tflite-int8 on local/litert")
    row = next(m for m in results.measurements if (m.artifact, m.target) == ("mobilenet--tflite-int8", "local/litert"))
    assert int8.data.metrics["accuracy"] == pytest.approx(row.accuracy)
    assert int8.data.params["scheme"] == "int8" and int8.info.status == "FINISHED"
    failed = [run for run in below if run.info.status == "FAILED"]
    assert failed and all(run.data.tags["edgeproof.reason"] for run in failed)


class Recorder:
    """Stands in for MLflow's client where MLflow is not installed: keeps what it is told."""

    calls: ClassVar[list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = []

    def __init__(self, tracking_uri: str) -> None:
        self.calls.clear()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append((name, arguments, named))
            return (
                None
                if name == "get_experiment_by_name"
                else SimpleNamespace(info=SimpleNamespace(run_id=len(self.calls)))
            )

        return call


def test_mlflow_is_told_of_every_cell_once(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package, which a usual installation does not have."""
    for name, members in (
        ("mlflow", {"__spec__": ModuleSpec("mlflow", None)}),
        ("mlflow.tracking", {"MlflowClient": Recorder}),
        ("mlflow.exceptions", {"MlflowException": RuntimeError}),
        ("mlflow.entities", dict.fromkeys(("Metric", "Param", "RunTag"), lambda *values: values)),
    ):
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    export_to_mlflow(results, tmp_path, "http://there")
    batches = [named for name, _, named in Recorder.calls if name == "log_batch"]
    assert len(batches) == shown(results)
    assert all(("mlflow.parentRunId", 3) in named["tags"] for named in batches), (
        "the run for the whole is the third call"
    )
    assert all(len(value) <= 250 for named in batches for _, value in named["params"])
    ended = [arguments[1:] for name, arguments, _ in Recorder.calls if name == "set_terminated"]
    assert ended.count(("FAILED",)) == sum(not cell.ok for cell in exported_cells(results)) > 0
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_store_that_refuses_is_told_without_the_password(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with pytest.raises(StageError, match=r"127\.0\.0\.1:9") as refused:
        export_to_mlflow(results, tmp_path, "http://me:secret@127.0.0.1:9")
    assert "MLflow at http://127.0.0.1:9 refuses" in str(refused.value)


def test_addresses_in_messages_have_no_password() -> None:
    assert _without_password("https://me:secret@host:5000/a@b") == "https://host:5000/a@b"
    assert _without_password("sqlite:///mlflow.db") == "sqlite:///mlflow.db" and _without_password("x") == "x"


@pytest.mark.parametrize("extra", ["mlflow", "tensorboard"])
def test_without_the_extra_nothing_is_written(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == extra else real(name))
    results.save(tmp_path)
    with pytest.raises(NotInstalledError, match=f"exporting to {extra} needs {extra}") as missing:
        report(tmp_path, **{extra: str(tmp_path / "there")})
    assert missing.value.remedy == f"pip install 'edgeproof[{extra}]'"
    assert not (tmp_path / "report.html").exists()


def test_the_report_command_exports(results: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    from edgeproof.cli.main import status

    results.save(tmp_path)
    assert status(["report", str(tmp_path), "--tensorboard", str(tmp_path / "logs")]) == 0
    assert list((tmp_path / "logs" / "quickstart").iterdir())
    assert capsys.readouterr().out.strip().endswith("report.html")
