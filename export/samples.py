"""Calibration samples as every tool is fed them: inputs by name, batch 1, as the app will feed them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.model import InputContract

Samples = NDArray[Any]


def feeds(contract: InputContract, samples: Samples) -> Callable[[], Iterator[dict[str, Any]]]:
    """Return a function that goes through `samples` from the start, one dictionary of arrays by input name at a time.

    `samples` are what `export.export` reads from its ``.npy``; the arrays have the contract's dtype.
    """

    def feed(batch: Samples) -> dict[str, Any]:
        if batch.dtype.names:
            names = {"ids": contract.name, "lens": contract.lengths} if contract.lengths else {}
            return {names.get(field, field): np.ascontiguousarray(batch[field]) for field in batch.dtype.names}
        if contract.kind == "image" and (contract.low, contract.high) != (0.0, 255.0):
            batch = batch.astype(np.float32) * ((contract.high - contract.low) / 255.0) + contract.low
        return {contract.name: batch.astype(contract.dtype)}

    return lambda: (feed(samples[index : index + 1]) for index in range(len(samples)))


def identity(samples: Samples) -> str:
    """Return the hash of samples with their types: some fields of an array have the bytes of all of them."""
    return hashlib.sha256(f"{samples.dtype.descr}".encode() + samples.tobytes()).hexdigest()
