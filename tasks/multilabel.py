"""Multi-label classification: any number of tags is right. The answer is a sigmoid or a logit for each tag."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sanitize import shorten
from .agreement import SIDES, Agreement
from .bootstrap import Floats, mean_of_known
from .by_parts import ByParts, beside
from .class_names import name_of
from .classification import threshold
from .quality import Quality

_NAMED = 8  # tags of a sample


class MeanAveragePrecision(Quality):
    """Average precision, the mean over the tags."""

    name = full_name = "mAP"
    title = "Mean average precision"
    best = f"the best in {name}"
    definition = (
        "the mean over tags of average precision on {samples} (the sum over thresholds of precision times gained "
        "recall, without interpolation), with a 95 % interval by bootstrap over samples"
    )


class Multilabel(ByParts):
    """Samples of any number of tags. The metric is the macro mean of average precision over tags that occur."""

    name = "multilabel"
    noun = "Tagger"
    metric = MeanAveragePrecision.name
    figure = MeanAveragePrecision
    needs = "y of shape (samples, tags), 1 where a sample has the tag and 0 where not"
    scores_only = "a value for each tag"

    @classmethod
    def recognizes(cls, targets: NDArray[Any]) -> bool:
        """Return whether they are 0 or 1 for several tags. Where each row has exactly one 1, they may be classes."""
        if targets.ndim != 2 or targets.shape[1] < 2 or targets.dtype.kind == "U":
            return False
        return bool(np.isin(targets, (0, 1)).all() and (targets.sum(axis=1) != 1).any())

    @classmethod
    def check(cls, targets: NDArray[Any], shape: Sequence[int]) -> NDArray[np.uint8]:
        """Return targets (N, tags) uint8. Raises InputError for what is no 0 or 1 for each value of the answer."""
        if targets.ndim != 2 or not np.isin(targets, (0, 1)).all():
            raise InputError(f"y has the shape {targets.shape} of {targets.dtype}, not 0 or 1 for each tag", cls.needs)
        if shape and targets.shape[1] != (values := prod(shape)):
            raise InputError(
                f"y has {targets.shape[1]} tags, and the model answers with {values:,} values",
                "give a column for each value of the output, in its order",
            )
        if not targets.any():
            raise InputError("no sample of y has any tag", cls.needs)
        return targets.astype(np.uint8)

    @classmethod
    def renumbered(cls, targets: NDArray[Any], numbers: Sequence[int], count: int) -> NDArray[Any]:
        """Return a column for each of the file's tags."""
        columns = np.zeros((len(targets), count), targets.dtype)
        columns[:, numbers] = targets
        return columns

    @classmethod
    def having(cls, targets: NDArray[Any], number: int) -> NDArray[np.bool_]:
        """Return which samples have the tag."""
        return np.asarray(targets[:, number] > 0)

    def counted(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return each sample's answers and targets (samples, 2, tags)."""
        return beside(answers, targets)

    def right(self, target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return the names of the tags."""
        return _named(np.flatnonzero(target), labels)

    def given(self, answer: NDArray[Any], target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return the names of the tags from one half on (of logits 0)."""
        return _named(np.flatnonzero(answer >= threshold(answer)), labels)

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts the tags that both give, or both do not."""
        return Agreement(shape, kind=SIDES)

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return the F1 of each sample's tags (samples,); 1 where it has none and none is given."""
        right, given, tagged = _decided(parts)
        both: Floats = given.sum(axis=1) + tagged.sum(axis=1)
        return np.divide(2.0 * right.sum(axis=1), both, out=np.ones(len(parts)), where=both > 0)

    @staticmethod
    def value(parts: NDArray[Any], weights: Floats) -> Floats:
        """Return the mean of average precision over tags (Everingham et al. 2010, without interpolation).

        A tag's average precision is the sum over thresholds of precision times the gain of recall. A draw without any
        tag has none (NaN).
        """
        occur = [tag for tag in range(parts.shape[2]) if parts[:, 1, tag].any()]
        each = np.array([_average_precision(parts[:, 0, tag], parts[:, 1, tag], weights) for tag in occur])
        return mean_of_known(each.reshape(len(occur), len(weights)), axis=0)

    def figures(self, parts: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
        """Return the F1 of each tag and over all decisions, at one half (of logits 0)."""
        each, given, tagged = _decided(parts)
        right, either = each.sum(axis=0), given.sum(axis=0) + tagged.sum(axis=0)
        figures = {"F1 (micro)": _ratio(2 * right.sum(), either.sum())}
        for tag in range(len(right)):
            figures[f"F1 {name_of(tag, labels)}"] = _ratio(2 * right[tag], either[tag])
        return figures


def _named(tags: NDArray[Any], labels: Sequence[str]) -> str:
    names = [shorten(name_of(tag, labels), 40) for tag in tags[:_NAMED].tolist()]
    more = f" and {len(tags) - _NAMED} more" if len(tags) > _NAMED else ""
    return ", ".join(names) + more if names else "no tag"


def _decided(parts: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which tags (samples, tags) are given rightly, which are given, and which are there."""
    given, tagged = parts[:, 0] >= threshold(parts[:, 0]), parts[:, 1] > 0
    return given & tagged, given, tagged


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else 0.0


def _average_precision(scores: Floats, tagged: Floats, weights: Floats) -> Floats:
    """Return a tag's average precision for each draw; NaN for draws without it."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # equal values are one threshold
    weights = weights[:, order]
    right = np.cumsum(weights * tagged[order], axis=1)[:, ends]
    given = np.cumsum(weights, axis=1)[:, ends]
    total = right[:, -1:]
    precision = np.divide(right, given, out=np.zeros_like(right), where=given > 0)
    area: Floats = (np.diff(right, axis=1, prepend=0) * precision).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        average: Floats = area / total[:, 0]
    return average
