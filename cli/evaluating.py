"""What ``edgeproof evaluate`` does: cells of files that exist, on the test images of a data source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..core.artifact import Artifact
from ..core.codec import sha256_of
from ..core.dataset import PreparedData, load_prepared, save_prepared
from ..core.errors import InputError
from ..core.machine import environment, now, usable_cores
from ..core.measurement import Measurement
from ..core.names import shorten
from ..core.recipe import Budget, Data, Evaluate
from ..core.results import Results
from ..core.store import Store, lock
from ..core.target import Target
from ..devices import open_runner
from ..evaluate import report, select
from ..evaluate.measure import measure
from ..train import data as train_data
from .console import ConsoleListener
from .files import input_size, open_artifact, open_model

SEED = 1


def evaluate_files(
    files: Sequence[Path],
    source: str,
    settings: Evaluate,
    out: Path,
    resize: str | None,
    listener: ConsoleListener,
) -> tuple[Results, Path]:
    """Measure every file on every target; return the results and the report's path. Raises InputError."""
    artifacts = [open_artifact(path) for path in files]
    ids = [artifact.id for artifact in artifacts]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise InputError(f"two files are called {twice[0]}", "give each file a name of its own")
    sizes = [input_size(artifact) for artifact in artifacts]
    uneven = next((size for size in sizes if size[0] != size[1]), None)
    if uneven:
        raise InputError(
            f"a file takes pictures of {uneven[0]} × {uneven[1]} pixels", "only square inputs are supported"
        )
    results = Results(
        run={"name": "evaluate", "started": now(), "finished": None, "recipe_sha256": None,
             "edgeproof_version": __version__},
        environment=environment(),
    )  # fmt: skip
    for path, artifact in zip(files, artifacts, strict=True):
        if artifact.format == "savedmodel":
            results.add_model(open_model(path))
        results.add_artifact(replace(artifact, path=artifact.path.resolve() if artifact.path else None))

    def keep(row: Measurement) -> None:
        results.add_measurement(row)
        results.save(out)

    with lock(out):
        store = Store(out / ".store")
        for size in sorted(set(sizes)):
            group = [a for a, s in zip(artifacts, sizes, strict=True) if s == size]
            labels = next((a.labels for a in group if a.labels), ())
            data = _data(source, size[0], resize or _resize(group), labels, store, listener)
            for artifact in group:
                _check_labels(artifact, data)
            results.data = {"source": source, "counts": data.counts, "sha256": data.sha256, "report": data.report}
            measure(
                [open_runner(a, Target.parse(t), timeout_seconds=settings.timeout_seconds)
                 for a in group for t in settings.targets],
                data,
                references={a.model: a.id for a in group if a.format == "savedmodel"},
                settings=settings,
                seed=SEED,
                cores=usable_cores(),
                store=store,
                raw_folder=out / "raw",
                listener=listener,
                on_row=keep,
            )  # fmt: skip
        results.sort(settings.targets)
        results.budget, results.recommendation = select.verdict(results, Budget())
        results.run["finished"] = now()
        results.save(out)
        return results, report.write(results, out)


def _data(
    source: str, size: int, resize: str, labels: tuple[str, ...], store: Store, listener: ConsoleListener
) -> PreparedData:
    """Prepare the source's test images, its classes in the order of `labels` where these are the same classes."""
    data = Data(source=source)
    fingerprint = train_data.fingerprint(data, seed=SEED, folder=Path())
    key = store.key("test-data", {"source": fingerprint, "image_size": size, "resize": resize, "labels": labels})
    if store.get(key) is None:
        with store.write(key) as workspace:
            prepared = train_data.prepare(
                data, seed=SEED, image_size=size, resize=resize, folder=Path(), workspace=workspace, listener=listener,
                workers=usable_cores(), use="test",
            )  # fmt: skip
            if sorted(prepared.labels) == sorted(labels):
                _reorder(prepared, labels)
    return load_prepared(store.root / key)


def _reorder(data: PreparedData, labels: tuple[str, ...]) -> None:
    """Rewrite a data set so that its classes are numbered as in `labels` (sources number them by name)."""
    numbers = np.array([labels.index(label) for label in data.labels])
    np.save(data.targets("test"), numbers[np.load(data.targets("test"), allow_pickle=False)])
    save_prepared(replace(data, labels=labels, sha256=sha256_of([data.sha256, labels])), data.folder)


def _resize(artifacts: Sequence[Artifact]) -> str:
    ways = {a.contract.resize for a in artifacts if a.contract}
    if len(ways) > 1:
        raise InputError(
            f"the files want pictures resized in different ways: {', '.join(sorted(ways))}", "add --resize"
        )
    return ways.pop() if ways else "stretch"


def _check_labels(artifact: Artifact, data: PreparedData) -> None:
    """Raise InputError when an artifact's classes cannot be those of the data."""

    def shown(labels: Sequence[str]) -> str:
        return ", ".join(shorten(label, 20) for label in labels[:12]) + (", …" if len(labels) > 12 else "")

    if artifact.labels and artifact.labels != data.labels:
        raise InputError(
            f"{artifact.id} knows the {len(artifact.labels)} classes {shown(artifact.labels)}; "
            f"the data have the {len(data.labels)} classes {shown(data.labels)}",
            "evaluate on data with the same classes",
        )
    classes = artifact.outputs[0].shape[-1] if artifact.outputs and artifact.outputs[0].shape else None
    if classes not in (None, len(data.labels)):
        raise InputError(
            f"{artifact.id} answers with {classes} classes, the data have {len(data.labels)}: {shown(data.labels)}",
            "evaluate on data with the file's classes",
        )
