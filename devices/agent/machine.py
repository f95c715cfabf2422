"""The machine that this runs on: its cores, memory and clocks, and what may disturb a measurement."""

import os
import sys
import time
from glob import glob
from typing import Any, Dict, List, Optional


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes (0 if unknown)."""
    try:
        # Not getrusage: its maximum is inherited from the parent process.
        with open("/proc/self/status") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def die_with_parent() -> None:
    """Have Linux kill this process when its parent ends: a killed run leaves no processes behind."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def core_facts() -> Dict[int, Dict[str, Any]]:
    """Return what Linux says of each core this process may use: its relative capacity, top clock and SMT siblings.

    ``capacity`` differs between the kinds of cores of a big.LITTLE processor. Facts that cannot be read are missing.
    """
    facts: Dict[int, Dict[str, Any]] = {}
    for core in sorted(os.sched_getaffinity(0)):
        folder = "/sys/devices/system/cpu/cpu{}/".format(core)
        facts[core] = {}
        for name, file in (
            ("capacity", "cpu_capacity"),
            ("max_khz", "cpufreq/cpuinfo_max_freq"),
            ("siblings", "topology/thread_siblings_list"),
        ):
            try:
                with open(folder + file) as stream:
                    text = stream.read().strip()
                facts[core][name] = text if name == "siblings" else int(text)
            except (OSError, ValueError):
                pass
    return facts


def pin(threads: int) -> Optional[List[int]]:
    """Pin this process to `threads` cores. Returns them, or None where that is impossible.

    The fastest kind of cores comes first, then one core of each set of SMT siblings, then the last cores, away from
    core 0's interrupts.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    facts = core_facts()
    seen: Dict[str, int] = {}
    for core in sorted(facts, reverse=True):
        siblings = facts[core].get("siblings", str(core))
        facts[core]["turn"] = seen[siblings] = seen.get(siblings, -1) + 1
    speed = {core: about.get("capacity", about.get("max_khz", 0)) for core, about in facts.items()}
    order = sorted(facts, key=lambda core: (-speed[core], facts[core].pop("turn"), -core))
    chosen = sorted(order[:threads])
    os.sched_setaffinity(0, chosen)
    return chosen


def conditions() -> Dict[str, Any]:
    """Return what may disturb a measurement, as far as Linux says: load, other work, stolen time, clocks, heat.

    ``at`` is a clock in seconds, ``busy_s`` (processor time of all processes), ``steal_s`` and ``throttled`` are
    counters since the machine started; ``mhz`` is the mean of the clocks of this process's cores, ``celsius`` the
    hottest zone.
    """
    facts: Dict[str, Any] = {"at": time.monotonic()}
    try:
        facts["load"] = os.getloadavg()[0]
        with open("/proc/stat") as stream:
            user, nice, system, _, _, irq, softirq, steal = map(int, stream.readline().split()[1:9])
        ticks = os.sysconf("SC_CLK_TCK")
        facts["busy_s"] = (user + nice + system + irq + softirq) / ticks
        facts["steal_s"] = steal / ticks
    except (OSError, ValueError, IndexError):
        pass
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cpu = "/sys/devices/system/cpu/cpu{}/"
    clocks = numbers([(cpu + "cpufreq/scaling_cur_freq").format(core) for core in cores])
    throttled = numbers([(cpu + "thermal_throttle/core_throttle_count").format(core) for core in cores])
    heat = numbers(glob("/sys/class/thermal/thermal_zone*/temp"))
    flags = throttling_flags()
    if flags is not None:
        facts["throttling_flags"] = flags
    if clocks:
        facts["mhz"] = sum(clocks) / len(clocks) / 1000
    if heat:
        facts["celsius"] = max(heat) / 1000
    if throttled:
        facts["throttled"] = sum(throttled)
    return facts


def throttling_flags() -> Optional[int]:
    """Return the flags of a Raspberry Pi's firmware: 1 too low a voltage, 2 capped, 4 throttled, 8 too hot, all now.

    The same, shifted by 16 bits, since the start. None on other machines.
    """
    text = first_line("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def first_line(path: str) -> str:
    """Return the first line of a file, or an empty text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.readline().strip(" \0\n\t")
    except OSError:
        return ""


def numbers(files: List[str]) -> List[int]:
    """Return the numbers in those of some files that can be read."""
    found = []
    for file in files:
        try:
            with open(file) as stream:
                found.append(int(stream.read()))
        except (OSError, ValueError):
            pass
    return found


def hardware() -> List[str]:
    """Return the kinds of accelerators for which there are drivers, as `core.runtime.Hardware` names them."""
    import ctypes

    found = {"cuda": "nvidiactl", "intel-gpu": "dri/renderD*", "intel-npu": "accel/accel*"}
    there = [kind for kind, pattern in found.items() if glob("/dev/" + pattern)]
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return there
    return ["vulkan", *there]


def processor() -> str:
    """Return the processor's name as Linux reports it."""
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.lower().startswith(("model name", "hardware")):
                    return line.split(":", 1)[1].strip()
    except (OSError, IndexError):
        pass
    return platform.processor() or platform.machine()
