"""How alike the answers of the two files are: the boxes of detectors, else what the judged output shows to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.boxes import BoxReading
from ...core.model import sample_shape
from ...tasks import task_of
from ...tasks.agreement import SIDES, Agreement
from ...tasks.boxes import certain_boxes, read
from ...tasks.detection import BoxAgreement

Outputs = Mapping[str, NDArray[Any]]


class AnswerComparison:
    """Adds up samples. `answer` is the judged output (empty: the first), `classes` is how many labels there are.

    `task` is its name, where targets say it, else empty: the answers then show what they are, and
    `sigmoids`: the graph ends in a sigmoid, so that without labels each value says yes or no. `reading` is how outputs
    are read as boxes, of a detector that its names do not show to be one.
    """

    def __init__(
        self, answer: str, classes: int, *, task: str = "", sigmoids: bool, reading: BoxReading | None = None
    ) -> None:
        self._task = task_of(("",) * classes, task, certain=True) if task else None
        self._answer, self._classes, self._sigmoids, self._reading = answer, classes, sigmoids, reading
        self._counted: Agreement | None = None

    def add(self, reference: Outputs, quantized: Outputs) -> None:
        """Take one sample's outputs of the float file and of the other, by name, each in the file's order."""
        boxes = self._boxes(reference)
        if boxes is not None:
            other = self._boxes(quantized)
            counted = self._counted = self._counted or BoxAgreement((boxes.size,))
            counted.add(boxes, np.zeros_like(boxes) if other is None else other)
            return
        exact, other = (one.get(self._answer, next(iter(one.values()))) for one in (reference, quantized))
        if exact.size != other.size:
            return
        if self._counted is None and self._task is not None:
            self._counted = self._task.agreement(sample_shape(exact.shape))
        elif self._counted is None:
            kind = SIDES if self._sigmoids and not self._classes else ""
            self._counted = Agreement(sample_shape(exact.shape), self._classes, kind)
        self._counted.add(exact.reshape(1, -1), np.nan_to_num(other.reshape(1, -1)))

    def _boxes(self, outputs: Outputs) -> NDArray[np.float32] | None:
        if self._reading is None:
            return certain_boxes(outputs)
        try:
            values = [np.nan_to_num(outputs[name]).reshape(1, -1) for name in self._reading.outputs]
            return read(np.concatenate(values, axis=1), self._reading)
        except (KeyError, ValueError):  # they are called otherwise, or are no boxes for this sample
            return None

    @property
    def share(self) -> float | None:
        """The share that is equal; None of numbers, and where nothing could be compared."""
        return self._counted.share if self._counted else None

    @property
    def by(self) -> str:
        """What is counted (`tasks.agreement`)."""
        return self._counted.by if self._counted else ""
