"""Calibration samples as tools are fed them: inputs by name, batch 1, as the app will feed them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.model import InputContract
from ..core.pixels import as_input, pixel_feed

Samples = NDArray[Any]
# Iterates over the samples from the start, each a dictionary of arrays by input name.
Feeds = Callable[[], Iterator[dict[str, Any]]]


def feeds(contract: InputContract, samples: Samples) -> Feeds:
    """Return a function that iterates over `samples` from the start, each a dictionary of arrays by input name.

    `samples` are what `export.export` reads from its ``.npy``; the arrays have the contract's dtype.
    """

    about = pixel_feed(contract) if contract.kind == "image" else {}

    def feed(batch: Samples) -> dict[str, Any]:
        if batch.dtype.names:
            names = {"ids": contract.name, "lens": contract.lengths} if contract.lengths else {}
            return {names.get(field, field): np.ascontiguousarray(batch[field]) for field in batch.dtype.names}
        if contract.kind == "image":
            batch = as_input(about, batch)
        if contract.batchless:
            batch = batch[0]
        return {contract.name: batch.astype(contract.dtype)}

    return lambda: (feed(samples[index : index + 1]) for index in range(len(samples)))


def identity(samples: Samples) -> str:
    """Return the hash of samples with their types: some fields of an array have the bytes of all of them."""
    return hashlib.sha256(f"{samples.dtype.descr}".encode() + samples.tobytes()).hexdigest()


# A sample of fewer values than this shows little of a tensor's range, and many such samples run in a second.
_FEW_VALUES = 4096
_FEW_SAMPLES = 32


def evenly(count: int, at_most: int) -> list[int]:
    """Return at most `at_most` of `count` indices, evenly spread over all of them."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(count, at_most)).round()})


def folds(samples: Sequence[dict[str, Any]], at_most: int) -> list[tuple[list[int], list[int]]]:
    """Return pairs of indices: samples that a trial takes ranges from, and held-out samples to compare files on.

    If samples have few values, there are four folds, and each sample is held out once. Otherwise one quarter is held
    out, at most `at_most` samples. Of very few samples none is held out.
    """
    every = list(range(len(samples)))
    if len(every) < _FEW_SAMPLES:
        return [(every, every)]
    parts = [every[start::4] for start in (3, 2, 1, 0)]
    if sum(np.size(value) for value in samples[0].values()) > _FEW_VALUES:
        parts = [[parts[0][index] for index in evenly(len(parts[0]), at_most)]]
    return [(sorted(set(every) - set(held)), held) for held in parts]
