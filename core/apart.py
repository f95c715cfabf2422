"""Calls a function that reads a file from outside in a process of its own, and returns what it returned.

For readers whose work a C library does, or whose input may end a process: that process has limits of memory and time,
and when it ends, the caller goes on. Arguments are texts; results are what JSON holds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from . import children
from .errors import EdgeproofError, InputError, StageError

SECONDS = 300
# Isolated: nothing of the current folder or of PYTHONPATH is imported, but this very package is.
_CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from edgeproof.core import apart; apart.main()"
_KINDS = {"input": InputError, "stage": StageError}
_HOME = str(Path(__file__).absolute().parents[2])


class EndedError(Exception):
    """The process ended, or was ended, before it gave a result; the text says how."""


def call(function: str, *arguments: str) -> Any:
    """Call ``module:name`` of this package, e.g. ``edgeproof.frameworks.hdf5:attributes``, in another process.

    Raises the InputError or StageError that the function raised, and EndedError where there is no result: it raised
    something else, crashed, took more than its memory, or did not end within SECONDS.
    """
    command = [sys.executable, "-I", "-c", _CHILD, _HOME, function, *arguments]
    try:
        ending = children.run(command, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise EndedError(f"reading it did not end within {SECONDS} s") from error
    if ending.status < 0:
        raise EndedError(f"it ends the process that reads it ({ending.cause})")
    if ending.status:
        raise EndedError(f"the process that reads it {ending.how}")
    return result_of(ending.output)


def result_of(told: str | bytes) -> Any:
    """Return, or raise, what the process told."""
    document = json.loads(told)
    if "message" in document:
        raise _KINDS[document["kind"]](document["message"], document["remedy"])
    if "error" in document:
        raise EndedError(document["error"])
    return document["result"]


def main() -> None:
    """Call the function that the process's arguments name, and write what came of it to stdout, as JSON."""
    with os.fdopen(os.dup(1), "w") as stdout:
        os.dup2(2, 1)  # what a library prints is no part of the result
        stdout.write(called(*sys.argv[2:]))


def called(function: str, *arguments: str) -> str:
    """Call the function in this process; return what came of it as JSON, for `result_of`."""
    return json.dumps(_called(function, *arguments))


def _called(function: str, *arguments: str) -> dict[str, Any]:
    module, _, name = function.partition(":")
    try:
        return {"result": getattr(import_module(module), name)(*arguments)}
    except EdgeproofError as error:
        kind = "input" if isinstance(error, InputError) else "stage"
        return {"kind": kind, "message": error.message, "remedy": error.remedy}
    except Exception as error:  # a reader of hostile bytes may stumble in any way
        return {"error": f"{type(error).__name__}: {error}"}
