"""Opens the files that a user names, or that stand in a folder he names: plain files only.

A named pipe, a socket or a device may wait for ever when it is opened, or never end; so each is refused before that.
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
    """Raise InputError when `path` is, or links to, something that is neither a file nor a folder.

    What does not exist, or may not be looked at, passes: opening it says so.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if kind := next((told for test, told in _KINDS if test(mode)), ""):
        raise InputError(
            f"{shorten(str(path), 200)} is {kind}, not a file", "write what it gives into a plain file, and name that"
        )


def check_folder(folder: Path) -> None:
    """Raise InputError when something below `folder` is neither a file nor a folder: for what a library reads whole."""
    for parent, _, files in os.walk(folder):
        for name in files:
            check_plain(Path(parent, name))


def open_input(path: Path) -> BinaryIO:
    """Open a file to read. Raises InputError for what is no plain file; OSError as opening does."""
    check_plain(path)
    return path.open("rb")


def read_input(path: Path) -> bytes:
    """Return what a file holds. Raises as `open_input`."""
    with open_input(path) as stream:
        return stream.read()
