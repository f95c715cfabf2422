"""What a source passes to a decoder; reads untrusted sample files: regular ones, inside their root, of limited size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]


class SampleFile(NamedTuple):
    """A sample in a file. The resolved `path` must lie in `root` (already resolved); the reader checks this."""

    path: str
    root: str


class UnreadableError(Exception):
    """A sample that cannot be used; the message is the reason, for the report.

    `cause` is the category that the check counts: ``encoding``, ``empty``, ``large``, or ``""``.
    """

    def __init__(self, why: str, cause: str = "") -> None:
        super().__init__(why)
        self.cause = cause


# What a source passes to the decoder: a file; an encoded image; pixels (height, width) or (height, width, 3); a text;
# or the reason why there is none.
Payload: TypeAlias = SampleFile | bytes | Pixels | str | UnreadableError


def read_sample(payload: SampleFile, max_bytes: int | None = None) -> bytes:
    """Return a file's content. A file larger than `max_bytes` is not opened.

    Raises UnreadableError for links out of the root, for anything but a regular file, for files that are too large and
    for empty ones. OSError passes through.
    """
    path = os.path.realpath(payload.path)
    if os.path.commonpath([payload.root, path]) != payload.root:
        raise UnreadableError("a link that leads out of the data's folder: not followed")
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block for ever
        raise UnreadableError("not a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise UnreadableError(f"{status.st_size:,} bytes: too large", "large")
    content = Path(path).read_bytes()
    if not content:
        raise UnreadableError("empty: zero bytes", "empty")
    return content


def read_error_reason(error: OSError) -> str:
    """Return the reason why a file could not be read, for the report."""
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be read: {error.strerror}"
