"""``bundle``: golden vectors, the check that metadata do not change the outputs, and then the bundle."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..core.artifact import Artifact
from ..core.chips import DEFAULT_CHIP
from ..core.codec import check
from ..core.errors import EdgeproofError, InputError, StageError, explain_os_errors
from ..core.files import below
from ..core.formatting import limits
from ..core.measurement import Measurement
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.results import Results, load_results
from ..core.run_log import RunLog
from ..core.runtime import readers
from ..core.sanitize import slug
from ..core.target import Target
from ..core.variant import SUFFIX
from ..devices import device, open_runner
from ..devices.cortex_m import CortexM
from ..export import bundle as room
from ..export import inspect
from ..export import load as load_artifact
from ..export import sidecar as sidecar_path
from ..tasks import Task, metric_of, task_of_row
from ..tasks.classification import Accuracy
from .anchors import Anchors, AnchorsLike, anchors_of
from .arguments import FileLike, at_least_one, file_path, path_of, tuple_of_two
from .chosen_samples import SEED, ChosenSamples, choose_samples
from .detectors import as_detector
from .finished import Run
from .listening import listener_of
from .micro_proof import prove_image, prove_micro
from .model_files import open_artifact
from .run_folder import Evaluation, SourceRun, source_run_of
from .samples import DataLike, Samples, data_source
from .value_range import as_pictures

MAKER = f"edgeproof {__version__}"


@explain_os_errors
def bundle(
    source: FileLike | Run,
    *,
    out: str | os.PathLike[str] | None = None,
    data: DataLike | None = None,
    samples: int = 8,
    tflm: str | os.PathLike[str] | None = None,
    chip: str = DEFAULT_CHIP,
    boxes: str = "",
    anchors: AnchorsLike | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Listener | None = None,
) -> room.Bundle:
    """Put everything that an app needs of one file into a folder and a ZIP.

    Args:
        source: a ``.tflite`` or ``.onnx`` file, its artifact, or a run or its folder, whose recommended file is taken.
        out: where the bundle goes. Default: ``bundles`` in the run that made the file, or else beside the file.
        data: samples for the golden vectors: a source such as ``folder:images``, a `Data`, or arrays in memory,
            ``(x,)`` or ``(x, y)``. Default: the run's own, else random inputs.
        samples: how many golden vectors, 1 to 1000.
        tflm: a tree of TensorFlow Lite for Microcontrollers, as its ``create_tflm_tree.py`` writes it. The bundle's C++
            for microcontrollers is then built for `chip` and run on the golden vectors in qemu.
        chip: ``cortex-m3``, ``cortex-m4`` or ``cortex-m7``.
        boxes: how the outputs of a detector are read, as in `evaluate`. Default: as the run read them, or what they
            tell.
        anchors: of encoded boxes, as in `evaluate`.
        value_range: what a file without a sidecar wants pixels in. Default: what the file says, else 0 to 255.
        progress: hears how far the work is. Default: nothing is shown, but for a bar in a notebook.

    Returns:
        The bundle: its folder, archive and manifest.

    Raises:
        InputError: there is no such file, it is not the one that was measured, or samples do not fit; `tflm` is no
            such tree, or a compiler or qemu for `chip` is missing.
        StageError: no runtime here runs it, or the metadata change its outputs.
    """
    path = source.folder if isinstance(source, Run) else file_path(source)
    if not path.exists():
        raise InputError(f"{path} does not exist", "give a .tflite or .onnx file, or a run's folder")
    chosen = data_source(data) if data is not None else None
    count = at_least_one(samples, "samples", 1000)
    place = path_of(out, "out") if out is not None else None
    cortex_m = CortexM(chip, path_of(tflm, "tflm")) if tflm is not None else None
    known = anchors_of(anchors)
    with RunLog(None, listener_of(progress)) as log:
        log.begin("bundle", path.name)
        return bundle_file(path, out=place, source=chosen, samples=count, listener=log, cortex_m=cortex_m,
                           boxes=boxes, anchors=known, value_range=tuple_of_two(value_range))  # fmt: skip


def bundle_file(
    path: Path,
    *,
    out: Path | None,
    source: Data | Samples | None,
    samples: int,
    listener: Listener,
    cortex_m: CortexM | None = None,
    boxes: str = "",
    anchors: Anchors | None = None,
    value_range: tuple[float, float] | None = None,
) -> room.Bundle:
    """Bundle the artifact at `path`, or the file that a run's folder recommends. See `room.bundle` for the contents.

    `source` are samples; default: the run's test split, else a text model's own golden texts, else seeded random
    inputs. `cortex_m` builds and runs the code for microcontrollers. Raises InputError for a missing file or samples
    that do not fit, StageError when no runtime here runs it, or the metadata change its outputs.
    """
    measured: str | None = None
    evaluation, recorded, results = None, None, None
    if (path / "results.json").is_file():
        folder, results = path, load_results(path)
        path, recorded = _recommended(folder, results)
        measured = recorded.sha256
        evaluation = Evaluation.of(folder)
    artifact = open_artifact(path, listener)
    if recorded is not None and evaluation is not None:  # it is used as it was evaluated
        labels, contract = artifact.labels or recorded.labels, artifact.contract or recorded.contract
        artifact = replace(artifact, labels=labels, contract=contract)
    if measured not in (None, artifact.sha256):
        raise InputError(
            f"{path} is not the file that was measured: its sha256 is {artifact.sha256}, results.json says {measured}",
            "run the recipe again, which replaces a damaged file; or name the file itself to bundle it as it is",
        )
    if artifact.format not in ("tflite", "onnx") or artifact.path is None:
        raise InputError(
            f"{path} is a model, and bundles are made of files", "name a .tflite or .onnx of its artifacts"
        )
    sidecar = sidecar_path(path)
    if sidecar.exists() and load_artifact(sidecar).sha256 != artifact.sha256:
        raise InputError(
            f"{path} is not the file that {sidecar.name} describes: its sha256 is {artifact.sha256}",
            "if it is damaged, make it again by the command that made it; if it is another file, remove the .json: "
            "it is then bundled without labels",
        )
    # The file's own operators: an untrusted sidecar may state anything.
    contents = inspect(path)
    artifact = replace(artifact, inputs=contents.inputs, outputs=contents.outputs, ops=contents.ops)
    check(replace(artifact, path=None, tokenizer=None), str(path))
    artifact = as_pictures(artifact, source, value_range, listener)
    recorded_boxes = recorded.boxes if recorded is not None else None
    artifact = as_detector(artifact, source, listener, boxes=boxes, anchors=anchors, recorded=recorded_boxes)
    origin = source_run_of(path, artifact.model)
    if results is None and origin is not None and (origin.folder / "results.json").is_file():
        results = load_results(origin.folder)
    budget = _judged(results, artifact.sha256) if results is not None else None
    folder = out or _beside(path, origin)
    with tempfile.TemporaryDirectory(prefix="edgeproof-bundle-") as name:
        workspace = Path(name)
        chosen = choose_samples(
            artifact, source, samples, workspace, listener,
            origin=origin, evaluation=evaluation, beside=folder, purpose="the golden vectors",
        )  # fmt: skip
        outputs, facts = _proved(artifact, chosen, workspace)
        golden = room.Golden(
            samples=chosen.values,
            outputs=outputs,
            truths=chosen.truths,
            source=chosen.source,
            random=chosen.random,
            runtime=facts["runtime"],
            version=facts["version"],
            kernels=facts["kernels"],
            seed=SEED,
        )
        offers = _offers(artifact, origin)
        for offer in offers.values():
            if offer.artifact is not None:
                _proved(offer.artifact, chosen, workspace)
        image_proof: Callable[[Path, Mapping[str, Any]], dict[str, Any]] | None = None
        if cortex_m is not None:

            def compiled(done: int, total: int) -> None:
                listener.progress("bundle", done, total, "compiling TFLM")

            image_proof = partial(
                prove_image, artifact=artifact, golden=golden, cortex_m=cortex_m, workspace=workspace, tell=compiled
            )

        return room.bundle(
            artifact,
            golden,
            folder,
            maker=MAKER,
            offers=offers,
            measurements=_measurements(artifact, results if origin is not None else None),
            siblings=_siblings(artifact, origin),
            budget=budget,
            task=_task(artifact, results),
            notes=_doubts(budget, results) if budget and results else [],
            prove_micro=lambda written, vectors: prove_micro(
                written, artifact, golden, vectors, chosen.path, workspace
            ),
            prove_image=image_proof,
        )


def _judged(results: Results, sha256: str) -> dict[str, Any] | None:
    """Return the verdict of a run's budget on the file: ``asked``, ``verdict``, ``why``, ``target``; None without one.

    The verdict is the recommendation's, else that of the file's best row: it fits but was not chosen, or was rejected.
    It is empty for a file that did not run.
    """
    if not results.budget:
        return None
    same = {artifact.id for artifact in results.artifacts if artifact.sha256 == sha256}
    chosen = results.recommendation
    rows = [
        {**chosen, "verdict": results.budget.get("verdict")},
        *({**row, "verdict": "met"} for row in chosen.get("fits") or ()),
        *(chosen.get("rejected") or ()),
    ]
    judged: dict[str, Any] = next((row for row in rows if row.get("artifact") in same), {})
    return {
        "asked": results.budget.get("asked"),
        **{key: str(judged.get(key) or "") for key in ("verdict", "why", "target")},
    }


def _doubts(budget: dict[str, Any], results: Results) -> list[str]:
    """Return the notes on a file that is not shown to fit its run's budget."""
    if budget["verdict"] == "not met":
        return [f"this file does not fit the budget of its run: {budget['why']}"]
    if budget["verdict"] != "not shown":
        return []
    metric = next((type(found) for m in results.measurements if (found := metric_of(m))), Accuracy)
    asked = limits(budget["asked"] or {}, is_share=metric.is_share, metric=metric.name)
    limited = "; ".join(f"{name} {limit}" for name, limit in asked)
    return [
        f"it is not shown that this file fits the budget of its run ({limited}); the run's report says why, and what "
        "would show it"
    ]


def _recommended(folder: Path, results: Results) -> tuple[Path, Artifact]:
    """Return the file that the results in `folder` recommend, and its artifact.

    A run's file is in the run's folder. Evaluated files may be anywhere; their hash identifies them.
    """
    chosen = results.recommendation.get("artifact")
    recommended = next((a for a in results.artifacts if a.id == chosen and a.path is not None), None)
    if recommended is None or recommended.path is None:
        paths = [str(folder / a.path) for a in results.artifacts if a.path and a.format != "savedmodel"]
        raise InputError(
            f"{folder} recommends no file", f"name one: {', '.join(paths[:4]) or 'a .tflite or .onnx file'}"
        )
    path = folder / recommended.path
    return (path if recommended.path.is_absolute() else below(folder, path, follow=True)), recommended


def _beside(path: Path, origin: SourceRun | None) -> Path:
    return (origin.folder if origin else path.resolve().parent) / "bundles"


def _proved(artifact: Artifact, chosen: ChosenSamples, workspace: Path) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Return the outputs of the file as it is shipped, which must equal the artifact's, and the runtime's facts."""
    assert artifact.path is not None  # noqa: S101 - an artifact's file is there, or open_artifact would have said so
    target = _target(artifact)
    path = workspace / f"{slug(artifact.id)}{SUFFIX[artifact.format]}"
    path.write_bytes(room.shipped(artifact, MAKER))
    answers = []
    for file in (path, artifact.path):
        answer = workspace / "answers.npy"
        outcome = open_runner(replace(artifact, path=file, boxes=None), target).infer(
            chosen.path, answer, 0, len(chosen.truths)
        )
        if not outcome.ok:
            raise StageError(f"{artifact.id} does not run on {target}: {outcome.reason}", outcome.remedy)
        answers.append(np.load(answer, allow_pickle=False))
    if not np.array_equal(answers[0], answers[1], equal_nan=True):
        raise StageError(
            f"{artifact.id}: the metadata change its outputs",
            "this is a bug in edgeproof, please report it; the file itself is as it was",
        )
    if not np.isfinite(answers[0]).all():
        raise StageError(f"{artifact.id} gives values that are not finite", "do not ship this file")
    facts = {"runtime": target.runtime, "version": outcome.data["runtime_version"], "kernels": outcome.data["kernels"]}
    return answers[0], facts


def _target(artifact: Artifact) -> Target:
    versions, able = device().runtimes(), readers(artifact.format)
    for runtime in able:
        if versions[runtime.name]:
            return Target("local", runtime.name)
    raise InputError(
        f"no runtime for {artifact.format} files is installed, and golden vectors are made by one",
        able[0].extra.remedy,
    )


def _siblings(artifact: Artifact, origin: SourceRun | None) -> list[Artifact]:
    """Return the other files that the run made of the same model."""
    siblings = []
    for sidecar in sorted((origin.folder / "artifacts").glob("*.json")) if origin else []:
        try:
            other = load_artifact(sidecar)
            if other.model == artifact.model and other.status == "ok" and other.path is not None:
                siblings.append(open_artifact(below(sidecar.parent, other.path, follow=True)))
        except EdgeproofError:
            continue  # a sidecar without its file offers nothing
    others = [other for other in siblings if other.sha256 != artifact.sha256]
    return sorted(others, key=lambda other: _distance(artifact, other))


def _distance(artifact: Artifact, other: Artifact) -> tuple[bool, bool, int]:
    """Return a sort key for how much two files differ: in activations, then in weights, then in size."""
    ours, theirs = artifact.variant.scheme, other.variant.scheme
    return (theirs.activations != ours.activations, theirs.weights != ours.weights, other.bytes)


def _offers(artifact: Artifact, origin: SourceRun | None) -> dict[str, room.Offer]:
    """Return for each stock consumer that refuses the file an alternative: a sibling from the run, or a command."""
    if artifact.contract is None or artifact.contract.kind != "image" or artifact.boxes is not None:
        return {}
    siblings = _siblings(artifact, origin)
    ours = artifact.variant.scheme

    offers = {}
    for consumer in room.CONSUMERS:
        if not room.refusal(consumer, artifact):
            continue
        fitting = [other for other in siblings if not room.refusal(consumer, other)]
        if fitting:
            offers[consumer] = room.Offer(fitting[0])
        else:
            words = [
                "edgeproof",
                "export",
                str(origin.folder / "models" / artifact.model) if origin else "MODEL",
                "--to",
            ]
            if ours.activations == "int8":
                words += ["tflite:int8", "--calibrate", origin.recipe.data.source if origin else "SOURCE"]
            else:
                words += ["tflite:float16"]
            offers[consumer] = room.Offer(command=room.shell(*words))
    return offers


def _task(artifact: Artifact, results: Results | None) -> Task | None:
    """Return the task that the file was measured by, in the results of its run; None where it was not."""
    if results is None:
        return None
    same = {one.id for one in results.artifacts if one.sha256 == artifact.sha256}
    tasks = (task_of_row(row) for row in results.measurements if row.artifact in same)
    return next((task for task in tasks if task is not None), None)


def _measurements(artifact: Artifact, results: Results | None) -> list[Measurement]:
    """Return the run's measurements of this file, by its hash."""
    if results is None:
        return []
    same = {a.id for a in results.artifacts if a.sha256 == artifact.sha256}
    return [row for row in results.measurements if row.artifact == artifact.id and row.artifact in same]
