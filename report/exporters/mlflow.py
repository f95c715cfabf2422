"""MLflow: a run for the whole, and one below it for each file on each target."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.errors import StageError
from ...core.extras import EXTRAS
from ...core.results import Results
from ...core.sanitize import shorten
from .cells import ExportedCell, exported_cells

_FILES = ("report.html", "results.json", "results.csv")
_LIMIT = 250


def export_to_mlflow(results: Results, folder: Path, uri: str) -> str:
    """Log a run to the tracking server or database at `uri`; return the id of the run for the whole.

    The experiment has the name of the run. Below the run for the whole is one for each file on each target, with
    parameters, figures and the status. The reports in `folder` become artifacts. Exporting again makes new runs.
    Raises NotInstalledError without MLflow, and StageError when the server or its store refuses.
    """
    EXTRAS["mlflow"].require("exporting to MLflow needs", "mlflow")
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise StageError(f"MLflow does not import here: {error}", EXTRAS["mlflow"].remedy) from error
    try:
        with _few_retries():
            return _logged(MlflowClient(tracking_uri=uri), results, folder)
    # A store that is missing a package raises ImportError, a server that does not answer requests' errors (OSError).
    except (MlflowException, ImportError, OSError) as error:
        raise StageError(
            f"MLflow at {shorten(_without_password(uri), 120)} refuses the run: {shorten(str(error), 300)}",
            "give the address of a tracking server, e.g. --mlflow http://127.0.0.1:5000; a database such as "
            "sqlite:///mlflow.db needs the whole package: pip install mlflow",
        ) from error


@contextmanager
def _few_retries() -> Iterator[None]:
    """Let MLflow give up on a server that does not answer after seconds; by default it tries for minutes."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    ours = name not in os.environ
    if ours:
        os.environ[name] = "2"
    try:
        yield
    finally:
        if ours:
            os.environ.pop(name, None)


def _without_password(uri: str) -> str:
    """Return an address without the user's name and password, for messages."""
    scheme, mark, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else uri


def _logged(client: Any, results: Results, folder: Path) -> str:
    name = shorten(str(results.run.get("name") or "run"), _LIMIT)
    known = client.get_experiment_by_name(name)
    experiment = known.experiment_id if known else client.create_experiment(name)
    whole = client.create_run(experiment, run_name=name, tags=_tags(results)).info.run_id
    for file in _FILES:
        if (folder / file).is_file():
            client.log_artifact(whole, str(folder / file))
    for cell in exported_cells(results):
        _log_cell(client, experiment, whole, cell)
    client.set_terminated(whole)
    return str(whole)


def _tags(results: Results) -> dict[str, str]:
    """Return the tags of the run for the whole."""
    facts = {
        **{key: results.run.get(key) for key in ("recipe_sha256", "edgeproof_version", "started", "finished")},
        "verdict": results.budget.get("verdict"),
        "recommended": results.recommendation.get("artifact"),
        "recommended_target": results.recommendation.get("target"),
        "cpu": results.environment.get("cpu"),
        "data": results.data.get("source"),
    }
    return {f"edgeproof.{key}": shorten(str(value), _LIMIT) for key, value in facts.items() if value not in (None, "")}


def _log_cell(client: Any, experiment: str, whole: str, cell: ExportedCell) -> None:
    from mlflow.entities import Metric, Param, RunTag

    tags = {"mlflow.parentRunId": whole, **{f"edgeproof.{key}": words for key, words in cell.words.items()}}
    run = client.create_run(experiment, run_name=cell.name, tags={"mlflow.parentRunId": whole}).info.run_id
    now = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(key, value, now, 0) for key, value in cell.figures.items()],
        params=[Param(key, value) for key, value in cell.parameters.items()],
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    client.set_terminated(run, "FINISHED" if cell.ok else "FAILED")
