"""The float file's tensors by which errors are judged: the answer, or all outputs of a detector that are judged.

An answer is compared before what hides differences: a softmax, and of a detector its suppression, which has a box of
another place for the smallest error. Then all candidates' boxes and scores are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tflite.objects import CASTS
from .error_stats import decibels
from .graph import Graph, Op

_SOFT = ("SOFTMAX", "LOG_SOFTMAX", "LOGISTIC")
_SUPPRESSION = ("TFLite_Detection_PostProcess", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
_SUPPRESSED = 2  # the inputs of a suppression that are boxes and scores

Floats = NDArray[np.float64]


class ComparedAnswer:
    """What is compared of `graph`, in which `classes` labels are known.

    `outputs` are names of outputs; an unknown or empty one is the file's first. With `boxes` they are a detector's.
    """

    def __init__(self, graph: Graph, outputs: Sequence[str], classes: int, *, boxes: bool = False) -> None:
        self._graph, self._classes = graph, 0 if boxes else classes
        named = {graph.output_name(index): index for index in graph.outputs}
        self.before = ""  # what the compared answer is the input of: a softmax or a sigmoid
        found = [self._source(named.get(name, graph.outputs[0])) for name in outputs]
        if boxes:
            found = [place for index in found for place in self._before_suppression(index)]
        self.tensors = tuple(dict.fromkeys(found))

    @property
    def names(self) -> list[str]:
        """The names of the tensors."""
        return [self._graph.tensors[index].name for index in self.tensors]

    def behind(self) -> set[int]:
        """Return the tensors after the answer: their errors do not change it."""
        behind = set(self.tensors)
        for op in self._graph.ops:
            if behind.intersection(op.inputs):
                behind.update(op.outputs)
        return behind - set(self.tensors)

    def values(self, read: Callable[[int], NDArray[Any]]) -> list[Floats]:
        """Return each tensor's values as they are compared, flattened; `read` gives them by the tensor's index.

        Of scores of classes less their mean, which neither a softmax nor the choice of a class depends on. Sigmoids and
        numbers have no such freedom.
        """
        return [self._compared(read(index)) for index in self.tensors]

    def _compared(self, values: NDArray[Any]) -> Floats:
        exact = np.nan_to_num(np.asarray(values, np.float64))
        soft = self.before in ("SOFTMAX", "LOG_SOFTMAX")
        if exact.ndim and exact.shape[-1] > 1 and (soft or (not self.before and exact.size == self._classes)):
            exact = exact - exact.mean(axis=-1, keepdims=True)
        return exact.reshape(-1)

    def _source(self, index: int) -> int:
        while (op := self._graph.producer.get(index)) is not None and op.name in (*_SOFT, "RESHAPE", *CASTS):
            index = op.inputs[0]
            if op.name in _SOFT:
                self.before = op.name
                break
        return index

    def _before_suppression(self, index: int) -> list[int]:
        """Return the boxes and scores that the suppression on which a tensor depends is given; else the tensor."""
        seen, left = {index}, [index]
        while left:
            op = self._graph.producer.get(left.pop())
            if op is not None and op.name in _SUPPRESSION:
                return self._given(op) or [index]
            new = [] if op is None else [place for place in op.inputs if place >= 0 and place not in seen]
            seen.update(new)
            left += new
        return [index]

    def _given(self, op: Op) -> list[int]:
        before = self.before
        given = [self._source(place) for place in op.inputs[:_SUPPRESSED] if not self._graph.is_constant(place)]
        self.before = before
        return [place for place in given if self._graph.tensors[place].dtype == "FLOAT32"]


class Powers:
    """Sums over samples of the powers of the compared tensors and of their errors.

    Of several tensors the ratios are averaged, so that boxes in pixels do not outweigh scores.
    """

    def __init__(self, count: int) -> None:
        self.signal, self.error = np.zeros(count), np.zeros(count)

    def add(self, exact: Sequence[Floats], moved: Sequence[Floats | None]) -> None:
        """Take one sample: the exact values, and those with errors; None where a tensor has no counterpart."""
        for at, (one, other) in enumerate(zip(exact, moved, strict=True)):
            self.signal[at] += float((one**2).sum())
            self.error[at] += 0.0 if other is None else float(((other - one) ** 2).sum())

    @property
    def decibels(self) -> float | None:
        """The ratio of signal to error in dB; None without a signal."""
        return ratio(self.signal, self.error)


def ratio(signal: Floats, error: Floats) -> float | None:
    """Return the ratio of the powers of tensors in dB, of several with equal weight; None without a signal."""
    if len(signal) == 1:
        return decibels(float(signal[0]), float(error[0]))
    shares = relative(signal, error)
    return decibels(1.0, shares) if signal.any() else None


def relative(signal: Floats, error: Floats) -> float:
    """Return the error's power as a part of the signal's, the mean over the tensors that have any."""
    there = signal > 0
    return float((error[there] / signal[there]).mean()) if there.any() else 0.0
