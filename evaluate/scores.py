"""The score of each sample, beside a run's raw latencies: so that two runs are compared on the same samples.

One compressed ``.npz`` for each cell: ``scores`` (samples,) bool or float64, ``data`` (the SHA-256 of the prepared
data) and ``split``; of a metric that is not their mean also ``parts`` (samples, …) float64, which it is made of. Two
files can be compared pair by pair where `data` and `split` are the same: the samples are then the same ones, in the
same order. A run's folder may come from anywhere, so files are read within bounds.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..core.codec import write_atomic
from ..core.errors import InputError
from ..core.inputs import open_input
from ..core.measurement import Measurement
from ..core.target import base_target
from ..tasks import task_of_row
from .cells import file_of, raw_name

if TYPE_CHECKING:
    from .measure import Answered

SUFFIX = ".scores.npz"
MAX_SAMPLES = 1 << 24
_MAX_BYTES = 8 * MAX_SAMPLES + 4096
_MAX_TEXT = 4096
# What zipfile and zlib raise for files that they cannot read.
_UNREADABLE = (
    InputError, OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
# The header as NumPy writes it: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (version 1.0).
# NumPy itself would evaluate it as a Python expression, and take the memory that it asks for.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([|<])(b1|f8|U[0-9]{1,3})', 'fortran_order': False, 'shape': "
    rb"\(((?:[0-9]{1,8},)?|[0-9]{1,8}, [0-9]{1,8}, [0-9]{1,8})\), \} *\n",
    re.DOTALL,
)


@dataclass(frozen=True)
class KeptScores:
    """The scores of a cell (samples,), from 0 (wrong) to 1 (right), and which samples they are of.

    `parts` (samples, …) are what the metric is made of: the scores themselves where it is their mean.
    """

    scores: NDArray[Any]
    data: str
    split: str
    parts: NDArray[Any]


def keep(
    rows: Iterable[Measurement],
    answers: Mapping[tuple[str, str], Answered],
    *,
    data: str,
    folder: Path,
    split: str = "test",
) -> Iterator[Measurement]:
    """Write the scores of each row that has some into `folder`, the run's ``raw``; yield those rows with the file.

    `answers` are by (artifact id, target), as `measure.measure` returns them; `data` is the prepared data's SHA-256.
    """
    for row in list(rows):
        # Rows of further threads and batches have the answers of their base: so they have its file.
        target = base_target(row.target)
        answered = answers.get((row.artifact, target))
        if answered is None or answered.scores is None or (row.target != target and row.status != "ok"):
            continue
        stream = io.BytesIO()
        arrays = {"scores": answered.scores, "data": np.array(data), "split": np.array(split)}
        if answered.parts is not None and answered.parts.ndim > 1:
            arrays["parts"] = answered.parts.astype(np.float64)
        np.savez_compressed(stream, **arrays)
        name = raw_name(row.artifact, target, SUFFIX)
        write_atomic(folder / name, stream.getvalue(), durable=False)
        yield replace(row, scores=f"{folder.name}/{name}")


def kept(measurement: Measurement, folder: Path | None) -> KeptScores | None:
    """Return the scores of a measurement from the run's `folder`.

    None where there are none, or they are damaged or contradict the measurement.
    """
    path = file_of(measurement.scores, folder)
    if path is None:
        return None
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        with open_input(path) as stream, zipfile.ZipFile(stream) as archive:
            scores = _array(archive, "scores", "bf", _MAX_BYTES)
            data, split = (str(_array(archive, name, "U", _MAX_TEXT)[()]) for name in ("data", "split"))
            of_more = "parts.npy" in archive.namelist()
            parts = _array(archive, "parts", "f", _MAX_BYTES, dimensions=3) if of_more else scores
    except _UNREADABLE:
        return None
    if scores.ndim != 1 or not 0 < len(scores) == measurement.samples or not ((scores >= 0) & (scores <= 1)).all():
        return None
    if len(parts) != len(scores) or not np.isfinite(parts).all():
        return None
    # Parts of which the metric beside them is not made would contradict it.
    if (task := task_of_row(measurement)) is not None and measurement.accuracy is not None:
        try:
            if abs(task.value_of(parts) - measurement.accuracy) > 1e-6:
                return None
        except (ValueError, IndexError):  # of another task's shape
            return None
    return KeptScores(scores, data, split, parts)


def pairs(a: KeptScores | None, b: KeptScores | None) -> bool:
    """Return whether the scores of two cells are of the same samples."""
    return a is not None and b is not None and (a.data, a.split, len(a.scores)) == (b.data, b.split, len(b.scores))


def _array(archive: zipfile.ZipFile, name: str, kinds: str, limit: int, dimensions: int = 1) -> NDArray[Any]:
    """Read a member of at most `limit` bytes as an array of one of `kinds` (NumPy's letters); ValueError if it is none.

    It has one dimension, or so many `dimensions`; of a single value, none.
    """
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in another way than NumPy's")
    with archive.open(info) as member:
        content = member.read(limit + 1)
    header = _HEADER.match(content)
    if len(content) > limit or header is None:
        raise ValueError(f"{name} is too large, or no array as it was written")
    dtype = np.dtype((header[1] + header[2]).decode())
    shape = tuple(int(side) for side in header[3].split(b",") if side)
    if dtype.kind not in kinds or len(shape) not in (0, dimensions):
        raise ValueError(f"{name} is no array of {kinds} of {dimensions} dimensions")
    if len(content) - header.end() != dtype.itemsize * prod(shape):
        raise ValueError(f"{name} was cut")
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape)
