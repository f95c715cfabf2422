"""The loop over epochs that both phases share: history, early stopping, the best weights, and going on after a kill."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import StageError, explain_disk_errors
from ..core.events import Listener
from .frameworks import load

Row = dict[str, float]
Arrays = list[NDArray[Any]]


@dataclass
class State:
    """How far a phase is. `best` is the lowest validation loss so far, seen after epoch `best_epoch`."""

    epoch: int = 0
    best: float = math.inf
    best_accuracy: float = math.nan
    best_epoch: int = 0
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Phase:
    """One phase of training.

    `run_epoch(number)` trains and returns ``loss`` and ``accuracy``; what it does must follow from the seed and
    `number` alone. `validate()` returns ``val_loss`` and ``val_accuracy``, or nothing where there is no
    validation split. `learned` and `optimizer` are the variables that a checkpoint keeps.
    """

    number: int
    task: str
    run_epoch: Callable[[int], Row]
    validate: Callable[[], Row]
    learned: Sequence[Any]
    optimizer: Sequence[Any]


def run(
    phase: Phase, *, epochs: int, patience: int, start: State, checkpoint: Path, logs: Path | None, listener: Listener
) -> State:
    """Train for up to `epochs`, restore the best weights, and return how it went.

    Best is the lowest validation loss; `start` may carry a loss to beat, reached before the first epoch. With
    `patience` above zero, training stops after that many epochs without a better one. Without validation the last
    weights are kept. After each epoch everything needed to go on is in `checkpoint`, replaced atomically; if that
    file exists, training goes on from it. `logs` is a folder for TensorBoard. Raises StageError when the loss is
    not a number, or the disk is full.
    """
    state, best = start, [v.numpy() for v in phase.learned]
    if (found := load_checkpoint(checkpoint)) is not None:
        state, arrays = found
        _assign(phase.learned, arrays["learned"])
        _assign(phase.optimizer, arrays["optimizer"])
        best = arrays["best"]
        listener.note("info", f"{phase.task}: going on after epoch {state.epoch}", epoch=state.epoch)
    write = _log_writer(logs)
    listener.progress(phase.task, state.epoch, epochs)
    while state.epoch < epochs and not (patience and state.epoch - state.best_epoch >= patience):
        number = state.epoch + 1
        row: Row = {"phase": phase.number, "epoch": number, **phase.run_epoch(number), **phase.validate()}
        if not math.isfinite(row["loss"] + row.get("val_loss", 0.0)):
            raise StageError(
                f"{phase.task}: the loss is not a number any more after epoch {number}",
                "lower the learning rate of this phase in the recipe",
            )
        loss = row.get("val_loss", -math.inf)
        if loss < state.best or "val_loss" not in row:
            state.best, state.best_accuracy, state.best_epoch = loss, row.get("val_accuracy", math.nan), number
            best = [v.numpy() for v in phase.learned]
        state.epoch = number
        state.history.append(row)
        arrays = {"learned": [v.numpy() for v in phase.learned], "best": best}
        save_checkpoint(checkpoint, state, arrays | {"optimizer": [v.numpy() for v in phase.optimizer]})
        write(row)
        listener.progress(phase.task, number, epochs, note=_describe(row))
    _assign(phase.learned, best)
    if state.epoch < epochs:
        listener.note("info", f"{phase.task}: stopped after epoch {state.epoch}; epoch {state.best_epoch} was the best")
    return state


def save_checkpoint(path: Path, state: State, arrays: dict[str, Arrays]) -> None:
    """Write a phase's state and arrays into one ``.npz``, atomically."""
    named = {f"{group}/{i:05d}": array for group, members in arrays.items() for i, array in enumerate(members)}
    text = np.frombuffer(json.dumps(asdict(state)).encode(), np.uint8)
    temporary = path.with_name(f".{path.name}.new")
    with explain_disk_errors(path):
        with temporary.open("wb") as stream:
            np.savez(stream, state=text, **named)
        temporary.replace(path)


def load_checkpoint(path: Path) -> tuple[State, dict[str, Arrays]] | None:
    """Read what `save_checkpoint` wrote; None when there is nothing, or nothing whole."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            state = State(**json.loads(file["state"].tobytes()))
            arrays: dict[str, Arrays] = {"learned": [], "best": [], "optimizer": []}
            for name in sorted(set(file.files) - {"state"}):
                arrays[name.split("/")[0]].append(file[name])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None
    return state, arrays


def _assign(variables: Sequence[Any], arrays: Arrays) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _describe(row: Row) -> str:
    if "val_accuracy" in row:
        return f"val accuracy {row['val_accuracy']:.3f}"
    return f"accuracy {row['accuracy']:.3f}"


def _log_writer(folder: Path | None) -> Callable[[Row], None]:
    """Return what writes a row for TensorBoard. ``tf.summary.scalar`` would need the tensorboard package to write."""
    if folder is None:
        return lambda row: None
    tf, _ = load()
    proto = tf.compat.v1.SummaryMetadata
    scalar = proto(plugin_data=proto.PluginData(plugin_name="scalars"), data_class=1)  # 1: DATA_CLASS_SCALAR
    writer = tf.summary.create_file_writer(str(folder))

    def write(row: Row) -> None:
        with writer.as_default(step=int(row["epoch"])):
            for name in row.keys() - {"phase", "epoch"}:
                value = tf.constant(row[name], tf.float32)
                tf.summary.write(f"phase {int(row['phase'])}/{name}", value, metadata=scalar)
        writer.flush()

    return write
