"""The data check: what was found while the images were decoded, told as a report with a remedy for each warning."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.dataset import SPLITS
from ...core.names import shorten
from .decode import Decoded
from .listing import TRAIN, Listing, Remark, count, quoted
from .splits import Assignment

EXAMPLES = 20
IMBALANCE = 10
# Shares of the images from which on a peculiarity is worth a warning.
NOTABLE = 0.05


class Check:
    """Fed each image of a pass in the order test, validation, train: so an image met before is one to be protected.

    `unreadable` are images that a former pass could not read and this one leaves aside, and why.
    Images are the same when size and every RGB pixel are the same (their SHA-256 before resizing).
    """

    def __init__(self, listing: Listing, unreadable: Mapping[int, str]) -> None:
        self.listing = listing
        self.kept = [Counter[int]() for _ in SPLITS]
        self.unreadable = dict(unreadable)  # index → why
        self._home: dict[int, int] = {}  # index of a kept image → its split
        self._first: dict[bytes, int] = {}
        self._leaks: list[dict[str, str]] = []
        self._leaked = 0
        self._conflicts: list[dict[str, str]] = []
        self._conflicting = 0
        self._twins = [0 for _ in SPLITS]
        self._widths, self._heights = array("l"), array("l")
        self._modes, self._formats = Counter[str](), Counter[str]()
        self._rotated = self._animated = 0

    def bad(self, index: int, why: str) -> None:
        """Note an image that cannot be read."""
        self.unreadable[index] = why

    def take(self, index: int, split: int, image: Decoded) -> bool:
        """Note an image; return whether it stays in its split."""
        self._widths.append(image.width)
        self._heights.append(image.height)
        self._modes[image.mode] += 1
        self._formats[image.format] += 1
        self._rotated += image.rotated
        self._animated += image.animated
        first = self._first.setdefault(image.digest, index)
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
        self._home[index] = split
        self.kept[split][int(targets[index])] += 1
        return True

    def report(self, plan: Assignment, *, size: int, resize: str) -> dict[str, Any]:
        """Return the JSON-able report on the pass over `plan`'s splits, at that input size."""
        refused = [{"file": r.name, "split": "", "why": r.why} for r in self.listing.refused]
        where = {i: SPLITS[code] for code, indices in enumerate(plan.splits) for i in indices.tolist()}
        broken = [
            {"file": self.listing.names[i], "split": where.get(i, ""), "why": why}
            for i, why in sorted(self.unreadable.items())
        ]
        unreadable = refused + broken
        seen = len(self._widths)
        report: dict[str, Any] = {
            "listed": len(self.listing),
            "splits": dict(zip(SPLITS, plan.origins, strict=True)),
            "found": {name: len(part) for name, part in zip(SPLITS, plan.splits, strict=True)},
            "kept": {name: kept.total() for name, kept in zip(SPLITS, self.kept, strict=True)},
            "unreadable": {"count": len(unreadable), "examples": unreadable[:EXAMPLES]},
            "leaks": {"count": self._leaked, "examples": self._leaks},
            "duplicates_within": dict(zip(SPLITS, self._twins, strict=True)),
            "conflicts": {"count": self._conflicting, "examples": self._conflicts},
            "sizes": self._sizes(size),
            "modes": dict(sorted(self._modes.items())),
            "formats": dict(sorted(self._formats.items())),
            "exif_rotated": self._rotated,
            "animated": self._animated,
            "classes": {
                label: {name: kept[number] for name, kept in zip(SPLITS, self.kept, strict=True)}
                for number, label in enumerate(self.listing.labels)
            },
        }
        warnings = [*self.listing.remarks, *plan.remarks, *self._warnings(len(unreadable), seen, size, resize)]
        report["warnings"] = [{"what": what, "remedy": remedy} for what, remedy in warnings]
        return report

    def _sizes(self, size: int) -> dict[str, Any]:
        if not len(self._widths):
            return {}
        sides = np.stack([np.asarray(self._widths), np.asarray(self._heights)], axis=1)
        areas = sides.prod(axis=1)
        order = np.argsort(areas, kind="stable")
        smallest, median, largest = (sides[order[i]].tolist() for i in (0, len(order) // 2, -1))
        aspect = sides.max(axis=1) / sides.min(axis=1)
        return {
            "smallest": smallest,
            "median": median,
            "largest": largest,
            "different": len(np.unique(sides, axis=0)),
            "smaller_than_input": int(np.sum(sides.min(axis=1) < size)),
            "longer_than_2_to_1": int(np.sum(aspect > 2)),
        }

    def _warnings(self, bad: int, seen: int, size: int, resize: str) -> list[Remark]:
        found = []
        if bad:
            found.append(
                Remark(
                    f"{count(bad, 'image')} could not be read and {'is' if bad == 1 else 'are'} left out",
                    'mend or remove them (report: unreadable); data.on_unreadable = "stop" makes this an error',
                )
            )
        if self._leaked:
            found.append(
                Remark(
                    f"{count(self._leaked, 'image')} in training or validation also in a split that judges "
                    "it: dropped there, kept in the judging split",
                    "remove the copies (report: leaks); left in, they would have made accuracy look better than it is",
                )
            )
        if self._conflicting:
            found.append(
                Remark(
                    f"{count(self._conflicting, 'image')} with another label than the same image elsewhere",
                    "decide on one label for each (report: conflicts)",
                )
            )
        twins = sum(self._twins)
        if seen and twins > NOTABLE * seen:
            found.append(
                Remark(
                    f"{count(twins, 'image')} of {seen:,} repeat an image of their own split",
                    "remove the copies: they count twice, in training and in accuracy",
                )
            )
        sizes = self._sizes(size)
        if sizes and resize == "stretch" and sizes["longer_than_2_to_1"] > NOTABLE * seen:
            found.append(
                Remark(
                    f"{sizes['longer_than_2_to_1']:,} of {seen:,} images are more than twice as long as wide, and "
                    'resize = "stretch" distorts them',
                    'try resize = "pad" or "crop"',
                )
            )
        per_class = {number: self.kept[TRAIN][number] for number in range(len(self.listing.labels))}
        least, most = min(per_class, key=per_class.__getitem__), max(per_class, key=per_class.__getitem__)
        if per_class[most] > IMBALANCE * per_class[least]:
            labels = self.listing.labels
            found.append(
                Remark(
                    f"classes are out of balance: {per_class[most]:,} training images of "
                    f"{shorten(labels[most])!r}, {per_class[least]:,} of {shorten(labels[least])!r}",
                    "set train.class_weights = true, or add images of the rare classes",
                )
            )
        return found


def missing_classes(check: Check, planned: list[Counter[int]]) -> list[tuple[int, int]]:
    """Return (split, class) wherever a class was given to a split and no image of it is left there."""
    return [
        (split, number) for split, classes in enumerate(planned) for number in classes if not check.kept[split][number]
    ]


def name_classes(listing: Listing, numbers: set[int]) -> str:
    """Return the names of classes for a message."""
    return quoted([listing.labels[number] for number in sorted(numbers)])
