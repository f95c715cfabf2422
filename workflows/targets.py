"""Targets that are no classes, beside the files that are measured on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..core.artifact import Artifact, judged_output
from ..core.codec import sha256_of
from ..core.dataset import PreparedData, load_prepared, save_prepared
from ..core.errors import InputError
from ..core.progress import Listener
from ..core.sanitize import shorten
from ..core.store import Store, copy_out
from ..tasks import TARGETED
from .model_files import answer_shape


def with_targets(data: PreparedData, group: Sequence[Artifact], store: Store, listener: Listener) -> PreparedData:
    """Return test data with the targets as their task keeps them, and with the files' names of tags or classes.

    Raises InputError for targets that do not fit the task, or the answers of a file in `group`.
    """
    labels = next((a.labels for a in group if a.labels), ())
    task = TARGETED[data.task](len(labels))
    targets = np.load(data.targets("test"), allow_pickle=False)
    for artifact in group:
        try:
            checked = task.check(targets, answer_shape(artifact)[1:])
        except InputError as error:
            raise InputError(f"{artifact.id}, {task.name}: {error.message}", error.remedy) from None
    judged = {shorten(one.name) for a in group if len(a.outputs) > 1 and (one := judged_output(a.outputs, a.answer))}
    words = f"; of several outputs {' or '.join(sorted(judged))} is judged" if judged else ""
    listener.note("info", f"the task is {task.name}, its metric {task.metric}{words}")
    key = store.key("targets", {"data": data.sha256, "labels": labels, "task": task.name})
    if store.get(key) is None:
        with store.write(key) as folder:
            copy_out(data.inputs("test"), folder / data.inputs("test").name, root=folder)
            np.save(folder / data.targets("test").name, checked)
            save_prepared(replace(data, labels=labels, sha256=sha256_of([data.sha256, labels])), folder)
    return load_prepared(store.root / key)
