"""The training loop of all kinds of further training: it starts from the float model's weights, with its answers as
targets.

The network is evaluated before the first and after each epoch, if possible as a file. A checkpoint is then written,
from which an interrupted training resumes. Random orders depend only on the seed and the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.errors import StageError
from ...core.progress import Listener
from ...frameworks.checkpoint import Arrays, load_checkpoint, save_checkpoint
from ...frameworks.tensorflow import load
from ...tasks import compare
from ...tasks.classification import Classification
from .training_data import TrainingData

Row = dict[str, float]
TINY = 1e-7  # least argument of a logarithm
EVERY = 10  # steps between two reports of progress


@dataclass(frozen=True)
class Phase:
    """`epochs` in which `variables` are trained."""

    epochs: int
    variables: Sequence[Any]


@dataclass(frozen=True)
class Plan:
    """The settings of a training.

    The learning rate has a half-cosine decay over all steps. `distill` is the weight of the divergence from the float
    model's answers in the loss; the rest is the cross-entropy of the labels. With a positive `patience` a phase ends
    after that many epochs without a better score. With `keep_best` the weights of the best epoch, including epoch 0,
    are the result; otherwise those of the last.
    """

    phases: Sequence[Phase]
    learning_rate: float
    batch_size: int
    distill: float
    patience: int = 0
    keep_best: bool = True


@dataclass
class State:
    """The progress of a training.

    `best` is the highest score, of epoch `best_epoch`. `stopped` are the phases that ended early. `history` has a row
    for each epoch.
    """

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    stopped: list[int] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Trainable:
    """A network to train.

    `network` maps the model's input, or the features, to probabilities. `evaluate()` returns a row of figures with
    ``score`` (higher is better; empty without validation). `before_step(step)` and `after_step(step)` are called
    around each step, counted from 0. `training` is Keras' argument of calls during training.
    """

    network: Any
    evaluate: Callable[[], Row]
    before_step: Callable[[int], None] = lambda step: None
    after_step: Callable[[int], None] = lambda step: None
    training: bool = True


def train(
    trainable: Trainable, plan: Plan, training_data: TrainingData, *, checkpoint: Path, task: str, listener: Listener
) -> State:
    """Train according to `plan`, set the network's weights to the result, and return the state.

    Raises StageError if the loss becomes NaN or infinite, or the disk is full.
    """
    network, state = trainable.network, State()
    variables = _unique([variable for phase in plan.phases for variable in phase.variables])
    _, keras = load()
    optimizer = keras.optimizers.Adam(plan.learning_rate)
    optimizer.build(variables)
    best: Arrays = []
    if (saved := _read(checkpoint)) is not None:
        state, arrays = saved
        network.set_weights(arrays["network"])
        for variable, array in zip(optimizer.variables, arrays["optimizer"], strict=True):
            variable.assign(array)
        best = arrays["best"]
        listener.note("info", f"{task}: resuming after epoch {state.epoch}", epoch=state.epoch)
    total = sum(phase.epochs for phase in plan.phases)
    steps = [math.ceil(len(order) / plan.batch_size) for order in training_data.orders]
    all_steps = max(1, sum(steps))

    def finish_epoch(phase: int, row: Row) -> None:
        nonlocal best
        row |= trainable.evaluate()
        score = row.get("score", -math.inf)
        if not plan.keep_best or not best or score > state.best or "score" not in row:
            state.best, state.best_epoch = score, state.epoch
            best = network.get_weights()
        state.history.append({"phase": phase, "epoch": state.epoch, **row})
        named = {"network": network.get_weights(), "best": best}
        optimized = [variable.numpy() for variable in optimizer.variables]
        save_checkpoint(checkpoint, asdict(state), named | {"optimizer": optimized})
        listener.progress(task, state.epoch, total, note=_describe(row))

    if not state.history:
        finish_epoch(0, {})
    first = 0
    for number, phase in enumerate(plan.phases, start=1):
        last, step = first + phase.epochs, None
        while state.epoch < last and number not in state.stopped:
            epoch = state.epoch
            if plan.patience and epoch > first and epoch - max(state.best_epoch, first) >= plan.patience:
                state.stopped.append(number)
                break
            step = step or _step(trainable, phase, plan, optimizer)

            def rate(at: int, done: int = sum(steps[:epoch])) -> float:
                return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (done + at) / all_steps))

            def report(at: int, epoch: int = epoch) -> None:
                listener.progress(task, epoch + at / steps[epoch], total)

            loss = _epoch(trainable, step, plan, training_data, epoch, optimizer, rate, report, sum(steps[:epoch]))
            if not math.isfinite(loss):
                raise StageError(
                    f"{task}: the loss is NaN or infinite after epoch {epoch + 1}",
                    "lower its learning_rate in the recipe",
                )
            state.epoch += 1
            finish_epoch(number, {"loss": loss})
        first = last
        state.epoch = max(state.epoch, first)  # after an early stop
    network.set_weights(best)
    return state


def _epoch(
    trainable: Trainable, step: Any, plan: Plan, training_data: TrainingData, epoch: int, optimizer: Any,
    rate: Callable[[int], float], report: Callable[[int], None], done: int,
) -> float:  # fmt: skip
    """Train on the samples of an epoch; return the mean loss."""
    tf, _ = load()
    order, split, total = training_data.orders[epoch], training_data.train, 0.0
    for at, start in enumerate(range(0, len(order), plan.batch_size)):
        index = np.sort(order[start : start + plan.batch_size])
        optimizer.learning_rate.assign(rate(at))
        trainable.before_step(done + at)
        batch = (split.values(index), split.labels[index].astype(np.int32), split.answers[index])
        total += float(step(*(tf.constant(part) for part in batch))) * len(index)
        trainable.after_step(done + at)
        if at % EVERY == EVERY - 1:
            report(at + 1)
    return total / max(1, len(order))


def _step(trainable: Trainable, phase: Phase, plan: Plan, optimizer: Any) -> Any:
    tf, _ = load()
    variables, network = list(phase.variables), trainable.network

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def step(values: Any, labels: Any, answers: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = tf.clip_by_value(network(values, training=trainable.training), TINY, 1.0)
            targets = tf.clip_by_value(answers, TINY, 1.0)
            divergence = tf.reduce_sum(targets * (tf.math.log(targets) - tf.math.log(outputs)), axis=1)
            entropy = -tf.math.log(tf.gather(outputs, labels, batch_dims=1))
            loss = tf.reduce_mean(plan.distill * divergence + (1 - plan.distill) * entropy)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def score(values: NDArray[Any], labels: NDArray[Any], answers: NDArray[Any], distill: float) -> Row:
    """Return the figures of answers (N, classes): ``val_accuracy``, ``val_agreement`` with the float model's top class,
    and ``score``. Empty without samples.

    The score weighs accuracy and closeness to the float answers as the loss weighs labels and float answers. On a few
    hundred samples the accuracy is too coarse to compare epochs; the closeness of each answer to the float model's
    (`Classification.closeness`) is not.
    """
    if not len(labels):
        return {}
    task = Classification(values.shape[1])
    right = task.parts(values, labels)
    accuracy = float(right.mean()) if right is not None else 0.0
    agreement = float(compare(task, answers, values).scores.mean())
    closeness = float(task.closeness(values, answers).mean())
    return {
        "val_accuracy": accuracy,
        "val_agreement": agreement,
        "score": distill * closeness + (1 - distill) * accuracy,
    }


def _unique(variables: Sequence[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def _read(path: Path) -> tuple[State, dict[str, Arrays]] | None:
    """Read a checkpoint; None when there is nothing, or nothing whole."""
    if (checkpoint := load_checkpoint(path, ("network", "best", "optimizer"))) is None:
        return None
    facts, arrays = checkpoint
    try:
        return State(**facts), arrays
    except TypeError:  # of another version
        return None


def _describe(row: Row) -> str:
    if "val_agreement" in row:
        return f"val accuracy {row['val_accuracy']:.3f}, as float {row['val_agreement']:.3f}"
    return f"loss {row['loss']:.4f}" if "loss" in row else ""
