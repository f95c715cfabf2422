"""Trials: files compared on validation samples, never the test split, while it is open which of them is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.artifact import Artifact
from ..core.dataset import PreparedData, load_prepared, read_texts, save_prepared, write_texts
from ..core.events import Listener
from ..core.machine import usable_cores
from ..core.measurement import Measurement
from ..core.recipe import Evaluate
from ..core.store import Store
from ..core.target import Target
from ..devices import open_runner
from ..evaluate.measure import measure


def trial_data(data: PreparedData, samples: int, seed: int, store: Store) -> PreparedData:
    """Return a data set whose test split are `samples` of the validation split (of the training split if none)."""
    split = "validation" if data.counts.get("validation") else "train"
    count = data.counts[split]
    key = store.key("trial-data", {"data": data.sha256, "samples": samples, "seed": seed, "split": split})
    if store.get(key) is None:
        with store.write(key) as folder:
            chosen = np.sort(np.random.default_rng(seed).permutation(count)[:samples])
            small = replace(data, folder=folder, counts={"test": len(chosen)}, sha256=key.rsplit("/", 1)[-1], report={})
            if data.kind == "text":
                texts = read_texts(data.inputs(split))
                write_texts((texts[index] for index in chosen), small.inputs("test"))
            else:
                np.save(small.inputs("test"), np.load(data.inputs(split), mmap_mode="r", allow_pickle=False)[chosen])
            if data.labels:
                np.save(small.targets("test"), np.load(data.targets(split), allow_pickle=False)[chosen])
            save_prepared(small, folder)
    return load_prepared(store.root / key)


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
) -> dict[tuple[str, str], Measurement]:
    """Measure `candidates` on `data` (as `trial_data` gives it) against `reference`; rows by (artifact id, target).

    The reference (a float file) runs on the first of `targets` and is among the rows. Only where `timed` are
    latencies taken, and then nothing else may run. All must bear the name of one model, and differ in their ids.
    """
    rows: dict[tuple[str, str], Measurement] = {}

    def keep(row: Measurement) -> None:
        rows[row.artifact, row.target] = row

    pairs = [(reference, targets[0]), *((candidate, target) for candidate in candidates for target in targets)]
    measure(
        [open_runner(a, target, timeout_seconds=evaluate.timeout_seconds) for a, target in pairs],
        data,
        references={reference.model: reference.id},
        settings=evaluate,
        seed=seed,
        cores=usable_cores(),
        store=store,
        raw_folder=_scratch(store),
        listener=listener,
        on_row=keep,
        untimed={reference.id} if timed else {a.id for a, _ in pairs},
    )
    return rows


def _scratch(store: Store) -> Path:
    """Where the single latencies of trials go: what ships is measured again, into the run's own folder."""
    return store.root / "trials"
