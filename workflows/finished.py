"""The result of a run or an evaluation in the Python API."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.artifact import Artifact
from ..core.errors import explain_os_errors
from ..core.extras import EXTRAS
from ..core.results import Results, load_results
from ..report import write as write_report
from .arguments import path_of, text_of


@dataclass(frozen=True)
class Recommendation:
    """The file to ship: `artifact` (with an absolute path) on `target`, and `why`. Both are None if there is none."""

    artifact: Artifact | None
    target: str | None
    why: str


@dataclass(frozen=True)
class Run:
    """A finished run or evaluation.

    `folder` holds its files, `results` are its results.json, `report` is the HTML report. `failures` are the models
    that could not be made, with reasons. Shows its table in a notebook.
    """

    folder: Path
    results: Results = field(repr=False)
    report: Path
    failures: tuple[str, ...] = field(default=())

    @classmethod
    @explain_os_errors
    def load(cls, folder: str | os.PathLike[str]) -> Run:
        """Open the folder of a finished run, or its results.json. Raises InputError when there is none."""
        path = path_of(folder, "the run")
        results = load_results(path)
        here = path if path.is_dir() else path.parent
        failed = (m for m in results.models if m.get("status", "ok") != "ok")
        return cls(here, results, here / "report.html", tuple(f"{m['name']}: {m.get('reason')}" for m in failed))

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """The files by id, their paths absolute; one that could not be made has none, a status and a reason."""
        return {artifact.id: self._located(artifact) for artifact in self.results.artifacts}

    @property
    def recommendation(self) -> Recommendation:
        """What to ship."""
        chosen = self.results.recommendation
        artifact = next((a for a in self.results.artifacts if a.id == chosen.get("artifact")), None)
        located = self._located(artifact) if artifact is not None else None
        return Recommendation(located, chosen.get("target") if located else None, str(chosen.get("why") or ""))

    @property
    def verdict(self) -> str:
        """Whether a file fits the budget: ``met``, ``not met``, ``not shown`` (too few samples); empty without one."""
        if not self.results.budget:
            return ""
        return str(self.results.budget.get("verdict") or ("met" if self.results.budget.get("met", True) else "not met"))

    @property
    def budget_met(self) -> bool:
        """Whether a file is shown to fit the budget; true without a budget."""
        return self.verdict in ("", "met")

    def to_pandas(self) -> Any:
        """Return the measurements as a pandas DataFrame; see `Results.to_pandas`."""
        return self.results.to_pandas()

    def _repr_html_(self) -> str:
        return self.results._repr_html_()

    def _located(self, artifact: Artifact) -> Artifact:
        """Return an artifact with the paths where its files are."""
        here = self.folder.absolute()
        return replace(
            artifact,
            path=here / artifact.path if artifact.path is not None else None,
            tokenizer=here / artifact.tokenizer if artifact.tokenizer is not None else None,
        )


@explain_os_errors
def report(
    run: Run | str | os.PathLike[str], *, mlflow: str = "", tensorboard: str | os.PathLike[str] | None = None
) -> Run:
    """Write a run's report.html and report.md again, from its results.json, and export its figures.

    Args:
        run: a run, its folder, or its results.json.
        mlflow: the address of an MLflow tracking server (extra ``mlflow``) that gets a run for each file and target.
        tensorboard: the folder of TensorBoard's logs (extra ``tensorboard``) that gets the same.

    Returns:
        The run, whose `report` is the page.

    Raises:
        InputError: there is no results.json, or it is not what a run writes.
        StageError: the folder cannot be written, or the tracking server refuses.
        NotInstalledError: an exporter's extra is not installed; nothing was written.
    """
    opened = run if isinstance(run, Run) else Run.load(run)
    server = text_of(mlflow, "mlflow")
    logs = path_of(tensorboard, "tensorboard") if tensorboard is not None else None
    for wanted, extra in ((server, "mlflow"), (logs, "tensorboard")):
        if wanted:
            EXTRAS[extra].require(f"exporting to {extra} needs")
    written = replace(opened, report=write_report(opened.results, opened.folder))
    if logs is not None:
        from ..report.exporters.tensorboard import export_to_tensorboard

        export_to_tensorboard(opened.results, logs)
    if server:
        from ..report.exporters.mlflow import export_to_mlflow

        export_to_mlflow(opened.results, opened.folder, server)
    return written
