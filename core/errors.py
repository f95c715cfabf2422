"""The errors that a user can act on. The command line turns them into a message and an exit status."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class EdgeproofError(Exception):
    """An error that the user can fix: what was found and expected (`message`), and what to do (`remedy`)."""

    exit_code = 3

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class InputError(EdgeproofError):
    """The input is wrong. Nothing was started. Exit status 2."""

    exit_code = 2


class NotInstalledError(InputError):
    """The input needs a package that is not installed; the input itself may be right. Exit status 2."""


class StageError(EdgeproofError):
    """A stage failed after it was started; work that was finished before is kept. Exit status 3."""

    exit_code = 3


# Errors of the operating system: (error numbers, message about a path, remedy).
_REFUSALS: tuple[tuple[tuple[int, ...], str, str], ...] = (
    (
        (errno.ENOSPC, errno.EDQUOT),
        "the disk is full: could not write {}",
        "free some space and run the same command again; finished work is kept. --out names another disk",
    ),
    (
        (errno.EFBIG,),
        "{} would exceed the limit on file sizes",
        "raise the limit (ulimit -f), or choose another disk with --out",
    ),
    (
        (errno.EEXIST, errno.ENOTDIR),
        "{} is in the way: a file where a folder is needed",
        "move it away, or choose another folder",
    ),
    (
        (errno.EISDIR, errno.ENOTEMPTY),
        "{} is in the way: a folder where a file is needed",
        "move it away, or choose another folder",
    ),
    ((errno.ENAMETOOLONG,), "the name is too long for the disk: {}", "give a shorter one"),
    ((errno.ELOOP,), "the links at {} form a loop", "name the file or folder itself"),
    (
        (errno.EMFILE, errno.ENFILE),
        "too many files are open; {} could not be opened",
        "raise the limit (ulimit -n) and run the same command again",
    ),
    ((errno.EIO,), "the disk reports errors at {}", "check the disk; --out names another one"),
)


def explain_os_error(error: OSError, path: Path | None = None) -> OSError | StageError:
    """Return a StageError with a remedy for an error of the operating system, or `error` itself if it is not known.

    `path` is used if the error names no path.
    """
    target = error.filename2 or error.filename or path or "a file"  # filename2 is the destination of a rename
    place = _short(str(target))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        unreadable = not isinstance(target, int) and os.access(target, os.F_OK) and not os.access(target, os.R_OK)
        remedy = "choose a writable folder with --out, or fix its permissions"
        return StageError(f"no permission to {'read' if unreadable else 'write'} {place}", remedy)
    for numbers, message, remedy in _REFUSALS:
        if error.errno in numbers:
            return StageError(message.format(place), remedy)
    if error.errno is not None and error.filename is not None:
        return StageError(f"{place}: {error.strerror}", "check that path, and run the same command again")
    return error


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system while writing below `path` into a StageError with a remedy."""
    try:
        yield
    except FileNotFoundError:  # callers may handle it
        raise
    except OSError as error:
        explained = explain_os_error(error, path)
        if explained is error:
            raise
        raise explained from error


def explain_os_errors(call: Callable[P, R]) -> Callable[P, R]:
    """Return a function of the Python API that raises a StageError for an error of the operating system that is known.

    A full disk, missing permissions or a name that is too long may occur anywhere.
    """

    @wraps(call)
    def explaining(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except OSError as error:
            explained = explain_os_error(error)
            if explained is error:
                raise
            raise explained from error

    return explaining


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]}…{text[-99:]}"
