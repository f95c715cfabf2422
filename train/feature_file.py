"""Features on disk: a ``.npy`` file that grows block by block, so that a killed run loses one block at most."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import StageError, explain_disk_errors

BLOCK = 512  # samples between two writes


def read_complete(path: Path, samples: int, width: int) -> NDArray[Any] | None:
    """Return the features that `grow` has written to `path`, if all of them (`samples`, `width`) are there."""
    if not samples:
        return np.zeros((0, width), np.float32)
    try:
        features: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None  # not there, or not finished
    return features if features.shape == (samples, width) and features.dtype == np.float32 else None


def grow(
    path: Path,
    samples: int,
    width: int,
    compute: Callable[[Sequence[tuple[int, int]]], Generator[NDArray[Any], None, None]],
    progress: Callable[[int], None],
) -> NDArray[Any]:
    """Return all features as a read-only memory map (`samples`, `width`) float32 of `path`.

    `compute` yields the features of each span of samples (start, stop), in order; it may read spans ahead. Complete
    blocks that a killed run has written are not computed again; block boundaries do not depend on them. `progress`
    gets the number of samples finished since its last call. Raises StageError when the disk is full or features are
    not finite.
    """
    shape = (samples, width)
    if not samples:
        return np.zeros(shape, np.float32)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as stream:
            np.lib.format.write_array_header_2_0(
                stream, {"descr": "<f4", "fortran_order": False, "shape": shape}
            )  # the same bytes each time, so that rewriting an old one is harmless
            stream.flush()
            header, row = stream.tell(), 4 * width
            done = min((os.fstat(stream.fileno()).st_size - header) // row, samples)
            if done < samples:
                done -= done % BLOCK
            stream.truncate(header + done * row)
            stream.seek(header + done * row)
            progress(done)
            spans = [(start, min(start + BLOCK, samples)) for start in range(done, samples, BLOCK)]
            with closing(compute(spans)) as blocks:
                for block in blocks:
                    stream.write(_finite(block).astype("<f4").tobytes())
                    stream.flush()
                    progress(len(block))
    features: NDArray[Any] = np.load(path, mmap_mode="r")
    return features


def _finite(features: NDArray[Any]) -> NDArray[Any]:
    wrong = int((~np.isfinite(features).all(axis=1)).sum())
    if wrong:
        raise StageError(
            f"the backbone returns values that are not numbers for {wrong} of {len(features)} samples",
            "choose another output or signature of it, or another value_range",
        )
    return features
