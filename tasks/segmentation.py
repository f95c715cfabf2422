"""Semantic segmentation: a class for each pixel. The answer is a map of values by class, of sigmoids, or of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.formatting import percent
from ..core.sanitize import shorten
from .agreement import CLASSES, Agreement
from .bootstrap import Floats, mean_of_known
from .by_parts import ByParts
from .class_names import name_of
from .classification import threshold
from .drawing import palette
from .quality import Quality

# The number of a pixel that is not judged, as Pascal VOC and Cityscapes have it.
VOID = 255


_NAMED = 4  # classes of a sample


class MeanIoU(Quality):
    """Intersection over union, the mean over the classes."""

    name = full_name = "mean IoU"
    title = "Mean IoU"
    best = f"the best in {name}"
    definition = (
        "the mean over classes of intersection over union, both counted in the pixels of all {samples}, with a 95 % "
        "interval by bootstrap over samples"
    )


class Segmentation(ByParts):
    """Pixels of one class each. The metric is the mean IoU of the classes that occur in targets or answers."""

    name = "segmentation"
    noun = "Segmenter"
    metric = MeanIoU.name
    figure = MeanIoU
    needs = f"y of shape (samples, height, width), the number of each pixel's class; {VOID}: not judged"
    scores_only = "values by class, one sigmoid or logit (of two classes), or the class number, of each pixel"

    @classmethod
    def recognizes(cls, targets: NDArray[Any]) -> bool:
        """Return whether they are maps."""
        return targets.ndim in (3, 4) and targets.dtype.kind != "U"

    @classmethod
    def check(cls, targets: NDArray[Any], shape: Sequence[int]) -> NDArray[np.uint8]:
        """Return targets (N, height, width) uint8. Raises InputError for what is no map of class numbers.

        An answer is (height, width, values) or (height, width), of the same height and width.
        """
        if targets.ndim == 4 and targets.shape[3] == 1:
            targets = targets[..., 0]
        if targets.ndim != 3 or targets.dtype.kind not in "biu" or targets.min() < 0 or targets.max() > VOID:
            raise InputError(f"y has the shape {targets.shape} of {targets.dtype}, and is no map of classes", cls.needs)
        if (targets == VOID).all():
            raise InputError(f"every pixel of y is {VOID}, which is not judged", cls.needs)
        if not shape:
            return targets.astype(np.uint8)
        size, values = targets.shape[1:], shape[2] if len(shape) == 3 else 1
        if len(shape) == 3 and tuple(shape[1:]) == size != tuple(shape[:2]):
            raise InputError(
                f"the model answers {tuple(shape)}, with the classes before the pixels",
                "add a transpose to (height, width, classes) behind its output",
            )
        if len(shape) not in (2, 3) or tuple(shape[:2]) != size:
            raise InputError(
                f"y has maps of {size[0]} × {size[1]} pixels, and the model answers {tuple(shape)}",
                "resize the maps to the answer's height and width (nearest neighbour: numbers of classes have no mean)",
            )
        most = int(targets[targets != VOID].max())
        if values > 1 and most >= values:
            raise InputError(f"y has the class number {most}, and the model tells {values} apart", cls.needs)
        return targets.astype(np.uint8)

    @classmethod
    def renumbered(cls, targets: NDArray[Any], numbers: Sequence[int], count: int) -> NDArray[Any]:
        """Return maps of the file's classes; what is not judged stays so."""
        table = np.full(VOID + 1, VOID, np.uint8)
        table[: len(numbers)] = numbers
        renumbered: NDArray[Any] = table[targets]
        return renumbered

    @classmethod
    def having(cls, targets: NDArray[Any], number: int) -> NDArray[np.bool_]:
        """Return in which maps the class occurs."""
        return np.asarray((targets == number).reshape(len(targets), -1).any(axis=1))

    def counted(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return each sample's pixels by class (samples, 3, classes): in both, in the answer, in the target."""
        pixels = int(np.prod(targets.shape[1:]))
        values = answers[0].size // pixels if len(answers) else 0
        if len(answers) != len(targets) or not values or answers[0].size != values * pixels:
            return None
        least = threshold(answers) if values == 1 and not _whole(answers) else None
        judged = targets[targets != VOID]
        if least is not None and judged.max() > 1:
            return None  # a sigmoid tells two classes apart
        classes = max(2, values, int(judged.max()) + 1, int(answers.max()) + 1 if least is None and values == 1 else 0)
        parts = np.zeros((len(answers), 3, classes), np.int64)
        for sample, (answer, target) in enumerate(zip(answers, targets.reshape(len(targets), -1), strict=True)):
            known = target != VOID
            chosen, right = _chosen(answer.reshape(pixels, values), least)[known], target[known].astype(np.int64)
            for row, of in enumerate((right[chosen == right], chosen, right)):
                parts[sample, row] = np.bincount(of, minlength=classes)
        return parts

    def right(self, target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return the classes that have most pixels, with their shares of the judged ones."""
        return _largest(target[target != VOID].astype(np.int64), labels)

    def given(self, answer: NDArray[Any], target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return the same of the answer."""
        return _largest(_map_of(answer, target)[target != VOID], labels)

    def drawn(
        self, picture: NDArray[np.uint8] | None, answer: NDArray[Any] | None, target: NDArray[Any]
    ) -> NDArray[np.uint8] | None:
        """Return the map in colours, over the picture where there is one; pixels that are not judged are dark."""
        chosen = target.astype(np.int64) if answer is None else _map_of(answer, target)
        colours = palette(chosen)
        colours[target == VOID] = 40
        if picture is None:
            return colours
        rows, columns = (np.arange(picture.shape[axis]) * target.shape[axis] // picture.shape[axis] for axis in (0, 1))
        over = colours[rows[:, None], columns[None]]
        return np.asarray(0.4 * picture + 0.6 * over, np.uint8)

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts the pixels of the same class; of one value a pixel what the answers show it to be."""
        several = len(shape) > 2 and shape[-1] > 1
        return Agreement(shape, self.classes, CLASSES if several else "")

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return the share of each sample's judged pixels that are right (samples,); 1 where none is judged."""
        right, judged = parts[:, 0].sum(axis=1), parts[:, 2].sum(axis=1)
        return np.divide(right, judged, out=np.ones(len(parts)), where=judged > 0)

    @staticmethod
    def value(parts: NDArray[Any], weights: Floats) -> Floats:
        """Return the mean over classes of IoU, its two parts summed over samples (Everingham et al. 2010)."""
        return mean_of_known(_iou(parts, weights), axis=1)

    def figures(self, parts: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
        """Return the share of pixels that are right, and the IoU of each class."""
        right, _, there = parts.sum(axis=0)
        figures = {"pixel accuracy": float(right.sum() / there.sum())} if there.sum() else {}
        for number, iou in enumerate(_iou(parts, np.ones((1, len(parts))))[0]):
            if np.isfinite(iou):
                figures[f"IoU {name_of(number, labels)}"] = float(iou)
        return figures


def _chosen(given: NDArray[Any], least: float | None) -> NDArray[np.int64]:
    """Return the class of each pixel (pixels,) of an answer (pixels, values); of sigmoids a yes begins at `least`."""
    if given.shape[1] > 1:
        return np.asarray(given.argmax(axis=1), np.int64)
    return np.asarray(given[:, 0] if least is None else given[:, 0] >= least, np.int64)


def _map_of(answer: NDArray[Any], target: NDArray[Any]) -> NDArray[np.int64]:
    """Return the classes (height, width) that one answer (values,) gives."""
    given = np.asarray(answer).reshape(target.size, -1)
    least = threshold(given) if given.shape[1] == 1 and not _whole(given) else None
    return _chosen(given, least).reshape(target.shape)


def _largest(classes: NDArray[np.int64], labels: Sequence[str]) -> str:
    if not classes.size:
        return ""
    counts = np.bincount(classes)
    most = np.argsort(-counts, kind="stable")[:_NAMED]
    named = (name_of(number, labels) if number < len(labels) else f"class {number}" for number in most.tolist())
    shares = (counts[most] / classes.size).tolist()
    return ", ".join(f"{shorten(name, 40)} {percent(of)}" for name, of in zip(named, shares, strict=True) if of)


def _whole(answers: NDArray[Any]) -> bool:
    """Whether a map of one value a pixel holds class numbers: the graph has chosen them itself."""
    return bool((answers == np.rint(answers)).all() and answers.min() >= 0 and answers.max() < VOID)


def _iou(parts: NDArray[Any], weights: Floats) -> Floats:
    """Return the IoU (draws, classes); NaN of a class that is nowhere."""
    summed = np.einsum("ds,spc->dpc", weights, parts.astype(np.float64), optimize=True)
    union = summed[:, 1] + summed[:, 2] - summed[:, 0]
    return np.divide(summed[:, 0], union, out=np.full(union.shape, np.nan), where=union > 0)
