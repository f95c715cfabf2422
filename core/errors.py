"""The errors a user can act on. Libraries raise them; the command line turns them into a message and an exit code."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class EdgeproofError(Exception):
    """Something a person can fix: what was found and expected (`message`), and what to do (`remedy`)."""

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


class NotInstalledError(InputError):
    """A package is missing here that the input needs; the input itself may be right. Exit status 2."""


class StageError(EdgeproofError):
    """A stage was started and failed; what was finished before it is kept. Exit status 3."""

    exit_code = 3


# Of what the operating system refuses: what is said (of a path), and what helps.
_REFUSALS: tuple[tuple[tuple[int, ...], str, str], ...] = (
    (
        (errno.ENOSPC, errno.EDQUOT),
        "the disk is full: could not write {}",
        "free some space and run the same command again; finished work is kept. --out names another disk",
    ),
    (
        (errno.EFBIG,),
        "{} would be larger than a file may be here",
        "raise the limit (ulimit -f), or choose another disk with --out",
    ),
    (
        (errno.EEXIST, errno.ENOTDIR),
        "{} is in the way: a file where a folder is wanted",
        "move it away, or choose another folder",
    ),
    (
        (errno.EISDIR, errno.ENOTEMPTY),
        "{} is in the way: a folder where a file is wanted",
        "move it away, or choose another folder",
    ),
    ((errno.ENAMETOOLONG,), "the name is too long for the disk: {}", "give a shorter one"),
    ((errno.ELOOP,), "the links at {} lead in a circle", "name the file or folder itself"),
    (
        (errno.EMFILE, errno.ENFILE),
        "too many files are open; {} could not be opened",
        "raise the limit (ulimit -n) and run the same command again",
    ),
    ((errno.EIO,), "the disk gives errors at {}", "check it; --out names another one"),
)


def explained(error: OSError, path: Path | None = None) -> OSError | StageError:
    """Return a StageError with a remedy for what the operating system refuses; `error` itself where that is not known.

    `path` is meant where the error names none.
    """
    target = error.filename2 or error.filename or path or "a file"  # of a rename, where to
    place = _short(str(target))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        unreadable = not isinstance(target, int) and os.access(target, os.F_OK) and not os.access(target, os.R_OK)
        remedy = "choose a folder you may write to with --out, or fix its permissions"
        return StageError(f"no permission to {'read' if unreadable else 'write'} {place}", remedy)
    for numbers, message, remedy in _REFUSALS:
        if error.errno in numbers:
            return StageError(message.format(place), remedy)
    if error.errno is not None and error.filename is not None:
        return StageError(f"{place}: {error.strerror}", "check that path, and run the same command again")
    return error


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `path` into a StageError with a remedy."""
    try:
        yield
    except FileNotFoundError:  # somebody may be looking for it
        raise
    except OSError as error:
        found = explained(error, path)
        if found is error:
            raise
        raise found from error


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]}…{text[-99:]}"
