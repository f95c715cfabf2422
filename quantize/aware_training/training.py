"""The loop that further training shares: from the float model's weights, with its answers as targets, epoch by epoch.

After each epoch (and before the first) the network is judged as what it will be: a file. Everything needed to go on
after a kill is written then, and what is drawn at random follows from the seed and the epoch alone.
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
from .training_data import Material

Row = dict[str, float]
TINY = 1e-7  # under a logarithm
EVERY = 10  # steps between two reports of progress


@dataclass(frozen=True)
class Phase:
    """`epochs` in which the variables `learned` learn."""

    epochs: int
    learned: Sequence[Any]


@dataclass(frozen=True)
class Plan:
    """How it is trained.

    The learning rate falls over all steps as half a cosine. `distill` is the share of the loss that is the divergence
    from the float model's answers; the rest is the cross-entropy of the labels. With `patience` above zero a phase ends
    after that many epochs without a better score. `keep_best`: the best epoch's weights stay, with epoch 0 among them;
    otherwise the last one's.
    """

    phases: Sequence[Phase]
    learning_rate: float
    batch_size: int
    distill: float
    patience: int = 0
    keep_best: bool = True


@dataclass
class State:
    """How far it is. `best` is the highest score so far, of epoch `best_epoch`; `stopped`: phases that ended early."""

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    stopped: list[int] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Trainee:
    """A network in training.

    `network` maps what the model takes, or the features, to probabilities. `judge()` gives a row of figures with
    ``score`` (higher is better; nothing without validation). `before_step(step)` and `after_step(step)` are called
    around each step, the first being step 0. `training` is how the network is called while it learns.
    """

    network: Any
    judge: Callable[[], Row]
    before_step: Callable[[int], None] = lambda step: None
    after_step: Callable[[int], None] = lambda step: None
    training: bool = True


def train(
    trainee: Trainee, plan: Plan, material: Material, *, checkpoint: Path, task: str, listener: Listener
) -> State:
    """Train as `plan` says, put the weights that are kept into the network, and return how it went.

    Raises StageError when the loss is not a number any more, or the disk is full.
    """
    network, state = trainee.network, State()
    learned = _unique([variable for phase in plan.phases for variable in phase.learned])
    _, keras = load()
    optimizer = keras.optimizers.Adam(plan.learning_rate)
    optimizer.build(learned)
    best: Arrays = []
    if (saved := _read(checkpoint)) is not None:
        state, arrays = saved
        network.set_weights(arrays["network"])
        for variable, array in zip(optimizer.variables, arrays["optimizer"], strict=True):
            variable.assign(array)
        best = arrays["best"]
        listener.note("info", f"{task}: going on after epoch {state.epoch}", epoch=state.epoch)
    total = sum(phase.epochs for phase in plan.phases)
    steps = [math.ceil(len(order) / plan.batch_size) for order in material.orders]
    all_steps = max(1, sum(steps))

    def judged(phase: int, row: Row) -> None:
        nonlocal best
        row |= trainee.judge()
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
        judged(0, {})
    first = 0
    for number, phase in enumerate(plan.phases, start=1):
        last, step = first + phase.epochs, None
        while state.epoch < last and number not in state.stopped:
            epoch = state.epoch
            if plan.patience and epoch > first and epoch - max(state.best_epoch, first) >= plan.patience:
                state.stopped.append(number)
                break
            step = step or _step(trainee, phase, plan, optimizer)

            def rate(at: int, done: int = sum(steps[:epoch])) -> float:
                return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (done + at) / all_steps))

            def told(at: int, epoch: int = epoch) -> None:
                listener.progress(task, epoch + at / steps[epoch], total)

            loss = _epoch(trainee, step, plan, material, epoch, optimizer, rate, told, sum(steps[:epoch]))
            if not math.isfinite(loss):
                raise StageError(
                    f"{task}: the loss is not a number any more after epoch {epoch + 1}",
                    "lower its learning_rate in the recipe",
                )
            state.epoch += 1
            judged(number, {"loss": loss})
        first = last
        state.epoch = max(state.epoch, first)  # of a phase that was cut short
    network.set_weights(best)
    return state


def _epoch(
    trainee: Trainee, step: Any, plan: Plan, material: Material, epoch: int, optimizer: Any,
    rate: Callable[[int], float], told: Callable[[int], None], done: int,
) -> float:  # fmt: skip
    """Go through the samples of an epoch once; return the mean loss."""
    tf, _ = load()
    order, split, total = material.orders[epoch], material.train, 0.0
    for at, start in enumerate(range(0, len(order), plan.batch_size)):
        index = np.sort(order[start : start + plan.batch_size])
        optimizer.learning_rate.assign(rate(at))
        trainee.before_step(done + at)
        batch = (split.values(index), split.labels[index].astype(np.int32), split.answers[index])
        total += float(step(*(tf.constant(part) for part in batch))) * len(index)
        trainee.after_step(done + at)
        if at % EVERY == EVERY - 1:
            told(at + 1)
    return total / max(1, len(order))


def _step(trainee: Trainee, phase: Phase, plan: Plan, optimizer: Any) -> Any:
    tf, _ = load()
    learned, network = list(phase.learned), trainee.network

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def step(values: Any, labels: Any, answers: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(learned)
            found = tf.clip_by_value(network(values, training=trainee.training), TINY, 1.0)
            wanted = tf.clip_by_value(answers, TINY, 1.0)
            divergence = tf.reduce_sum(wanted * (tf.math.log(wanted) - tf.math.log(found)), axis=1)
            entropy = -tf.math.log(tf.gather(found, labels, batch_dims=1))
            loss = tf.reduce_mean(plan.distill * divergence + (1 - plan.distill) * entropy)
        optimizer.apply_gradients(zip(tape.gradient(loss, learned), learned, strict=True))
        return loss

    return step


def score(values: NDArray[Any], labels: NDArray[Any], answers: NDArray[Any], distill: float) -> Row:
    """Return how good answers (N, classes) are: ``val_accuracy``, ``val_agreement`` with the float model's top class,
    and ``score``. Nothing for no samples.

    The score weighs accuracy and closeness to the float answers as the loss weighs labels and float answers: on a few
    hundred samples counts of right answers cannot tell epochs apart, but how far each answer is from the float
    model's can (`Classification.closeness`).
    """
    if not len(labels):
        return {}
    task = Classification(values.shape[1])
    scores = task.scores(values, labels)
    accuracy = float(scores.mean()) if scores is not None else 0.0
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
