"""The errors a user can act on. Libraries raise them; the command line turns them into a message and an exit code."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class EdgeproofError(Exception):
    """Something a person can mend: what was found and expected (`message`), and what to do (`remedy`)."""

    exit_code = 3

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class InputError(EdgeproofError):
    """The input is wrong; nothing was started. Exit status 2."""

    exit_code = 2


class StageError(EdgeproofError):
    """A stage was started and failed; what was finished before it is kept. Exit status 3."""

    exit_code = 3


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `path` into a StageError with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StageError(
                f"the disk is full: could not write {error.filename or path}",
                "free some space and run the same command again; finished work is kept. --out names another disk",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StageError(
                f"no permission to write {error.filename or path}",
                "choose a folder you may write to with --out, or mend its permissions",
            ) from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise StageError(
                f"{error.filename or path} is in the way: a file where a folder is wanted",
                "move it away, or choose another folder",
            ) from error
        raise
