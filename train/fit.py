"""Training from end to end: a backbone and prepared images in, one frozen and verified model out.

Phase one trains the head on features computed once, phase two (if the recipe asks) the top of the backbone. Everything
half done lies in the workspace, so that a run killed at any moment goes on where it was; what is drawn at random
follows from the seed, the epoch and the image, never from how often the run was interrupted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import read_json, sha256_of, write_json
from ..core.dataset import PreparedData
from ..core.errors import InputError, explain_disk_errors
from ..core.events import Listener
from ..core.model import InputContract, Model, load_model, save_model
from ..core.recipe import ModelSpec, Train
from ..core.store import package_versions
from . import features as feature_files
from .augment import Augmenter
from .backbones import check_backbone, identity
from .epochs import State, run
from .finetune import fine_tune_phase
from .frameworks import fresh, has_gpu
from .freeze import freeze, graph_sha256, verify
from .head import Head, Labelled, class_weights, evaluate, head_phase, new_head
from .network import Base, attach_head, build_base, made_of_keras_layers

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "ai-edge-litert", "numpy")
CHECKED_SAMPLES = 8
SCRATCH = "scratch"  # features and checkpoints; gone at the end


@dataclass
class _Work:
    """What one call of `fit` carries through its steps."""

    spec: ModelSpec
    train: Train
    seed: int
    data: PreparedData
    folder: Path
    scratch: Path
    listener: Listener
    shared: Path | None = None
    mixed: bool = False
    logs: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, work: Callable[[], Any]) -> Any:
        """Run `work` and note how long it took."""
        start = time.monotonic()
        result = work()
        self.seconds[step] = round(time.monotonic() - start, 3)
        return result

    def images(self, split: str) -> NDArray[Any]:
        """A split's images as a memory map (N, height, width, 3) uint8; empty where there is no such file."""
        path = self.data.images(split)
        if not path.is_file():
            return np.zeros((0, self.data.height, self.data.width, 3), np.uint8)
        images: NDArray[Any] = np.load(path, mmap_mode="r")
        return images

    def labels(self, split: str) -> NDArray[Any]:
        """A split's labels (N,) int64."""
        path = self.data.targets(split)
        return np.load(path) if path.is_file() else np.zeros(0, np.int64)


def fit(
    spec: ModelSpec,
    train: Train,
    *,
    seed: int,
    data: PreparedData,
    folder: Path,
    workspace: Path,
    listener: Listener,
    shared: Path | None = None,
) -> Model:
    """Train `spec` on `data` as `train` says and return the frozen model.

    `folder` is where the recipe stands: relative paths of weights are meant from there. `workspace` must survive a
    kill and be given again for the same work; when this returns it holds ``saved_model/``, ``model.json`` and, if
    asked for, ``tensorboard/``. `Model.sha256` is `freeze.graph_sha256`: the same seed, data and versions on the
    same machine give the same hash (a Hub module that draws at random while it is fine-tuned excepted). Metrics and
    history are of the validation split, with the best weights. A model that keeps its own head (``head = "own"``) is
    not trained: it is only measured and frozen.

    `shared` is a folder where the features of the unchanged images are kept for the next seeds, which then do not
    compute them again; one process at a time may use it.

    Raises InputError when the backbone cannot be built or the data do not fit it, StageError when weights cannot be
    fetched, training diverges or the disk is full. Starts TensorFlow and clears Keras' session.
    """
    check_backbone(spec, folder=folder)
    _check_data(spec, data)
    ours = {"model": spec.model_dump(), "train": train.model_dump(), "seed": seed, "data": data.sha256}
    key = sha256_of([ours, data.labels, identity(spec, folder=folder), package_versions(PACKAGES)])
    if (finished := _open_workspace(workspace, key, listener)) is not None:
        return finished
    start = time.monotonic()
    fresh(seed)
    work = _Work(spec, train, seed, data, folder, workspace / SCRATCH, listener)
    work.shared = shared / _features_key(work) if shared is not None else None
    work.logs = workspace / "tensorboard" if train.tensorboard else None
    work.mixed = train.mixed_precision and has_gpu() and made_of_keras_layers(spec)
    if train.mixed_precision and not work.mixed:
        why = "there is no GPU" if not has_gpu() else "the module's own types are fixed"
        listener.note("info", f"mixed precision was asked for, but {why}: training in float32")

    if spec.weights == "none":
        listener.note(
            "warning",
            f"model {spec.name!r} starts from random weights, of which only the head and train.fine_tune.layers learn",
        )
    base = work.timed("build", lambda: _build(work))
    head, history, engine = None, [], ""
    if base.answers:
        state = work.timed("measure", lambda: _measure(work, base))
    else:
        views, validation, engine = work.timed("features", lambda: _features(work, base))
        head = new_head(base.features, len(data.labels), seed)
        state = work.timed("head", lambda: _train_head(work, head, views, validation))
        history = state.history
        if base.whole or (base.layers and train.fine_tune.layers):
            state = work.timed("fine_tune", lambda: _fine_tune(work, base, head, state))
            history = [*history, *state.history]
        elif train.fine_tune.layers:
            listener.note(
                "info",
                f"model {spec.name!r} is not made of Keras layers, so train.fine_tune.layers does not concern it "
                "(trainable = true fine-tunes all of it)",
            )

    contract = InputContract("image", (1, data.height, data.width, 3), resize=spec.resize)
    saved, difference = work.timed("freeze", lambda: _freeze(work, base, head, contract, workspace))
    model = Model(
        name=spec.name,
        backbone=spec.backbone,
        saved_model=saved,
        sha256=graph_sha256(saved, data.labels),
        labels=data.labels,
        input=contract,
        train_seconds=round(time.monotonic() - start, 3),
        metrics=_metrics(state, len(work.labels("validation")), len(history)),
        history=history,
        provenance={
            "seed": seed,
            "backbone": identity(spec, folder=folder),
            "data": {"source": data.source, "sha256": data.sha256, "counts": data.counts},
            "model": spec.model_dump(mode="json"),
            "train": train.model_dump(mode="json"),
            "packages": package_versions(PACKAGES),
            "parameters": base.model.count_params() + (_size(head.kernel) + _size(head.bias) if head else 0),
            "preprocessing": base.preprocessing,
            **({"module": base.facts} if base.facts else {}),
            "features_engine": engine,
            "mixed_precision": work.mixed,
            "freeze_difference": difference,
            "seconds": work.seconds,
        },
    )
    with explain_disk_errors(workspace):
        save_model(model, workspace)
        _clean(workspace)
    return model


def _size(variable: Any) -> int:
    return int(np.prod(variable.shape))


def _build(work: _Work) -> Base:
    return build_base(
        work.spec,
        folder=work.folder,
        mixed=work.mixed,
        classes=len(work.data.labels),
        samples=_some(work.images("train")),
        listener=work.listener,
    )


def _some(images: NDArray[Any]) -> NDArray[Any]:
    """Return a few images from all over a split."""
    return images[:: max(1, len(images) // CHECKED_SAMPLES)][:CHECKED_SAMPLES]


def _check_data(spec: ModelSpec, data: PreparedData) -> None:
    if (data.height, data.width) != (spec.image_size, spec.image_size):
        raise InputError(
            f"model {spec.name!r} takes {spec.image_size}×{spec.image_size} pixels, "
            f"but the data are prepared as {data.height}×{data.width}",
            "prepare the data with the model's image_size",
        )
    if len(data.labels) < 2:
        raise InputError(
            f"there is nothing to tell apart: the data have {len(data.labels)} class(es)", "give two or more"
        )
    if not data.counts.get("train"):
        raise InputError("the data have no training images", "check the data's source and its splits")


def _open_workspace(workspace: Path, key: str, listener: Listener) -> Model | None:
    """Make the workspace ready for the work that `key` stands for; return the model if it is finished there."""
    with explain_disk_errors(workspace):
        note = workspace / SCRATCH / "work.json"
        if (workspace / "model.json").is_file() and (workspace / "work.json").is_file():
            if read_json(workspace / "work.json") == {"key": key}:
                _clean(workspace)
                return load_model(workspace)
            (workspace / "model.json").unlink()
        if not note.is_file() or read_json(note) != {"key": key}:
            shutil.rmtree(workspace / SCRATCH, ignore_errors=True)
            shutil.rmtree(workspace / "tensorboard", ignore_errors=True)
            write_json(note, {"key": key})
        else:
            listener.note("info", "going on with training that was interrupted")
    return None


def _clean(workspace: Path) -> None:
    """Drop what only an unfinished training needs; remember what the finished one was."""
    note = workspace / SCRATCH / "work.json"
    if note.is_file():
        note.replace(workspace / "work.json")
    shutil.rmtree(workspace / SCRATCH, ignore_errors=True)


def _features_key(work: _Work) -> str:
    """Return what the features of unchanged images depend on, as a folder's name."""
    start = work.seed if work.spec.weights == "none" else None  # then the backbone is drawn from the seed
    what = [identity(work.spec, folder=work.folder), work.data.sha256, start, package_versions(PACKAGES)]
    return sha256_of(what)[:32]


def _features(work: _Work, base: Base) -> tuple[Labelled, Labelled, str]:
    """Compute the features of training (each view) and validation, or find those of a killed run or another seed."""
    images = {split: work.images(split) for split in ("train", "validation")}
    augment = work.train.augment
    views = augment.views if augment.active else 1
    total = views * len(images["train"]) + len(images["validation"])
    extract: feature_files.Extractor | None = None
    engine, done = "", 0

    def progress(more: int) -> None:
        nonlocal done
        done += more
        work.listener.progress("features", done, total, note=engine)

    def compute(split: str, view: int) -> NDArray[Any]:
        nonlocal extract, engine
        folder = work.shared if work.shared is not None and not view else work.scratch
        path = folder / f"features-{split}-{view}.npy"
        if folder is work.shared and (folder / "engine.json").is_file():
            found = feature_files.kept(path, len(images[split]), base.features)
            if found is not None:
                engine = engine or str(read_json(folder / "engine.json")["engine"])
                progress(len(found))
                return found
        if extract is None:
            extract = feature_files.extractor(base, _some(images["train"]), work.listener)
            engine = extract.engine
        if folder is work.shared:
            write_json(folder / "engine.json", {"engine": engine})
        height, width = images[split].shape[1:3]
        changed = Augmenter(augment, count=len(images[split]), height=height, width=width, seed=(work.seed, 1, view))
        return feature_files.compute(
            extract,
            images[split],
            path,
            augmenter=changed if view else None,  # the first view is the image itself
            progress=progress,
        )

    training = Labelled([compute("train", view) for view in range(views)], work.labels("train"))
    validation = Labelled([compute("validation", 0)], work.labels("validation"))
    if not len(validation):
        work.listener.note("warning", "there is no validation split: no early stopping, and the last weights are kept")
    return training, validation, engine


def _measure(work: _Work, base: Base) -> State:
    """Measure a model that keeps its own head on the validation split. There are no epochs."""
    images, labels = work.images("validation"), work.labels("validation")
    if not len(labels):
        return State()
    sums, run_base = np.zeros(2), feature_files.keras_extractor(base)
    for at in range(0, len(labels), feature_files.BLOCK):
        part = slice(at, at + feature_files.BLOCK)
        sums += evaluate(np.log(np.maximum(run_base.compute(images[part]), 1e-12)), labels[part])
        work.listener.progress("measure", min(at + feature_files.BLOCK, len(labels)), len(labels))
    return State(best=sums[0] / len(labels), best_accuracy=sums[1] / len(labels))


def _weights(work: _Work) -> NDArray[Any]:
    return class_weights(work.labels("train"), len(work.data.labels), work.train.class_weights)


def _train_head(work: _Work, head: Head, training: Labelled, validation: Labelled) -> State:
    return run(
        head_phase(head, training, validation, work.train, _weights(work), work.seed),
        epochs=work.train.epochs,
        patience=work.train.patience,
        start=State(),
        checkpoint=work.scratch / "head.npz",
        logs=work.logs,
        listener=work.listener,
    )


def _fine_tune(work: _Work, base: Base, head: Head, before: State) -> State:
    """Run phase two from where phase one ended; if no epoch of it is better, phase one's weights come back."""
    splits = ("train", "validation")
    phase = fine_tune_phase(
        base,
        head,
        (work.images(splits[0]), work.images(splits[1])),
        (work.labels(splits[0]), work.labels(splits[1])),
        work.train,
        _weights(work),
        seed=work.seed,
        mixed=work.mixed,
    )
    return run(
        phase,
        epochs=work.train.fine_tune.epochs,
        patience=work.train.patience,
        start=State(best=before.best, best_accuracy=before.best_accuracy),
        checkpoint=work.scratch / "fine-tune.npz",
        logs=work.logs,
        listener=work.listener,
    )


def _freeze(work: _Work, base: Base, head: Head | None, contract: InputContract, workspace: Path) -> tuple[Path, float]:
    """Save the whole model, frozen, in float32, verified on real images; it appears under its name only then."""
    if work.mixed:
        plain = build_base(work.spec, folder=work.folder)
        plain.model.set_weights(base.model.get_weights())
        base = plain
    classifier = base.model
    if head is not None:
        classifier = attach_head(base, len(work.data.labels), work.train.dropout)
        classifier.get_layer("probabilities").set_weights([head.kernel.numpy(), head.bias.numpy()])
    saved = freeze(classifier, work.data.labels, contract, work.scratch / "saved_model")
    difference = verify(saved, classifier, _some(work.images("train")))
    final = workspace / "saved_model"
    with explain_disk_errors(final):
        shutil.rmtree(final, ignore_errors=True)
        saved.replace(final)
    return final, difference


def _metrics(state: State, samples: int, epochs: int) -> dict[str, float]:
    """Return the validation's figures with the weights that were kept. `best` is what `run` restored."""
    metrics = {"val_samples": float(samples), "epochs": float(epochs)}
    if samples:
        metrics |= {"val_loss": state.best, "val_accuracy": state.best_accuracy}
    return metrics
