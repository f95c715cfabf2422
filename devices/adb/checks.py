"""What an Android device has and lacks: the checks of ``edgeproof doctor DEVICE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.device import Check
from ...core.runtime import RUNTIMES
from ...core.target import Target
from ..remote.replies import About
from .client import Missing
from .phone import machine_checks

if TYPE_CHECKING:
    from .phone import AdbPhone


def checks(device: AdbPhone) -> list[Check]:
    """Return the checks of a device."""
    program = device.adb.program
    phone = device.phone(again=True)
    found = [Check("adb", "ok", f"{device.adb.version()} ({program})")] if program else []
    if isinstance(phone, Missing):
        return [*found, Check("connection" if program else "adb", "missing", phone.reason, phone.remedy)]
    state = device.state()
    return [
        *found,
        Check("connection", "ok", device.adb.place),
        *machine_checks(phone, state, device.table, device.name),
        *_runtimes(device),
    ]


def _runtimes(device: AdbPhone) -> list[Check]:
    """Return a check for each runtime that is there or is usual; one of them at least must be there."""
    about = device.about(again=True)
    rows, usable = [], False
    if isinstance(about, About):
        rows.append(Check("Python", "ok", f"{about.python} ({about.executable})"))
    else:
        rows.append(Check("Python", "note", about.reason, about.remedy))
    tool = device.tool
    if device.table.benchmark_model and tool.path is None:
        rows.append(Check("benchmark_model", "missing", tool.reason, tool.remedy))
    for name, row in RUNTIMES.items():
        target = Target(device.name, name)
        missing = device.missing_runtime(target)
        usable = usable or missing is None
        if missing is None:
            rows.append(Check(str(target), "ok", device.runtimes()[name]))
        elif (name == "benchmark-model" and not device.table.benchmark_model) or (
            isinstance(about, About) and row.default and name != "tensorflow"
        ):
            rows.append(Check(str(target), "note", *missing))
    if not usable:
        remedy = "name benchmark_model = …, or a Python with a runtime on the device (docs/devices.md)"
        rows.append(Check("runtime", "missing", f"no runtime can be run on {device.adb.place}", remedy))
    return rows
