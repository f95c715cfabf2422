"""Training on arrays of numbers from end to end: a network from scratch, one phase, one frozen and verified model.

The guarantees are those of training on images (`train.fit`): unfinished work is in the workspace and survives a kill;
random numbers follow from the seed and the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.dataset import PreparedData
from ...core.model import InputContract, Model
from ...core.progress import Listener
from ...core.recipe import ModelSpec, Train
from ...core.sanitize import shorten
from ...frameworks.tensorflow import fresh, load
from ..answers import Answer, answer_of
from ..backbones import number_source
from ..callbacks import check_callbacks
from ..compile import compile_model
from ..finish_arrays import finish_arrays, spread
from ..head import apply_head, generators, new_head
from ..keras_fit import Phase, State
from ..workspace import Work
from .networks import INPUT, NumberRequest, check_shape, coarse_features
from .settings import check_number_training

PACKAGES = ("edgeproof", "tensorflow", "tf-keras", "numpy")
NOT_KEPT = "networks for numbers are kept frozen alone"


def fit_numbers(
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
    """Train `spec` on the arrays of `data` as `train` says and return the frozen model.

    `folder`, `workspace` and the guarantees are as for `train.fit.fit`. `shared` is not used: all of the network is
    trained with each seed. Raises InputError when the network does not fit the data or the settings do not fit the
    task, StageError when training diverges or the disk is full. Starts TensorFlow.
    """
    source = number_source(spec)
    source.check(spec, folder)
    check_number_training(train)
    check_callbacks(train, folder)
    answer = answer_of(data, train)
    x = {split: np.asarray(data.rows(split)) for split in ("train", "validation")}
    request = NumberRequest(x["train"], seed, waves="sample_rate" in data.report)
    check_shape(spec, request.features.shape[1:])
    identity = source.identity(spec, folder)
    work = Work(spec, train, seed, data, folder, workspace, listener, PACKAGES + source.packages)
    if (finished := work.open(identity)) is not None:
        return finished
    fresh(seed)
    work.tell_float32("numbers are trained")
    if not request.waves:
        _warn_of_scales(x["train"], data, listener)

    def build() -> tuple[Any, Any]:
        base = source.build(spec, request)
        head = new_head(int(base.output_shape[-1]), answer, train, seed)
        return base, head

    contract = InputContract(
        INPUT, (1, *x["train"].shape[1:]), kind="tensor", colour="", resize="", high=0.0, columns=data.columns
    )
    base, head = work.timed("build", build)
    _, keras = load()
    trained = keras.Model(base.input, head(base.output), name="network")
    phase = _phase(trained, head, answer, x, work)
    state = work.timed("train", lambda: work.run(phase, State(), "network.npz"))

    def network() -> Any:
        return keras.Model(base.input, apply_head(head, base.output), name="network")

    facts = {"parameters": int(trained.count_params()), "learned": "all", "task": data.task, "not_kept": NOT_KEPT}
    return finish_arrays(
        work, state, identity, head, network,
        answer=answer, contract=contract, samples=spread(x["train"]), facts=facts,
    )  # fmt: skip


def _warn_of_scales(x: NDArray[Any], data: PreparedData, listener: Listener) -> None:
    if coarse := coarse_features(x):
        columns = data.report.get("features") or []
        names = ", ".join(str(columns[one]) if one < len(columns) else f"number {one}" for one in coarse)
        listener.note(
            "warning",
            f"an int8 file has one scale for all features, which is coarse for {len(coarse)} of {x.shape[-1]}: "
            f"{shorten(names, 200)}",
            remedy="make tflite:int16x8 too, or bring the columns to similar units in the data, as the app will",
        )


def _phase(model: Any, head: Any, answer: Answer, x: dict[str, NDArray[Any]], work: Work) -> Phase:
    train, labels, count = work.train, work.labels("train"), len(x["train"])
    steps = -(-count // train.batch_size)
    compile_model(
        model, train, answer=answer, learning_rate=train.learning_rate, epochs=train.epochs, steps=steps
    )  # fmt: skip
    weights = work.weights()[labels] if train.class_weights else np.ones(count, np.float32)
    y, validation = answer.targets(labels), answer.targets(work.labels("validation"))

    def read(first: int) -> Iterator[Any]:
        for epoch in range(first, train.epochs):
            order = np.random.default_rng((work.seed, 51, epoch + 1)).permutation(count)
            for at in range(0, count, train.batch_size):
                index = order[at : at + train.batch_size]
                yield x["train"][index], y[index], weights[index]

    return Phase(
        number=1,
        task="train",
        model=model,
        epochs=train.epochs,
        steps=steps,
        batches=lambda first: _dataset(lambda: read(first), x["train"], answer),
        validation=_validation(x["validation"], validation, train.batch_size) if len(validation) else None,
        generators=generators(head),
        seed=work.seed,
    )


def _dataset(read: Any, x: NDArray[Any], answer: Answer) -> Any:
    tf, _ = load()
    target = tf.int32 if answer.activation == "softmax" else tf.float32
    signature = (
        tf.TensorSpec([None, *x.shape[1:]], tf.float32),
        tf.TensorSpec([None, *answer.target_shape], target),
        tf.TensorSpec([None], tf.float32),
    )
    return tf.data.Dataset.from_generator(read, output_signature=signature).prefetch(8)


def _validation(x: NDArray[Any], y: NDArray[Any], batch: int) -> Any:
    tf, _ = load()
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)
