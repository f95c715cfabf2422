"""A classifier's answers class by class, beside the float model's on the same samples.

Each class is compared with the float model in its recall and its precision. These are many tests on one file, so their
p values are corrected together (Holm). A class is said to be hurt where its corrected p is below `LEVEL`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.class_figures import ClassFigures, ClassRow, ClassShare, Confused, Disagreement, TopFive
from ..core.statistics import CONFIDENCE, holm, mcnemar, paired_drop, wilson
from ..core.statistics_precision import Given, paired_precision
from .confidence import calibration, confidences

LEVEL = 1 - CONFIDENCE
# Up to so many classes a confusion matrix is readable; of more, the most confused pairs and top-5 are shown.
FEW_CLASSES = 20
ROWS = 200
PAIRS = 12
DISAGREEMENTS = 24
_TOP = 5

Classes = NDArray[np.int64]
Side = Literal["recall", "precision"]


@dataclass(frozen=True)
class Hurt:
    """A class of which quantization lowers the recall or the precision beyond chance."""

    row: ClassRow
    side: Side
    share: ClassShare


def class_figures(
    answers: NDArray[Any],
    targets: Classes,
    labels: Sequence[str],
    reference: NDArray[Any] | None = None,
    disagreements: int = DISAGREEMENTS,
) -> ClassFigures:
    """Return the figures of `answers` (samples, classes) with the right classes `targets` (samples,).

    `reference` are the float model's answers to the same samples; the very same answers drop by exactly 0. At most so
    many `disagreements` are listed, those of which the less sure of the two is surest.
    """
    same = reference is not None and np.array_equal(answers, reference)
    given = answers.argmax(axis=-1)
    exact = reference.argmax(axis=-1) if reference is not None else None
    sure = confidences(answers)
    rows = _corrected([_row(n, label, targets, given, exact, same) for n, label in enumerate(labels)])
    figures = ClassFigures(
        classes=len(labels),
        rows=_most_relevant(rows),
        confusion=_matrix(targets, given, len(labels)) if len(labels) <= FEW_CLASSES else (),
        confused=tuple(_confused(targets, given, exact, labels)),
        top_five=_top_five(answers, targets, reference, same) if len(labels) > FEW_CLASSES else None,
        calibration=calibration(sure, given == targets),
    )
    if reference is None or exact is None:
        return figures
    differ = np.flatnonzero(given != exact)
    sure_both = np.minimum(sure[differ], (theirs := confidences(reference))[differ])
    surest = differ[np.argsort(-sure_both, kind="stable")[:disagreements]]
    shown = tuple(
        Disagreement(
            int(i), labels[targets[i]], labels[exact[i]], float(theirs[i]), labels[given[i]], float(sure[i])
        )
        for i in surest
    )  # fmt: skip
    return replace(figures, disagreed=len(differ), disagreements=shown)


def hurt_classes(figures: ClassFigures) -> list[Hurt]:
    """Return the classes whose recall or precision drops beyond chance, the largest drop first."""
    hurt = [
        Hurt(row, side, share)
        for row in figures.rows
        for side, share in _sides(row)
        if share.drop is not None and share.drop > 0 and share.p_holm is not None and share.p_holm < LEVEL
    ]
    return sorted(hurt, key=lambda one: -(one.share.drop or 0.0))


def recall_drop(row: ClassRow, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return the drop of a class's recall with its paired interval at any `confidence`. It must have samples."""
    reference, other = np.zeros((2, row.samples), bool)
    reference[: row.lost] = True
    other[row.lost : row.lost + row.gained] = True
    return paired_drop(reference, other, confidence)


def _row(number: int, label: str, targets: Classes, given: Classes, exact: Classes | None, same: bool) -> ClassRow:
    own, mine = targets == number, given == number
    row = ClassRow(number, label, int(own.sum()), int(mine.sum()))
    right = int((own & mine).sum())
    recall = ClassShare(right / row.samples, *wilson(right, row.samples)) if row.samples else None
    precision = ClassShare(right / row.answered, *wilson(right, row.answered)) if row.answered else None
    if exact is None:
        return replace(row, recall=recall, precision=precision)
    if same:
        none = {"drop": 0.0, "drop_low": 0.0, "drop_high": 0.0, "p": 1.0}
        return replace(
            row,
            recall=replace(recall, **none) if recall else None,
            precision=replace(precision, **none) if precision else None,
        )
    theirs = exact == number
    before, after = theirs[own], mine[own]
    row = replace(row, lost=int((before & ~after).sum()), gained=int((~before & after).sum()))
    if recall is not None:
        drop, low, high = paired_drop(before, after)
        recall = replace(recall, drop=drop, drop_low=low, drop_high=high, p=mcnemar(before, after))
    if precision is not None and theirs.any():
        parts = (mine & theirs, theirs & ~mine, mine & ~theirs)
        overlap = [float((part & side).sum()) for part in parts for side in (own, ~own)]
        drop, low, high, p = paired_precision(Given(*overlap))
        precision = replace(precision, drop=drop, drop_low=low, drop_high=high, p=p)
    return replace(row, recall=recall, precision=precision)


def _sides(row: ClassRow) -> Iterator[tuple[Side, ClassShare]]:
    if row.recall is not None:
        yield "recall", row.recall
    if row.precision is not None:
        yield "precision", row.precision


def _corrected(rows: Sequence[ClassRow]) -> list[ClassRow]:
    """Return rows with the p values of all recalls and precisions corrected together."""
    tests = [(i, side, share) for i, row in enumerate(rows) for side, share in _sides(row) if share.p is not None]
    corrected = list(rows)
    for (i, side, share), p in zip(tests, holm([share.p or 0.0 for _, _, share in tests]), strict=True):
        with_p = replace(share, p_holm=p)
        corrected[i] = (
            replace(corrected[i], recall=with_p) if side == "recall" else replace(corrected[i], precision=with_p)
        )
    return corrected


def _most_relevant(rows: Sequence[ClassRow]) -> tuple[ClassRow, ...]:
    """Return all rows; of many those whose recall may have dropped most, or surely has, so that a budget can tell."""
    if len(rows) <= ROWS:
        return tuple(rows)
    tested = [(row, row.recall) for row in rows if row.recall is not None]
    by_high = sorted(tested, key=lambda one: -_known(one[1].drop_high, 1 - one[1].value))
    by_low = sorted(tested, key=lambda one: -_known(one[1].drop_low, 1 - one[1].value))
    chosen = {row.number for row, _ in (*by_high[: ROWS // 2], *by_low[: ROWS // 2])}
    return tuple(row for row in rows if row.number in chosen)


def _known(value: float | None, instead: float) -> float:
    return instead if value is None else value


def _counts(targets: Classes, given: Classes, classes: int) -> tuple[Classes, Classes, Classes]:
    """Return (class, answer, samples) of every pair that occurs."""
    pairs, counts = np.unique(targets * classes + given, return_counts=True)
    return pairs // classes, pairs % classes, counts


def _matrix(targets: Classes, given: Classes, classes: int) -> tuple[tuple[int, ...], ...]:
    matrix = np.zeros((classes, classes), np.int64)
    own, answers, counts = _counts(targets, given, classes)
    matrix[own, answers] = counts
    return tuple(tuple(row) for row in matrix.tolist())


def _confused(targets: Classes, given: Classes, exact: Classes | None, labels: Sequence[str]) -> Iterable[Confused]:
    """Yield the pairs of different classes that are mistaken most often."""
    own, answers, counts = _counts(targets, given, len(labels))
    mistaken = np.flatnonzero(own != answers)
    for i in mistaken[np.argsort(-counts[mistaken], kind="stable")[:PAIRS]]:
        before = int(((targets == own[i]) & (exact == answers[i])).sum()) if exact is not None else None
        yield Confused(labels[own[i]], labels[answers[i]], int(counts[i]), before)


def _top_five(answers: NDArray[Any], targets: Classes, reference: NDArray[Any] | None, same: bool) -> TopFive:
    right = _among_five(answers, targets)
    share = TopFive(float(right.mean()), *wilson(int(right.sum()), len(right)))
    if reference is None:
        return share
    if same:
        return replace(share, drop=0.0, drop_low=0.0, drop_high=0.0)
    drop, low, high = paired_drop(_among_five(reference, targets), right)
    return replace(share, drop=drop, drop_low=low, drop_high=high)


def _among_five(answers: NDArray[Any], targets: Classes) -> NDArray[np.bool_]:
    """Return whether fewer than five classes have a higher value than a sample's own (samples,) bool.

    Of equal values the lower position counts as higher, as in `argmax`.
    """
    own = np.take_along_axis(answers, targets[:, None], axis=-1)
    before = np.arange(answers.shape[-1])[None, :] < targets[:, None]
    ahead: NDArray[np.bool_] = ((answers > own) | ((answers == own) & before)).sum(axis=-1) < _TOP
    return ahead
