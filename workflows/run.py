"""``run``: all stages of a recipe, from data to report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.codec import sha256_of, write_atomic
from ..core.errors import EdgeproofError, explain_os_errors
from ..core.progress import Listener
from ..core.recipe import Recipe
from ..core.recipe_file import load_recipe, with_overrides
from ..core.results import load_results
from ..core.run_log import RunLog
from ..core.store import lock, open_store
from ..devices import OpenDevices, device
from ..train.backbones import identity as backbone_identity
from .arguments import path_of
from .finished import Run
from .listening import listener_of
from .preflight import check_writable, preflight
from .recipe_kind import kind_of_recipe
from .run_folder import check_parts, problem, remember


@explain_os_errors
def run(
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    cluster: str = "",
    progress: Listener | None = None,
) -> Run:
    """Do everything a recipe says: prepare data, train, make files, measure them, write the report.

    An interrupted run resumes where it stopped; a changed recipe repeats only what the change affects.

    Args:
        recipe: a recipe, the path of one, or its tables as a dictionary.
        out: the run's folder. Default: ``runs/NAME``.
        overrides: keys of the recipe to change, as ``{"train.epochs": 3}`` or ``["train.epochs=3"]``.
        cluster: the address of a Dask scheduler whose workers help, such as ``tcp://lab:8786``. Default: none.
        progress: hears how far the work is. Default: nothing is shown, but for a bar in a notebook.

    Returns:
        The run. A file that could not be made or does not run is a row with a status in its `results`; a model that
        could not be trained, beside others, is in its `failures`.

    Raises:
        InputError: the recipe, its data or this environment is not fit for it, or the cluster cannot be reached;
            nothing was started.
        StageError: the only model could not be trained, or the disk refuses; what is done is kept.
    """
    if isinstance(recipe, Recipe | Mapping):
        checked = with_overrides(recipe, overrides)
    else:
        checked = load_recipe(path_of(recipe, "the recipe"), overrides)
    folder = path_of(out, "out") if out is not None else Path("runs") / checked.name
    check_writable(folder)
    with RunLog(folder / "log.jsonl", listener_of(progress)) as log:
        log.begin("preflight")
        fingerprint = preflight(checked, folder)
        with lock(folder):
            inputs = _inputs(checked, fingerprint)
            check_parts(folder)
            if unchanged := _unchanged(folder, inputs, log):
                return unchanged
            return _run(checked, folder, log, fingerprint, inputs, cluster)


def _run(recipe: Recipe, folder: Path, log: RunLog, fingerprint: dict[str, Any], inputs: str, cluster: str) -> Run:
    # A run that is found unchanged needs none of the stages, and no cluster.
    from ..devices.cluster.connection import open_cluster
    from ..report import write as write_report
    from .pipeline import Pipeline
    from .tensorflow_process import TensorFlowProcess

    with open_cluster(cluster, log) as workers, OpenDevices(recipe.devices, workers) as devices:
        write_atomic(folder / "recipe.toml", recipe.to_toml())
        store = open_store(folder, log)
        with TensorFlowProcess(store.root / "tensorflow.log", log) as tf:
            if not any((store.root / "model").glob("*")):
                tf.start()  # it imports TensorFlow while the data is being prepared
            pipeline = Pipeline(recipe, folder, log, store, tf, devices)
            pipeline.results.run["inputs_sha256"] = inputs
            try:
                pipeline.run(fingerprint)
            except BaseException:
                with suppress(EdgeproofError):  # a disk error may be the reason
                    pipeline.save()
                raise
    pipeline.save()
    page = write_report(pipeline.results, folder)
    remember(folder)
    return Run(folder, pipeline.results, page, tuple(pipeline.failures))


def _inputs(recipe: Recipe, fingerprint: dict[str, Any]) -> str:
    """Return the hash of all that a run depends on: recipe, data, weights, packages, machine."""
    kind = kind_of_recipe(recipe)
    backbones = [backbone_identity(spec, folder=recipe.folder, kind=kind) for spec in recipe.model]
    return sha256_of([recipe.sha256, fingerprint, backbones, device().environment(), __version__])


def _unchanged(folder: Path, inputs: str, listener: Listener) -> Run | None:
    """Return the finished run in a folder if neither its files nor anything that it depends on has changed."""
    page = folder / "report.html"
    if not (page.exists() and (folder / "results.json").exists()):
        return None
    try:
        results = load_results(folder)
    except EdgeproofError:
        return None
    passing = {"crashed", "timeout", "skipped"}
    # A file that was not made cannot be measured: its rows stay `skipped` however often the run is repeated.
    usable = {a.id for a in results.artifacts if a.status == "ok"}
    statuses = [a.status for a in results.artifacts] + [m.status for m in results.measurements if m.artifact in usable]
    complete = (
        results.run.get("finished")
        and results.run.get("inputs_sha256") == inputs
        and all(model.get("status", "ok") == "ok" for model in results.models)
        and passing.isdisjoint(statuses)
    )
    if not complete:
        return None
    if damage := problem(folder):
        listener.note("warning", f"{folder} has changed since its run; what differs is made again: {damage}")
        return None
    return Run(folder, results, page)
