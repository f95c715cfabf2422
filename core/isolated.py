"""Calls a function in a process of its own and returns its result: for functions that read untrusted files.

This is for readers that use a C library, or whose input may crash a process. The process has limits of memory and time,
and its crash does not affect the caller. Arguments are strings, results JSON values.
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
# With -I, nothing is imported from the current folder or PYTHONPATH; so the path of this package is passed.
_CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from edgeproof.core import isolated; isolated.main()"
_KINDS = {"input": InputError, "stage": StageError}
_HOME = str(Path(__file__).absolute().parents[2])


class ProcessEndedError(Exception):
    """The process ended, or was killed, without a result; the message says how."""


def call(function: str, *arguments: str) -> Any:
    """Call ``module:name`` of this package, e.g. ``edgeproof.frameworks.hdf5:attributes``, in another process.

    Raises the InputError or StageError that the function raised. Raises ProcessEndedError if there is no result: the
    function raised another exception, crashed, exceeded its memory, or did not end within SECONDS.
    """
    command = [sys.executable, "-I", "-c", _CHILD, _HOME, function, *arguments]
    try:
        ending = children.run(command, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ProcessEndedError(f"reading it did not end within {SECONDS} s") from error
    if ending.status < 0:
        raise ProcessEndedError(f"it crashes the process that reads it ({ending.cause})")
    if ending.status:
        raise ProcessEndedError(f"the process that reads it {ending.how}")
    return decode_result(ending.output)


def decode_result(output: str | bytes) -> Any:
    """Return the result in the process's output, or raise its error."""
    document = json.loads(output)
    if "message" in document:
        raise _KINDS[document["kind"]](document["message"], document["remedy"])
    if "error" in document:
        raise ProcessEndedError(document["error"])
    return document["result"]


def main() -> None:
    """Call the function named by the process's arguments, and write its result to stdout as JSON."""
    with os.fdopen(os.dup(1), "w") as stdout:
        os.dup2(2, 1)  # output of libraries must not mix with the result
        stdout.write(call_here(*sys.argv[2:]))


def call_here(function: str, *arguments: str) -> str:
    """Call the function in this process; return its result as JSON, for `decode_result`."""
    return json.dumps(_outcome(function, *arguments))


def _outcome(function: str, *arguments: str) -> dict[str, Any]:
    module, _, name = function.partition(":")
    try:
        return {"result": getattr(import_module(module), name)(*arguments)}
    except EdgeproofError as error:
        kind = "input" if isinstance(error, InputError) else "stage"
        return {"kind": kind, "message": error.message, "remedy": error.remedy}
    except Exception as error:  # a reader of untrusted bytes may fail in any way
        return {"error": f"{type(error).__name__}: {error}"}
