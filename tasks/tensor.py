"""A tensor for each sample, of which nothing more is known: a denoised picture, a spectrum, a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from .agreement import NUMBERS, Agreement
from .bootstrap import Floats
from .by_parts import ByParts
from .quality import Quantity

# What a file that answers exactly has, instead of infinity. float32 keeps about 140 dB.
MOST_DB = 200.0


class SignalToNoise(Quantity):
    """The energy of the targets over that of the answers' error, in decibels."""

    name = full_name = "SNR"
    title = "Signal-to-noise ratio"
    unit = drop_unit = "dB"
    best = f"the best in {name}"
    definition = (
        "the energy of the targets over that of the difference between answer and target, both summed over {samples}, "
        f"in decibels (at most {MOST_DB:.0f}), with a 95 % interval by bootstrap over samples"
    )


class Tensor(ByParts):
    """Samples of a tensor each. The metric is the signal-to-noise ratio over all of them."""

    name = "tensor"
    noun = "Model"
    metric = SignalToNoise.name
    figure = SignalToNoise
    needs = "y of the shape of the model's answers: the right tensor of each sample"
    scores_only = "tensors of y's size"

    @classmethod
    def recognizes(cls, targets: NDArray[Any]) -> bool:
        """Return whether they are maps or longer tensors of floats, with a fraction or below 0."""
        if targets.ndim < 3 or targets.dtype.kind != "f" or not targets.size:
            return False
        known = targets[np.isfinite(targets)]
        return bool(((known != np.rint(known)) | (known < 0)).any())

    @classmethod
    def check(cls, targets: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float32]:
        """Return targets (N, values) float32. Raises InputError for what has no number for each value of the answer."""
        if targets.ndim < 1 or targets.dtype.kind not in "biuf":
            raise InputError(f"y has the shape {targets.shape} of {targets.dtype}, and is no tensor", cls.needs)
        numbers = targets.reshape(len(targets), -1).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise InputError("y has NaN, infinity or numbers that float32 does not hold", "leave these samples out")
        if shape and numbers.shape[1] != prod(shape):
            raise InputError(f"y has tensors of {targets.shape[1:]}, and the model answers {tuple(shape)}", cls.needs)
        if not numbers.any():
            raise InputError("every value of y is 0: there is no signal", cls.needs)
        return numbers

    def counted(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return each sample's energy of the target and of the error (samples, 2, 1), the mean over its values."""
        if answers.shape != targets.shape:
            return None
        parts = np.zeros((len(answers), 2, 1))
        for sample, (answer, target) in enumerate(zip(answers, targets, strict=True)):
            exact = target.astype(np.float64)
            parts[sample, :, 0] = np.mean(exact**2), np.mean((answer - exact) ** 2)
        return parts

    def drawn(
        self, picture: NDArray[np.uint8] | None, answer: NDArray[Any] | None, target: NDArray[Any]
    ) -> NDArray[np.uint8] | None:
        """Return the values in their order as a curve, on the scale of the right ones, which are grey below it."""
        from PIL import Image, ImageDraw

        width, height, most = 192, 96, float(np.abs(target).max()) or 1.0
        paper = Image.new("RGB", (width, height), "white")
        for values, colour in ((target, "#a0a0a0"), *(((answer, "#0b6e5f"),) if answer is not None else ())):
            at = np.linspace(0, len(values) - 1, min(len(values), 4 * width)).astype(int)
            rows = height / 2 * (1 - 0.94 * np.clip(values[at] / most, -1, 1))
            columns = np.linspace(2, width - 3, len(at))
            ImageDraw.Draw(paper).line(list(zip(columns.tolist(), rows.tolist(), strict=True)), fill=colour)
        return np.asarray(paper)

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what measures the relative error of the tensors' values."""
        return Agreement(shape, kind=NUMBERS)

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return 1 less each sample's relative error (samples,), from 0 to 1."""
        signal, noise = parts[:, 0, 0], parts[:, 1, 0]
        relative = np.divide(noise, signal, out=(noise > 0).astype(np.float64), where=signal > 0)
        return np.asarray(1 - np.minimum(np.sqrt(relative), 1))

    @staticmethod
    def value(parts: NDArray[Any], weights: Floats) -> Floats:
        """Return the signal-to-noise ratio in decibels."""
        return _decibels(weights @ parts[:, 0, 0], weights @ parts[:, 1, 0])

    def figures(self, parts: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
        """Return the root mean square error, and the lowest ratio of any sample."""
        ratios = _decibels(parts[:, 0, 0], parts[:, 1, 0])
        lowest = {"SNR of the worst sample": float(np.nanmin(ratios))} if np.isfinite(ratios).any() else {}
        return {"RMSE": float(np.sqrt(parts[:, 1, 0].mean()))} | lowest


def _decibels(signal: Floats, noise: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.clip(10 * np.log10(signal / noise), -MOST_DB, MOST_DB))
