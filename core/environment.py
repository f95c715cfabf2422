"""Describes this machine. The description is recorded with every figure, so that machines are not mixed up."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from .maker import MAKERS, TF2ONNX
from .runtime import RUNTIMES
from .store import package_versions

PACKAGES = (
    "edgeproof", "tf-keras", *(row.distribution for row in RUNTIMES.values() if not row.program),
    *MAKERS[TF2ONNX].distributions, "numpy",
)  # fmt: skip
_MIN_RSS = 3 << 29  # bytes; below this, releasing memory is not worth its time


def cpu_name() -> str:
    """Return the processor's name as reported by the system."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def boot_id() -> str:
    """Return what tells the running kernel from all others, also in its containers; empty where it does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return ""


def usable_cores() -> int:
    """Return how many cores this process may use (cpusets and taskset limit them)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def release_memory() -> None:
    """Return unused memory to the system after freezing or converting a large model: up to twenty times its weights.

    TensorFlow copies constants at each step, in reference cycles, and glibc keeps freed memory. Other C libraries are
    left alone. It takes some tenths of a second in a large process; small ones are skipped.
    """
    if psutil.Process().memory_info().rss < _MIN_RSS:
        return
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Within this block Python does not look for unused reference cycles by itself.

    Importing TensorFlow or building a network makes up to a million objects that stay, and each of the searches that
    this sets off goes through all of them: a quarter of the processor time of that import.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def environment() -> dict[str, Any]:
    """Return the `environment` of results.json. Package versions come from metadata; nothing is imported."""
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
    """Return the present time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
