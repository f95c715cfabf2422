"""How far a file's answers are from those of the float file it was made from, on the same samples, in this process.

It serves the choice of a calibration method and the warning at export. It is no measurement: that is made in a fresh
process on the named runtime, on samples that chose nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .in_process import Answers, Run

# Below this share of equal top classes, or above this error, a file is worth a warning. int8 files of sound models give
# 0.9 to 1 and 0.01 to 0.1.
LEAST_AGREEMENT = 0.9
MOST_ERROR = 0.25

# A method takes the place of one before it in the order when its error is this much smaller: less is chance.
_BETTER = 0.9


@dataclass
class Difference:
    """What two files' answers differ by. `answer` is the judged output, `classes` how many labels it has (0: unknown).

    Only an answer of one row of classes has a top class: never a picture of classes, nor several numbers.
    """

    answer: str = ""
    classes: int = 0
    samples: int = 0
    _same: int = 0
    _are_classes: bool = True
    _finite: bool = True
    _outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, reference: Answers, found: Answers) -> None:
        """Take one sample's outputs of the float file and of the other, by name. Raises ValueError for other shapes."""
        if reference.keys() != found.keys() or any(reference[n].shape != found[n].shape for n in reference):
            raise ValueError(f"its outputs are {_shapes(found)}, those of the float file {_shapes(reference)}")
        self.samples += 1
        for name, expected in reference.items():
            one, other = expected.astype(np.float64), found[name].astype(np.float64)
            self._finite = self._finite and bool(np.isfinite(other).all())
            sums = self._outputs.setdefault(name, {"error": 0.0, "sum": 0.0, "squares": 0.0})
            sums["error"] += float(((one - other) ** 2).mean())
            sums["sum"] = sums["sum"] + one
            sums["squares"] = sums["squares"] + one**2
        name = self.answer if self.answer in reference else next(iter(reference), "")
        if name and self._are_classes:
            one, other = reference[name], found[name]
            self._are_classes = self._judged_by_class(one)
            self._same += self._are_classes and int(one.argmax()) == int(other.argmax())

    def _judged_by_class(self, answer: NDArray[Any]) -> bool:
        """Return whether an answer is one row of classes: as many as there are labels, or probabilities."""
        if answer.ndim > 2 or answer.size != answer.shape[-1] or answer.size < 2:
            return False
        if self.classes:
            return answer.size == self.classes
        return bool((answer >= 0).all() and abs(float(answer.sum()) - 1) < 1e-3)

    @property
    def error(self) -> float:
        """The root of the mean squared error as a part of the float outputs' own spread over samples; the worst output.

        Infinite where an output is not finite. A float output that is the same for all samples is taken by its size.
        """
        if not self._finite:
            return float("inf")
        worst = 0.0
        for sums in self._outputs.values():
            spread = float(np.mean(sums["squares"] / self.samples - (sums["sum"] / self.samples) ** 2))
            size = float(np.mean(sums["squares"] / self.samples))
            scale = spread if spread > 1e-9 * size else size
            error = sums["error"] / self.samples
            worst = max(worst, (error / scale) ** 0.5 if scale > 0 else float(error > 0))
        return worst

    @property
    def agreement(self) -> float | None:
        """The share of samples with the same top class; None where the answer is no row of classes."""
        return self._same / self.samples if self._are_classes and self.samples else None

    def record(self) -> dict[str, Any]:
        """Return it for a sidecar: ``samples``, ``error`` (None where it is not finite), ``agreement``, ``warning``."""
        error = self.error
        told = {"samples": self.samples, "error": error if np.isfinite(error) else None, "agreement": self.agreement}
        return {**told, "warning": self._warning()} if self._warning() else told

    def _warning(self) -> str:
        on = f"on {self.samples} calibration samples"
        if not self._finite:
            return f"it gives values that are not finite {on}"
        if self.agreement is not None:
            low = self.agreement < LEAST_AGREEMENT
            return f"its top class is that of the float model for {self.agreement:.0%} {on}" if low else ""
        low = self.error > MOST_ERROR
        return f"it is {self.error:.0%} of its answers' own spread away from the float model {on}" if low else ""


def compare(
    reference: Run, others: Mapping[str, Run], samples: Iterable[dict[str, Any]], differences: Mapping[str, Difference]
) -> None:
    """Run the float file and others on all samples, and add what they differ by to `differences`, by the same names."""
    for feed in samples:
        expected = reference(feed)
        for name, run in others.items():
            differences[name].add(expected, run(feed))


def nearest(errors: Mapping[str, float]) -> str:
    """Return the name of the smallest error; of errors that are about the same the first. There must be one."""
    best = next(iter(errors))
    for name, error in errors.items():
        if error < _BETTER * errors[best]:
            best = name
    return best


def _shapes(answers: Answers) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in answers.items())
