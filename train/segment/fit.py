"""Training of a segmenter from end to end: phase one trains the head, phase two the top of the backbone with it.

The guarantees are those of training a classifier (`train.fit`): unfinished work is in the workspace and survives a
kill; random numbers follow from the seed, the epoch and the picture. Pixels of the class 255 are not judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.dataset import PreparedData, Rows
from ...core.errors import InputError
from ...core.model import InputContract, Model
from ...core.progress import Listener
from ...core.recipe import ModelSpec, Train
from ...frameworks.freeze import freeze, graph_sha256, verify
from ...frameworks.tensorflow import fresh, load
from ...tasks.segmentation import VOID
from ..answers import Answer, answer_of
from ..augment import Augmenter, apply, apply_to_maps
from ..backbones import build_base, image_source
from ..callbacks import check_callbacks
from ..compile import compile_model
from ..dropout import new_dropout
from ..finetune import PREFETCH, unfreeze
from ..head import class_weights, generators
from ..joint import joint_model
from ..keras_fit import Phase, State
from ..source import ImageRequest
from ..workspace import Work
from .lraspp import Cut, cut, new_lraspp

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "numpy")
CHECKED_SAMPLES = 8
NOT_KEPT = "segmenters are kept frozen alone"


def fit_maps(
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
    """Train `spec` with an LR-ASPP head on pictures and their maps of classes and return the frozen model.

    Its answer is (1, height, width, classes), a softmax over the classes of each pixel, or of two classes one sigmoid
    (``train.head.output``). `folder`, `workspace` and the guarantees are as for `train.fit.fit`; `shared` is not used.
    Raises InputError when the backbone or the settings do not fit, StageError as `train.fit.fit`. Starts TensorFlow.
    """
    source = image_source(spec)
    source.check(spec, folder)
    check_map_training(spec, train)
    check_callbacks(train, folder)
    answer = answer_of(data, train)
    origin = source.identity(spec, folder)
    work = Work(spec, train, seed, data, folder, workspace, listener, PACKAGES + source.packages)
    if (finished := work.open(origin)) is not None:
        return finished
    fresh(seed)
    if train.mixed_precision:
        listener.note("info", "mixed precision is for classifiers: segmenters are trained in float32")
    work.tell_unvalidated()

    def build() -> tuple[Cut, Any]:
        samples = np.asarray(data.rows("train")[:CHECKED_SAMPLES])
        made = cut(spec, build_base(spec, ImageRequest(folder, False, None, samples, listener)))
        dropout = new_dropout(train.dropout, "dropout") if train.dropout else None
        head = new_lraspp(
            made.model, answer.units, activation=answer.activation, dropout=dropout, size=data.height, seed=seed
        )
        return made, head

    parts, head = work.timed("build", build)
    state = work.timed("head", lambda: work.run(_phase(parts, head, answer, work, 1), State(), "head.npz"))
    history = state.history
    if train.fine_tune.layers:
        start = State(best=state.best, best_accuracy=state.best_accuracy)
        phase = _phase(parts, head, answer, work, 2)
        state = work.timed("fine_tune", lambda: work.run(phase, start, "fine-tune.npz"))
        history = [*history, *state.history]

    contract = InputContract("image", (1, data.height, data.width, 3), resize=spec.resize)

    def save() -> tuple[Path, float]:
        _, keras = load()
        if train.dropout:  # the saved network needs no random generator
            plain = new_lraspp(
                parts.model, answer.units, activation=answer.activation, dropout=None, size=data.height, seed=seed
            )
            plain.set_weights([variable.numpy() for variable in head.trainable_weights])
        else:
            plain = head
        network = keras.Model(parts.model.input, plain(parts.model.output), name="segmenter")
        values = (data.height, data.width, answer.units)
        saved = freeze(network, data.labels, contract, work.scratch / "saved_model", values=values)
        difference = verify(saved, network, np.asarray(data.rows("train")[:CHECKED_SAMPLES]))
        return work.place("saved_model"), difference

    saved, difference = work.timed("freeze", save)
    facts = {
        "parameters": parts.model.count_params() + head.count_params(),
        "preprocessing": parts.base.preprocessing,
        "head": "LR-ASPP",
        "task": data.task,
        "freeze_difference": difference,
        "not_kept": NOT_KEPT,
    }
    return work.finish(
        state, history, origin, facts, saved_model=saved, sha256=graph_sha256(saved, data.labels), input=contract
    )


def check_map_training(spec: ModelSpec, train: Train) -> None:
    """Raise InputError for keys that do not apply to a segmenter."""
    if spec.head == "own" or spec.trainable:
        raise InputError(
            f"model {spec.name!r}: a segmenter gets a new head, and train.fine_tune.layers says what else is trained",
            "remove head and trainable",
        )
    if train.head.hidden or train.head.pooling != "avg":
        raise InputError("train.head: hidden layers and pooling are of classifiers", "remove hidden and pooling")
    if len(train.metrics) > 1:
        raise InputError(
            f"train.metrics: {train.metrics[1]} is of classifiers; segmenters have the share of pixels that are right",
            "remove it",
        )


def _phase(parts: Cut, head: Any, answer: Answer, work: Work, number: int) -> Phase:
    train = work.train
    moved = unfreeze(parts.base, train.fine_tune.layers if number == 2 else 0)
    model = joint_model(lambda pixels, training: parts.model(pixels, training=False), head, moved)
    how = train if number == 1 else train.fine_tune
    pictures, maps = work.data.rows("train"), work.labels("train")
    steps = -(-len(maps) // train.batch_size)
    compile_model(
        model, train, answer=answer, learning_rate=how.learning_rate, epochs=how.epochs, steps=steps, weighted=True
    )
    judged = maps[maps != VOID]
    weights = class_weights(judged, max(2, answer.units), train.class_weights)
    return Phase(
        number=number,
        task="train head" if number == 1 else "fine-tune",
        model=model,
        epochs=how.epochs,
        steps=steps,
        batches=lambda first: _batches(pictures, maps, answer, work, weights, range(first, how.epochs)),
        validation=_validation(work, answer) if work.data.counts.get("validation") else None,
        generators=generators(head),
        seed=work.seed,
    )


def _weighted(maps: Any, weights: Any, answer: Answer) -> tuple[Any, Any]:
    """Return maps as Keras takes them, and the weight of each pixel: that of its class, 0 where it is not judged."""
    tf, _ = load()
    known = maps != VOID
    classes = tf.where(known, maps, 0)
    pixels = tf.where(known, tf.gather(weights, classes), 0.0)
    return (classes if answer.activation == "softmax" else tf.cast(classes, tf.float32)[..., None]), pixels


def _batches(
    pictures: Rows, maps: NDArray[Any], answer: Answer, work: Work, weights: NDArray[Any], epochs: range
) -> Any:
    """Return a ``tf.data.Dataset`` of (float32 pixels, maps, weights of pixels) that goes through all pictures once for
    each of `epochs`. Order and augmentation follow from seed and epoch."""
    tf, _ = load()
    train, (height, width) = work.train, pictures.shape[1:3]
    active = train.augment.active
    vector = tf.TensorSpec([None], tf.float32)
    signature = (
        tf.TensorSpec([None, height, width, 3], tf.uint8),
        *((tf.TensorSpec([None, 8], tf.float32), vector, vector) if active else ()),
        tf.TensorSpec([None, height, width], tf.int32),
    )

    def read() -> Iterator[tuple[NDArray[Any], ...]]:
        for epoch in epochs:
            order = np.random.default_rng((work.seed, 61, epoch + 1)).permutation(len(maps))
            seed = (work.seed, 62, epoch + 1)
            augmenter = Augmenter(train.augment, count=len(maps), height=height, width=width, seed=seed)
            for at in range(0, len(order), train.batch_size):
                index = np.sort(order[at : at + train.batch_size])
                changes = augmenter.changes(index) if active else None
                drawn = (changes.transforms, changes.gain, changes.contrast) if changes is not None else ()
                yield (np.asarray(pictures[index]), *drawn, maps[index].astype(np.int32))

    def prepare(pixels: Any, *rest: Any) -> Any:
        *changes, classes = rest
        if active:
            pixels, classes = apply(pixels, *changes), apply_to_maps(classes, changes[0], VOID)
        return tf.cast(pixels, tf.float32), *_weighted(classes, weights, answer)

    return tf.data.Dataset.from_generator(read, output_signature=signature).map(prepare).prefetch(PREFETCH)


def _validation(work: Work, answer: Answer) -> Any:
    tf, _ = load()
    pictures, maps = work.data.rows("validation"), work.labels("validation")
    equal, batch = np.ones(max(2, answer.units), np.float32), work.train.batch_size
    signature = (
        tf.TensorSpec([None, *pictures.shape[1:]], tf.uint8), tf.TensorSpec([None, *maps.shape[1:]], tf.int32)
    )  # fmt: skip

    def read() -> Iterator[tuple[NDArray[Any], ...]]:
        for at in range(0, len(maps), batch):
            yield np.asarray(pictures[at : at + batch]), maps[at : at + batch].astype(np.int32)

    def prepare(pixels: Any, classes: Any) -> Any:
        return tf.cast(pixels, tf.float32), *_weighted(classes, equal, answer)

    return tf.data.Dataset.from_generator(read, output_signature=signature).map(prepare).prefetch(PREFETCH)
