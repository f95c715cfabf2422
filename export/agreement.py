"""Difference between a file's outputs and those of its float file, on the same samples, in this process.

It is used to choose a calibration method and for the warning at export. It is not a measurement: measurements run in a
fresh process on the named runtime, on samples that no choice was made on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.model import sample_shape
from ..tasks import Task, task_of
from ..tasks.agreement import Agreement
from ..tasks.boxes import certain_boxes
from ..tasks.detection import BoxAgreement
from ..tasks.quality import likeness
from .in_process import Answers, Run

# A method is preferred to an earlier one when its error is smaller by this factor: less is chance.
_BETTER = 0.9


@dataclass
class Difference:
    """The difference between two files' outputs. `answer` is the judged output, `task` says what is counted in it."""

    answer: str = ""
    task: Task = field(default_factory=lambda: task_of(()))
    samples: int = 0
    _outputs: dict[str, Agreement] = field(default_factory=dict)

    def add(self, reference: Answers, answers: Answers) -> None:
        """Add one sample: the outputs of the float file and of the other, by name. ValueError if shapes differ.

        Of a detector the boxes are compared, whose order and number may differ.
        """
        boxes = certain_boxes(reference)
        if boxes is not None and reference.keys() == answers.keys():
            self.samples += 1
            other = certain_boxes(answers)
            counted = self._outputs.setdefault("", BoxAgreement((boxes.size,)))
            counted.add(boxes, np.zeros_like(boxes) if other is None else other)
            return
        if reference.keys() != answers.keys() or any(reference[n].shape != answers[n].shape for n in reference):
            raise ValueError(f"its outputs are {_shapes(answers)}, those of the float file {_shapes(reference)}")
        self.samples += 1
        for name, expected in reference.items():
            agreement = self._outputs.setdefault(name, self.task.agreement(sample_shape(expected.shape)))
            agreement.add(expected.reshape(1, -1), answers[name].reshape(1, -1))

    @property
    def _judged(self) -> Agreement | None:
        return self._outputs.get(self.answer) or next(iter(self._outputs.values()), None)

    @property
    def error(self) -> float:
        """The relative error (`tasks.agreement`) of the worst output. Infinite where an output is not finite."""
        return max((output.error for output in self._outputs.values()), default=0.0)

    @property
    def agreement(self) -> float | None:
        """The share of equal answers, or of their elements; None where the answer is numbers."""
        return self._judged.share if self._judged else None

    @property
    def by(self) -> str:
        """What the agreement counts (`tasks.agreement`)."""
        return self._judged.by if self._judged else ""

    def record(self) -> dict[str, Any]:
        """Return it for a sidecar: ``samples``, ``error`` (None where it is not finite), ``agreement``, ``warning``.

        ``agreement_by`` says what is counted.
        """
        error = self.error
        record: dict[str, Any] = {"samples": self.samples, "error": error if np.isfinite(error) else None}
        record |= {"agreement": self.agreement, "agreement_by": self.by}
        return {**record, "warning": self._warning()} if self._warning() else record

    def _warning(self) -> str:
        on = f"on {self.samples} calibration samples"
        if not np.isfinite(self.error):
            return f"it gives values that are not finite {on}"
        alike = likeness(self.agreement, self.by, self.error)
        return f"{alike.warning} {on}" if alike and alike.warning else ""


def compare(
    reference: Run, others: Mapping[str, Run], samples: Iterable[dict[str, Any]], differences: Mapping[str, Difference]
) -> None:
    """Run the float file and `others` on all samples, and add their differences to `differences`, by the same names."""
    for feed in samples:
        expected = reference(feed)
        for name, run in others.items():
            differences[name].add(expected, run(feed))


def nearest(errors: Mapping[str, float]) -> str:
    """Return the name of the smallest error; of nearly equal errors the first. `errors` must not be empty."""
    best = next(iter(errors))
    for name, error in errors.items():
        if error < _BETTER * errors[best]:
            best = name
    return best


def _shapes(answers: Answers) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in answers.items())
