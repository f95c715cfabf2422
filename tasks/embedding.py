"""Embeddings: samples of one class are to lie near each other. The answer is a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.measurement import Measurement
from ..core.statistics import CONFIDENCE, paired_loss, wilson
from .agreement import NUMBERS, Agreement
from .bootstrap import Floats
from .by_parts import ByParts
from .quality import Quality
from .task import Estimate, Scored

_ROWS = 1 << 24  # similarities that are held at once
_SAME = 1e-6  # cosines that differ by less are the same


class RecallAtOne(Quality):
    """The share of samples whose nearest other sample is of their class."""

    name = full_name = "recall@1"
    title = "Recall@1"
    best = f"the best in {name}"
    definition = (
        "of {samples} the share, among those of whose class there is another, whose nearest other sample by cosine is "
        "of the same class, with a 95 % Wilson interval (of what is searched for, not of what is searched in)"
    )
    paired = "Bonett and Price 2012; of ties the normal interval"


class Embedding(ByParts):
    """Samples of one class each, whose answers are vectors. The metric is recall@1: all other samples are searched."""

    name = "embedding"
    noun = "Embedder"
    metric = RecallAtOne.name
    figure = RecallAtOne
    needs = "y of shape (samples,): the class of each sample, by number or name; two samples of a class at least"
    of_classes = True
    scores_only = "vectors of two values or more that are not 0"

    @classmethod
    def recognizes(cls, targets: NDArray[Any]) -> bool:
        """Return that they do not tell: classes are those of a classifier unless the task is named."""
        return False

    @classmethod
    def check(cls, targets: NDArray[Any], shape: Sequence[int]) -> NDArray[np.int64]:
        """Return targets (N,) int64. Raises InputError for what are no classes, or none with two samples."""
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim != 1 or targets.dtype.kind not in "biuU":
            raise InputError(
                f"y has the shape {targets.shape} of {targets.dtype}, and is no list of classes", cls.needs
            )
        _, classes, counts = np.unique(targets, return_inverse=True, return_counts=True)
        if counts.max(initial=0) < 2:
            raise InputError("no two samples of y are of one class: there is nothing to find", cls.needs)
        if shape and prod(shape) < 2:
            raise InputError(f"the model answers {tuple(shape)}, one value, and no vector", cls.scores_only)
        return np.asarray(classes, np.int64)

    def counted(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return (samples, 3, 1): found first, found among five, and whether there is another of the class.

        Where several are equally near, the share of them that is of the class.
        """
        if len(answers) != len(targets) or answers.ndim != 2 or answers.shape[1] < 2:
            return None
        vectors = answers.astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (lengths > 0).all():
            return None
        vectors /= lengths
        parts = np.zeros((len(answers), 3, 1))
        step = max(1, _ROWS // len(answers))
        for start in range(0, len(answers), step):
            block = slice(start, min(start + step, len(answers)))
            cosines = vectors[block] @ vectors.T
            rows = np.arange(block.stop - start)
            cosines[rows, start + rows] = -np.inf
            of_class = targets[block, None] == targets[None]
            of_class[rows, start + rows] = False
            nearest = cosines >= cosines.max(axis=1, keepdims=True) - _SAME
            parts[block, 0, 0] = (nearest & of_class).sum(axis=1) / nearest.sum(axis=1)
            five = np.argpartition(-cosines, min(5, len(answers) - 1) - 1, axis=1)[:, :5]
            parts[block, 1, 0] = np.take_along_axis(of_class, five, axis=1).any(axis=1)
            parts[block, 2, 0] = of_class.any(axis=1)
        parts[:, :2] *= parts[:, 2:]
        return parts

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what measures the relative error of the vectors' values."""
        return Agreement(shape, kind=NUMBERS)

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return whether each sample's nearest is of its class (samples,); 1 where there is no other of it."""
        return np.where(parts[:, 2, 0] > 0, parts[:, 0, 0], 1.0)

    def estimate(self, parts: NDArray[Any]) -> Estimate:
        """Return recall@1 with its Wilson interval, as of any share of samples."""
        asked = int(parts[:, 2, 0].sum())
        return Estimate(self.value_of(parts), *wilson(float(parts[:, 0, 0].sum()), asked))

    def drop(
        self,
        reference: NDArray[Any],
        parts: NDArray[Any],
        *,
        identical: bool = False,
        confidence: float = CONFIDENCE,
    ) -> Estimate:
        """Return the drop with its paired interval (`statistics.paired_loss`)."""
        if identical:
            return Estimate(0.0, 0.0, 0.0)
        if len(reference) != len(parts):
            raise ValueError(f"{len(reference)} and {len(parts)} samples: the drop is of the same ones")
        asked = parts[:, 2, 0] > 0
        return Estimate(*paired_loss(reference[asked, 0, 0], parts[asked, 0, 0], confidence))

    @staticmethod
    def value(parts: NDArray[Any], weights: Floats) -> Floats:
        """Return recall@1."""
        return _recall(parts[:, 0, 0], parts[:, 2, 0], weights)

    def figures(self, parts: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
        """Return recall@5."""
        return {"recall@5": float(_recall(parts[:, 1, 0], parts[:, 2, 0], np.ones((1, len(parts))))[0])}

    def detailed(self, row: Measurement, scored: Scored) -> Measurement:
        """Return a row with recall@5, and how near the answers are to the float model's: mean and lowest cosine."""
        metrics = self.figures(scored.parts, scored.labels)
        if scored.reference is not None:
            ours, exact = (one.astype(np.float64) for one in (scored.answers, scored.reference))
            lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(exact, axis=1)
            cosines = np.divide((ours * exact).sum(axis=1), lengths, out=np.zeros(len(ours)), where=lengths > 0)
            metrics |= {"cosine to the float model": float(cosines.mean()), "lowest cosine": float(cosines.min())}
        return replace(row, metrics=metrics, examples=self.examples(scored))


def _recall(found: Floats, there: Floats, weights: Floats) -> Floats:
    asked = weights @ there
    return np.divide(weights @ found, asked, out=np.full(len(weights), np.nan), where=asked > 0)
