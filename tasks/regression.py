"""Regression: one number or several for each sample. The answer is as many numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.formatting import significant
from .agreement import NUMBERS, Agreement
from .bootstrap import Floats
from .by_parts import ByParts, beside
from .class_names import name_of
from .quality import Quantity

_NAMED = 6  # values of a sample


class MeanAbsoluteError(Quantity):
    """The mean of how far answers are from the targets, in the targets' unit."""

    name = full_name = "MAE"
    title = "Mean absolute error"
    better = "lower"
    best = f"the best in {name}"
    definition = (
        "the mean of the absolute difference between answer and target on {samples}, in the targets' unit, with a 95 % "
        "interval by bootstrap over samples"
    )


class Regression(ByParts):
    """Samples of one or several numbers each. The metric is the mean absolute error over all of them."""

    name = "regression"
    noun = "Regressor"
    metric = MeanAbsoluteError.name
    figure = MeanAbsoluteError
    needs = "y of shape (samples,) or (samples, values): the right number or numbers of each sample"
    scores_only = "one number for each value of y"

    @classmethod
    def recognizes(cls, targets: NDArray[Any]) -> bool:
        """Return whether they are numbers that are no class numbers: of floats, with a fraction or below 0."""
        if targets.ndim not in (1, 2) or targets.dtype.kind != "f" or not targets.size:
            return False
        known = targets[np.isfinite(targets)]
        return bool(((known != np.rint(known)) | (known < 0)).any())

    @classmethod
    def check(cls, targets: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float32]:
        """Return targets (N, values) float32. Raises InputError for what is no number for each value of the answer."""
        if targets.ndim not in (1, 2) or targets.dtype.kind not in "iuf":
            raise InputError(
                f"y has the shape {targets.shape} of {targets.dtype}, and is no list of numbers", cls.needs
            )
        numbers = targets.reshape(len(targets), -1).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise InputError("y has NaN, infinity or numbers that float32 does not hold", "leave these samples out")
        if shape and numbers.shape[1] != (values := prod(shape)):
            raise InputError(
                f"y has {numbers.shape[1]:,} values for each sample, and the model answers with {values:,}",
                "give a column for each value of the output, in its order",
            )
        return numbers

    def counted(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return each sample's answers and targets (samples, 2, values)."""
        return beside(answers, targets)

    def right(self, target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return the numbers."""
        return _listed(target)

    def given(self, answer: NDArray[Any], target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return the numbers."""
        return _listed(answer)

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what measures the relative error of the numbers."""
        return Agreement(shape, kind=NUMBERS)

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return 1 less each sample's error (samples,), as a share of the spread of the targets; from 0 to 1.

        The spread of a value is the mean absolute deviation from its mean over the samples.
        """
        error, spread = np.abs(parts[:, 0] - parts[:, 1]), _spread(parts[:, 1])
        relative = np.divide(error, spread, out=(error > 0).astype(np.float64), where=spread > 0)
        return np.asarray(1 - np.minimum(relative.mean(axis=1), 1))

    @staticmethod
    def value(parts: NDArray[Any], weights: Floats) -> Floats:
        """Return the mean absolute error."""
        return np.asarray(weights @ np.abs(parts[:, 0] - parts[:, 1]).mean(axis=1) / weights.sum(axis=1))

    def figures(self, parts: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
        """Return RMSE and R² (of several values its mean over them), and of several values the MAE and R² of each.

        R² is 1 less the squared error over the targets' variance. A value whose targets are all the same has none.
        """
        error = parts[:, 0] - parts[:, 1]
        squared = ((parts[:, 1] - parts[:, 1].mean(axis=0)) ** 2).sum(axis=0)
        explained = 1 - np.divide(
            (error**2).sum(axis=0), squared, out=np.full(squared.shape, np.nan), where=squared > 0
        )
        figures = {"RMSE": float(np.sqrt((error**2).mean()))}
        if (known := explained[np.isfinite(explained)]).size:
            figures["R²"] = float(known.mean())
        for number in range(error.shape[1]) if error.shape[1] > 1 else ():
            name = name_of(number, labels)
            figures[f"MAE {name}"] = float(np.abs(error[:, number]).mean())
            if np.isfinite(explained[number]):
                figures[f"R² {name}"] = float(explained[number])
        return figures


def _listed(values: NDArray[Any]) -> str:
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return ", ".join(significant(float(value)) for value in values[:_NAMED]) + more


def _spread(targets: Floats) -> Floats:
    return np.asarray(np.abs(targets - targets.mean(axis=0)).mean(axis=0))
