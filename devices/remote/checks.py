"""What a device over a connection has and lacks: the checks of ``edgeproof doctor DEVICE``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...core.device import Check
from ...core.runtime import RUNTIMES
from ...core.target import Target
from .replies import About

if TYPE_CHECKING:
    from .device import RemoteDevice

# A clock that is farther off than this breaks certificates (seconds); a disk with less is soon full (bytes).
_CLOCK, _DISK = 86400.0, 200 << 20
_HOT = 70.0
_THROTTLED = {1: "its voltage is too low", 2: "its clock is capped", 4: "it is throttled", 8: "it is too hot"}


def checks(device: RemoteDevice, *, fix: bool) -> list[Check]:
    """Return the checks of a device; with `fix` the environment for its runtimes is made first."""
    about = device.about(again=True)
    made = []
    if fix and isinstance(about, About):
        from .fix import fix_device

        made = fix_device(device, about)
        about = device.about(again=True)
    if not isinstance(about, About):
        return [Check("connection", "missing", about.reason, about.remedy)]
    return [*made, Check("connection", "ok", device.link.place), *_machine(device, about), *_runtimes(device, about)]


def _machine(device: RemoteDevice, about: About) -> Iterator[Check]:
    cores = f"{about.cores} core{'s' if about.cores > 1 else ''}"
    yield Check("machine", "ok", f"{about.model or about.cpu}, {about.architecture}, {cores}; {about.os}")
    yield Check("Python", "ok", f"{about.python} ({about.executable})")
    folder = f"{about.folder}, {about.free_bytes / 2**20:,.0f} MiB free"
    if not about.writable:
        remedy = f"name a folder that can be written: [device.{device.name}] folder = …"
        yield Check("folder", "missing", f"{about.folder} cannot be written", remedy)
    elif about.free_bytes < _DISK:
        yield Check("folder", "note", folder, f"free some space there, or edgeproof devices clean {device.name}")
    else:
        yield Check("folder", "ok", folder)
    if not about.temporary:
        yield Check("temporary files", "note", "no folder for them can be written", "the files' folder is used instead")
    off = about.clock - time.time()
    if abs(off) > _CLOCK:
        yield Check("clock", "note", f"it is {abs(off) / 86400:,.0f} days {'ahead' if off > 0 else 'behind'}",
                    "set it there: sudo timedatectl set-ntp true; figures here have this machine's time")  # fmt: skip
    if about.governor:
        fixed = about.governor == "performance"
        remedy = "" if fixed else "for steady latencies: sudo cpupower frequency-set -g performance"
        yield Check("governor", "ok" if fixed else "note", f"{about.governor}, up to {about.max_mhz:.0f} MHz", remedy)
    conditions = about.conditions
    if conditions.celsius is not None:
        hot = conditions.celsius > _HOT
        yield Check("temperature", "note" if hot else "ok", f"{conditions.celsius:.0f} °C",
                    "let it cool down, or cool it" if hot else "")  # fmt: skip
    if flags := [words for bit, words in _THROTTLED.items() if (conditions.throttling_flags or 0) & bit]:
        yield Check("throttling", "note", f"now {' and '.join(flags)}", "check its power supply and its cooling")
    if about.battery_percent is not None:
        yield Check("battery", "ok", f"{about.battery_percent:.0f} %")


def _runtimes(device: RemoteDevice, about: About) -> Iterator[Check]:
    """Yield a check for each runtime that is there or is usual; one of them at least must be there."""
    usable = False
    rows = []
    for name, row in RUNTIMES.items():
        target = Target(device.name, name)
        missing = device.missing_runtime(target)
        usable = usable or missing is None
        if missing is None:
            rows.append(Check(str(target), "ok", about.packages[row.distribution]))
        elif row.default and name != "tensorflow":
            rows.append(Check(str(target), "note", *missing))
    if not usable:
        yield Check("runtime", "missing", f"no runtime can be run on {device.link.place}", device.fix_remedy)
    yield from rows
