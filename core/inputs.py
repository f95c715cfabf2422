"""Opens the files that a user names, or that are in a folder that a user names: regular files only.

Opening or reading a named pipe, a socket or a device may block for ever or never end, so they are refused first.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from .errors import InputError
from .sanitize import shorten

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_plain(path: Path) -> None:
    """Raise InputError when `path` is, or links to, something that is neither a regular file nor a folder.

    A path that does not exist or cannot be inspected passes: opening it reports the problem.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if kind := next((name for test, name in _KINDS if test(mode)), ""):
        raise InputError(
            f"{shorten(str(path), 200)} is {kind}, not a file", "write its content into a regular file, and name that"
        )


def check_folder(folder: Path) -> None:
    """Raise InputError when `folder` holds something that is neither a file nor a folder: before a library reads it."""
    for parent, _, files in os.walk(folder):
        for name in files:
            check_plain(Path(parent, name))


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading. Raises InputError when it is not a regular file. OSError passes through."""
    check_plain(path)
    return path.open("rb")


def read_input(path: Path) -> bytes:
    """Return a file's content. Raises as `open_input`."""
    with open_input(path) as stream:
        return stream.read()
