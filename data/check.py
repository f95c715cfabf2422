"""The data check: a report on the samples that were read, with a remedy for each warning.

It covers what images and texts have in common: classes, copies, leaks, conflicts, balance. What applies to one kind
only (sizes, lengths, …) is collected by a `Traits`: see `images` and `texts`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from ..core.dataset import SPLITS
from ..core.sample_files import UnreadableError
from ..core.sanitize import csv_cell, shorten
from ..tasks.multilabel import Multilabel
from .listing import TEST, TRAIN, Listing, Remark, count, quoted
from .splits import NOT_USED, Assignment
from .tags import missing_tags, tags_by_split

EXAMPLES = 20
# Unreadable samples that a warning names; the file UNREADABLE, beside the prepared data, names all of them.
NAMED = 3
UNREADABLE = "unreadable.csv"
# Ratio of the largest to the smallest class above which a warning is given.
IMBALANCE = 10
# Share of the samples above which a trait is worth a warning.
NOTABLE = 0.05


class Sample(Protocol):
    """What the check needs of a decoded sample."""

    @property
    def digest(self) -> bytes:
        """A hash of the content: equal for copies, and for nothing else."""
        ...


S = TypeVar("S", bound=Sample)
S_contra = TypeVar("S_contra", bound=Sample, contravariant=True)


class Traits(Protocol[S_contra]):
    """Statistics that apply to one kind of sample only."""

    # Whether copies within a split are dropped.
    once: bool

    def add(self, sample: S_contra) -> None:
        """Count a sample that was read."""
        ...

    def add_unreadable(self, error: UnreadableError) -> None:
        """Count a sample that could not be read."""
        ...

    def report(self) -> dict[str, Any]:
        """Return further entries of the report, JSON-able."""
        ...

    def warnings(self) -> list[Remark]:
        """Return the warnings."""
        ...


class Check(Generic[S]):
    """Receives each sample of a pass in the order test, validation, train.

    So the first of several copies is the one to keep. `counts` holds, by split, the number of kept samples of each
    class. `unreadable` maps the index of each unreadable sample to the reason; it starts with those of an earlier pass,
    which this one leaves out.
    """

    def __init__(self, listing: Listing, unreadable: Mapping[int, str], traits: Traits[S]) -> None:
        self.listing = listing
        self.counts = [Counter[int]() for _ in SPLITS]
        self.unreadable = dict(unreadable)
        self._traits = traits
        self._seen = 0
        self._split_of = np.zeros(len(listing), np.int8)  # of each kept sample
        self._first: dict[bytes, int] = {}
        self._leaks: list[dict[str, str]] = []
        self._leaked = 0
        self._conflicts: list[dict[str, str]] = []
        self._conflicting = 0
        # Samples with targets that are no classes are listed as a class of their own each: copies do not contradict.
        self._own_classes = len(listing.classes) == len(listing)
        tags = listing.values if listing.task == Multilabel.name else None
        self._tagged = None if tags is None else np.zeros((len(SPLITS), tags.shape[1]), np.int64)
        self._copies = [0 for _ in SPLITS]  # copies within each split

    def add_unreadable(self, index: int, error: UnreadableError) -> None:
        """Add a sample that cannot be read."""
        self.unreadable[index] = str(error)
        self._traits.add_unreadable(error)

    def add(self, index: int, split: int, sample: S) -> bool:
        """Add a sample. Returns whether it stays in its split."""
        self._seen += 1
        self._traits.add(sample)
        first = self._first.setdefault(sample.digest, index)
        names, targets, right = self.listing.names, self.listing.targets, self.listing.right
        if first != index:
            if not self._own_classes and self.listing.differ(first, index):
                self._conflicting += 1
                if len(self._conflicts) < EXAMPLES:
                    self._conflicts.append(
                        {
                            "file": names[index],
                            "label": right(index),
                            "same_as": names[first],
                            "other_label": right(first),
                        }
                    )
            if self._split_of[first] != split:
                self._leaked += 1
                if len(self._leaks) < EXAMPLES:
                    self._leaks.append(
                        {
                            "file": names[index],
                            "split": SPLITS[split],
                            "same_as": names[first],
                            "in": SPLITS[self._split_of[first]],
                        }
                    )
                return False
            self._copies[split] += 1
            if self._traits.once:
                return False
        self._split_of[index] = split
        self.counts[split][int(targets[index])] += 1
        if self._tagged is not None and self.listing.values is not None:
            self._tagged[split] += self.listing.values[index]
        return True

    def excluded(self, plan: Assignment) -> list[dict[str, str]]:
        """Return a row (file, split, why) for every sample that could not be read."""
        refused = [{"file": r.name, "split": "", "why": r.why} for r in self.listing.refused]
        split_names = {
            int(i): SPLITS[code]
            for code, indices in enumerate(plan.splits)
            for i in indices[np.isin(indices, list(self.unreadable))]
        }
        return refused + [
            {"file": self.listing.names[i], "split": split_names.get(i, ""), "why": why}
            for i, why in sorted(self.unreadable.items())
        ]

    def report(self, plan: Assignment) -> dict[str, Any]:
        """Return the JSON-able report on the pass over `plan`'s splits."""
        unreadable = self.excluded(plan)
        report: dict[str, Any] = {
            "listed": len(self.listing),
            "splits": dict(zip(SPLITS, plan.origins, strict=True)),
            "found": {name: len(part) for name, part in zip(SPLITS, plan.splits, strict=True)},
            "kept": {name: counts.total() for name, counts in zip(SPLITS, self.counts, strict=True)},
            "unreadable": {
                "count": len(unreadable),
                "examples": unreadable[:EXAMPLES],
                **({"list": UNREADABLE} if unreadable else {}),
            },
            "duplicates": self._leaked + sum(self._copies),
            "leaks": {"count": self._leaked, "examples": self._leaks},
            "duplicates_within": dict(zip(SPLITS, self._copies, strict=True)),
            "conflicts": {"count": self._conflicting, "examples": self._conflicts},
            **self._traits.report(),
            **self._by_label(),
        }
        warnings = [
            *self.listing.remarks,
            *plan.remarks,
            *self._similar_labels(),
            *self._losses([row["file"] for row in unreadable]),
            *self._traits.warnings(),
            *self._balance(learned=plan.origins[TEST] != NOT_USED),
            *self._missing_tags(),
        ]
        report["warnings"] = [{"what": what, "remedy": remedy} for what, remedy in warnings]
        return report

    def _by_label(self) -> dict[str, Any]:
        """Return the number of samples of each class, or with each tag, by split."""
        if self._tagged is not None:
            return {"tags": tags_by_split(self.listing.labels, self._tagged)}
        if self.listing.values is not None:
            return {}
        return {
            "classes": {
                label: {name: counts[target] for name, counts in zip(SPLITS, self.counts, strict=True)}
                for target, label in enumerate(self.listing.labels)
            }
        }

    def _missing_tags(self) -> list[Remark]:
        """Warn of tags that no sample of training or test has. Raises InputError where none has any."""
        listing = self.listing
        return [] if self._tagged is None else missing_tags(listing.labels, self._tagged, listing.source, listing.kind)

    def _similar_labels(self) -> list[Remark]:
        """Warn of labels that are probably meant to be the same."""
        groups: dict[str, list[str]] = {}
        for label in self.listing.labels:
            groups.setdefault(" ".join(label.casefold().split()), []).append(label)
        similar = [label for group in groups.values() if len(group) > 1 for label in group]
        if not similar:
            return []
        return [
            Remark(
                f"{'tags' if self._tagged is not None else 'classes'} whose names differ in case or spaces only: "
                f"{quoted(similar)}",
                "use one name where they are the same",
            )
        ]

    def _losses(self, unreadable: list[str]) -> list[Remark]:
        """Warn of unreadable samples, leaks, conflicts and copies."""
        remarks = []
        noun = self.listing.kind
        if bad := len(unreadable):
            names = ", ".join(shorten(name, 100) for name in unreadable[:NAMED])
            names += f" and {bad - NAMED:,} more" if bad > NAMED else ""
            remarks.append(
                Remark(
                    f"{count(bad, noun)} could not be read and {'is' if bad == 1 else 'are'} left out: {names}",
                    'fix or remove them; data.on_unreadable = "stop" makes this an error',
                )
            )
        if self._leaked:
            remarks.append(
                Remark(
                    f"leak: {count(self._leaked, noun)} of training or validation also in a split that is used to "
                    "evaluate; dropped from the former, kept in the latter",
                    "remove the copies (report: leaks); they would have made the accuracy look better than it is",
                )
            )
        if self._conflicting:
            remarks.append(
                Remark(
                    f"{count(self._conflicting, noun)} with another label than a copy of the same {noun}",
                    "give all copies the same label (report: conflicts)",
                )
            )
        copies = sum(self._copies)
        if copies and self._traits.once:
            remarks.append(
                Remark(
                    f"{count(copies, noun)} of {self._seen:,} "
                    f"{'repeats' if copies == 1 else 'repeat'} one of the same split: used once",
                    f"remove the copies (report: duplicates_within); in total {self._leaked + copies:,} of "
                    f"{self._seen:,} {noun}s are copies",
                )
            )
        elif copies > NOTABLE * self._seen:
            remarks.append(
                Remark(
                    f"{count(copies, noun)} of {self._seen:,} repeat another of the same split",
                    "remove the copies: they count twice, in training and in accuracy",
                )
            )
        return remarks

    def _balance(self, *, learned: bool) -> list[Remark]:
        """Warn of classes with far fewer samples than others; weights are a remedy where they are `learned`."""
        labels, noun = self.listing.classes, self.listing.kind
        if not labels:
            return []
        per_class = {target: self.counts[TRAIN][target] for target in range(len(labels))}
        smallest, largest = min(per_class, key=per_class.__getitem__), max(per_class, key=per_class.__getitem__)
        if per_class[largest] <= IMBALANCE * per_class[smallest]:
            return []
        training, weights = ("training ", "set train.class_weights = true, or ") if learned else ("", "")
        return [
            Remark(
                f"imbalanced classes: {per_class[largest]:,} {training}{noun}s of "
                f"{shorten(labels[largest])!r}, {per_class[smallest]:,} of {shorten(labels[smallest])!r}",
                f"{weights}add {noun}s of the rare classes",
            )
        ]


def write_unreadable(rows: list[dict[str, str]], folder: Path) -> None:
    """Write the rows of `Check.excluded` as a CSV table into `folder`; no file without rows."""
    (folder / UNREADABLE).unlink(missing_ok=True)
    if not rows:
        return
    with (folder / UNREADABLE).open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "split", "why"])
        table.writerows([csv_cell(row["file"]), row["split"], csv_cell(row["why"])] for row in rows)


def missing_classes(check: Check[Any], planned: list[Counter[int]]) -> list[tuple[int, int]]:
    """Return (split, class) for each class that was planned for a split and has no sample left in it."""
    return [
        (split, target)
        for split, classes in enumerate(planned)
        for target in classes
        if not check.counts[split][target]
    ]


def class_names(listing: Listing, targets: set[int]) -> str:
    """Return the names of classes for a message."""
    return quoted([listing.classes[target] for target in sorted(targets)]) if listing.classes else "any kind"
