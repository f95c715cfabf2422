"""The verb ``about``: what a device is, and which packages it has."""

import os
import shutil
import sys
import tempfile
import time
from glob import glob
from typing import Any, Dict

from .machine import conditions, first_line, hardware, numbers, processor
from .sessions import version
from .shelf import Shelf


def about(job: Dict[str, Any]) -> Dict[str, Any]:
    """Verb: return what this device is. ``packages`` has the versions of the packages of job["modules"] it has."""
    import platform
    from importlib.util import find_spec

    shelf = Shelf(job)
    existing = shelf.folder
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    memory = {}
    try:
        with open("/proc/meminfo") as stream:
            memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in stream if "kB" in line}
    except (OSError, ValueError, IndexError):
        pass
    try:
        temporary = tempfile.gettempdir()
    except OSError:
        temporary = ""
    cpufreq = "/sys/devices/system/cpu/cpu0/cpufreq/"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    facts: Dict[str, Any] = {
        "cpu": processor(),
        "model": first_line("/proc/device-tree/model"),
        "architecture": platform.machine(),
        "cores": cores,
        "memory_bytes": memory.get("MemTotal", 0),
        "available_bytes": memory.get("MemAvailable", 0),
        "os": platform.platform(),
        "python": platform.python_version(),
        "executable": sys.executable or "",
        "libc": " ".join(platform.libc_ver()),
        "boot": first_line("/proc/sys/kernel/random/boot_id"),
        "governor": first_line(cpufreq + "scaling_governor"),
        "max_mhz": sum(numbers([cpufreq + "cpuinfo_max_freq"])) / 1000,
        "clock": time.time(),
        "folder": shelf.folder,
        "writable": os.access(existing, os.W_OK | os.X_OK),
        "free_bytes": shutil.disk_usage(existing).free,
        "temporary": temporary,
        "conditions": conditions(),
        "hardware": hardware(),
        "packages": {},
    }
    battery = numbers(sorted(glob("/sys/class/power_supply/*/capacity")))
    if battery:
        facts["battery_percent"] = battery[0]
    for distribution, module in job["modules"].items():
        try:
            there = find_spec(module) is not None
        except (ImportError, ValueError):
            there = False
        if there:
            facts["packages"][distribution] = version(distribution)
    return facts
