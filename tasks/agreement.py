"""How alike the answers of two files of one model are, on the same samples: the one place that decides what is counted.

The float model's answers say what they are:

- ``class``: one row of classes, as many as there are labels or a distribution (no value below 0, sum 1). The top class
  of a sample is the float model's, or it is not. Of two labels one value is a class, too: a sigmoid or a logit.
- ``class of each element``: a map or a sequence whose last axis is such a row: a U-Net's pixels, a tagger's words.
- ``side of one half of each element``: independent sigmoids, values from 0 to 1 on both sides of one half. A picture's
  three channels and a list of boxes lie there, too, and are numbers.
- ``whole number of each element``: the graph has chosen the class itself, and so has the other file's.
- ``box``: of detectors, as `detection` says.
- ``numbers``: anything else. There is nothing to be equal: the likeness is the relative error, the root mean square of
  the difference over the spread of the float model's answers.

The flattened answer of more than one row has no top class: of a hundred thousand pixels all but one may be right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.measurement import Measurement

CLASS = "class"
CLASSES = "class of each element"
SIDES = "side of one half of each element"
WHOLE = "whole number of each element"
NUMBERS = "numbers"
BOXES = "box"
_SIGNS = "sign"  # of a logit

_WORDS = {
    CLASS: "top class",
    CLASSES: CLASSES,
    SIDES: SIDES,
    WHOLE: WHOLE,
    NUMBERS: NUMBERS,
    BOXES: BOXES,
    "": "top class",
}

Scores = NDArray[np.float64]


def counts_samples(by: str) -> bool:
    """Return whether an agreement counts whole samples; otherwise elements. Results of older versions do not say."""
    return by in ("", CLASS)


def words(by: str) -> str:
    """Return what is the same where two answers agree, as it stands before "the float model's" in a sentence."""
    return _WORDS.get(by, "answer")


def shares_of(by: str) -> str:
    """Return what the mean of `Agreement.scores` is a share of."""
    if by == NUMBERS:
        return "spread of the answers"
    return "samples" if counts_samples(by) else "answers' elements"


def qualifier(by: str) -> str:
    """Return what follows such a share in brackets; empty where it counts whole samples."""
    if by == NUMBERS:
        return " (less the relative error of its numbers)"
    return "" if counts_samples(by) else f" ({words(by)})"


_SUM_OFF = 1e-2  # of a distribution stored in 16 bits
_CHUNK = 2**22  # values that are compared at once


class Agreement:
    """Adds up what two files' answers have in common. `shape` is one answer's, without the batch.

    `classes` is how many labels there are (0: not known): answers with so many values in the last axis are classes,
    unless they lie within 0 to 1 and are no distribution, which sigmoids do. `kind` is what is counted where the task
    is known.
    """

    def __init__(self, shape: Sequence[int], classes: int = 0, kind: str = "") -> None:
        self._kind = kind
        sides = tuple(int(side) for side in shape) or (1,)
        # Sides of 1 before the last make no map: (1, 1, 1001) is one row of classes.
        self.shape = (*(side for side in sides[:-1] if side != 1), sides[-1])
        self._classes = classes
        self._binary = classes == 2 and self.shape == (1,)
        self._distribution = self._unit = self._integers = self._finite = True
        self._least, self._most = float("inf"), float("-inf")
        self._parts: dict[str, list[Scores]] = {kind: [] for kind in (CLASS, SIDES, _SIGNS, WHOLE, NUMBERS)}
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, reference: NDArray[Any], compared: NDArray[Any]) -> None:
        """Take answers (n, values) or (n, …) of the float file and of the other; both hold as many values."""
        step = max(1, _CHUNK // max(1, int(np.prod(self.shape))))
        for start in range(0, len(reference), step):
            self._add(np.asarray(reference[start : start + step]), np.asarray(compared[start : start + step]))

    def _add(self, reference: NDArray[Any], compared: NDArray[Any]) -> None:
        count = len(reference)
        exact = reference.reshape(count, *self.shape).astype(np.float64)
        other = compared.reshape(count, *self.shape).astype(np.float64)
        self._least, self._most = min(self._least, float(exact.min())), max(self._most, float(exact.max()))
        self._unit = self._unit and self._least >= 0 and self._most <= 1
        off = np.abs(exact.sum(axis=-1) - 1).max()
        self._distribution = self._distribution and self._least >= -_SUM_OFF and bool(off <= _SUM_OFF)
        self._integers = self._integers and all(bool((one == np.rint(one)).all()) for one in (exact, other))
        self._finite = self._finite and bool(np.isfinite(other).all())
        same = {
            CLASS: exact.argmax(axis=-1) == other.argmax(axis=-1),
            SIDES: (exact >= 0.5) == (other >= 0.5),
            WHOLE: exact == other,
        }
        if self._binary or self._kind == SIDES:
            same[_SIGNS] = (exact >= 0) == (other >= 0)
        for kind, equal in same.items():
            self._parts[kind].append(equal.reshape(count, -1).mean(axis=1))
        self._parts[NUMBERS].append(((exact - other) ** 2).reshape(count, -1).mean(axis=1))
        self._sum = self._sum + exact.sum(axis=0)
        self._squares = self._squares + (exact**2).sum(axis=0)

    @property
    def samples(self) -> int:
        """How many answers were compared."""
        return sum(map(len, self._parts[NUMBERS]))

    @property
    def by(self) -> str:
        """What is counted: one of the kinds of this module's docstring."""
        if self._kind:
            return self._kind
        if self._binary:
            return CLASS
        row, last = len(self.shape) == 1, self.shape[-1]
        varied = self._least < self._most
        sigmoids = last > 2 and self._unit and varied and not self._integers
        if last > 1 and (self._distribution or (last == self._classes and not sigmoids)):
            return CLASS if row else CLASSES
        picture = len(self.shape) == 3 and last == 3
        boxes = len(self.shape) == 2 and last == 4
        several = int(np.prod(self.shape)) > 1 and not picture and not boxes
        if self._integers and varied and not (self._unit and several):
            return WHOLE
        if several and self._unit and self._least < 0.5 <= self._most:
            return SIDES
        return NUMBERS

    @property
    def scores(self) -> Scores:
        """The likeness of each sample's answers (samples,), from 0 to 1; of numbers 1 less the relative error."""
        kind = CLASS if self.by == CLASSES else self.by
        if self._binary or self._kind == SIDES:
            kind = SIDES if self._unit else _SIGNS
        parts = np.concatenate(self._parts[kind]) if self._parts[kind] else np.zeros(0)
        if kind != NUMBERS:
            return parts
        scale = self._scale()
        errors = np.sqrt(parts / scale) if scale > 0 else (parts > 0).astype(np.float64)
        return np.asarray(1 - np.nan_to_num(np.clip(errors, 0, 1), nan=1.0))

    def recorded(self, row: Measurement) -> Measurement:
        """Return a row of results with how alike the answers are."""
        error = self.error if self.by == NUMBERS else None
        return replace(row, agreement=self.share, agreement_by=self.by, relative_error=error)

    @property
    def share(self) -> float | None:
        """The share that is equal; None of numbers, which have only an `error`."""
        return float(self.scores.mean()) if self.samples and self.by != NUMBERS else None

    @property
    def error(self) -> float:
        """The relative error. Infinite where an answer is not finite. Without a spread the size is taken."""
        if not self._finite:
            return float("inf")
        if not self.samples:
            return 0.0
        mean, scale = float(np.concatenate(self._parts[NUMBERS]).mean()), self._scale()
        return float((mean / scale) ** 0.5) if scale > 0 else float(mean > 0)

    def _scale(self) -> float:
        count = self.samples
        spread = float(np.mean(self._squares / count - (self._sum / count) ** 2))
        size = float(np.mean(self._squares / count))
        return spread if spread > 1e-9 * size else size
