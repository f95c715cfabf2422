"""How alike the answers of the two files are: the boxes of detectors, else what the judged output shows to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.model import sample_shape
from ...tasks.agreement import SIDES, Agreement
from ...tasks.boxes import certain_boxes
from ...tasks.detection import BoxAgreement

Outputs = Mapping[str, NDArray[Any]]


class AnswerComparison:
    """Adds up samples. `answer` is the judged output (empty: the first), `classes` is how many labels there are.

    `sigmoids`: the graph ends in a sigmoid, so that without labels each value says yes or no.
    """

    def __init__(self, answer: str, classes: int, *, sigmoids: bool) -> None:
        self._answer, self._classes, self._sigmoids = answer, classes, sigmoids
        self._counted: Agreement | None = None

    def add(self, reference: Outputs, quantized: Outputs) -> None:
        """Take one sample's outputs of the float file and of the other, by name, each in the file's order."""
        boxes = certain_boxes(reference)
        if boxes is not None:
            other = certain_boxes(quantized)
            counted = self._counted = self._counted or BoxAgreement((boxes.size,))
            counted.add(boxes, np.zeros_like(boxes) if other is None else other)
            return
        exact, other = (one.get(self._answer, next(iter(one.values()))) for one in (reference, quantized))
        if exact.size != other.size:
            return
        if self._counted is None:
            kind = SIDES if self._sigmoids and not self._classes else ""
            self._counted = Agreement(sample_shape(exact.shape), self._classes, kind)
        self._counted.add(exact.reshape(1, -1), np.nan_to_num(other.reshape(1, -1)))

    @property
    def share(self) -> float | None:
        """The share that is equal; None of numbers, and where nothing could be compared."""
        return self._counted.share if self._counted else None

    @property
    def by(self) -> str:
        """What is counted (`tasks.agreement`)."""
        return self._counted.by if self._counted else ""
