"""What a classifier's answers are class by class, and how sure they are: a part of a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from .bounds import Count, Drop, Share


@dataclass(frozen=True)
class ClassShare:
    """A recall or a precision with its 95 % Wilson interval, and the float model's minus it on the same samples.

    The interval of the drop is this class's alone. `p` is of the test that there is no drop; `p_holm` is p corrected
    for all recalls and precisions of the file (Holm). None where there is no float model to compare with.
    """

    value: Share
    low: Share
    high: Share
    drop: Drop | None = None
    drop_low: Drop | None = None
    drop_high: Drop | None = None
    p: Share | None = None
    p_holm: Share | None = None


@dataclass(frozen=True)
class ClassRow:
    """One class. `recall` is None without samples of it, `precision` where no sample was given this class."""

    number: Count
    """Position in the model's output."""
    label: str
    """Its name."""
    samples: Count
    """Samples of this class."""
    answered: Count
    """Samples that were given this class."""
    lost: Count = 0
    """Samples of this class that the float model answers rightly, and the file wrongly."""
    gained: Count = 0
    """Samples of this class that the file answers rightly, and the float model wrongly."""
    recall: ClassShare | None = None
    """Share of the samples of this class that were given it."""
    precision: ClassShare | None = None
    """Share of the samples that were given this class and are of it."""


@dataclass(frozen=True)
class Confused:
    """How many samples of the class `label` were given the class `answer`, and how many by the float model."""

    label: str
    answer: str
    samples: Count
    reference: Count | None = None


@dataclass(frozen=True)
class TopFive:
    """The share of samples whose class is among the five highest values, with its Wilson interval.

    The drop is the float model's share minus it, with the paired 95 % interval.
    """

    value: Share
    low: Share
    high: Share
    drop: Drop | None = None
    drop_low: Drop | None = None
    drop_high: Drop | None = None


@dataclass(frozen=True)
class Calibration:
    """How far the confidence of the answers is from their accuracy.

    `error` is the expected calibration error (ECE) over `bins` of equal width. It is never 0, for chance alone: of a
    perfectly calibrated file with the same confidences it would be at most `chance` on 95 % of such samples.
    `overconfidence` is the mean confidence minus the accuracy, with its 95 % interval.
    """

    error: Share
    chance: Share
    bins: Count
    overconfidence: Drop
    overconfidence_low: Drop
    overconfidence_high: Drop


@dataclass(frozen=True)
class Disagreement:
    """A sample on which the file and the float model answer differently.

    `reference` is the float model's answer and `answer` the file's; the confidences are of those. `picture` is an image
    of it, relative to the run's folder, and `text` the beginning of it; both are empty for tensors.
    """

    sample: Count
    """Position in the test split."""
    label: str
    """Its class."""
    reference: str
    reference_confidence: Share
    answer: str
    confidence: Share
    picture: str = ""
    text: str = ""


@dataclass(frozen=True)
class ClassFigures:
    """The figures of a file's answers to the test split by class.

    `rows` are all classes; of more than 200 those whose recall may have dropped most. `confusion` has a row for each
    class and a column for each answer, for up to 20 classes; `confused` are the pairs that are mistaken most often.
    `disagreed` counts the samples on which the file and the float model answer differently, `disagreements` are those
    of which both are surest.
    """

    classes: Count
    rows: tuple[ClassRow, ...]
    confusion: tuple[tuple[Count, ...], ...] = ()
    confused: tuple[Confused, ...] = ()
    top_five: TopFive | None = None
    calibration: Calibration | None = None
    disagreed: Count | None = None
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def most_hurt(self) -> tuple[ClassRow, ClassShare] | None:
        """The class whose recall drops most by its estimate, and that recall; None where none drops."""
        hurt = [(row, row.recall) for row in self.rows if row.recall is not None and (row.recall.drop or 0.0) > 0]
        return max(hurt, key=lambda one: one[1].drop or 0.0, default=None)
