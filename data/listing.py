"""The samples of a source before anything is decoded: for each one a name, a label and perhaps a split."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError
from ..core.sample_files import Payload
from ..core.sanitize import shorten
from ..tasks import TARGETED
from ..tasks.classification import Classification

# Split codes in arrays: positions in core.dataset.SPLITS.
TRAIN, VALIDATION, TEST = range(3)
UNASSIGNED = -1
# The beginning of the names of samples from data.test_source.
TEST_SOURCE = "test_source/"

Indices: TypeAlias = NDArray[np.int64]


# The kind of the samples; also the noun in messages about them.
SampleKind: TypeAlias = Literal["image", "text"]


class Remark(NamedTuple):
    """Something the user should know, and what to do about it."""

    what: str
    remedy: str


class Refusal(NamedTuple):
    """An entry that is not used as a sample, and why."""

    name: str
    why: str


class Names(Sequence[str]):
    """As many names as a data set has samples, in one block of bytes: a fifth of the memory that strings take."""

    def __init__(self) -> None:
        self._block, self._ends = bytearray(), array("q", [0])

    def append(self, name: str) -> None:
        """Add a name."""
        self._block += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._block))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return a name, or a list of names."""
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        return self._block[self._ends[places] : self._ends[places + 1]].decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Listing:
    """The samples of one source, in an order that does not depend on the file system.

    `targets` (N,) int64 are indices into `labels`, or all 0 without classes. For a `task` other than classification
    `values` (N, …) are what is right instead, and `labels` the names of the tags or values. `splits` (N,) int8 are
    TRAIN, VALIDATION or TEST, or all UNASSIGNED. `names` identify the samples in reports and in the seeded splits.
    `stream` takes ascending indices and yields their payloads in that order. `light` payloads decode faster than
    threads can switch.
    """

    source: str
    labels: tuple[str, ...]
    names: Sequence[str]
    targets: Indices
    splits: NDArray[np.int8]
    stream: Callable[[Indices], Iterator[Payload]]
    refused: tuple[Refusal, ...] = ()
    remarks: tuple[Remark, ...] = ()
    light: bool = False
    kind: SampleKind = "image"
    task: str = Classification.name
    values: NDArray[Any] | None = None
    by_name: bool = False
    """Whether the values are tags that cells name, and not columns."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the samples; none where labels name tags or values."""
        return self.labels if self.values is None else ()

    @property
    def cells(self) -> list[str]:
        """The label of each sample."""
        return [self.labels[number] for number in self.targets.tolist()]

    def right(self, index: int) -> str:
        """What is right of a sample, in words: its class, its tags or its numbers."""
        if self.values is None:
            return str(self.labels[int(self.targets[index])])
        return str(TARGETED[self.task](len(self.labels)).right(self.values[index], self.labels))

    def differ(self, first: int, second: int) -> bool:
        """Whether other things are right of two samples."""
        if self.values is None:
            return bool(self.targets[first] != self.targets[second])
        return not np.array_equal(self.values[first], self.values[second])


class Probe(NamedTuple):
    """A cheap fingerprint of a source (JSON-able; it changes when the data change), and perhaps its listing."""

    identity: dict[str, Any]
    listing: Listing | None = None


class Source(Protocol):
    """The samples behind one ``data.source``. Both methods raise InputError when there are none."""

    def probe(self) -> Probe:
        """Return what identifies the data, and the listing if it costs nothing more."""
        ...

    def listing(self) -> Listing:
        """Return the samples of the source."""
        ...


def display(name: str) -> str:
    r"""Return a file name as text that UTF-8 can hold: bytes that are not UTF-8 become ``\xNN``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def quoted(labels: Sequence[str], limit: int = 12) -> str:
    """Return label names for a message, on one line, each shortened, at most `limit` of them."""
    shown = ", ".join(repr(shorten(label, 40)) for label in labels[:limit])
    return f"{shown}, … ({len(labels)} in all)" if len(labels) > limit else shown or "none"


def count(number: int, noun: str) -> str:
    """Return ``1 image``, ``2 images``, ``2,000 classes``."""
    plural = noun if number == 1 else noun + ("es" if noun.endswith("s") else "s")
    return f"{number:,} {plural}"


def existing_folder(path: Path, source: str) -> Path:
    """Return `path` resolved. Raises InputError when it is not a folder that can be read."""
    if not path.exists():
        raise InputError(
            f"data source {shorten(source, 200)!r}: there is no folder {path}",
            "check the path; relative paths start from the recipe's folder",
        )
    if not path.is_dir():
        raise InputError(f"data source {shorten(source, 200)!r}: {path} is not a folder", "name the folder itself")
    if not os.access(path, os.R_OK | os.X_OK):
        raise InputError(f"data source {shorten(source, 200)!r}: no permission to read {path}", "fix its permissions")
    return path.resolve()


def with_test(train: Listing, test: Listing, *, any_labels: bool = False) -> Listing:
    """Join two sources: all of `test` becomes the test split. A test split within `train` is left out.

    Raises InputError when the two do not have the same set of labels, unless `any_labels` are allowed.
    """
    if any_labels:
        train, test = (_labelled(one, sorted({*train.labels, *test.labels})) for one in (train, test))
    if set(train.labels) != set(test.labels):
        only_train = [label for label in train.labels if label not in set(test.labels)]
        only_test = [label for label in test.labels if label not in set(train.labels)]
        raise InputError(
            f"the labels of data.source and data.test_source do not match: only {shorten(train.source, 100)!r} has "
            f"{quoted(only_train)}; only {shorten(test.source, 100)!r} has {quoted(only_test)}",
            "use the same class names in both, or omit test_source to split the test samples off data.source",
        )
    keep = np.flatnonzero(train.splits != TEST)
    remarks = list(train.remarks + test.remarks)
    if len(keep) < len(train):
        remarks.append(
            Remark(
                f"the test split of {shorten(train.source, 100)!r} ({count(len(train) - len(keep), train.kind)}) is "
                "left out, because data.test_source is the test split",
                "omit data.test_source to use the source's own",
            )
        )
    train_target = np.array([train.labels.index(label) for label in test.labels], np.int64)
    size = len(keep)

    def stream(indices: Indices) -> Iterator[Payload]:
        yield from train.stream(keep[indices[indices < size]])
        yield from test.stream(indices[indices >= size] - size)

    train_splits = train.splits[keep]
    return replace(
        train,
        names=[train.names[i] for i in keep] + [f"{TEST_SOURCE}{name}" for name in test.names],
        targets=np.concatenate([train.targets[keep], train_target[test.targets]]),
        splits=np.concatenate(
            [np.where(train_splits == UNASSIGNED, TRAIN, train_splits), np.full(len(test), TEST)]
        ).astype(np.int8),
        stream=stream,
        refused=train.refused + test.refused,
        remarks=tuple(remarks),
        light=train.light and test.light,
    )


def _labelled(listing: Listing, labels: Sequence[str]) -> Listing:
    """Return a listing with further `labels`."""
    places = {label: number for number, label in enumerate(labels)}
    numbers = np.array([places[label] for label in listing.labels], np.int64)
    return replace(listing, labels=tuple(labels), targets=numbers[listing.targets])
