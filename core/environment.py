"""What machine this is: recorded beside every figure, so that unlike machines are not compared unawares."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from .runtime import RUNTIMES
from .store import package_versions

PACKAGES = (
    "edgeproof", "tf-keras", *(runtime.distribution for runtime in RUNTIMES.values()), "onnx", "tf2onnx", "numpy",
)  # fmt: skip
_WORTH_IT = 3 << 29  # bytes in memory from which looking for what can be given back is worth its time


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use (what cpusets and taskset leave of them)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def give_back_memory() -> None:
    """Return to the system what a large model's freezing or conversion no longer uses: up to twenty times its weights.

    TensorFlow copies constants at each step, in objects that refer to each other; glibc keeps what is freed. Where
    there is another library of C, it does as it likes. Costs some tenths of a second in a large process; a small one
    is left as it is.
    """
    if psutil.Process().memory_info().rss < _WORTH_IT:
        return
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def environment() -> dict[str, Any]:
    """Return the `environment` of results.json. Looks packages up by their metadata; imports none."""
    return {
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": package_versions(PACKAGES),
    }


def now() -> str:
    """Return this moment in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
