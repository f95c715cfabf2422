"""Reads untrusted sample files: regular files only, inside their root only, up to a size limit."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .listing import SampleFile, UnreadableError


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
