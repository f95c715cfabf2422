"""Object detection: boxes with a class each. Answers are boxes with a score, as `boxes` reads them from outputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import PreparedData
from ..core.errors import InputError
from ..core.sanitize import shorten
from . import bootstrap
from .agreement import BOXES, Agreement, Scores
from .average_precision import MOST, THRESHOLDS, average_precision, iou, matched
from .bootstrap import Floats
from .boxes import VALUES
from .by_parts import ByParts
from .class_names import name_of
from .drawing import palette
from .quality import Quality
from .task import Estimate

# Boxes of at least this score are compared with the float model's: what apps show starts between 0.25 and 0.5.
SHOWN = 0.25
# The columns of kept targets: the corners as shares of the picture that the model sees, the class (-1: no box), crowd.
COLUMNS = 6
_CLASS, _CROWD = 4, 5
# The rows of a picture's parts, for each of its detections and, behind these, for each class of its boxes.
_KIND, _OF, _VALUE, _HITS, _CROWDS = range(5)
_DETECTION, _BOXES = 1, 2


_NAMED = 4  # classes of a sample


class CocoMeanAveragePrecision(Quality):
    """Average precision over IoU thresholds, the mean over classes."""

    name = full_name = "COCO mAP"
    title = "COCO mean average precision"
    best = f"the best in {name}"
    definition = (
        "mAP@[.50:.95] of COCO on {samples}: average precision at 101 recalls, the mean over ten thresholds of "
        "intersection over union and over the classes that occur, with a 95 % interval by bootstrap over samples"
    )


class Detection(ByParts):
    """Pictures of any number of boxes. The metric is mAP@[.50:.95] as pycocotools computes it."""

    name = "detection"
    noun = "Detector"
    metric = CocoMeanAveragePrecision.name
    figure = CocoMeanAveragePrecision
    needs = (
        "y of shape (samples, boxes, 5 or 6): x1, y1, x2, y2 in pixels of x (or all as shares from 0 to 1), the class "
        "number from 0, and 1 for a crowd; rows of class -1 fill up"
    )
    scores_only = "boxes with a class and a score"

    @classmethod
    def recognizes(cls, targets: NDArray[Any]) -> bool:
        """Return whether they are rows of five or six floats; maps of classes are whole numbers."""
        return targets.ndim == 3 and targets.shape[2] in (5, 6) and targets.dtype.kind == "f"

    @classmethod
    def check(cls, targets: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float64]:
        """Return targets (N, boxes, 6) float64, as `placed` returned them. Raises InputError if there is no box."""
        if targets.ndim != 3 or targets.shape[2] != COLUMNS:
            raise InputError(f"y has the shape {targets.shape} of {targets.dtype}, and is no list of boxes", cls.needs)
        if not ((targets[..., _CLASS] >= 0) & (targets[..., _CROWD] == 0)).any():
            raise InputError("no sample of y has any box that is judged", cls.needs)
        return targets.astype(np.float64)

    def targets(self, data: PreparedData, split: str) -> NDArray[Any] | None:
        """Return each sample's boxes (samples, boxes, 6); None where the data have none."""
        if not data.targets(split).is_file():
            return None
        found = super().targets(data, split)
        return found if found is not None and found.ndim == 3 else None

    def counted(self, answers: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return each sample's parts (samples, 5, detections and classes); None for answers that are no boxes.

        The rows are the kind (0: nothing, 1: a detection, 2: the boxes of a class), the class, the score (or how many
        boxes), and the bits of `average_precision.matched`.
        """
        if len(answers) != len(targets) or answers[0].size % VALUES:
            return None
        samples = [
            _columns(given, there)
            for given, there in zip(answers.reshape(len(answers), -1, VALUES), targets, strict=True)
        ]
        parts = np.zeros((len(samples), 5, max(1, *(one.shape[1] for one in samples), 1)))
        for part, one in zip(parts, samples, strict=True):
            part[:, : one.shape[1]] = one
        return parts

    def right(self, target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return how many boxes of which classes there are."""
        return _counted(target[(target[:, _CLASS] >= 0) & (target[:, _CROWD] == 0)][:, _CLASS], labels)

    def given(self, answer: NDArray[Any], target: NDArray[Any], labels: Sequence[str]) -> str:
        """Return how many boxes of which classes have a score that apps show."""
        boxes = answer.reshape(-1, VALUES)
        return _counted(boxes[boxes[:, 4] >= SHOWN][:, 5], labels)

    def drawn(
        self, picture: NDArray[np.uint8] | None, answer: NDArray[Any] | None, target: NDArray[Any]
    ) -> NDArray[np.uint8] | None:
        """Return the picture with the boxes, in a colour for each class; of answers those that apps show."""
        from PIL import Image, ImageDraw

        if picture is None:
            return None
        if answer is None:
            boxes, classes = target[target[:, _CLASS] >= 0][:, :4], target[target[:, _CLASS] >= 0][:, _CLASS]
        else:
            shown = answer.reshape(-1, VALUES)
            shown = shown[shown[:, 4] >= SHOWN]
            boxes, classes = shown[:, :4], shown[:, 5]
        paper = Image.fromarray(picture)
        # What is far outside is cut: Pillow would draw each of its pixels.
        ends = np.clip(boxes, -1, 2) * np.tile([paper.width - 1, paper.height - 1], 2)
        for box, colour in zip(ends.tolist(), palette(classes.astype(np.int64)).tolist(), strict=True):
            wide = max(1, max(paper.size) // 80)
            ImageDraw.Draw(paper).rectangle(box, outline=tuple(colour), width=wide)
        return np.asarray(paper)

    def scores(self, parts: NDArray[Any]) -> NDArray[Any]:
        """Return the COCO mAP of each picture alone (samples,); where it has no box, 1 less the highest score."""
        found = np.zeros(len(parts))
        for sample, part in enumerate(parts):
            if ((part[_KIND] == _BOXES) & (part[_VALUE] > 0)).any():
                found[sample] = self.value(part[None], np.ones((1, 1)))[0]
            else:
                given = part[_VALUE][part[_KIND] == _DETECTION]
                found[sample] = 1 - min(1.0, float(given.max(initial=0)))
        return found

    @staticmethod
    def value(parts: NDArray[Any], weights: Floats) -> Floats:
        """Return average precision, the mean over classes that occur and over ten IoU thresholds (Lin et al. 2014)."""
        _, each = _each(parts, weights)
        of_class = each.mean(axis=2)
        counted = np.isfinite(of_class).sum(axis=1)
        return np.divide(np.nansum(of_class, axis=1), counted, out=np.full(len(weights), np.nan), where=counted > 0)

    def figures(self, parts: NDArray[Any], labels: Sequence[str]) -> dict[str, float]:
        """Return mAP at an IoU of .50 and of .75, and the AP@[.50:.95] of each class."""
        classes, each = _each(parts, np.ones((1, len(parts))))
        figures = {f"mAP@{THRESHOLDS[at]:.2f}".replace("0.", "."): float(each[0, :, at].mean()) for at in (0, 5)}
        for number, found in zip(classes, each[0], strict=True):
            name = name_of(int(number), labels)
            figures[f"AP {name}"] = float(found.mean())
        return figures

    def estimate(self, parts: NDArray[Any]) -> Estimate:
        """Return the metric with its basic bootstrap interval (Davison and Hinkley 1997, section 5.2).

        A draw has pictures twice, which raises average precision: percentiles of draws lie too high, above the figure
        itself for weak detectors. The basic interval takes as much below it as draws are above it.
        """
        value = self.value_of(parts)
        low, high = bootstrap.interval(self.value, parts)
        if not np.isfinite(low + high):
            return Estimate(value, low, high)
        return Estimate(value, min(value, max(0.0, 2 * value - high)), max(value, min(1.0, 2 * value - low)))

    def value_of(self, parts: NDArray[Any]) -> float:
        """Return the metric alone. Raises ValueError for parts of another task."""
        if parts.ndim == 3 and parts.shape[1] != 5:
            raise ValueError(f"the parts of {self.metric} have five rows")
        return super().value_of(parts)

    @classmethod
    def having(cls, targets: NDArray[Any], number: int) -> NDArray[np.bool_]:
        """Return which pictures have a box of the class."""
        return np.asarray((targets[..., _CLASS] == number).any(axis=1))

    def agreement(self, shape: Sequence[int]) -> Agreement:
        """Return what counts boxes that both files have."""
        return Agreement(shape) if prod(shape) % VALUES else BoxAgreement(shape)

    def closeness(self, answers: NDArray[Any], reference: NDArray[Any]) -> Scores:
        """Return the share of boxes that both have (samples,)."""
        counted = self.agreement(answers.shape[1:])
        counted.add(reference, answers)
        return counted.scores


def _counted(classes: NDArray[Any], labels: Sequence[str]) -> str:
    """Return ``2 dog, 1 person``, the most frequent ones first."""
    numbers, counts = np.unique(classes.astype(np.int64), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    names = [
        f"{counts[k]} {shorten(labels[numbers[k]] if numbers[k] < len(labels) else f'of class {numbers[k]}', 40)}"
        for k in order[:_NAMED]
    ]
    return ", ".join(names) + (f" and {len(order) - _NAMED} other classes" if len(order) > _NAMED else "") or "no box"


class BoxAgreement(Agreement):
    """Adds up how many boxes two files' answers share: of one class, and of an IoU of at least one half.

    Boxes of a score of at least `SHOWN` count, of either file. Sharing is one to one, the highest scores first.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self._shares: list[Scores] = []

    def add(self, reference: NDArray[Any], compared: NDArray[Any]) -> None:
        """Take answers (n, values) of the float file and of the other, as `boxes` reads them."""
        rows = [np.asarray(one).reshape(len(one), -1, VALUES) for one in (reference, compared)]
        self._shares.append(np.array([_shared(own, other) for own, other in zip(*rows, strict=True)], np.float64))

    @property
    def samples(self) -> int:
        """How many answers were compared."""
        return sum(map(len, self._shares))

    @property
    def by(self) -> str:
        """Boxes are counted."""
        return BOXES

    @property
    def error(self) -> float:
        """The share that is not equal."""
        return 1 - float(self.scores.mean()) if self.samples else 0.0

    @property
    def scores(self) -> Scores:
        """The share of each sample's boxes that both files have (samples,); 1 where neither has any."""
        return np.concatenate(self._shares) if self._shares else np.zeros(0)


def placed(targets: NDArray[Any], size: tuple[int, int], resize: str) -> NDArray[np.float64]:
    """Return boxes (N, boxes, 8) of pictures as shares of what the model sees of them (N, boxes, 6).

    The given columns are the corners in pixels, the class, crowd, and the picture's width and height. The model takes
    `size` (height, width). Pictures are stretched, padded (``pad``) or cut to their centre (``crop``): what a cut
    leaves of a box is its box, and a box of which it leaves nothing is none.
    """
    height, width = size
    source = np.where(targets[..., 6:8] > 0, targets[..., 6:8], 1.0)
    corners = targets[..., :4].astype(np.float64)
    scale = np.array([width, height]) / source
    if resize == "pad":
        scale = np.broadcast_to(scale.min(axis=-1, keepdims=True), scale.shape)
    elif resize == "crop":
        scale = np.broadcast_to(scale.max(axis=-1, keepdims=True), scale.shape)
    offset = (np.array([width, height]) - source * scale) / 2
    seen = corners * np.tile(scale, 2) + np.tile(offset, 2)
    seen = np.clip(seen / np.array([width, height, width, height]), 0, 1)
    kept: Floats = np.concatenate([seen, targets[..., 4:6]], axis=-1)
    gone = (seen[..., 2] <= seen[..., 0]) | (seen[..., 3] <= seen[..., 1]) | (targets[..., _CLASS] < 0)
    kept[gone] = (0, 0, 0, 0, -1, 0)
    return kept


def _columns(given: NDArray[Any], there: NDArray[Any]) -> Floats:
    """Return one picture's columns of parts (5, …), from detections (n, 6) and boxes (m, 6)."""
    given = given[(given[:, 4] > 0) & (given[:, 2] > given[:, 0]) & (given[:, 3] > given[:, 1])].astype(np.float64)
    there = there[there[:, _CLASS] >= 0]
    columns = []
    for number in np.union1d(given[:, 5], there[:, _CLASS]):
        found = given[given[:, 5] == number]
        found = found[np.argsort(-found[:, 4], kind="stable")][:MOST]
        boxes = there[there[:, _CLASS] == number]
        crowd = boxes[:, _CROWD] > 0
        hits, crowds = matched(iou(found[:, :4], boxes[:, :4], crowd), crowd)
        columns += [(_DETECTION, number, *one) for one in zip(found[:, 4], hits, crowds, strict=True)]
        if len(boxes):
            columns.append((_BOXES, number, float((~crowd).sum()), 0, 0))
    return np.array(columns, np.float64).reshape(-1, 5).T


def _each(parts: NDArray[Any], weights: Floats) -> tuple[list[int], Floats]:
    """Return the classes that occur, and their average precision (draws, classes, thresholds)."""
    kind, of, value, hits, crowds = (np.asarray(parts[:, row]) for row in range(5))
    there = (kind == _BOXES) & (value > 0)
    classes = np.unique(of[there])
    found = np.full((len(weights), len(classes), len(THRESHOLDS)), np.nan)
    for at, number in enumerate(classes):
        sample, entry = np.nonzero(there & (of == number))
        total = weights[:, sample] @ value[sample, entry]
        sample, entry = np.nonzero((kind == _DETECTION) & (of == number))
        order = np.argsort(-value[sample, entry], kind="stable")
        sample, entry = sample[order], entry[order]
        own, many = (one[sample, entry].astype(np.int64) for one in (hits, crowds))
        found[:, at] = average_precision(weights, own, many, sample, total)
    return [int(number) for number in classes], found


def _shared(own: NDArray[Any], other: NDArray[Any]) -> float:
    own, other = (one[one[:, 4] >= SHOWN] for one in (own, other))
    if not len(own) and not len(other):
        return 1.0
    both = 0
    for number in np.intersect1d(own[:, 5], other[:, 5]):
        mine, theirs = (one[one[:, 5] == number].astype(np.float64) for one in (own, other))
        mine = mine[np.argsort(-mine[:, 4], kind="stable")]
        hits, _ = matched(iou(mine[:, :4], theirs[:, :4]), np.zeros(len(theirs), bool))
        both += int((hits & 1).sum())
    return 2 * both / (len(own) + len(other))
