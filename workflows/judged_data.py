"""The samples that files are judged on: prepared, and with classes numbered as the files do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.artifact import Artifact, artifact_id
from ..core.codec import sha256_of
from ..core.dataset import PreparedData, load_prepared, save_prepared
from ..core.errors import InputError
from ..core.helpers import Helpers
from ..core.progress import Listener
from ..core.recipe_data import Data
from ..core.store import Store, copy_out
from ..core.target import Target
from ..data.target_cells import is_number
from ..tasks import TARGETED
from ..tasks.class_mapping import class_numbers, shown
from ..tasks.classification import answers_fit
from .input_spec import InputSpec
from .model_files import answer_shape, answers, input_spec_of
from .prepare_data import prepared
from .samples import Samples
from .targets import with_targets

SEED = 1
_NAME_CLASSES = (
    "say its classes in the order of the output: --labels FILE, or --labels from-folders where that is the order of "
    "the data's own classes (of folders the alphabetical one)"
)
_NUMBERS = "; of numbers that are no classes: --task regression"


def float_references(artifacts: Sequence[Artifact], targets: Sequence[str]) -> dict[str, str]:
    """Return for each model the id of the float artifact that its files are compared with, if one is among them.

    That is its SavedModel if a target runs one, and otherwise its float32 .tflite. Only a sidecar identifies a float
    .tflite: without it a quantized file might be compared with itself.
    """
    runs = {f for f in ("savedmodel", "tflite") if any(Target.parse(t).reads(f) for t in targets)}
    references = {a.model: a.id for a in artifacts if a.format == "savedmodel" and a.format in runs}
    for a in artifacts:
        if a.format == "tflite" and a.scheme == "float32" and a.id == artifact_id(a.model, a.variant):
            references.setdefault(a.model, a.id)
    return references


def judged_spec(artifact: Artifact, resize: str | None, source: Data | Samples) -> InputSpec:
    """Return what samples a file is judged on: where their targets must fit its answer, with the answer's shape."""
    spec = input_spec_of(artifact, resize)
    fitted = isinstance(source, Data) and source.source.startswith("masks:")
    return replace(spec, answer=answer_shape(artifact)[1:]) if fitted else spec


def judged_data(
    source: Data | Samples,
    spec: InputSpec,
    group: Sequence[Artifact],
    targets: Sequence[str],
    store: Store,
    listener: Listener,
    *,
    classes_known: bool,
    helpers: Helpers | None,
    task: str = "",
) -> PreparedData:
    """Prepare the source's test samples, with classes numbered as in `group` if they are the same classes.

    If the files' classes are not known, the labels are ignored: an equal number of folders and outputs does not give
    their order. The group is then judged by agreement with its float model, which must be among the files. `task` is
    what was asked for, where the source's classes are its targets.
    """
    data = prepared(source, spec, seed=SEED, folder=Path(), store=store, listener=listener, use="test", helpers=helpers)
    if isinstance(source, Samples) and source.targets is not None:
        if not classes_known:
            words = (
                f"{', '.join(a.id for a in group)}: the names of its tags are not known, and the data have them by name"
            )
            raise InputError(f"{words}: {shown(source.names)}", _NAME_CLASSES)
        return with_targets(data, group, store, listener, exact=source.by_name or source.said)
    if task in TARGETED and data.labels:  # their classes say which samples belong together, and are no file's
        data = replace(data, task=task, labels=(), sha256=sha256_of([data.sha256, task]))
        return with_targets(data, group, store, listener, exact=False)
    named = next((a for a in group if a.labels), None)
    said = isinstance(source, Samples) and source.said
    if isinstance(source, Samples) and (source.numbered or (said and named is None)):
        data = _named_by_position(data, group)
    elif named is not None and data.labels and named.labels != data.labels:
        data = _renumbered(data, named, store, listener, occur=said)
    if not classes_known or not data.labels:
        _need_reference(group, targets, data)
        if data.labels:
            listener.note(
                "warning",
                f"the classes of {', '.join(a.id for a in group)} are not known, so there is no accuracy: the answers "
                "are compared with the float model's",
                remedy=_NAME_CLASSES + _NUMBERS * all(map(is_number, data.labels)),
            )
        return replace(data, labels=(), sha256=sha256_of([data.sha256, "unlabelled"]))
    for artifact in group:
        _check_labels(artifact, data)
    return data


def _named_by_position(data: PreparedData, group: Sequence[Artifact]) -> PreparedData:
    """Return data whose class numbers are positions in the output, with the files' names for them."""
    first = next((a for a in group if a.labels), group[0])
    values = answers(first)
    known = len(data.labels) if values is None or answers_fit(values, len(data.labels)) else values
    labels = first.labels or tuple(map(str, range(known)))
    if len(data.labels) > len(labels):
        raise InputError(
            f"the data have the class number {len(data.labels) - 1}, and {first.id} "
            + (f"has {len(labels)} classes, from 0" if len(labels) > 1 else "answers with 1 value"),
            "give the position of the right class in the model's output for each sample; numbers that are none "
            "need --task regression",
        )
    return replace(data, labels=labels)


def labelled(artifact: Artifact, labels: tuple[str, ...], *, of_boxes: bool = False) -> Artifact:
    """Return an artifact without classes with those of `labels`. Raises InputError if they cannot be its classes.

    Answers `of_boxes` have no value for each class.
    """
    if artifact.labels and artifact.labels != labels:
        raise InputError(
            f"{artifact.id} says its own {len(artifact.labels)} classes ({shown(artifact.labels)}), and --labels are "
            f"others: {shown(labels)}",
            "leave --labels out, or evaluate files of different classes one after another",
        )
    if not of_boxes and not answers_fit(answers(artifact), len(labels)):
        raise InputError(
            f"{artifact.id} has {answers(artifact)} answers, and --labels has {len(labels)} classes",
            "give one class a line, in the order of the output",
        )
    return replace(artifact, labels=labels)


def _renumbered(
    data: PreparedData, artifact: Artifact, store: Store, listener: Listener, *, occur: bool
) -> PreparedData:
    """Return a data set with the classes of `artifact`, numbered as there (sources number them by name).

    The data may have samples of a part of the classes only; with `occur` further names that no sample has. Raises
    InputError as `class_numbers`.
    """
    labels, classes = artifact.labels, np.arange(len(data.labels))
    if occur:
        classes = np.unique(np.load(data.targets("test"), allow_pickle=False))
    numbers = np.full(len(data.labels), -1)
    numbers[classes] = class_numbers([data.labels[number] for number in classes], labels, artifact.id)
    if len(classes) < len(labels):
        listener.note(
            "warning",
            f"the data have samples of {len(classes)} of the {len(labels)} classes of {artifact.model}: nothing is "
            "proved about the others",
        )
    key = store.key("renumbered", {"data": data.sha256, "labels": labels, "numbers": numbers.tolist()})
    if store.get(key) is None:
        with store.write(key) as folder:
            copy_out(data.inputs("test"), folder / data.inputs("test").name, root=folder)
            np.save(folder / data.targets("test").name, numbers[np.load(data.targets("test"), allow_pickle=False)])
            sha256 = sha256_of([data.sha256, labels, numbers.tolist()])
            save_prepared(replace(data, labels=labels, sha256=sha256), folder)
    return load_prepared(store.root / key)


def _need_reference(group: Sequence[Artifact], targets: Sequence[str], data: PreparedData) -> None:
    """Raise InputError unless the float model of every file in `group` is among the files."""
    references = float_references(group, targets)
    for artifact in group:
        if artifact.model not in references:
            counts = f" ({answers(artifact)} answers, {len(data.labels)} classes in the data)" if data.labels else ""
            raise InputError(
                f"{artifact.id}: its classes are not known{counts}, and its float model is not among the files",
                "add the folder of its float model (or its float32 .tflite with the .json beside it) to the files, to "
                f"judge by agreement with it; or {_NAME_CLASSES}",
            )


def _check_labels(artifact: Artifact, data: PreparedData) -> None:
    """Raise InputError when an artifact's classes cannot be those of the data."""
    if artifact.labels and artifact.labels != data.labels:
        raise InputError(
            f"{artifact.id} knows the {len(artifact.labels)} classes {shown(artifact.labels)}; "
            f"the other files have the {len(data.labels)} classes {shown(data.labels)}",
            "evaluate files of different classes one after another",
        )
    if not answers_fit(answers(artifact), len(data.labels)):
        raise InputError(
            f"{artifact.id} answers with {answers(artifact)} classes, the data have {len(data.labels)}: "
            f"{shown(data.labels)}",
            "evaluate on data with the file's classes",
        )
