"""``python -m tests.support.quick_benchmarks``: `python -m benchmarks` with nearly all sides in one process.

Each side has a process of its own where times are meant. Where they are not, most of the work would be to import
TensorFlow twenty times. The sides are run as they are there, by their modules' own ends.
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from pathlib import Path
from unittest import mock

from benchmarks import __main__ as command
from benchmarks import sides

RUN_PYTHON = sides.run_python
APART = "benchmarks.accuracy"  # runs two runtimes, which disturb each other in one process


def run_here(arguments: list[str], log: Path) -> float:
    """Run ``-m benchmarks.MODULE SIDE JOB`` in this process, and what has to be apart in another."""
    if not arguments[1].startswith("benchmarks.") or arguments[1] == APART:
        return RUN_PYTHON(arguments, log)
    cores = os.sched_getaffinity(0)
    environment = {**sides.ENVIRONMENT, "TMPDIR": str(log.parent)}
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(tempfile, "tempdir", str(log.parent)),
        mock.patch.object(sys, "argv", arguments[1:]),
    ):
        try:
            runpy.run_module(arguments[1], run_name="__main__")
        finally:
            os.sched_setaffinity(0, cores)
    return 1.0


if __name__ == "__main__":
    with mock.patch.object(sides, "run_python", run_here):
        command.main(prog_name="python -m benchmarks")
