"""Assigns samples of arrays and tables to splits, so that none of the test split is known from training.

A source's own splits are kept. Missing ones are cut off:

- by `group` where samples have one: all samples of a person or a machine are in one split;
- windows of a time series in the order of time, class by class, because neighbours are much alike;
- else at random, stratified by class.

Windows that share rows with a split that is judged, and exact copies of its samples, are left out of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.dataset import SPLITS
from ..core.errors import InputError
from ..core.recipe_data import Data
from .listing import TEST, TRAIN, VALIDATION
from .splits import allocate, ranks

Codes = NDArray[np.int8]
UNKNOWN = -1
"""The code of a sample whose split the source does not say."""
OUT = -2


@dataclass(frozen=True)
class ArraySplits:
    """The split of each sample (N,), `OUT` of those that are left out; how each split came about; what was left out."""

    codes: Codes
    origins: tuple[str, str, str]
    shared: int = 0
    copies: int = 0

    def indices(self, split: int) -> NDArray[np.int64]:
        """The samples of a split, ascending."""
        return np.flatnonzero(self.codes == split)


def split_arrays(
    given: Codes,
    classes: NDArray[np.int64],
    data: Data,
    *,
    seed: int,
    groups: Sequence[Any] = (),
    rows: NDArray[np.int64] | None = None,
    samples: NDArray[Any] | None = None,
) -> ArraySplits:
    """Return the splits of N samples of `classes` (N,), all 0 where there are none.

    `given` (N,) is the source's own split of each, or `UNKNOWN`. `groups` has the group of each sample; `rows` (N,
    window) those of a table that a window is made of; `samples` (N, …) are compared byte by byte to find copies. Raises
    InputError where there are too few samples or groups of a class for training and test, and where a group has its
    rows in two of the source's own splits.
    """
    codes = given.copy()
    names = [str(group) for group in groups] if len(groups) else []
    if names:
        _check_groups(names, given)
    origins = ["what is left", "given", "given"]
    if not (codes == TRAIN).any() and not (codes == UNKNOWN).any():
        raise InputError("no sample is left for training", "give samples of the split train")
    codes[codes == UNKNOWN] = TRAIN
    shared = 0
    for split, share in ((TEST, data.test), (VALIDATION, data.validation)):
        if (codes == split).any():
            continue
        pool = np.flatnonzero(codes == TRAIN)
        if split == VALIDATION and len(pool) < 3:
            origins[split] = "none: too few samples"
            continue
        if names:
            chosen, how = _by_group(pool, classes, [names[i] for i in pool], share, seed, split), "of the groups"
        elif rows is not None:
            chosen, how = _by_time(pool, classes, share, split), "of each class, the last in time"
        else:
            chosen, how = _by_class(pool, classes, share, seed, split), f"of each class, by seed {seed}"
        codes[chosen] = split
        shared += _without_shared_rows(codes, rows) if rows is not None else 0
        origins[split] = f"cut off: {share:.3g} {how}" if len(chosen) else "none: too few samples"
    if (given == TRAIN).any() and all((given == code).any() for code in (TEST, VALIDATION)):
        origins[TRAIN] = "given"
    shared += _without_shared_rows(codes, rows) if rows is not None else 0  # of splits that were given
    copies = _without_copies(codes, samples) if samples is not None else 0
    _limit(codes, classes, data, seed)
    return ArraySplits(codes, (origins[0], origins[1], origins[2]), shared, copies)


def _check_groups(names: Sequence[str], given: Codes) -> None:
    seen: dict[str, int] = {}
    for name, code in zip(names, given.tolist(), strict=True):
        if seen.setdefault(name, code) != code:
            both = " and ".join(SPLITS[one] if one >= 0 else "none" for one in (seen[name], code))
            raise InputError(
                f"the group {name[:80]!r} has rows in two splits ({both}): what training has seen would be tested",
                "put each group into one split, or remove the column split: then whole groups are split",
            )


def _hashes(names: Sequence[str], seed: int, split: int) -> NDArray[np.uint64]:
    return np.asarray(ranks(names, seed * 4 + split), np.uint64)


def _by_class(
    pool: NDArray[np.int64], classes: NDArray[np.int64], share: float, seed: int, split: int
) -> NDArray[np.int64]:
    """Return a share of each class, drawn by the rank of the sample's number."""
    order = pool[np.argsort(_hashes([str(one) for one in pool], seed, split), kind="stable")]
    parts = [order[classes[order] == number] for number in np.unique(classes[pool])]
    return np.concatenate([part[: _count(len(part), share, split)] for part in parts])


def _by_time(pool: NDArray[np.int64], classes: NDArray[np.int64], share: float, split: int) -> NDArray[np.int64]:
    parts = [pool[classes[pool] == number] for number in np.unique(classes[pool])]
    return np.concatenate([part[len(part) - _count(len(part), share, split) :] for part in parts])


def _count(size: int, share: float, split: int) -> int:
    """Return how many of `size` samples of a class to cut off: of one none, so that training keeps it."""
    least = 1 if split == TEST or size > 2 else 0
    return max(least if size > 1 else 0, min(round(size * share), size - 1))


def _by_group(
    pool: NDArray[np.int64], classes: NDArray[np.int64], names: Sequence[str], share: float, seed: int, split: int
) -> NDArray[np.int64]:
    """Return the samples of whole groups that come closest to the share of each class.

    Groups are tried in the order of their ranks, those of a class that is missing first; at least one group stays.
    """
    unique, which = np.unique(np.asarray(names), return_inverse=True)
    present, numbers = np.unique(classes[pool], return_inverse=True)
    counts = np.zeros((len(unique), len(present)), np.int64)
    np.add.at(counts, (which, numbers), 1)
    if len(unique) < 2:
        if split == VALIDATION:
            return np.array([], np.int64)
        raise InputError(
            f"there is only one group, {str(unique[0])[:80]!r}, and training and test need one each",
            "give data of more groups, or leave group out",
        )
    wanted, total = share * counts.sum(axis=0), counts.sum(axis=0)
    taken, chosen = np.zeros(len(present), np.int64), np.zeros(len(unique), bool)
    order = np.argsort(_hashes([str(one) for one in unique], seed, split), kind="stable")
    for group in order:
        more = taken + counts[group]
        keeps = (total - more)[total > 0].min() > 0 and chosen.sum() < len(unique) - 1
        closer = np.abs(more - wanted).sum() < np.abs(taken - wanted).sum()
        lacks = ((taken == 0) & (counts[group] > 0)).any()
        if keeps and (closer or not chosen.any() or (lacks and split == TEST)):
            taken, chosen[group] = more, True
    if split == TEST and not chosen.any():
        raise InputError(
            "no group can be cut off for the test split: each is the only one of some class",
            "give each class in two groups or more, or a column split",
        )
    return np.asarray(pool[chosen[which]], np.int64)


def _without_shared_rows(codes: Codes, rows: NDArray[np.int64]) -> int:
    """Leave out windows that share a row with one of a split that is judged later; return how many."""
    left_out, used = 0, np.zeros(int(rows.max()) + 1, bool)
    for split in (TEST, VALIDATION, TRAIN):
        mine = np.flatnonzero(codes == split)
        shared = mine[used[rows[mine]].any(axis=1)]
        codes[shared] = OUT
        left_out += len(shared)
        used[rows[np.setdiff1d(mine, shared)]] = True
    return left_out


def _without_copies(codes: Codes, samples: NDArray[Any]) -> int:
    """Leave out samples that are, byte by byte, in a split that is judged later; return how many."""
    left_out: int = 0
    seen: set[bytes] = set()
    for split in (TEST, VALIDATION, TRAIN):
        mine = np.flatnonzero(codes == split)
        digests = [sha256(np.ascontiguousarray(samples[index]).tobytes()).digest() for index in mine]
        copies = [index for index, digest in zip(mine, digests, strict=True) if digest in seen]
        codes[copies] = OUT
        left_out += len(copies)
        seen |= set(digests)
    return left_out


def _limit(codes: Codes, classes: NDArray[np.int64], data: Data, seed: int) -> None:
    """Leave out what exceeds ``limit_train`` and ``limit_test``, class by class."""
    for split, limit, key in ((TRAIN, data.limit_train, "limit_train"), (TEST, data.limit_test, "limit_test")):
        mine = np.flatnonzero(codes == split)
        if limit is None or limit >= len(mine):
            continue
        order = mine[np.argsort(_hashes([str(one) for one in mine], seed, split), kind="stable")]
        parts = [order[classes[order] == number] for number in np.unique(classes[order])]
        if limit < len(parts):
            raise InputError(f"data.{key} = {limit} is fewer than the {len(parts)} classes", f"set it to {len(parts)}")
        for part, share in zip(parts, allocate(limit, [len(part) for part in parts]), strict=True):
            codes[part[share:]] = OUT
