"""The data check: what was found while the samples were read, told as a report with a remedy for each warning.

What images and texts have in common is here: classes, copies, leaks, conflicts, balance. What is peculiar to one of
them (sizes, lengths, …) is a `Traits`: see `images` and `texts`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ..core.dataset import SPLITS
from ..core.sanitize import csv_cell, shorten
from .listing import TRAIN, Listing, Remark, UnreadableError, count, quoted
from .splits import Assignment

EXAMPLES = 20
# How many a warning names; the file UNREADABLE, beside the prepared data, names all of them.
NAMED = 3
UNREADABLE = "unreadable.csv"
IMBALANCE = 10
# Shares of the samples from which on a peculiarity is worth a warning.
NOTABLE = 0.05


class Sample(Protocol):
    """What the check needs of a decoded sample: samples with one digest are the same."""

    @property
    def digest(self) -> bytes:
        """What two samples that are the same have in common, and no others."""
        ...


S = TypeVar("S", bound=Sample)
S_contra = TypeVar("S_contra", bound=Sample, contravariant=True)


class Traits(Protocol[S_contra]):
    """Collects what is peculiar to one kind of sample."""

    # Whether a sample that stands twice in one split is taken once, or as often as it stands there.
    once: bool

    def take(self, sample: S_contra) -> None:
        """Note a sample that was read."""
        ...

    def bad(self, error: UnreadableError) -> None:
        """Note why one could not be read."""
        ...

    def report(self) -> dict[str, Any]:
        """Return further entries of the report, JSON-able."""
        ...

    def warnings(self) -> list[Remark]:
        """Return what is worth a warning."""
        ...


class Check(Generic[S]):
    """Fed each sample of a pass in the order test, validation, train: so one met before is one to be protected.

    `unreadable` are samples that a former pass could not read and this one leaves aside, and why.
    """

    def __init__(self, listing: Listing, unreadable: Mapping[int, str], traits: Traits[S]) -> None:
        self.listing = listing
        self.kept = [Counter[int]() for _ in SPLITS]
        self.unreadable = dict(unreadable)  # index → why
        self._traits = traits
        self._seen = 0
        self._home: dict[int, int] = {}  # index of a kept sample → its split
        self._first: dict[bytes, int] = {}
        self._leaks: list[dict[str, str]] = []
        self._leaked = 0
        self._conflicts: list[dict[str, str]] = []
        self._conflicting = 0
        self._twins = [0 for _ in SPLITS]

    def bad(self, index: int, error: UnreadableError) -> None:
        """Note a sample that cannot be read."""
        self.unreadable[index] = str(error)
        self._traits.bad(error)

    def take(self, index: int, split: int, sample: S) -> bool:
        """Note a sample; return whether it stays in its split."""
        self._seen += 1
        self._traits.take(sample)
        first = self._first.setdefault(sample.digest, index)
        names, targets, labels = self.listing.names, self.listing.targets, self.listing.labels
        if first != index:
            if targets[first] != targets[index]:
                self._conflicting += 1
                if len(self._conflicts) < EXAMPLES:
                    self._conflicts.append(
                        {
                            "file": names[index],
                            "label": labels[targets[index]],
                            "same_as": names[first],
                            "other_label": labels[targets[first]],
                        }
                    )
            if self._home[first] != split:
                self._leaked += 1
                if len(self._leaks) < EXAMPLES:
                    self._leaks.append(
                        {
                            "file": names[index],
                            "split": SPLITS[split],
                            "same_as": names[first],
                            "in": SPLITS[self._home[first]],
                        }
                    )
                return False
            self._twins[split] += 1
            if self._traits.once:
                return False
        self._home[index] = split
        self.kept[split][int(targets[index])] += 1
        return True

    def left_out(self, plan: Assignment) -> list[dict[str, str]]:
        """Return every sample that could not be read: its file, split and why."""
        refused = [{"file": r.name, "split": "", "why": r.why} for r in self.listing.refused]
        where = {i: SPLITS[code] for code, indices in enumerate(plan.splits) for i in indices.tolist()}
        return refused + [
            {"file": self.listing.names[i], "split": where.get(i, ""), "why": why}
            for i, why in sorted(self.unreadable.items())
        ]

    def report(self, plan: Assignment) -> dict[str, Any]:
        """Return the JSON-able report on the pass over `plan`'s splits."""
        unreadable = self.left_out(plan)
        report: dict[str, Any] = {
            "listed": len(self.listing),
            "splits": dict(zip(SPLITS, plan.origins, strict=True)),
            "found": {name: len(part) for name, part in zip(SPLITS, plan.splits, strict=True)},
            "kept": {name: kept.total() for name, kept in zip(SPLITS, self.kept, strict=True)},
            "unreadable": {
                "count": len(unreadable),
                "examples": unreadable[:EXAMPLES],
                **({"list": UNREADABLE} if unreadable else {}),
            },
            "duplicates": self._leaked + sum(self._twins),
            "leaks": {"count": self._leaked, "examples": self._leaks},
            "duplicates_within": dict(zip(SPLITS, self._twins, strict=True)),
            "conflicts": {"count": self._conflicting, "examples": self._conflicts},
            **self._traits.report(),
            "classes": {
                label: {name: kept[number] for name, kept in zip(SPLITS, self.kept, strict=True)}
                for number, label in enumerate(self.listing.labels)
            },
        }
        warnings = [
            *self.listing.remarks,
            *plan.remarks,
            *self._alike(),
            *self._lost([one["file"] for one in unreadable]),
            *self._traits.warnings(),
            *self._balance(),
        ]
        report["warnings"] = [{"what": what, "remedy": remedy} for what, remedy in warnings]
        return report

    def _alike(self) -> list[Remark]:
        """Labels that a person would take for the same."""
        groups: dict[str, list[str]] = {}
        for label in self.listing.labels:
            groups.setdefault(" ".join(label.casefold().split()), []).append(label)
        alike = [label for group in groups.values() if len(group) > 1 for label in group]
        if not alike:
            return []
        return [
            Remark(
                f"classes whose names differ in case or spaces only: {quoted(alike)}",
                "write them alike if they are one class",
            )
        ]

    def _lost(self, unreadable: list[str]) -> list[Remark]:
        """What is left out, or is there twice."""
        found = []
        noun = self.listing.kind
        if bad := len(unreadable):
            names = ", ".join(shorten(name, 100) for name in unreadable[:NAMED])
            names += f" and {bad - NAMED:,} more" if bad > NAMED else ""
            found.append(
                Remark(
                    f"{count(bad, noun)} could not be read and {'is' if bad == 1 else 'are'} left out: {names}",
                    'mend or remove them; data.on_unreadable = "stop" makes this an error',
                )
            )
        if self._leaked:
            found.append(
                Remark(
                    f"{count(self._leaked, noun)} in training or validation also in a split that judges "
                    "it: dropped there, kept in the judging split",
                    "remove the copies (report: leaks); left in, they would have made accuracy look better than it is",
                )
            )
        if self._conflicting:
            found.append(
                Remark(
                    f"{count(self._conflicting, noun)} with another label than the same {noun} elsewhere",
                    "decide on one label for each (report: conflicts)",
                )
            )
        twins = sum(self._twins)
        if twins and self._traits.once:
            found.append(
                Remark(
                    f"{count(twins, noun)} of {self._seen:,} "
                    f"{'repeats' if twins == 1 else 'repeat'} one of the same split: taken once",
                    f"remove the copies (report: duplicates_within); all in all {self._leaked + twins:,} of "
                    f"{self._seen:,} {noun}s are copies",
                )
            )
        elif twins > NOTABLE * self._seen:
            found.append(
                Remark(
                    f"{count(twins, noun)} of {self._seen:,} repeat another of their own split",
                    "remove the copies: they count twice, in training and in accuracy",
                )
            )
        return found

    def _balance(self) -> list[Remark]:
        labels, noun = self.listing.labels, self.listing.kind
        if not labels:
            return []
        per_class = {number: self.kept[TRAIN][number] for number in range(len(labels))}
        least, most = min(per_class, key=per_class.__getitem__), max(per_class, key=per_class.__getitem__)
        if per_class[most] <= IMBALANCE * per_class[least]:
            return []
        return [
            Remark(
                f"classes are out of balance: {per_class[most]:,} training {noun}s of "
                f"{shorten(labels[most])!r}, {per_class[least]:,} of {shorten(labels[least])!r}",
                f"set train.class_weights = true, or add {noun}s of the rare classes",
            )
        ]


def write_unreadable(rows: list[dict[str, str]], folder: Path) -> None:
    """Write what could not be read, and why, as a table for people; nothing where there is nothing."""
    (folder / UNREADABLE).unlink(missing_ok=True)
    if not rows:
        return
    with (folder / UNREADABLE).open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "split", "why"])
        table.writerows([csv_cell(one["file"]), one["split"], csv_cell(one["why"])] for one in rows)


def missing_classes(check: Check[Any], planned: list[Counter[int]]) -> list[tuple[int, int]]:
    """Return (split, class) wherever a class was given to a split and no sample of it is left there."""
    return [
        (split, number) for split, classes in enumerate(planned) for number in classes if not check.kept[split][number]
    ]


def name_classes(listing: Listing, numbers: set[int]) -> str:
    """Return the names of classes for a message."""
    return quoted([listing.labels[number] for number in sorted(numbers)])
