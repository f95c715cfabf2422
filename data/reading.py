"""Bytes out of files that came from outside: only regular files, only inside their root, only up to a size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .listing import SampleFile, UnreadableError


def read_sample(payload: SampleFile, most: int | None = None) -> bytes:
    """Return what a file holds, read in one go. `most` is the number of bytes beyond which it is not opened.

    Raises UnreadableError for links that lead out of the root, for what is not a regular file, and for nothing.
    OSError passes through.
    """
    path = os.path.realpath(payload.path)
    if os.path.commonpath([payload.root, path]) != payload.root:
        raise UnreadableError("a link that leads out of the data's folder: not followed")
    facts = Path(path).stat()
    if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
        raise UnreadableError("not a regular file")
    if most is not None and facts.st_size > most:
        raise UnreadableError(f"{facts.st_size:,} bytes: too large", "large")
    content = Path(path).read_bytes()
    if not content:
        raise UnreadableError("empty: zero bytes", "empty")
    return content


def why_not_read(error: OSError) -> str:
    """Return why a file could not be read, for the report."""
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"cannot be read: {error.strerror}"
