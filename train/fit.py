"""Training from end to end: from a backbone and prepared images to one frozen and verified model.

Phase one trains the head on features computed once, phase two (if the recipe sets it) the top of the backbone.
Unfinished work is in the workspace, so that a killed run resumes where it was; random numbers follow from the seed, the
epoch and the image, not from interruptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import sha256_of
from ..core.dataset import PreparedData, Rows
from ..core.environment import collector_paused
from ..core.errors import InputError
from ..core.files import discard
from ..core.helpers import Helpers
from ..core.model import InputContract, Model
from ..core.progress import Listener
from ..core.recipe import ModelSpec, Train
from ..core.store import package_versions
from ..frameworks.freeze import freeze, graph_sha256, verify
from ..frameworks.network_format import FOLDER as NETWORK
from ..frameworks.tensorflow import fresh, has_gpu
from ..tasks.classification import Classification
from . import copies
from . import features as feature_files
from .answers import Answer, answer_of
from .backbones import build_base, image_source
from .callbacks import check_callbacks
from .feature_file import BLOCK
from .feature_pass import FeaturePass, FeaturesByJob
from .feature_process import EngineError
from .finetune import fine_tune_phase
from .head import Labelled, compile_head, evaluate, head_phase, new_head
from .keras_fit import State
from .network import Base, attach_head, pool_by_maximum
from .network_store import store_network
from .source import ImageRequest
from .workspace import Work

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "ai-edge-litert", "numpy")
CHECKED_SAMPLES = 8


@dataclass
class _Work(Work):
    """One training on images; `mixed`: in float16 where that is faster."""

    mixed: bool = False
    helpers: Helpers | None = None

    @property
    def answer(self) -> Answer:
        """What the model answers with."""
        return answer_of(self.data, self.train)

    def images(self, split: str) -> Rows:
        """A split's images (N, height, width, 3) uint8, read when they are indexed; empty if there is no such file."""
        return self.data.rows(split)


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
    helpers: Helpers | None = None,
) -> Model:
    """Train `spec` on `data` as `train` says and return the frozen model.

    `folder` is the recipe's folder, where relative paths of weights start. To resume after a kill, call this again with
    the same `workspace`; when this returns it holds ``saved_model/``, ``model.json``, ``network/`` (the unfrozen model,
    for further training; if that cannot be stored, provenance ``not_kept`` says why) and, if the recipe sets it,
    ``tensorboard/``. `Model.sha256` is `freeze.graph_sha256`: the same seed, data and versions on the same machine give
    the same hash (except for a Hub module that draws random numbers while it is fine-tuned). Metrics and history are of
    the validation split, with the best weights. A model that keeps its own head (``head = "own"``) is not trained: it
    is only measured and frozen.

    `shared` is a folder that stores the features of images without augmentation for the next seeds, which then do not
    compute them again; only one process at a time may use it. `helpers` compute features, too.

    Raises InputError when the backbone cannot be built or the data do not fit it, StageError when weights cannot be
    fetched, training diverges or the disk is full. Starts TensorFlow and clears Keras' session.
    """
    source = image_source(spec)
    source.check(spec, folder)
    if spec.head == "own" and data.task != Classification.name:
        raise InputError(
            f"model {spec.name!r} keeps its own head, which gives one class, and the task is {data.task}",
            'remove head = "own": a new head is trained then',
        )
    answer_of(data, train)
    check_callbacks(train, folder)
    _check_size(spec, data)
    origin = source.identity(spec, folder)
    work = _Work(spec, train, seed, data, folder, workspace, listener, PACKAGES + source.packages, shared)
    if (finished := work.open(origin)) is not None:
        return finished
    fresh(seed)
    work.helpers = helpers
    if shared is not None:
        work.shared = shared / _features_key(work, origin)
    work.mixed = train.mixed_precision and has_gpu() and source.mixes(spec)
    if train.mixed_precision and not work.mixed:
        why = "there is no GPU" if not has_gpu() else "the module's own types are fixed"
        listener.note("info", f"mixed precision was asked for, but {why}: training in float32")

    if spec.weights == "none":
        listener.note(
            "warning",
            f"model {spec.name!r} starts from random weights, and only the head and train.fine_tune.layers are trained",
        )
    head, history, engine = None, [], ""
    if spec.head == "own":
        base = work.timed("build", lambda: _build(work))
        state = work.timed("measure", lambda: _measure(work, base))
    else:
        base, head, views, validation, engine = _first_phase(work, origin)
        state = work.timed("head", lambda: _train_head(work, head, views, validation))
        history = state.history
        if base.whole_layers or (base.layers and train.fine_tune.layers):
            state = work.timed("fine_tune", lambda: _fine_tune(work, base, head, state))
            history = [*history, *state.history]
        elif train.fine_tune.layers:
            listener.note(
                "info",
                f"model {spec.name!r} is not made of Keras layers, so train.fine_tune.layers does not concern it "
                "(trainable = true fine-tunes all of it)",
            )

    contract = InputContract("image", (1, data.height, data.width, 3), resize=spec.resize)
    saved, difference, not_kept = work.timed("freeze", lambda: _freeze(work, base, head, contract))
    facts = {
        "parameters": base.model.count_params() + (head.count_params() if head is not None else 0),
        "preprocessing": base.preprocessing,
        **({"module": base.facts} if base.facts else {}),
        "features_engine": engine,
        "mixed_precision": work.mixed,
        "freeze_difference": difference,
        **({"not_kept": not_kept} if not_kept else {}),
    }
    parts = {"saved_model": saved, "sha256": graph_sha256(saved, data.labels), "input": contract}
    if head is not None:
        parts["answer"] = work.answer.output
    if not not_kept:
        parts["network"] = work.workspace / NETWORK
    return work.finish(state, history, origin, facts, **parts)


def _build(work: _Work) -> Base:
    samples = _some(work.images("train"))
    request = ImageRequest(work.folder, work.mixed, len(work.data.labels), samples, work.listener)
    return _pooled(work, build_base(work.spec, request))


def _pooled(work: _Work, base: Base) -> Base:
    if work.train.head.pooling == "avg" or base.answers:
        return base
    pooled = pool_by_maximum(base)
    if pooled is None:
        work.listener.note(
            "info", f"train.head.pooling does not concern model {work.spec.name!r}: its backbone gives vectors already"
        )
    return pooled or base


def _some(images: Rows) -> NDArray[Any]:
    """Return a few images, spread over a split."""
    return images[:: max(1, len(images) // CHECKED_SAMPLES)][:CHECKED_SAMPLES]


def _check_size(spec: ModelSpec, data: PreparedData) -> None:
    if (data.height, data.width) != (spec.image_size, spec.image_size):
        raise InputError(
            f"model {spec.name!r} takes {spec.image_size}×{spec.image_size} pixels, "
            f"but the data are prepared as {data.height}×{data.width}",
            "prepare the data with the model's image_size",
        )


def _features_key(work: _Work, origin: Any) -> str:
    """Return a folder name that identifies everything the features of images without augmentation depend on."""
    start = work.seed if work.spec.weights == "none" else None  # then the seed decides the backbone's weights
    parts = [origin, work.data.sha256, start, work.train.head.pooling, package_versions(work.packages)]
    return sha256_of(parts)[:32]


def _first_phase(work: _Work, origin: Any) -> tuple[Base, Any, Labelled, Labelled, str]:
    """Build backbone and head and compute the features of training (each view) and validation.

    The steps overlap: a copy of the backbone from an earlier run computes while Keras builds, and a new copy computes
    while it is compared with Keras and while Keras traces the head's steps.
    """
    images = {split: work.images(split) for split in ("train", "validation")}
    work.tell_unvalidated()
    computing = FeaturePass(images, work.scratch, work.shared, work.train.augment, work.seed, work.listener)
    place = copies.copy_path(origin, work.train.head.pooling) if _can_reuse_copy(work) and not computing.few else None
    if place is not None and (content := copies.take(place)) is not None:
        computing.start(feature_files.litert_process(content, work.helpers))
    try:
        with collector_paused():
            base = work.timed("build", lambda: _build(work))
            return base, *work.timed("features", lambda: _features(work, base, computing, place))
    finally:
        computing.stop()


def _can_reuse_copy(work: _Work) -> bool:
    """Whether the backbone's LiteRT copy is worth storing: not for random weights, nor where a GPU computes."""
    return work.spec.weights != "none" and find_spec("ai_edge_litert") is not None and not has_gpu()


def _features(
    work: _Work, base: Base, computing: FeaturePass, place: Path | None
) -> tuple[Any, Labelled, Labelled, str]:
    """Return the compiled head, the features of both splits, and the name of the engine that computed them."""
    by_job = None
    if computing.extract is None and (by_job := computing.left_by_another(base.features)) is None:
        if computing.few:
            computing.start(feature_files.keras_extractor(base))
        else:
            samples = _some(computing.images["train"])
            keep = partial(copies.put, place) if place is not None else (lambda content: None)
            extract = feature_files.extractor(
                base, samples, work.listener, helpers=work.helpers, begin=computing.start, keep=keep
            )
            if computing.extract is not extract:
                computing.discard()
                computing.start(extract)
    labels = {split: work.answer.targets(work.labels(split)) for split in computing.images}
    head = new_head(base.features, work.answer, work.train, work.seed)
    compile_head(head, work.train, labels["train"], validated=len(labels["validation"]) > 0, answer=work.answer)
    by_job = by_job if by_job is not None else _result(work, base, computing)
    training = Labelled([features for (split, _), features in by_job.items() if split == "train"], labels["train"])
    return head, training, Labelled([by_job["validation", 0]], labels["validation"]), computing.engine


def _result(work: _Work, base: Base, computing: FeaturePass) -> FeaturesByJob:
    try:
        return computing.result()
    except EngineError as error:
        why = "features come from Keras: LiteRT did not process all images"
        work.listener.note("warning", why, reason=str(error))
        computing.discard()
        computing.start(feature_files.keras_extractor(base))
        return computing.result()


def _measure(work: _Work, base: Base) -> State:
    """Measure a model that keeps its own head on the validation split. There are no epochs."""
    images, labels = work.images("validation"), work.labels("validation")
    if not len(labels):
        return State()
    sums, run_base = np.zeros(2), feature_files.keras_extractor(base)
    for at in range(0, len(labels), BLOCK):
        part = slice(at, at + BLOCK)
        sums += evaluate(np.log(np.maximum(run_base.compute(images[part]), 1e-12)), labels[part])
        work.listener.progress("measure", min(at + BLOCK, len(labels)), len(labels))
    return State(best=sums[0] / len(labels), best_accuracy=sums[1] / len(labels))


def _train_head(work: _Work, head: Any, training: Labelled, validation: Labelled) -> State:
    phase = head_phase(head, training, validation, work.train, work.weights(), work.seed)
    return work.run(phase, State(), "head.npz")


def _fine_tune(work: _Work, base: Base, head: Any, before: State) -> State:
    """Run phase two from the end of phase one; if none of its epochs is better, restore phase one's weights."""
    images, validation = work.images("train"), work.images("validation")
    phase = fine_tune_phase(
        base,
        head,
        (images, validation),
        (work.answer.targets(work.labels("train")), work.answer.targets(work.labels("validation"))),
        work.train,
        work.weights(),
        seed=work.seed,
        mixed=work.mixed,
        answer=work.answer,
    )
    start = State(best=before.best, best_accuracy=before.best_accuracy)
    try:
        return work.run(phase, start, "fine-tune.npz")
    except Exception:
        if not isinstance(images, np.ndarray) and images.failure is not None:
            raise images.failure from None  # TensorFlow makes an error of its own of what reading raises
        raise


def _freeze(work: _Work, base: Base, head: Any, contract: InputContract) -> tuple[Path, float, str]:
    """Save the frozen model in float32, verify it on real images, and store the unfrozen network.

    Both get their final names only after verification. Returns the SavedModel, the largest difference from Keras, and
    why the network could not be stored (empty if it was).
    """
    if work.mixed:
        plain = _pooled(work, build_base(work.spec, ImageRequest(work.folder)))
        plain.model.set_weights(base.model.get_weights())
        base = plain
    answer = work.answer if head is not None else Answer(len(work.data.labels))
    if head is not None:
        answer.rescale(head)
    classifier = base.model if head is None else attach_head(base, head)
    saved = freeze(
        classifier, work.data.labels, contract, work.scratch / "saved_model", values=answer.units, output=answer.output
    )
    difference = verify(saved, classifier, _some(work.images("train")), output=answer.output, size=answer.size)
    not_kept = store_network(classifier, base, work.scratch / NETWORK)
    if not_kept:
        discard(work.workspace / NETWORK, root=work.workspace)  # from other work in this workspace
    else:
        work.place(NETWORK)
    return work.place("saved_model"), difference, not_kept
