"""Assigns samples to splits: the source's splits are kept, missing ones are made, stratified by label and seeded.

Each sample has a rank, computed from the seed and its name by SHA-256. Of each class, the first ranks are test, the
next validation, and limits keep the first of the others. So splits do not depend on the order of files, on numpy's
version or on the machine, and a smaller limit selects a subset of a larger one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..core.errors import InputError
from ..core.recipe_data import Data
from .listing import TEST, VALIDATION, Indices, Listing, Remark, count, quoted

# The class of samples whose targets are no classes.
_ONE = ("all",)
NOT_USED = "not used"


@dataclass(frozen=True)
class Assignment:
    """Ascending indices into the listing for train, validation and test; the origin of each split; remarks."""

    splits: tuple[Indices, Indices, Indices]
    origins: tuple[str, str, str]
    remarks: tuple[Remark, ...] = ()


def assign(listing: Listing, data: Data, *, seed: int, without: Collection[int] = ()) -> Assignment:
    """Return the splits of `listing` without the samples `without`.

    A class with three samples or more is in every split that is made here; one with two is not in validation. Samples
    whose targets are no classes are split as one class. If
    `data.limit_train` takes effect, a validation split made here shrinks in proportion. Raises InputError when there
    are fewer than two classes, when a class has no training sample or too few to split, and when a limit is smaller
    than the number of classes.
    """
    labels, noun = listing.classes if listing.values is None else _ONE, listing.kind
    if not labels:
        raise InputError(
            f"{listing.source}: the {noun}s have no classes, and a classifier needs classes to train",
            f"give {noun}s with labels"
            + (
                ", e.g. folder: with one sub-folder per class. Without classes they serve to calibrate "
                "(export --calibrate) and to compare a file with its float model (evaluate --data)"
                if noun == "image"
                else ""
            ),
        )
    if len(labels) < 2 and listing.values is None:
        raise InputError(
            f"there is only one class: {quoted(labels)}",
            "a classifier needs two or more: one sub-folder (or label) per class. If the sub-folders are splits, they "
            "must be called train and test",
        )
    has_test, has_validation = (bool(np.any(listing.splits == code)) for code in (TEST, VALIDATION))
    train, validation, test = _members(listing, seed, without)
    _check_no_empty_class(listing, labels, train)
    remarks = []
    if has_test:
        untested = [label for label, part in zip(labels, test, strict=True) if not len(part)]
        if untested:
            remarks.append(
                Remark(
                    f"{count(len(untested), 'class')} without a test {noun}: {quoted(untested)}",
                    f"add test {noun}s of them: their accuracy cannot be measured",
                )
            )
    else:
        single = [label for label, part in zip(labels, train, strict=True) if len(part) == 1]
        if single:
            raise InputError(
                f"{count(len(single), 'class')} with only one {noun}: {quoted(single)}; it cannot be in both training "
                "and test",
                f"add {noun}s of them (three or more fill all splits), or remove the classes",
            )
        for number, part in enumerate(train):
            reserve = 2 if not has_validation and len(part) > 2 else 1
            cut = _share(len(part), data.test, reserve)
            test[number], train[number] = part[:cut], part[cut:]
    if not has_validation:
        thin = [label for label, part in zip(labels, train, strict=True) if len(part) == 1]
        if thin:
            remarks.append(
                Remark(
                    f"{count(len(thin), 'class')} with only one training {noun}, hence without validation: "
                    f"{quoted(thin)}",
                    f"add {noun}s of them",
                )
            )
        for number, part in enumerate(train):
            cut = _share(len(part), data.validation, 1) if len(part) > 1 else 0
            validation[number], train[number] = part[:cut], part[cut:]
    of_each = " of each class" if listing.values is None else ""
    origin = [f"cut off by seed {seed}: {share:.3g}{of_each}" for share in (data.validation, data.test)]
    origins = ("given" if has_test else "what is left", "given" if has_validation else origin[0])
    before = sum(map(len, train))
    if data.limit_train is not None and data.limit_train < before:
        train = _limited(train, data.limit_train, "data.limit_train", noun)
        if not has_validation:
            scaled = round(sum(map(len, validation)) * data.limit_train / before)
            classes = sum(len(part) > 0 for part in validation)
            validation = _limited(validation, max(scaled, classes), "data.limit_train", noun)
    if data.limit_test is not None and data.limit_test < sum(map(len, test)):
        test = _limited(test, data.limit_test, "data.limit_test", noun)
    joined = tuple(np.sort(np.concatenate(parts)) for parts in (train, validation, test))
    return Assignment(
        (joined[0], joined[1], joined[2]),
        (origins[0], origins[1], "given" if has_test else origin[1]),
        tuple(remarks),
    )


def assign_to_one(listing: Listing, data: Data, *, seed: int, into: int, without: Collection[int] = ()) -> Assignment:
    """Return all samples of `listing` in the one split `into`: for uses without training.

    TEST takes the source's own test split or, without one, everything; TRAIN takes everything but that split.
    """
    train, validation, test = _members(listing, seed, without)
    has_test = any(map(len, test))
    rest = [np.concatenate(parts) for parts in zip(train, validation, strict=True)]
    chosen, limit, name = rest, data.limit_train, "data.limit_train"
    if into == TEST:
        chosen, limit, name = (test if has_test else rest), data.limit_test, "data.limit_test"
    if limit is not None and limit < sum(map(len, chosen)):
        chosen = _limited(chosen, limit, name, listing.kind)
    empty = np.array([], np.int64)
    splits = [empty, empty, empty]
    splits[into] = np.sort(np.concatenate(chosen))
    origin = "given" if has_test and into == TEST else "the whole source" if not has_test else "all but the test split"
    origins = tuple(origin if code == into else NOT_USED for code in range(3))
    return Assignment((splits[0], splits[1], splits[2]), (origins[0], origins[1], origins[2]))


def rows_of_split(listing: Listing, use: str) -> Indices:
    """Return the samples of the source's own test split for ``test``, else all others; all, if there is no such split.

    They are those of `assign_to_one`.
    """
    test = listing.splits == TEST
    chosen = np.flatnonzero(test if use == "test" else ~test)
    return chosen if len(chosen) else np.arange(len(listing))


def ranks(names: Sequence[str], seed: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return (N,) uint64: for each name the first eight bytes of the SHA-256 of the seed and the name."""
    prefix = hashlib.sha256(f"{seed}\0".encode())
    packed = bytearray()
    for name in names:
        digest = prefix.copy()
        digest.update(name.encode("utf-8", "surrogatepass"))
        packed += digest.digest()[:8]
    return np.frombuffer(bytes(packed), ">u8").astype(np.uint64)


def allocate(total: int, sizes: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `sizes` (largest remainders), with at least one for each size above zero.

    No share exceeds its size. Requires (number of sizes above zero) ≤ total ≤ sum(sizes).
    """
    sum_of_sizes = sum(sizes)
    exact = [total * size / sum_of_sizes for size in sizes]
    shares = [min(size, max(1, int(quota))) for size, quota in zip(sizes, exact, strict=True)]
    while sum(shares) < total:
        open_ = [i for i, size in enumerate(sizes) if shares[i] < size]
        shares[max(open_, key=lambda i: (exact[i] - shares[i], -i))] += 1
    while sum(shares) > total:
        open_ = [i for i, share in enumerate(shares) if share > 1]
        shares[max(open_, key=lambda i: (shares[i] - exact[i], -i))] -= 1
    return shares


def _members(
    listing: Listing, seed: int, without: Collection[int]
) -> tuple[list[Indices], list[Indices], list[Indices]]:
    """Return, for train (or unassigned), validation and test, one array of indices per class, in rank order."""
    usable = np.ones(len(listing), bool)
    usable[list(without)] = False
    order = np.lexsort((ranks(listing.names, seed), listing.targets))
    order = order[usable[order]]
    classes = max(1, len(listing.classes))  # samples without classes count as one class
    edges = np.searchsorted(listing.targets[order], np.arange(classes + 1))
    split = listing.splits[order]

    def part(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Indices]:
        return [order[a:b][mask[a:b]].astype(np.int64) for a, b in pairwise(edges)]

    return part((split != VALIDATION) & (split != TEST)), part(split == VALIDATION), part(split == TEST)


def _check_no_empty_class(listing: Listing, labels: Sequence[str], train: list[Indices]) -> None:
    empty = [label for label, part in zip(labels, train, strict=True) if not len(part)]
    if empty:
        links = [refusal.name for refusal in listing.refused]
        because = f". Left out: {quoted(links, 3)} ({listing.refused[0].why})" if links else ""
        noun = listing.kind
        raise InputError(
            f"{count(len(empty), 'class')} without a usable training {noun}: {quoted(empty)}{because}",
            f"add {noun}s of them, or remove the classes (empty folders, unused labels)",
        )


def _share(size: int, share: float, reserve: int) -> int:
    """Return how many of `size` samples to split off: the rounded share, at least one, leaving at least `reserve`."""
    return max(1, min(round(size * share), size - reserve))


def _limited(parts: list[Indices], limit: int, name: str, noun: str) -> list[Indices]:
    classes = sum(len(part) > 0 for part in parts)
    if limit < classes:
        raise InputError(
            f"{name} = {limit} is fewer than the {classes} classes",
            f"set it to {classes} or more: one {noun} per class",
        )
    if limit >= sum(map(len, parts)):
        return parts
    return [part[:share] for part, share in zip(parts, allocate(limit, [len(part) for part in parts]), strict=True)]
