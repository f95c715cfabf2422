"""Trials: candidate files compared on validation samples, never on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.artifact import Artifact
from ..core.dataset import PreparedData, load_prepared, read_texts, save_prepared, write_texts
from ..core.environment import usable_cores
from ..core.measurement import Measurement
from ..core.progress import Listener, Silent
from ..core.recipe import Evaluate
from ..core.store import Store
from ..core.target import Target
from ..devices import open_runner
from ..evaluate.measure import Answered, measure
from ..tasks.classification import Classification
from .detectors import certain_readings, of_detectors, read_by, with_reading


def trial_data(data: PreparedData, samples: int, seed: int, store: Store) -> PreparedData:
    """Return a data set whose test split is `samples` of the validation split, filled up with training samples.

    Training samples are easier, but for float and quantized files alike.
    """
    key = store.key("trial-data", {"data": data.sha256, "samples": samples, "seed": seed})
    if store.get(key) is None:
        random = np.random.default_rng(seed)
        chosen: list[tuple[str, NDArray[np.int64]]] = []
        for split in ("validation", "train"):
            missing = samples - sum(len(indices) for _, indices in chosen)
            chosen.append((split, np.sort(random.permutation(data.counts.get(split, 0))[:missing])))
        with store.write(key) as folder:
            _write(data, [(split, indices) for split, indices in chosen if len(indices)], folder, key)
    return load_prepared(store.root / key)


def unused(data: PreparedData, samples: int, seed: int) -> NDArray[np.int64]:
    """Return the validation samples that `trial_data` leaves out; a larger trial contains a smaller one."""
    return np.sort(np.random.default_rng(seed).permutation(data.counts.get("validation", 0))[samples:])


def counted(data: PreparedData, samples: int) -> str:
    """Return the samples of `trial_data` in words: ``481 validation samples``."""
    validation = min(samples, data.counts.get("validation", 0))
    training = min(samples - validation, data.counts.get("train", 0))
    parts = [f"{n:,} {split}" for n, split in ((validation, "validation"), (training, "training")) if n]
    return f"{' and '.join(parts) or '0'} samples"


def _write(data: PreparedData, chosen: Sequence[tuple[str, NDArray[np.int64]]], folder: Path, key: str) -> None:
    """Write the chosen samples of each split into `folder` as a data set."""
    count = sum(len(indices) for _, indices in chosen)
    small = replace(data, folder=folder, counts={"test": count}, sha256=key.rpartition("/")[2], report={})
    if data.kind == "text":
        texts = [read_texts(data.inputs(split)) for split, _ in chosen]
        chosen_texts = (part[index] for part, (_, indices) in zip(texts, chosen, strict=True) for index in indices)
        write_texts(chosen_texts, small.inputs("test"))
    else:
        arrays = [data.rows(split)[indices] for split, indices in chosen]
        np.save(small.inputs("test"), np.concatenate(arrays))
    if data.labels or data.task != Classification.name:
        labels = [np.load(data.targets(split), allow_pickle=False)[indices] for split, indices in chosen]
        np.save(small.targets("test"), np.concatenate(labels))
    save_prepared(small, folder)


def trial(
    candidates: Sequence[Artifact],
    reference: Artifact,
    data: PreparedData,
    *,
    targets: Sequence[Target],
    evaluate: Evaluate,
    seed: int,
    store: Store,
    listener: Listener,
    timed: bool,
) -> tuple[dict[tuple[str, str], Measurement], dict[tuple[str, str], Answered]]:
    """Measure `candidates` on `data` (as `trial_data` gives it) against `reference`.

    The reference (a float file) runs on the first of `targets` and is among the rows. With `timed` latencies are
    measured too, and nothing else may run. All files must be of one model and differ in their ids. Returns the rows and
    the answers, both by (artifact id, target).
    """
    rows: dict[tuple[str, str], Measurement] = {}
    once = {"threads": evaluate.latency.options[0][0], "batch": 1, "max_seconds": 0.0}
    settings = evaluate.model_copy(update={"latency": evaluate.latency.model_copy(update=once)})

    def keep(row: Measurement) -> None:
        rows[row.artifact, row.target] = row

    unlabelled = data.task == Classification.name and not data.labels
    readings = certain_readings([reference, *candidates]) if unlabelled else {}
    reference, *candidates = (with_reading(artifact, readings) for artifact in (reference, *candidates))
    pairs = [(reference, targets[0]), *((candidate, target) for candidate in candidates for target in targets)]
    answers = measure(
        [read_by(open_runner(a, target, timeout_seconds=evaluate.timeout_seconds), readings) for a, target in pairs],
        of_detectors(data, [artifact for artifact, _ in pairs]),
        references={reference.model: reference.id},
        settings=settings,
        seed=seed,
        cores=usable_cores(),
        store=store,
        raw_folder=_scratch(store),
        listener=_Notes(listener),
        on_row=keep,
        untimed={reference.id} if timed else {a.id for a, _ in pairs},
    )
    return rows, answers


def _scratch(store: Store) -> Path:
    """Return the folder for the raw latencies of trials; shipped files are measured again, into the run's folder."""
    return store.root / "trials"


class _Notes(Silent):
    """Forwards notes, and hides the steps of a trial from the list of a run's steps."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def note(self, level: str, message: str, **facts: Any) -> None:
        """Forward the note."""
        self._listener.note(level, message, **facts)
