"""How well a file answers: the figure of a measurement that counts, what the file loses, and the words for both.

Where right answers are known, the task's metric counts (`Task.quality`). Elsewhere the answers are only compared with
the float model's: by the agreement, of numbers by the relative error, in old results by the largest difference alone.
`tasks.quality_of` chooses; `Quality` says what each kind of figure has to tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..core.formatting import percent, percent_range, points, points_range, signed_points, significant
from ..core.measurement import Measurement
from .agreement import counts_samples, words

# A file is warned of below this share of equal answers, or above this error. int8 files of sound models give 0.9 to 1
# and 0.01 to 0.1.
LEAST_AGREEMENT = 0.9
MOST_ERROR = 0.25
SEVERAL = "metric"  # the heading of a column with several metrics


@dataclass(frozen=True)
class Quality:
    """A figure that says how well a file answers. `samples` is 0, and an end of the 95 % interval None, if not known.

    Each kind of figure is a class: a task's metric in the task's module, likeness to the float model below. What is
    written here holds for a metric that is a share.
    """

    value: float
    samples: int = 0
    low: float | None = None
    high: float | None = None

    rank: ClassVar[int] = 0
    """Where files have several kinds of figures, the kind with the lowest rank counts."""
    better: ClassVar[Literal["higher", "lower", ""]] = "higher"
    """Which values are better; empty: files are not compared by it. ``higher``: shares, from 0 to 1."""
    name: ClassVar[str]
    """The kind in one or two words: ``accuracy``."""
    full_name: ClassVar[str]
    """The same where nothing else says what it is relative to: ``agreement with the float model``."""
    title: ClassVar[str]
    """The heading of one file's figure; empty if there is none."""
    best: ClassVar[str] = "the nearest to its float model"
    """What the best of several files is."""
    suffix: ClassVar[str] = ""
    """What `short` adds to the value: ``agree``."""
    definition: ClassVar[str] = ""
    """Of a metric: what it is of the ``{samples}``, and how its interval is found."""
    paired: ClassVar[str] = "bootstrap over samples, Efron 1979"
    """Of a metric: the method of the drop's interval."""
    is_share: ClassVar[bool] = True
    """Whether the value is a share, from 0 to 1. Of a metric: whether rows have it as `accuracy`, or as `score`."""
    drop_unit: ClassVar[str] = "points"
    """What `signed` counts."""

    @classmethod
    def better_than(cls) -> str:
        """Return what a file is that is better by this figure than another: ``better in MAE``."""
        return f"better in {cls.name}"

    @classmethod
    def worse_than(cls) -> str:
        """Return what a model is that is worse by an amount of this figure: ``worse``."""
        return "worse"

    @classmethod
    def best_model(cls) -> str:
        """Return what the best of several models is called: ``the best model in MAE``."""
        return f"the best model in {cls.name}"

    @classmethod
    def drop_title(cls) -> str:
        """Return the heading of drops: ``Drop, points``."""
        return f"Drop, {cls.drop_unit}" if cls.drop_unit else f"Drop, {cls.name}"

    @classmethod
    def words(cls, value: float) -> str:
        """Return a value with its unit: ``82.4 %``."""
        return percent(value)

    @classmethod
    def span(cls, low: float | None, high: float | None) -> str:
        """Return an interval of values: ``80.6 to 84.0``; empty where it is not known."""
        return percent_range(low, high)

    @classmethod
    def amount(cls, difference: float) -> str:
        """Return a difference of values, with its unit: ``0.35 points``."""
        return points(difference)

    @classmethod
    def signed(cls, difference: float) -> str:
        """Return a difference of values with its sign, in `drop_unit`: ``+0.35``."""
        return signed_points(difference)

    @classmethod
    def signed_span(cls, low: float | None, high: float | None) -> str:
        """Return an interval of differences: ``−0.31 to +0.61``; empty where it is not known."""
        return points_range(low, high)

    def surely_better(self, other: Quality) -> bool:
        """Return whether the intervals say that this figure is better than another of its kind."""
        if self.better == "lower":
            return self.high is not None and other.low is not None and self.high < other.low
        return self.low is not None and other.high is not None and self.low > other.high

    def before(self, drop: float) -> float:
        """Return the value that a file had which has lost `drop` of it, and now has this one."""
        return self.value + drop if self.better == "higher" else self.value - drop

    @property
    def cost(self) -> float:
        """The value as a cost: less is better."""
        return -self.value if self.better == "higher" else self.value

    @property
    def text(self) -> str:
        """The value with its unit, where its kind is named: ``82.4 %``."""
        return self.words(self.value)

    @property
    def short(self) -> str:
        """The value among those of other kinds: ``82.4 %``, ``98.0 % agree``, ``3.0 % off``."""
        return f"{self.text} {self.suffix}".rstrip()

    @property
    def compared(self) -> str:
        """The value in a sentence that compares files: ``82.4 %``, ``98.0 %``, ``3.0 % off``."""
        return self.text if self.better == "higher" else self.short

    @property
    def interval(self) -> str:
        """``80.6 to 84.0``; empty if it is not known."""
        return self.span(self.low, self.high)

    @property
    def phrase(self) -> str:
        """The figure within a sentence: ``accuracy 82.4 % (95 % interval 80.6 to 84.0)``."""
        return f"{self.name} {self.text}" + (f" (95 % interval {self.interval})" if self.interval else "")

    @property
    def note(self) -> str:
        """What there is to say below the heading and the value."""
        return (f"{self.interval} (95 % interval); " if self.interval else "") + f"{self.samples:,} samples"

    @property
    def aside(self) -> str:
        """The same where there is little room."""
        return self.interval

    def caption(self, tested_on: str) -> tuple[str, str]:
        """Return what `short` is in a table, and of what; `tested_on` names the samples of a metric."""
        return f"{self.name} on", tested_on


class Quantity(Quality):
    """A metric that is no share: it has a unit of its own, or the targets'."""

    is_share = False
    unit: ClassVar[str] = ""
    drop_unit = ""

    @classmethod
    def words(cls, value: float) -> str:
        """Return a value with its unit: ``2.31``, ``18.4 dB``."""
        return f"{significant(value)} {cls.unit}".rstrip()

    @classmethod
    def span(cls, low: float | None, high: float | None) -> str:
        """Return an interval of values."""
        return "" if low is None or high is None else f"{significant(low)} to {significant(high)}"

    @classmethod
    def amount(cls, difference: float) -> str:
        """Return a difference of values, with its unit: ``0.12 of MAE``, ``1.2 dB``."""
        return f"{significant(difference)} {cls.unit or f'of {cls.name}'}"

    @classmethod
    def signed(cls, difference: float) -> str:
        """Return a difference of values with its sign."""
        text = significant(difference)
        return text if text.startswith("−") or text == "0" else f"+{text}"

    @classmethod
    def signed_span(cls, low: float | None, high: float | None) -> str:
        """Return an interval of differences."""
        return "" if low is None or high is None else f"{cls.signed(low)} to {cls.signed(high)}"

    @property
    def compared(self) -> str:
        """The value in a sentence that compares files."""
        return self.text


class Likeness(Quality):
    """How like the float model's a file's answers are: the agreement, or the relative error."""

    @property
    def share(self) -> float:
        """The likeness from 0 to 1, the mean of `Agreement.scores`: of an error what it leaves."""
        return self.value if self.is_share else max(0.0, 1 - self.value)

    @property
    def column(self) -> str:
        """The value in a column of likenesses: ``98.0 % of elements``, ``3.0 % off``."""
        return self.short

    @property
    def warning(self) -> str:
        """How far the answers are from the float model's; empty unless they are farther than those of sound models."""
        return ""


@dataclass(frozen=True)
class AgreementShare(Likeness):
    """The share of answers that equal the float model's. `by` is what is counted (`tasks.agreement`)."""

    by: str = ""

    rank = 1
    name = "agreement"
    full_name = "agreement with the float model"
    title = "Agreement with its float model"
    suffix = "agree"

    @property
    def column(self) -> str:
        """The value, and whether it counts elements."""
        return self.text + ("" if counts_samples(self.by) else " of elements")

    @property
    def warning(self) -> str:
        """The share, if it is low."""
        low = self.value < LEAST_AGREEMENT
        return f"its {words(self.by)} is that of the float model for {self.value:.0%}" if low else ""

    @property
    def phrase(self) -> str:
        """``agrees with its float model on 98.0 % of 500 samples``."""
        of = "" if counts_samples(self.by) else f"the answers' elements ({words(self.by)}) in "
        return f"agrees with its float model on {self.text} of {of}{self.aside or 'the samples'}"

    @property
    def note(self) -> str:
        """What is the same, and on how many samples."""
        same = "same answer" if counts_samples(self.by) else f"same {words(self.by)}"
        return f"{same}; {self.aside}" if self.samples else same

    @property
    def aside(self) -> str:
        """The samples, if known."""
        return f"{self.samples:,} samples" if self.samples else ""

    def caption(self, tested_on: str) -> tuple[str, str]:
        """Return that it is a share, and of what."""
        elements = f"the answers' elements with the float model's {words(self.by)}"
        return "agree: share of", "samples with the float model's answer" if counts_samples(self.by) else elements


@dataclass(frozen=True)
class RelativeError(Likeness):
    """The relative error of answers that are numbers. `difference` is the largest of any value, where it is known."""

    difference: float | None = None

    rank = 2
    better = "lower"
    is_share = False
    name = full_name = "relative error"
    title = "Error against its float model"
    suffix = "off"

    @property
    def warning(self) -> str:
        """The error, if it is large."""
        large = self.value > MOST_ERROR
        return f"it is {self.value:.0%} of its answers' own spread away from the float model" if large else ""

    @property
    def phrase(self) -> str:
        """``3.0 % of their spread off its float model's numbers on 500 samples``."""
        on = f" on {self.samples:,} samples" if self.samples else ""
        return f"{self.text} of their spread off its float model's numbers{on}"

    @property
    def note(self) -> str:
        """What the error is relative to, and the largest difference."""
        most = f"; any value ≤ {self.difference:.2g}" if self.difference is not None else ""
        return f"of the answers' spread{most}; {self.samples:,} samples"

    def caption(self, tested_on: str) -> tuple[str, str]:
        """Return that it is an error, and of what."""
        return "off: relative error of", "the float model's numbers"


@dataclass(frozen=True)
class Unknown(Quality):
    """There is no figure."""

    value: float = float("nan")

    rank = 4
    better = ""
    is_share = False
    name = full_name = title = ""

    @property
    def short(self) -> str:
        """That there is none."""
        return "no accuracy"

    @property
    def phrase(self) -> str:
        """That it is not known."""
        return "accuracy not known"

    def caption(self, tested_on: str) -> tuple[str, str]:
        """Return nothing: there is no figure."""
        return "", ""


@dataclass(frozen=True)
class LargestDifference(Unknown):
    """The largest difference of any value from the float model's: what results of older versions have of numbers."""

    rank = 3
    title = "Difference from its float model"

    @property
    def text(self) -> str:
        """``≤ 0.02``."""
        return f"≤ {self.value:.2g}"

    @property
    def short(self) -> str:
        """``differs ≤ 0.02``."""
        return f"differs {self.text}"

    @property
    def note(self) -> str:
        """That it is of any value."""
        return f"in any value; {super().note}"

    def caption(self, tested_on: str) -> tuple[str, str]:
        """Return that it is a difference, and from what."""
        return "differs: by how much at most from", "the float model's answers"


def likeness(
    agreement: float | None, by: str, error: float | None, samples: int = 0, difference: float | None = None
) -> Likeness | None:
    """Return the figure of two files' likeness, from what `agreement.Agreement` found; None where nothing is known."""
    if agreement is not None:
        return AgreementShare(agreement, samples, by=by)
    return RelativeError(error, samples, difference=difference) if error is not None else None


def likeness_of(m: Measurement) -> Likeness | None:
    """Return how like its float model's a file's answers are; None where that is not known."""
    return likeness(m.agreement, m.agreement_by, m.relative_error, m.samples, m.difference)


def heading(figures: Iterable[Quality | None]) -> str:
    """Return what a column of metrics is called: their name if they have one, ``accuracy`` where there is none."""
    names = {figure.name for figure in figures if figure is not None and figure.rank == 0}
    return names.pop() if len(names) == 1 else SEVERAL if names else "accuracy"


def caption(shown: Iterable[Quality], tested_on: str) -> str:
    """Return what the figures of a table are, the kind that counts first; `tested_on` names the samples of metrics."""
    captions: dict[str, set[str]] = {}
    for figure in sorted(shown, key=lambda figure: figure.rank):
        what, of = figure.caption(tested_on)
        captions.setdefault(what, set()).add(of)
    parts = [f"{what} {' or '.join(sorted(ofs))}" for what, ofs in captions.items() if what]
    return "; ".join(parts) or Unknown().short
