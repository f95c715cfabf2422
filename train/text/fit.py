"""Training on texts from end to end: a backbone and prepared texts in, an ids model, its reference and tokenizer out.

The promises are those of training on images (`train.fit`): what is half done lies in the workspace and survives a
kill; what is drawn at random follows from the seed and the epoch. A frozen backbone's features are computed once and
the head is trained on them; what learns as a whole (from scratch, or ``trainable = true``) is trained on its ids.
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

from ...core.codec import read_json, sha256_of, write_json
from ...core.dataset import PreparedData, read_texts
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.events import Listener
from ...core.model import InputContract, Model, TokenizerRecord, load_model, save_model
from ...core.recipe import ModelSpec, Train
from ...core.store import package_versions
from ...core.tokenizer import open_tokenizer, read_settings
from ..epochs import State, run
from ..frameworks import fresh
from ..head import Head, Labelled, class_weights, head_phase, new_head
from . import features as feature_files
from .average import build_average
from .backbones import check_text_backbone, check_text_training, parse, text_identity
from .base import Cut, TextBase
from .freeze import (
    IDS,
    LENGTHS,
    TEXT,
    compare,
    ids_sha256,
    open_ids_model,
    run_texts,
    save_ids_model,
    save_text_model,
    strings_sha256,
)  # fmt: skip
from .hubs import build_hub, build_multilingual
from .parity import choose_golden, measure_parity, write_golden
from .together import Samples, together_phase, tokenize
from .vocabulary import tokenizer_sha256

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "tensorflow-hub", "tensorflow-text", "numpy")
CHECKED_SAMPLES = 8
TRIED_SAMPLES = 64  # texts on which a cut is tried
SCRATCH = "scratch"
SPLITS = ("train", "validation")


@dataclass
class _Work:
    """What one call of `fit_text` carries through its steps."""

    spec: ModelSpec
    train: Train
    seed: int
    data: PreparedData
    folder: Path
    workspace: Path
    shared: Path | None
    listener: Listener
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def scratch(self) -> Path:
        """Where what is half done lies."""
        return self.workspace / SCRATCH

    @property
    def logs(self) -> Path | None:
        """The folder for TensorBoard, if that is asked for."""
        return self.workspace / "tensorboard" if self.train.tensorboard else None

    def timed(self, step: str, work: Callable[[], Any]) -> Any:
        """Run `work` and note how long it took."""
        start = time.monotonic()
        result = work()
        self.seconds[step] = round(time.monotonic() - start, 3)
        return result

    def texts(self, split: str) -> list[str]:
        """A split's texts; none where there is no such file."""
        path = self.data.inputs(split)
        return read_texts(path) if path.is_file() else []

    def labels(self, split: str) -> NDArray[Any]:
        """A split's labels (n,) int64."""
        path = self.data.targets(split)
        return np.load(path) if path.is_file() else np.zeros(0, np.int64)

    def samples(self, count: int) -> list[str]:
        """About `count` training texts, from all of the split."""
        texts = self.texts("train")
        return texts[:: max(1, len(texts) // count)][:count]


def fit_text(
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
    """Train `spec` on the texts of `data` as `train` says and return the frozen model.

    `folder` is where the recipe stands: relative handles are meant from there. `workspace` must survive a kill and be
    given again for the same work; when this returns it holds ``saved_model/`` (from the ids on), ``text_model/``,
    ``tokenizer/``, ``model.json`` and, if asked for, ``tensorboard/``. A backbone that cannot be cut at its ids has
    a ``saved_model/`` that takes strings, and provenance ``uncut`` says why. `shared` is a folder where a frozen
    backbone's features are kept for other seeds.

    `Model.sha256` is over the ids model's graph, the labels and the tokenizer: the same seed, data and versions on
    the same machine give the same hash. The parity of the device tokenizer is measured over the test split.

    Raises InputError when the backbone cannot be built or the data do not fit it, StageError when a model cannot be
    fetched, training diverges, the two models differ or the disk is full. Starts TensorFlow.
    """
    check_text_backbone(spec, folder)
    check_text_training(train)
    _check_data(spec, data)
    identity = text_identity(spec, folder)
    ours = {"model": spec.model_dump(), "train": train.model_dump(), "seed": seed, "data": data.sha256}
    key = sha256_of([ours, data.labels, identity, package_versions(PACKAGES)])
    if (finished := _open_workspace(workspace, key, listener)) is not None:
        return finished
    start = time.monotonic()
    fresh(seed)
    work = _Work(spec, train, seed, data, folder, workspace, shared, listener)
    if train.mixed_precision:
        listener.note("info", "mixed precision is for images: texts are trained in float32")

    base: TextBase = work.timed("build", lambda: _build(work))
    if base.cut is None:
        listener.note("warning", f"model {spec.name!r} cannot be cut at its token ids: {base.note}")
    head = new_head(base.features, len(data.labels), seed)
    state, history = _train(work, base, head, identity)

    saved = work.timed("freeze", lambda: _save(work, base, head, identity))
    scheme, _ = parse(spec.backbone)
    model = Model(
        name=spec.name,
        backbone=spec.backbone,
        labels=data.labels,
        train_seconds=round(time.monotonic() - start, 3),
        metrics=_metrics(state, data.counts.get("validation", 0), len(history)),
        history=history,
        provenance={
            "seed": seed,
            "backbone": identity,
            "data": {"source": data.source, "sha256": data.sha256, "counts": data.counts},
            "model": spec.model_dump(mode="json"),
            "train": train.model_dump(mode="json"),
            "packages": package_versions(PACKAGES),
            "features": base.features,
            "learned": "all" if scheme == "scratch" or spec.trainable else "head",
            "seconds": work.seconds,
            **base.facts,
            **({"uncut": base.note} if base.cut is None else {}),
            **saved.pop("facts"),
        },
        **saved,
    )
    with explain_disk_errors(workspace):
        save_model(model, workspace)
        _clean(workspace)
    return model


def _check_data(spec: ModelSpec, data: PreparedData) -> None:
    if data.kind != "text":
        raise InputError(f"model {spec.name!r} takes texts, but the data are of kind {data.kind}")
    if len(data.labels) < 2:
        raise InputError(
            f"there is nothing to tell apart: the data have {len(data.labels)} class(es)", "give two or more"
        )
    if not data.counts.get("train"):
        raise InputError("the data have no training texts", "check the data's source and its splits")


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


def _build(work: _Work) -> TextBase:
    scheme, _ = parse(work.spec.backbone)
    if scheme == "scratch":
        return build_average(work.spec, work.texts("train"), seed=work.seed, scratch=work.scratch)
    if scheme == "package":
        return build_multilingual(work.spec, scratch=work.scratch)
    samples = work.samples(TRIED_SAMPLES)
    return build_hub(work.spec, samples, folder=work.folder, scratch=work.scratch, listener=work.listener)


def _train(work: _Work, base: TextBase, head: Head, identity: Any) -> tuple[State, list[dict[str, float]]]:
    """Run the phases that the backbone asks for; return how the last one went, and the history of all."""
    if not work.data.counts.get("validation"):
        work.listener.note("warning", "there is no validation split: no early stopping, and the last weights are kept")
    train = work.train
    if parse(work.spec.backbone)[0] == "scratch":
        state = work.timed("train", lambda: _together(work, base, head, 1, train.epochs, train.learning_rate, State()))
        return state, state.history
    splits = work.timed("features", lambda: _features(work, base, identity))
    weights = class_weights(work.labels("train"), len(work.data.labels), train.class_weights)
    phase = head_phase(head, splits[0], splits[1], train, weights, work.seed)
    state = work.timed("head", lambda: _run(work, phase, train.epochs, State(), "head.npz"))
    history = state.history
    if work.spec.trainable:
        fine, before = train.fine_tune, State(best=state.best, best_accuracy=state.best_accuracy)
        state = work.timed("fine_tune", lambda: _together(work, base, head, 2, fine.epochs, fine.learning_rate, before))
        history = [*history, *state.history]
    return state, history


def _run(work: _Work, phase: Any, epochs: int, start: State, checkpoint: str) -> State:
    return run(
        phase,
        epochs=epochs,
        patience=work.train.patience,
        start=start,
        checkpoint=work.scratch / checkpoint,
        logs=work.logs,
        listener=work.listener,
    )


def _together(
    work: _Work, base: TextBase, head: Head, number: int, epochs: int, learning_rate: float, start: State
) -> State:
    training, validation = (Samples(base, work.texts(split), work.labels(split)) for split in SPLITS)
    weights = class_weights(work.labels("train"), len(work.data.labels), work.train.class_weights)
    phase = together_phase(
        base, head, training, validation, work.train, weights,
        number=number, learning_rate=learning_rate, seed=work.seed,
    )  # fmt: skip
    return _run(work, phase, epochs, start, f"together-{number}.npz")


def _features(work: _Work, base: TextBase, identity: Any) -> tuple[Labelled, Labelled]:
    """Compute the features of training and validation, or find those of a run that was killed or of another seed."""
    place = work.scratch
    if work.shared is not None:
        place = work.shared / sha256_of([identity, work.data.sha256, package_versions(PACKAGES)])[:32]
    texts = {split: work.texts(split) for split in SPLITS}
    extract, done = feature_files.extractor(base), 0
    total = sum(len(part) for part in texts.values())

    def progress(more: int) -> None:
        nonlocal done
        done += more
        work.listener.progress("features", done, total)

    found = {
        split: feature_files.compute(extract, texts[split], base.features, place / f"text-{split}.npy", progress)
        for split in SPLITS
    }
    training, validation = (Labelled([found[split]], work.labels(split)) for split in SPLITS)
    return training, validation


def _save(work: _Work, base: TextBase, head: Head, identity: Any) -> dict[str, Any]:
    """Save and verify everything; it appears under its name only then. Return what of the `Model` it decides."""
    save_text_model(base, head, work.scratch / "text_model")
    if base.cut is not None:
        return _save_cut(work, base, base.cut, head)
    for name in ("text_model", "tokenizer"):  # of other work in this workspace
        shutil.rmtree(work.workspace / name, ignore_errors=True)
    return {
        "saved_model": _place(work, "text_model", "saved_model"),
        "sha256": strings_sha256(base, head, work.data.labels, identity),
        "input": InputContract(TEXT, (1,), dtype="string", kind="text", colour="", resize="", high=0.0),
        "facts": {},
    }


def _save_cut(work: _Work, base: TextBase, cut: Cut, head: Head) -> dict[str, Any]:
    scratch, labels = work.scratch, work.data.labels
    save_ids_model(cut, head, scratch / "saved_model")
    ids_model = open_ids_model(scratch / "saved_model")
    samples = work.samples(CHECKED_SAMPLES)
    ids, lens = tokenize(cut, samples)
    strings = run_texts(scratch / "text_model", samples)
    difference = compare(strings, ids_model(ids, lens), "the string model and the ids model")
    device = open_tokenizer(cut.tokenizer)
    expected = zip(samples, ids.tolist(), lens.tolist(), strict=True)
    if not any(device.encode(text) == (row, count) for text, row, count in expected):
        raise StageError(
            f"the device tokenizer gives other ids than the model's own on all of {len(samples)} training texts",
            "please report this with the recipe and a text",
        )
    sha256, kind = tokenizer_sha256(cut.tokenizer), str(read_settings(cut.tokenizer)["kind"])
    tests = work.texts("test")
    parity = work.timed("parity", lambda: measure_parity(cut.tokenizer, tests, work.listener, cut.tokenize))
    _golden(work, device, ids_model)
    return {
        "sha256": ids_sha256(scratch / "saved_model", labels, sha256),
        "saved_model": _place(work, "saved_model", "saved_model"),
        "text_model": _place(work, "text_model", "text_model"),
        "input": InputContract(
            IDS, (1, cut.length), dtype="int32", high=float(device.size - 1), colour="", resize="", kind="text",
            lengths=LENGTHS,
        ),
        "tokenizer": TokenizerRecord(_place(work, "tokenizer", "tokenizer"), kind, cut.length, sha256, parity),
        "facts": {"freeze_difference": difference},
    }  # fmt: skip


def _golden(work: _Work, device: Any, ids_model: Callable[..., NDArray[Any]]) -> None:
    """Write the golden vectors: texts, their ids by the device tokenizer, the ids model's probabilities for those."""
    texts = work.texts("test") or work.texts("train")
    chosen = [texts[index] for index in choose_golden(texts)]
    encoded = [device.encode(text) for text in chosen]
    ids = np.array([row for row, _ in encoded], np.int32)
    lens = np.array([count for _, count in encoded], np.int32)
    write_golden(work.scratch / "tokenizer", chosen, ids_model(ids, lens), work.data.labels)


def _place(work: _Work, name: str, target: str) -> Path:
    """Move what is finished out of the scratch folder; return where it is now."""
    final = work.workspace / target
    with explain_disk_errors(final):
        shutil.rmtree(final, ignore_errors=True)
        (work.scratch / name).replace(final)
    return final


def _metrics(state: State, samples: int, epochs: int) -> dict[str, float]:
    """Return the validation's figures with the weights that were kept. `best` is what `run` restored."""
    metrics = {"val_samples": float(samples), "epochs": float(epochs)}
    if samples:
        metrics |= {"val_loss": state.best, "val_accuracy": state.best_accuracy}
    return metrics
