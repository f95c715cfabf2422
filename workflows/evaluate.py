"""``evaluate``: measure existing files on test samples and targets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from .. import __version__
from ..core.artifact import Artifact
from ..core.boxes import BoxReading
from ..core.device_files import load_devices
from ..core.environment import now, usable_cores
from ..core.errors import InputError, explain_os_errors
from ..core.measurement import Measurement
from ..core.pixels import Channels
from ..core.progress import Listener, Step
from ..core.recipe import Evaluate
from ..core.recipe_budget import Budget
from ..core.recipe_data import Data
from ..core.recipe_file import parse_table
from ..core.results import Results
from ..core.run_log import RunLog
from ..core.store import lock, open_store
from ..core.target import Target, default_targets
from ..devices import OpenDevices
from ..devices.cluster.connection import open_cluster
from ..evaluate import select
from ..evaluate.bursts import Ratios
from ..evaluate.certainty import asked_by
from ..evaluate.consistency import inconsistent_rows
from ..evaluate.device_differences import device_differences
from ..evaluate.examples import with_samples
from ..evaluate.fleet import fleet
from ..evaluate.measure import measure
from ..evaluate.scores import keep as keep_scores
from ..evaluate.timing import follow_base
from ..report import write as write_report
from ..tasks.asked import check_asked
from ..tasks.detection import Detection
from .anchors import Anchors, AnchorsLike, anchors_of
from .arguments import (
    FROM_FOLDERS,
    FilesLike,
    budget_of,
    channels_of,
    labels_or_order,
    one_or_more,
    opened_files,
    path_of,
    tuple_of_two,
)
from .detectors import doubt_orders, judges_boxes, of_detectors, read_by, readings_of, with_anchors, with_reading
from .finished import Run
from .input_spec import InputSpec
from .judged_data import SEED, float_references, judged_data, judged_spec, labelled
from .judged_source import judged_source
from .listening import listener_of
from .model_files import as_arrays, open_artifact, open_model
from .plan import DATA, measuring
from .preflight import check_writable
from .profile import profiles
from .run_folder import check_parts
from .samples import DataLike, Samples, data_source
from .value_range import NO_CHANNELS, with_value_range

Resize: TypeAlias = Literal["stretch", "crop", "pad"]


@explain_os_errors
def evaluate(
    files: FilesLike,
    data: DataLike,
    targets: str | Sequence[str] = (),
    *,
    out: str | os.PathLike[str] = "runs/evaluate",
    budget: Budget | Mapping[str, Any] | None = None,
    latency: Mapping[str, Any] | None = None,
    profile: bool = False,
    labels: Sequence[str] | str | os.PathLike[str] = (),
    value_range: tuple[float, float] | None = None,
    channel_order: str = "",
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    resize: Resize | None = None,
    strict_placement: bool = False,
    cluster: str = "",
    task: str = "",
    boxes: str = "",
    anchors: AnchorsLike | None = None,
    progress: Listener | None = None,
) -> Run:
    """Measure accuracy and latency of files, and write a report.

    Accuracy drop and agreement are against the float model among the files: its folder, else its float32 ``.tflite``.

    Args:
        files: one or more ``.tflite`` or ``.onnx`` files, folders of models, artifacts, or what `export` returned. Of
            the latter the float model is measured too, where a target runs it.
        data: the test samples: a source such as ``folder:images``, a `Data`, or arrays in memory, ``(x,)`` or
            ``(x, y)``: x of shape (samples, …) as the model takes them (pictures uint8, 0 to 255), y of shape
            (samples,) the positions of the right classes in the output; or frames of columns, or a ``tf.data.Dataset``.
            Without classes files are judged by agreement.
        targets: where they are measured, such as ``local/litert``. Default: TensorFlow, LiteRT, tflite-runtime and
            ONNX Runtime on the CPU; `devices` lists all. The CPU runtime of an accelerator is added, for comparison.
        out: the folder of the results and the report.
        budget: what a file must keep to be recommended; without one the Pareto front is shown.
        latency: how it is measured, with the keys of a recipe's [evaluate.latency], such as ``{"threads": 4}``.
        profile: also time each operator of every file that runs, apart from the latencies.
        labels: the classes of files that do not say theirs, in the order of the output; the path of a file of them;
            or ``from-folders``, which says that this is the order of the data's own classes.
        value_range: what files without a sidecar want pixels in. Default: what the file says, else 0 to 255.
        channel_order: ``rgb`` or ``bgr``, of files without a sidecar. Default: ``rgb``.
        mean: of each channel, in the file's order: it takes (value - mean) / std of values in its range (default then:
            0 to 1). Default: none.
        std: of each channel. Default: none.
        resize: how images are resized. Default: as in training.
        strict_placement: an accelerator that leaves some of a file's operators to the CPU is a failed row.
        cluster: the address of a Dask scheduler whose workers help, such as ``tcp://lab:8786``. Default: none.
        task: what the targets in `data` are: ``classification``, ``multilabel`` (y of shape (samples, tags), 0 or 1),
            ``segmentation`` (y of shape (samples, height, width), the class of each pixel; 255 is not judged) or
            ``detection`` (y of shape (samples, boxes, 5 or 6), see `tasks.detection`, or for each picture a dictionary
            of ``boxes`` (n, 4) and ``classes`` (n,)). Default: what the shape of y tells.
        boxes: how the outputs of a detector are read: ``xyxy``, ``yxyx`` or ``cxcywh`` is the order of a box's numbers,
            ``yolov8``, ``yolov5``, ``yolox``, ``detr`` or ``rtdetr`` a head; with ``-pixels`` or ``-shares`` behind it
            also their unit; ``ssd`` encodings relative to `anchors`. Default: what the outputs tell; the run says it.
        anchors: of encoded boxes: an array (N, 4) of ycenter, xcenter, height, width in shares of the picture, the path
            of a ``.npy`` or ``.csv`` of them, or the parameters that make them, such as ``{"strides": [8, 16]}`` (see
            `tasks.anchors.AnchorGrid`); or a mapping with ``anchors`` and ``scales``, ``background``, ``iou`` and
            further settings of `core.boxes.AnchorDecoding`.
        progress: hears how far the work is. Default: nothing is shown, but for a bar in a notebook.

    Returns:
        A run with a row per file and target. What does not run is a row with a status, a reason and a remedy.

    Raises:
        InputError: a file cannot be read, the data do not fit it, its classes are not known and no float model is
            there to compare with, or the cluster cannot be reached. Nothing was started.
        StageError: the disk refuses.
    """
    names = tuple(dict.fromkeys(one_or_more(targets, str, "targets", "such as local/litert")))
    table = {
        "targets": names or default_targets(),
        "latency": {} if latency is None else latency,
        "strict": strict_placement,
        "profile": profile,
    }
    settings = parse_table(Evaluate, table, "evaluate")
    folder = path_of(out, "out")
    source, limits, classes = data_source(data, task), budget_of(budget), labels_or_order(labels)
    pixels, channels = tuple_of_two(value_range), channels_of(channel_order, mean, std)
    if resize not in (None, *get_args(Resize)):
        raise InputError(f"resize is {resize!r:.80}", f"known: {', '.join(get_args(Resize))}")
    declared = load_devices()
    for target in settings.targets:
        declared.parse(target)
    opened = opened_files(files, settings.targets)
    check_writable(folder)
    with (
        RunLog(folder / "log.jsonl", listener_of(progress)) as log,
        open_cluster(cluster, log) as workers,
        OpenDevices(declared, workers) as devices,
    ):
        return evaluate_files(
            opened, source, settings, folder, resize, log, budget=limits, value_range=pixels, labels=classes,
            devices=devices, task=task, channels=channels, boxes=boxes,
            anchors=anchors_of(anchors),
        )  # fmt: skip


def evaluate_files(
    files: Sequence[Path | Artifact],
    source: Data | Samples,
    settings: Evaluate,
    out: Path,
    resize: str | None,
    listener: Listener,
    budget: Budget | None = None,
    value_range: tuple[float, float] | None = None,
    labels: tuple[str, ...] | Literal["from-folders"] = (),
    devices: OpenDevices | None = None,
    task: str = "",
    channels: Channels = NO_CHANNELS,
    boxes: str = "",
    anchors: Anchors | None = None,
) -> Run:
    """Measure every file on every target, as `evaluate`; an artifact among `files` is one that could not be made.

    `task` is what targets in files of arrays are, `boxes` how a detector's outputs are read, with `anchors`. `devices`
    are those of the targets (default: the ones that are always there). Files of unknown classes have no accuracy: they
    are judged by agreement with their float model.
    """
    if budget is not None and budget.target not in ("", *settings.targets):
        words = f"the budget's target {budget.target} is not among the targets"
        raise InputError(words, f"add --on {budget.target}, or leave it out of the budget")
    missing = [file for file in files if isinstance(file, Artifact)]
    paths = [file for file in files if isinstance(file, Path)]
    opened = [as_arrays(open_artifact(path, listener), source) for path in paths]
    artifacts = [with_value_range(artifact, value_range, listener, channels) for artifact in opened]
    boxes = with_anchors(boxes, anchors)
    of_boxes = judges_boxes(source, task, boxes)
    if labels and labels != FROM_FOLDERS:
        artifacts = [labelled(artifact, labels, of_boxes=of_boxes) for artifact in artifacts]
    ids = [artifact.id for artifact in artifacts]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise InputError(f"two files are called {twice[0]}", "give each file a name of its own")
    devices = devices or OpenDevices()
    targets = [Target.parse(target) for target in settings.targets]
    environments, places = devices_of(devices, targets, listener), devices.places(targets)
    results = Results(
        run={"name": "evaluate", "started": now(), "finished": None, "recipe_sha256": None,
             "edgeproof_version": __version__},
        environment=next(iter(environments.values())),
        environments=environments,
    )  # fmt: skip
    for path, artifact in zip(paths, artifacts, strict=True):
        if artifact.format == "savedmodel":
            results.add_model(open_model(path))
        results.add_artifact(replace(artifact, path=artifact.path.resolve() if artifact.path else None))
    for artifact in missing:
        results.add_artifact(artifact)

    def keep(row: Measurement) -> None:
        results.add_measurement(row)
        results.save(out)

    # Files that take the same samples are measured together; those of unknown classes separately.
    groups: dict[tuple[InputSpec, str, str], list[Artifact]] = {}
    judged: dict[tuple[InputSpec, str, str], Data | Samples] = {}
    sources: dict[tuple[InputSpec, str], Data | Samples] = {}
    readings: dict[str, BoxReading | InputError] = {}
    trained = {a.model: a.task for a in artifacts if a.task}  # not all files of a model may tell
    for artifact in artifacts:
        spec = judged_spec(artifact, resize, source)
        known_task = trained.get(artifact.model, "")
        if (spec, known_task) not in sources:
            sources[spec, known_task] = judged_source(source, spec, artifact, listener, task=task, trained=known_task)
        given = sources[spec, known_task]
        by_position = labels == FROM_FOLDERS or (isinstance(given, Samples) and (given.numbered or given.said))
        targeted = isinstance(given, Samples) and given.targets is not None and not given.by_name
        order = "its own" if artifact.labels else "the data's" if by_position or targeted else ""
        held = given if isinstance(given, Samples) else None
        if held is None or held.targets is None or held.task == Detection.name:
            known, names = targeted or bool(boxes), len(held.names) if held else 0
            readings |= readings_of([artifact], spec, boxes, names, listener, known=known, anchors=anchors)
            artifact = with_reading(artifact, readings)  # noqa: PLW2901
            results.add_artifact(replace(artifact, path=artifact.path.resolve() if artifact.path else None))
        key = (spec, held.task if held else "", order)
        groups.setdefault(key, []).append(artifact)
        judged[key] = given
    listener.plan(
        [Step("data", DATA), *measuring([a.format for a in artifacts], targets, settings, places), Step("report", 2.0)]
    )
    listener.begin("data")
    with lock(out):
        check_parts(out)
        store = open_store(out, listener)
        ready = [
            (
                group,
                of_detectors(
                    judged_data(
                        judged[spec, targets_of, order],
                        spec,
                        group,
                        settings.targets,
                        store,
                        listener,
                        classes_known=bool(order),
                        helpers=devices.cluster,
                        task=task,
                    ),
                    group,
                ),
            )
            for (spec, targets_of, order), group in groups.items()
        ]
        for _, data in ready:
            check_asked(budget, data.task)
        limits = _enforced(budget, float_references(artifacts, settings.targets))
        for group, data in ready:
            listener.begin("measure")
            results.data = {
                "source": source.source,
                "counts": data.counts,
                "sha256": data.sha256,
                "report": data.report,
            }
            references = float_references(group, settings.targets)
            runners = [read_by(devices.open_runner(a, target, timeout_seconds=settings.timeout_seconds), readings)
                       for a in group for target in targets]  # fmt: skip
            answers = measure(
                runners,
                data,
                references=references,
                settings=settings,
                seed=SEED,
                cores=usable_cores(),
                answerers=devices.answerers,
                store=store,
                raw_folder=out / "raw",
                listener=listener,
                on_row=keep,
                asks=asked_by(results, limits),
                on_bench=results.add_bench,
                on_sustained=results.sustained.append,
                places=places,
                interrupt=devices.interrupt,
            )  # fmt: skip
            if data.task == Detection.name and not boxes:
                doubt_orders(answers, data, readings, listener)
            results.sort(settings.targets)
            for row in keep_scores(results.measurements, answers, data=data.sha256, folder=out / "raw"):
                results.add_measurement(row)
            for failed in inconsistent_rows(results.measurements, group, answers, references=references):
                results.add_measurement(failed)
            results.device_differences += device_differences(results.rows_of(group), answers, data.classes)
            float_of = {a.id: references[a.model] for a in group if a.model in references}
            for shown in with_samples(results.rows_of(group), data, out, answers, float_of):
                results.add_measurement(shown)
            for follows in follow_base(results.measurements):
                results.add_measurement(follows)
            if settings.profile:
                profiles(
                    results.rows_of(group), runners, data.inputs("test"), samples=f"the test samples of {data.source}",
                    threads=settings.latency.options[0][0], store=store, out=out, listener=listener, on_row=keep,
                )  # fmt: skip
        listener.begin("report")
        results.sort(settings.targets)
        results.budget, results.recommendation = select.verdict(results, limits, ratios=Ratios(out))
        results.fleet = fleet(results, limits, folder=out)
        results.run["finished"] = now()
        results.save(out)
        return Run(out, results, write_report(results, out))


def devices_of(devices: OpenDevices, targets: Sequence[Target], listener: Listener) -> dict[str, dict[str, Any]]:
    """Return the environment of each device of `targets`, by name. A device that cannot be reached is warned about.

    The rest is measured all the same, and a rerun measures what is then missing.
    """
    environments = devices.environments(targets)
    for name, environment in environments.items():
        if why := environment.get("unreachable"):
            listener.note("warning", f"the device {name} cannot be reached: {why}", remedy=environment.get("remedy"))
    return environments


def _enforced(budget: Budget | None, references: Mapping[str, str]) -> Budget | None:
    """Return the budget that is enforced: without a float model, an unset drop is not limited."""
    if budget is None or references or {"max_accuracy_drop", "max_drop"} & budget.model_fields_set:
        return budget
    return budget.model_copy(update={"max_accuracy_drop": 1.0})
