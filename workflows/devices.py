"""``devices``: the targets that can be named and whether they work; runtime versions beside this environment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..core.device import Device
from ..core.device_files import load_devices
from ..core.device_tables import BUILT_IN, DEVICE_KINDS
from ..core.errors import InputError, StageError, explain_os_errors
from ..core.progress import Listener, Silent
from ..core.sanitize import shorten
from ..core.target import Target, default_targets, parse_runtime
from ..devices import OpenDevices
from ..devices import install as install_runtime


@dataclass(frozen=True)
class AvailableTarget:
    """A target of a device.

    `version` is the runtime's, empty if it is not installed. `reads` are the formats that it runs. If it is not
    `ready` (the device, the runtime or the hardware is missing), `reason` says why and `remedy` what to do. `folder`
    holds a version beside this environment.
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
    """List the targets that can be named: of each device the installed runtimes, then side installations.

    Devices are this machine, and those that a ``devices.toml`` declares (the user's, and the one in this folder).

    Args:
        install: versions of runtimes to put beside this environment first, written ``litert==1.0.1``. Each is then a
            target of its own, ``local/litert==1.0.1``.
        progress: the listener; it gets the folder of each installed version.

    Returns:
        One row for each target.

    Raises:
        InputError: a version is not written NAME==VERSION, or no such version exists for this Python; a
            ``devices.toml`` is wrong.
        StageError: it could not be downloaded.
    """
    for target in [parse_runtime(text) for text in install]:
        there = install_runtime(target)
        where = there.folder or "this environment"
        (progress or Silent()).note("info", f"{there.runtime} {there.version} is ready in {where}")
    declared = load_devices()
    with OpenDevices(declared) as opened:
        return [row for name in declared for row in _rows(name, opened[name])]


@explain_os_errors
def clean_devices(names: Sequence[str] = ()) -> dict[str, str]:
    """Remove what was put on devices: files, samples, and the program that runs them.

    Args:
        names: the devices. Default: all.

    Returns:
        What was removed from each device, in words.

    Raises:
        InputError: a device is not declared.
        StageError: a device that is named cannot be reached; the others are cleaned all the same.
    """
    declared = load_devices()
    for name in names:
        declared[name]
    removed: dict[str, str] = {}
    failed: list[StageError] = []
    with OpenDevices(declared) as opened:
        for name in names or declared:
            try:
                removed[name] = opened[name].clean()
            except StageError as error:
                failed.append(error)
                removed[name] = f"not cleaned: {error.message}; {error.remedy}"
    if names and failed:
        done = "; ".join(f"{name}: {words}" for name, words in removed.items() if not words.startswith("not cleaned"))
        message = "; ".join(error.message for error in failed)
        raise StageError(f"{message} ({done})" if done else message, failed[0].remedy)
    return removed


@explain_os_errors
def link_device(name: str, bind: str, tell: Callable[[str, str], None], stop: threading.Event) -> None:
    """Serve the page of a device of the kind ``link`` until `stop` is set.

    Args:
        name: the device.
        bind: the address of this machine on which the page is served.
        tell: is called with what happens: ``link`` and a link that has not been used, ``here`` and what the page says
            of its browser, ``gone`` and why there is no page any more.
        stop: ends it.

    Raises:
        InputError: the device is of another kind, is linked already, the address is not one of this machine, or the
            packages that pages load are not installed.
    """
    from ..devices.browser.link_host import hold

    kind = load_devices()[name].kind
    if kind != "link":
        raise InputError(
            f"{shorten(name)} is a device of the kind {kind!r}", 'declare one: [device.phone] kind = "link"'
        )
    hold(name, bind, tell, stop)


def target_names() -> list[str]:
    """Return the targets that can be named, without asking any device: of declared ones the usual runtimes."""
    declared = load_devices()
    with OpenDevices(declared) as opened:
        here = [row.target for name in BUILT_IN for row in _rows(name, opened[name])]
    usual = tuple(target.partition("/")[2] for target in default_targets())
    kinds = {name: DEVICE_KINDS[table.kind] for name, table in declared.declared.items()}
    return [*here, *(f"{name}/{runtime}" for name, kind in kinds.items() for runtime in kind.runtimes or usual)]


def _rows(name: str, device: Device) -> Iterator[AvailableTarget]:
    for runtime, version in device.runtimes().items():
        target = Target(name, runtime)
        reason, remedy = device.missing_runtime(target) or ("", "")
        yield _row(target, version, reason=reason, remedy=remedy)
    for beside in device.other_versions():
        target = Target(name, beside.runtime, beside.version)
        reason, remedy = device.missing_runtime(target) or ("", "")
        yield _row(target, beside.version, reason=reason, remedy=remedy, folder=str(beside.folder))


def _row(target: Target, version: str, *, reason: str = "", remedy: str = "", folder: str = "") -> AvailableTarget:
    reads = tuple(sorted(target.engine.formats))
    return AvailableTarget(str(target), version, bool(version) and not reason, reads, reason, remedy, folder)
