"""Targets that are no classes, beside the files that are measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import Artifact, judged_output
from ..core.codec import sha256_of
from ..core.dataset import PreparedData, load_prepared, save_prepared
from ..core.errors import InputError
from ..core.progress import Listener
from ..core.sanitize import shorten
from ..core.store import Store, copy_out
from ..tasks import TARGETED, ByParts
from ..tasks.class_mapping import class_numbers, shown
from ..tasks.detection import Detection, placed
from ..tasks.regression import Regression
from ..tasks.tensor import Tensor
from .model_files import answer_shape


def with_targets(
    data: PreparedData, group: Sequence[Artifact], store: Store, listener: Listener, *, exact: bool
) -> PreparedData:
    """Return test data with the targets as their task keeps them, and with the files' names of tags or classes.

    Names of the data are found among the file's; unless `exact`, columns of which none has such a name stay in their
    order, and a note says so.

    Raises InputError for targets that do not fit the task, or the answers of a file in `group`, and for names of which
    the file does not know one.
    """
    named = next((a for a in group if a.labels), None)
    labels = data.labels if named is None else named.labels
    task = TARGETED[data.task](len(labels))
    targets = np.load(data.targets("test"), allow_pickle=False)
    order: dict[str, Any] = {}
    if data.task == Detection.name:
        targets = _placed(task, targets, data, labels)
    elif (
        named is not None
        and data.labels not in ((), labels)
        and (exact or targets.ndim > 2 or _named_alike(data, labels, named.id, listener))
    ):
        numbers = _numbers(task, targets, data, range(len(data.labels)), labels, named.id)
        targets = task.renumbered(targets, numbers, len(labels))
        # The keys of classes and tags are those of earlier versions, which left columns of numbers as they were.
        order = {"order": numbers} if data.task in (Regression.name, Tensor.name) else {}
    for artifact in group:
        try:
            checked = task.check(targets, answer_shape(artifact)[1:])
        except InputError as error:
            raise InputError(f"{data.source}: {artifact.id}, {task.name}: {error.message}", error.remedy) from None
    boxes = data.task == Detection.name  # which outputs they are read from is said beside
    judged = {shorten(one.name) for a in group if len(a.outputs) > 1 and (one := judged_output(a.outputs, a.answer))}
    words = f"; of several outputs {' or '.join(sorted(judged))} is judged" if judged and not boxes else ""
    listener.note("info", f"the task is {task.name}, its metric {task.metric}{words}")
    key = store.key("targets", {"data": data.sha256, "labels": labels, "task": task.name, **order})
    if store.get(key) is None:
        with store.write(key) as folder:
            copy_out(data.inputs("test"), folder / data.inputs("test").name, root=folder)
            np.save(folder / data.targets("test").name, checked)
            digest = sha256_of([data.sha256, labels, *order.values()])
            save_prepared(replace(data, labels=labels, sha256=digest), folder)
    return load_prepared(store.root / key)


def _named_alike(data: PreparedData, labels: Sequence[str], where: str, listener: Listener) -> bool:
    """Return whether a file names its outputs as the data their columns; with a note where no name is the same.

    Raises InputError where some are.
    """
    known = [name for name in data.labels if name in labels]
    if len(known) == len(data.labels):
        return True
    if known:
        others = [name for name in data.labels if name not in labels]
        raise InputError(
            f"{data.source}: of the targets' columns {where} knows {shown(known)} by name, and not {shown(others)}; "
            f"its outputs are {shown(labels)}",
            "name all columns of the targets as the file does, or none: those are taken in the order of its outputs",
        )
    listener.note(
        "info",
        f"the columns {shown(data.labels)} of the targets are taken in this order for the outputs {shown(labels)} of "
        f"{where}: no name is the same",
    )
    return False


def _numbers(
    task: ByParts, targets: NDArray[Any], data: PreparedData, classes: Sequence[int], labels: Sequence[str], where: str
) -> list[int]:
    """Return the place among a file's `labels` of each of the data's `classes`, by name.

    Raises InputError that names the first sample of one that the file does not know.
    """
    try:
        return class_numbers([data.labels[number] for number in classes], labels, where)
    except InputError as error:
        for number in classes:
            if data.labels[number] not in labels and (samples := np.flatnonzero(task.having(targets, number))).size:
                first = (
                    f"{shorten(data.labels[number], 40)} is in {len(samples):,} samples, first in {samples[0]} (from 0)"
                )
                raise InputError(f"{data.source}: {error.message}; {first}", error.remedy) from None
        raise


def _placed(task: ByParts, targets: NDArray[Any], data: PreparedData, labels: Sequence[str]) -> NDArray[Any]:
    """Return boxes as the model sees them, with classes numbered as in `labels`, whose names the data may have."""
    if data.labels and data.labels != tuple(labels):
        occur = [number for number in np.unique(targets[..., 4]).astype(int).tolist() if number >= 0]
        numbers = np.full(len(data.labels) + 1, -1)  # the last is that of rows without a box
        numbers[occur] = _numbers(task, targets, data, occur, labels, "the file")
        targets = targets.copy()
        targets[..., 4] = numbers[targets[..., 4].astype(np.int64)]
    elif labels and (most := int(targets[..., 4].max())) >= len(labels):
        sample, box = (int(one) for one in np.argwhere(targets[..., 4] == most)[0])
        raise InputError(
            f"{data.source}: sample {sample} of y (from 0), box {box}, has the class number {most}, and the file has "
            f"{len(labels)} classes",
            Detection.needs,
        )
    return placed(targets, (data.height or 1, data.width or 1), data.resize or "stretch")
