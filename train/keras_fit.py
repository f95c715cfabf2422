"""Keras' ``fit`` for both phases, with a checkpoint an epoch: a killed run resumes after its last complete epoch.

`keras.callbacks.BackupAndRestore` saves weights, optimizer and epoch, but neither the state of `EarlyStopping`,
`ReduceLROnPlateau` and the user's callbacks, nor a learning rate that one of them set. `_backup` saves those too, in
one file that is replaced atomically, so that a killed run ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import StageError
from ..core.progress import Listener
from ..core.recipe_training import Schedule
from ..frameworks.checkpoint import Arrays, load_checkpoint, save_checkpoint
from ..frameworks.tensorflow import load
from .figures import described

Row = dict[str, float]
VALIDATION_LOSS = "val_loss"


@dataclass
class State:
    """Progress of a phase. `best` is the lowest validation loss so far, after epoch `best_epoch`.

    `best_accuracy` is the accuracy then, of numbers the mean absolute error.
    """

    epoch: int = 0
    best: float = math.inf
    best_accuracy: float = math.nan
    best_epoch: int = 0
    stopped: bool = False
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Phase:
    """One phase of training: a compiled Keras `model` and its data.

    `batches(first)` gives a dataset of the epochs from `first` (counted from 0) to the last, `steps` batches each, in
    an order that follows from seed and epoch. `validation` is a dataset, or None if there is no such split.
    `generators` are those of dropout layers, which are seeded from `seed` before each epoch.
    """

    number: int
    task: str
    model: Any
    epochs: int
    steps: int
    batches: Callable[[int], Any]
    validation: Any
    generators: Sequence[Any]
    seed: int


@dataclass(frozen=True)
class Logs:
    """Paths of Keras' own logs: a folder for TensorBoard, a CSV file; None: no log."""

    tensorboard: Path | None = None
    csv: Path | None = None


def run(
    phase: Phase,
    *,
    patience: int,
    schedule: Schedule,
    start: State,
    checkpoint: Path,
    listener: Listener,
    logs: Logs = Logs(),
    own: Callable[[], Sequence[Any]] = tuple,
) -> State:
    """Fit, restore the best weights, and return the final state.

    Best is the lowest validation loss; `start` may hold a loss to beat, from before the first epoch. With `patience`
    above zero, training stops after that many epochs without a better one. Without validation the last weights are
    used. After each epoch `checkpoint` holds everything needed to resume; if the file exists, training resumes from it.
    `own` makes the user's callbacks. Raises StageError when the loss is not a number, a user's callback fails, or the
    disk is full.
    """
    state, saved = start, load_state(checkpoint)
    if saved is not None:
        state = saved[0]
        listener.note("info", f"{phase.task}: resuming after epoch {state.epoch}", epoch=state.epoch)
    listener.progress(phase.task, state.epoch, phase.epochs)
    if saved is not None and "final" in saved[1] and (state.stopped or state.epoch >= phase.epochs):
        phase.model.set_weights(saved[1]["final"])
        return state
    keras_own = _callbacks(phase, patience, schedule, logs, state, listener)
    others = [*keras_own, *own()]
    stopping = keras_own[0] if phase.validation is not None else None
    callbacks = [*others, _backup(phase, others, stopping, state, saved, checkpoint, listener)]
    phase.model.fit(
        phase.batches(state.epoch),
        epochs=state.epoch if state.stopped else phase.epochs,  # a finished phase only runs its end
        initial_epoch=state.epoch,
        steps_per_epoch=phase.steps,
        validation_data=phase.validation,
        callbacks=callbacks,
        verbose=0,
    )
    if state.epoch < phase.epochs:
        best = f"; epoch {state.best_epoch} was the best" if state.best_epoch else ""
        listener.note("info", f"{phase.task}: stopped after epoch {state.epoch}{best}")
    return state


def _callbacks(
    phase: Phase, patience: int, schedule: Schedule, logs: Logs, state: State, listener: Listener
) -> list[Any]:
    """Return Keras' own callbacks that the recipe sets; with validation `EarlyStopping` is the first."""
    _, keras = load()
    callbacks: list[Any] = []
    validated = phase.validation is not None
    if validated:
        # With patience 0 nothing stops, and the best weights are still restored.
        never = 1 << 31  # whatever the number of epochs: a resumed phase takes this value from its checkpoint
        callbacks.append(
            keras.callbacks.EarlyStopping(VALIDATION_LOSS, patience=patience or never, restore_best_weights=True)
        )
    if schedule.kind == "plateau":
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                VALIDATION_LOSS if validated else "loss", factor=schedule.factor, patience=schedule.patience,
                min_lr=schedule.minimum,
            )
        )  # fmt: skip
    if logs.tensorboard is not None:
        callbacks.append(keras.callbacks.TensorBoard(str(logs.tensorboard), write_graph=False))
    if logs.csv is not None:
        _forget_rows(logs.csv, state.epoch)
        callbacks.append(keras.callbacks.CSVLogger(str(logs.csv), append=state.epoch > 0))
    return callbacks


def _forget_rows(path: Path, epoch: int) -> None:
    """Drop log rows of epochs that a kill left without checkpoint: they run again."""
    if epoch and path.is_file():
        head, *rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join([head, *rows[:epoch]]), encoding="utf-8")


def _backup(
    phase: Phase,
    others: Sequence[Any],
    stopping: Any,
    state: State,
    saved: tuple[State, dict[str, Arrays], dict[str, Any]] | None,
    checkpoint: Path,
    listener: Listener,
) -> Any:
    """Return the last callback: it restores the checkpoint, updates `state`, saves it, and reports progress.

    `stopping` is the one of `others` that holds the best weights of this phase, or None without validation. The user's
    own `EarlyStopping` may monitor another value, so its weights are saved separately.
    """
    _, keras = load()
    optimizer = phase.model.optimizer
    theirs = {
        f"best of {number}": one
        for number, one in enumerate(others)
        if isinstance(one, keras.callbacks.EarlyStopping) and one is not stopping
    }

    class Backup(keras.callbacks.Callback):  # type: ignore[name-defined]
        arrays: dict[str, Arrays] = saved[1] if saved is not None else {}
        memories: dict[str, Any] = saved[2] if saved is not None else {}

        def on_train_begin(self, logs: Any = None) -> None:
            if saved is not None:
                _, arrays, memories = saved
                self.model.set_weights(arrays["learned"])
                for variable, array in zip(_variables(optimizer), arrays["optimizer"], strict=True):
                    variable.assign(array)
                for number, one in enumerate(others):
                    _remember(one, memories.get(str(number), {}))
                for name, one in theirs.items():
                    one.best_weights = arrays.get(name)
            if stopping is not None:
                stopping.best = state.best
                stopping.best_weights = saved[1]["best"] if saved is not None else self.model.get_weights()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            for number, generator in enumerate(phase.generators):
                generator.reset_from_seed(_mix(phase.seed, epoch, number))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            row: Row = {"phase": phase.number, "epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}}
            if not math.isfinite(row["loss"] + row.get(VALIDATION_LOSS, 0.0)):
                raise StageError(
                    f"{phase.task}: the loss is not a number (NaN) after epoch {epoch + 1}",
                    "lower the learning rate of this phase in the recipe",
                )
            if VALIDATION_LOSS not in row:
                state.best, state.best_epoch = -math.inf, epoch + 1
            elif row[VALIDATION_LOSS] < state.best:
                state.best, state.best_epoch = row[VALIDATION_LOSS], epoch + 1
                state.best_accuracy = row.get("val_accuracy", row.get("val_mae", math.nan))
            state.epoch, state.stopped = epoch + 1, bool(self.model.stop_training)
            state.history.append(row)
            self.arrays = {
                "learned": self.model.get_weights(),
                "best": stopping.best_weights if stopping is not None else [],
                "optimizer": [variable.numpy() for variable in _variables(optimizer)],
                **{name: one.best_weights for name, one in theirs.items() if one.best_weights is not None},
            }
            self.memories = {str(number): _memory(one) for number, one in enumerate(others)}
            save_state(checkpoint, state, self.arrays, self.memories)
            listener.progress(phase.task, epoch + 1, phase.epochs, note=described(row))

        def on_train_end(self, logs: Any = None) -> None:
            # Other callbacks may have changed the weights at the end, such as `EarlyStopping`, which restores the best.
            final = {"final": self.model.get_weights()}
            save_state(checkpoint, state, {**self.arrays, **final}, self.memories)

    return Backup()


def _variables(optimizer: Any) -> list[Any]:
    """The variables of an optimizer, and the learning rate if a callback may set it."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = inner._learning_rate
    return [*optimizer.variables, *([rate] if hasattr(rate, "assign") else [])]


def _mix(seed: int, epoch: int, number: int) -> int:
    return int(np.random.default_rng((seed, 13, epoch, number)).integers(2**62))


def _memory(callback: Any) -> dict[str, Any]:
    """Return a callback's attributes that are numbers or strings; logging callbacks have their own files."""
    _, keras = load()
    if isinstance(callback, keras.callbacks.TensorBoard | keras.callbacks.CSVLogger):
        return {}
    plain = (bool, int, float, str, np.floating, np.integer)
    attributes = {name: value for name, value in vars(callback).items() if isinstance(value, plain)}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in attributes.items()}


def _remember(callback: Any, memory: dict[str, Any]) -> None:
    vars(callback).update(memory)


def save_state(path: Path, state: State, arrays: dict[str, Arrays], memories: dict[str, Any]) -> None:
    """Write a phase's state, its arrays and the attributes of callbacks."""
    save_checkpoint(path, {"state": asdict(state), "memories": memories}, arrays)


def load_state(path: Path) -> tuple[State, dict[str, Arrays], dict[str, Any]] | None:
    """Read what `save_state` wrote; None when it is missing or incomplete."""
    if (checkpoint := load_checkpoint(path, ("learned", "best", "optimizer"))) is None:
        return None
    facts, arrays = checkpoint
    try:
        return State(**facts["state"]), arrays, facts["memories"]
    except (KeyError, TypeError):  # of another version
        return None
