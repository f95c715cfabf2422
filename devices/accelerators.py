"""Accelerators of this machine: which drivers it has. Nothing is started, and no runtime is imported."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.codec import sha256_of
from ..core.runtime import Hardware, Runtime

# What a figure or a refusal depends on beside the machine: which driver and which device a loader takes.
_VARIABLES = (
    "VK_ICD_FILENAMES", "VK_DRIVER_FILES", "VK_ADD_DRIVER_FILES", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH",
)  # fmt: skip
_ICDS = ("/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "~/.local/share/vulkan/icd.d")


def _has_vulkan() -> bool:
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return False
    return True


def _has_any(*patterns: str) -> bool:
    return any(next(Path("/dev").glob(pattern), None) is not None for pattern in patterns)


# For each kind of hardware: whether it is here, what to say where it is not, and what to do. /dev/dxg is the GPU of
# Windows, in its subsystem for Linux.
_KINDS: dict[Hardware, tuple[Callable[[], bool], str, str]] = {
    "vulkan": (
        _has_vulkan,
        "there is no Vulkan loader (libvulkan.so.1), through which WebGPU reaches the GPU",
        "install the GPU's driver and libvulkan1; SwiftShader emulates a GPU (docs/accelerators.md)",
    ),
    "cuda": (
        lambda: _has_any("nvidiactl", "kfd", "dxg"),
        "there is no driver of an NVIDIA GPU",
        "run it on a machine with an NVIDIA GPU and its driver",
    ),
    "intel-gpu": (
        lambda: _has_any("dri/renderD*", "dxg"),
        "there is no GPU driver (/dev/dri)",
        "run it on a machine with an Intel GPU and its compute runtime (Debian's intel-opencl-icd)",
    ),
    "intel-npu": (
        lambda: _has_any("accel/accel*"),
        "there is no NPU driver (/dev/accel)",
        "run it on a machine with an Intel NPU and its driver (linux-npu-driver)",
    ),
}


def missing_hardware(runtime: Runtime) -> tuple[str, str] | None:
    """Return (reason, remedy) if this machine lacks what an accelerator needs; None if it may be there.

    Only Linux is checked; elsewhere the runtime's own words tell.
    """
    if not runtime.needs or sys.platform != "linux":
        return None
    is_here, reason, remedy = _KINDS[runtime.needs]
    return None if is_here() else (reason, remedy)


def accelerator_identity(runtime: Runtime) -> dict[str, Any]:
    """Return a hash of what an accelerator's figures depend on: drivers, and the variables that choose them. Cheap."""
    if not runtime.needs:
        return {}
    icds = (path for folder in _ICDS for path in sorted(Path(folder).expanduser().glob("*.json")))
    kernel = Path("/proc/driver/nvidia/version")
    facts = {
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "vulkan": [str(path) for path in icds],
        "nvidia": kernel.read_text("utf-8", "replace").split("\n")[0] if kernel.is_file() else "",
        "devices": sorted(path.name for path in (*Path("/dev/dri").glob("render*"), *Path("/dev/accel").glob("*"))),
        "here": missing_hardware(runtime) is None,
    }
    return {"drivers": sha256_of(facts)[:16]}  # not the paths themselves: results are shown to others
