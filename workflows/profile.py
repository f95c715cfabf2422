"""``profile``: where the time of a file on a target goes, and the profiles of a run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.artifact import Artifact, TensorSpec
from ..core.codec import from_json, read_json, to_json, write_json
from ..core.device_files import load_devices
from ..core.errors import InputError, StageError, explain_os_errors
from ..core.measurement import Measurement
from ..core.profile import Profile, ProfileSummary
from ..core.progress import Listener
from ..core.run_log import RunLog
from ..core.runner import Outcome, Runner
from ..core.store import Store
from ..devices import OpenDevices
from ..evaluate import profile as stage
from .arguments import FileLike, at_least_one, file_path, path_of, text_of
from .chosen_samples import choose_samples
from .diagnose import home
from .listening import listener_of
from .model_files import input_spec_of, open_artifact
from .preflight import check_writable
from .run_folder import check_parts, source_run_of
from .samples import DataLike, data_source, holds_values
from .value_range import with_value_range

SAMPLES = 16  # what the agent reads
MOST_RUNS = 10_000


@explain_os_errors
def profile(
    file: FileLike,
    target: str = "local/litert",
    *,
    data: DataLike | None = None,
    runs: int = stage.RUNS,
    threads: int = 1,
    out: str | os.PathLike[str] | None = None,
    progress: Listener | None = None,
) -> Profile:
    """Time each operator of a file on a target, and say why it takes this long where the cause is known.

    Args:
        file: a ``.tflite`` or ``.onnx`` file, a folder of a model, or an artifact.
        target: where it runs, such as ``local/litert``.
        data: samples, as for `evaluate`. Default: those of the run that the file lies in, else random inputs.
        runs: how many runs are profiled.
        threads: of the runtime.
        out: the folder that ``profile/`` is written into: the figures as JSON, and a file for Model Explorer.
            Default: the run that the file lies in, or the folder that it lies in.
        progress: hears how far the work is. Default: nothing is shown, but for a bar in a notebook.

    Returns:
        The operators in the order of execution with their times, multiply-accumulates and bytes, the same by kind, and
        findings. A profiled run is slower than a timed one: compare files by their latencies.

    Raises:
        InputError: the file cannot be read, or the samples do not fit it.
        StageError: it does not run there, or that runtime cannot be profiled; or the disk refuses.
    """
    path = file_path(file)
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a .tflite, an .onnx, or a folder of a model")
    declared = load_devices()
    where = declared.parse(text_of(target, "the target"))
    at_least_one(runs, "runs", MOST_RUNS)
    at_least_one(threads, "threads", 1024)
    source = data_source(data) if data is not None else None
    folder = home(path, path_of(out, "out") if out is not None else None)
    check_parts(folder)
    check_writable(folder / stage.FOLDER)
    with (
        RunLog(None, listener_of(progress)) as log,
        tempfile.TemporaryDirectory(prefix="edgeproof-profile-") as name,
        OpenDevices(declared) as devices,
    ):
        log.begin("profile", path.name)
        opened = open_artifact(path, log)
        artifact = _with_inputs(opened if holds_values(source) else with_value_range(opened, None, log))
        origin = source_run_of(path, artifact.model)
        chosen = choose_samples(
            artifact, source, SAMPLES, Path(name), log, origin=origin, beside=folder, purpose="the profile's samples"
        )
        runner = devices.open_runner(artifact, where)
        found = stage.profile(runner, chosen.path, samples=chosen.source, runs=runs, threads=threads)
        if isinstance(found, Outcome):
            raise StageError(f"{artifact.id} has no profile on {where}: {found.reason}", found.remedy)
        stage.save(found, folder)
        return found


def profiles(
    rows: Sequence[Measurement],
    runners: Sequence[Runner],
    inputs: Path,
    *,
    samples: str,
    threads: int,
    store: Store,
    out: Path,
    listener: Listener,
    on_row: Callable[[Measurement], None],
) -> None:
    """Profile the cells that ran, one after another; call `on_row` with each row and its profile.

    What cannot be profiled has a summary with the reason. `inputs` are the samples that the rows were measured on,
    `samples` what they are in words. Finished profiles are taken from the store.
    """
    by_cell = {(runner.artifact.id, str(runner.target)): runner for runner in runners}
    todo = [(row, by_cell[row.artifact, row.target]) for row in rows
            if row.status == "ok" and (row.artifact, row.target) in by_cell]  # fmt: skip
    for count, (row, runner) in enumerate(todo, 1):
        key = store.key(
            "profile",
            {"version": stage.VERSION, "artifact": row.artifact, "sha256": runner.artifact.sha256,
             "runs": stage.RUNS, "threads": threads, **runner.identity()},
        )  # fmt: skip
        if entry := store.get(key):
            summary = stage.save(from_json(Profile, read_json(entry / "profile.json"), str(entry)), out)
        else:
            found = stage.profile(runner, inputs, samples=samples, threads=threads)
            if isinstance(found, Outcome):
                summary = ProfileSummary(status=found.status, reason=found.reason, remedy=found.remedy)
            else:
                with store.write(key) as folder:
                    write_json(folder / "profile.json", to_json(found))
                summary = stage.save(found, out)
        listener.progress("profile", count, len(todo), f"{row.artifact} on {row.target}")
        on_row(replace(row, profile=summary))


def _with_inputs(artifact: Artifact) -> Artifact:
    """Return an artifact with its inputs; a SavedModel's are in its model."""
    if artifact.format != "savedmodel" or artifact.inputs:
        return artifact
    inputs = input_spec_of(artifact, None).inputs
    return replace(artifact, inputs=tuple(TensorSpec(one.name, one.shape, one.dtype) for one in inputs))
