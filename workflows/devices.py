"""``devices``: the targets of this machine and whether they work; runtime versions beside this environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.errors import explain_os_errors
from ..core.progress import Listener, Silent
from ..core.target import DEVICES, Target, parse_runtime
from ..devices import device
from ..devices import install as install_runtime


@dataclass(frozen=True)
class AvailableTarget:
    """A target of this machine.

    `version` is the runtime's, empty if it is not installed. `reads` are the formats that it runs. If it is not
    `ready` (the runtime or the hardware is missing), `reason` says why and `remedy` what to do. `folder` holds a
    version beside this environment.
    """

    target: str
    version: str
    ready: bool
    reads: tuple[str, ...]
    reason: str = ""
    remedy: str = ""
    folder: str = ""


@explain_os_errors
def devices(install: Sequence[str] = (), *, progress: Listener | None = None) -> list[AvailableTarget]:
    """List the targets that can be named here: the installed runtimes, then side installations.

    Args:
        install: versions of runtimes to put beside this environment first, written ``litert==1.0.1``. Each is then a
            target of its own, ``local/litert==1.0.1``.
        progress: the listener; it gets the folder of each installed version.

    Returns:
        One row for each target.

    Raises:
        InputError: a version is not written NAME==VERSION, or no such version exists for this Python.
        StageError: it could not be downloaded.
    """
    for target in [parse_runtime(text) for text in install]:
        there = install_runtime(target)
        where = there.folder or "this environment"
        (progress or Silent()).note("info", f"{there.runtime} {there.version} is ready in {where}")
    rows = []
    for name in DEVICES:
        for runtime, version in device(name).runtimes().items():
            target = Target(name, runtime)
            reason, remedy = device(name).missing_runtime(target) or ("", "")
            rows.append(_row(target, version, reason=reason, remedy=remedy))
        for beside in device(name).other_versions():
            target = Target(name, beside.runtime, beside.version)
            reason, remedy = device(name).missing_runtime(target) or ("", "")
            rows.append(_row(target, beside.version, reason=reason, remedy=remedy, folder=str(beside.folder)))
    return rows


def _row(target: Target, version: str, *, reason: str = "", remedy: str = "", folder: str = "") -> AvailableTarget:
    reads = tuple(sorted(target.engine.formats))
    return AvailableTarget(str(target), version, bool(version) and not reason, reads, reason, remedy, folder)
