"""The data of further training: stored samples, their labels, and the float model's answers, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.dataset import PreparedData
from ...core.errors import InputError, explain_disk_errors
from ...core.files import move
from ...core.model import InputContract, Model
from ...tasks.classification import Classification
from .tflite_eval import float_answers, model_values

VALIDATION = 2000  # samples that evaluate a file after each epoch, at most
CALIBRATION = 200  # samples for the ranges, if no calibration samples are given


@dataclass(frozen=True)
class Split:
    """Samples as stored (N, …), their labels (N,) int64, and the float model's answers (N, classes)."""

    stored: NDArray[Any]
    labels: NDArray[Any]
    answers: NDArray[Any]
    contract: InputContract

    def values(self, index: Any) -> NDArray[Any]:
        """Return samples in the model's value range, float32."""
        return model_values(self.stored[index], self.contract)


@dataclass(frozen=True)
class TrainingData:
    """`train` are the samples of all epochs, `orders` the indices into them of each epoch, in order.

    `validation` may be empty. `calibration` (N, …) are stored samples for the ranges.
    """

    train: Split
    validation: Split
    orders: list[NDArray[Any]]
    calibration: NDArray[Any]

    @property
    def contract(self) -> InputContract:
        """The model's input."""
        return self.train.contract


def check_data(model: Model, data: PreparedData) -> None:
    """Raise InputError if `data` do not fit `model`, or have no training samples."""
    sigmoid = model.provenance.get("train", {}).get("head", {}).get("output") == "sigmoid"
    if data.task != Classification.name or sigmoid:
        raise InputError(
            f"model {model.name!r} answers with {'one sigmoid' if sigmoid else data.task}, and further training is for "
            "a softmax over classes",
            "use tflite:int8, which is calibrated instead, or tflite:int16x8",
        )
    if data.kind != model.input.kind:
        raise InputError(
            f"model {model.name!r} takes inputs of kind {model.input.kind}, but the data are of kind {data.kind}",
            "give the data that the model was trained on",
        )
    if tuple(data.labels) != tuple(model.labels):
        raise InputError(
            f"model {model.name!r} has {len(model.labels)} labels, but the data have {len(data.labels)} or other ones",
            "give the data that the model was trained on; a model without labels cannot be trained further",
        )
    if not data.counts.get("train"):
        raise InputError("the data have no training samples", "check the data's source and its splits")
    shape = data.rows("train").shape[1:]
    if shape != tuple(model.input.shape[1:]):
        raise InputError(
            f"model {model.name!r} takes {model.input.shape[1:]}, but the data are {shape}",
            "prepare the data with the model's image_size",
        )


def prepare_training_data(
    model: Model, data: PreparedData, *, epochs: int, samples: int, seed: int, calibration: Path | None, scratch: Path
) -> TrainingData:
    """Draw the samples of `epochs` epochs with `samples` samples each (0: all), and compute the float model's answers.

    The answers are stored in `scratch`, so that an interrupted run does not compute them again. Raises StageError if
    the float model does not run.
    """
    stored, labels = data.rows("train"), np.load(data.targets("train"), allow_pickle=False)
    count = len(labels)
    size = min(count, samples or count)
    orders = [np.random.default_rng((seed, 31, epoch)).permutation(count)[:size] for epoch in range(1, epochs + 1)]
    used = np.unique(np.concatenate(orders)) if orders else np.zeros(0, np.int64)
    validation = data.rows("validation")
    step = max(1, -(-len(validation) // VALIDATION))
    evaluated = np.arange(0, len(validation), step)
    samples_of = [np.asarray(stored[used]), np.asarray(validation[evaluated])]
    answers = _answers(model, np.concatenate([part for part in samples_of if len(part)] or samples_of[:1]), scratch)
    targets = np.load(data.targets("validation"), allow_pickle=False) if len(evaluated) else np.zeros(0, np.int64)
    if calibration is not None:
        ranges = np.load(calibration, allow_pickle=False)
    else:
        ranges = stored[np.sort(np.random.default_rng((seed, 32)).permutation(count)[:CALIBRATION])]
    return TrainingData(
        train=Split(samples_of[0], labels[used], answers[: len(used)], model.input),
        validation=Split(samples_of[1], targets[evaluated], answers[len(used) :], model.input),
        orders=[np.searchsorted(used, order) for order in orders],
        calibration=np.asarray(ranges),
    )


def _answers(model: Model, stored: NDArray[Any], scratch: Path) -> NDArray[Any]:
    path = scratch / "answers-of-float.npy"
    if path.is_file():
        cached: NDArray[Any] = np.load(path, allow_pickle=False)
        if len(cached) == len(stored):
            return cached
    answers = float_answers(model.saved_model, stored, model.input, scratch)
    with explain_disk_errors(path):
        temporary = path.with_name(f".{path.name}")
        np.save(temporary, answers)
        move(temporary, path, root=scratch)
    return answers
