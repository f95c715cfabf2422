"""Devices: `open_runner(artifact, target)` gives a runner; ``agent/`` is the one folder that travels to a device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..core.artifact import Artifact
from ..core.device import Check, Device, Located
from ..core.device_tables import BUILT_IN, DEVICE_KINDS, Devices
from ..core.environment import usable_cores
from ..core.runner import Runner
from ..core.target import Target
from .runtimes import install

if TYPE_CHECKING:
    from .cluster.connection import Cluster

__all__ = [
    "Check", "Device", "Located", "OpenDevices", "device", "install", "locate", "missing_runtime", "open_runner",
]  # fmt: skip


class OpenDevices:
    """Some declared devices, each opened at its first use and closed at the end. A context manager, for any thread.

    With a `cluster` its workers answer samples, too, and the devices that they have are used through them.
    """

    def __init__(self, declared: Devices | None = None, cluster: Cluster | None = None) -> None:
        self.declared = declared or Devices()
        self.cluster = cluster
        self._open: dict[str, Device] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> OpenDevices:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Device:
        """Return a device. Raises InputError for one that is not declared."""
        with self._lock:
            if name not in self._open:
                self._open[name] = self._opened(name)
            return self._open[name]

    def _opened(self, name: str) -> Device:
        table = self.declared[name]
        if self.cluster is not None and name not in BUILT_IN and (table.kind == "worker" or self.cluster.has(name)):
            from .cluster.device import open_device

            return open_device(name, table, self.cluster)
        return device(name, self.declared)

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float = 600.0) -> Runner:
        """Return the runner for an artifact on a target. Starts nothing; each verb starts its own process."""
        runner = self[target.device].open_runner(artifact, target, timeout_seconds=timeout_seconds)
        if self.cluster is None or target.device not in BUILT_IN:
            return runner
        from .cluster.shared_runner import SharedRunner

        return SharedRunner(runner, self.cluster, timeout_seconds)

    @property
    def answerers(self) -> int:
        """How many samples can be answered at once: this machine's cores, and the threads of the cluster's workers."""
        return usable_cores() + (self.cluster.helpers if self.cluster else 0)

    def environments(self, targets: Sequence[Target]) -> dict[str, dict[str, Any]]:
        """Return the environment of each device of `targets`, by name in their order; without targets, of `local`."""
        names = list(dict.fromkeys(target.device for target in targets)) or ["local"]
        with ThreadPoolExecutor(len(names)) as pool:  # one that does not answer delays no other
            return dict(zip(names, pool.map(lambda name: self[name].environment(), names), strict=True))

    def places(self, targets: Sequence[Target]) -> dict[str, str]:
        """Return the machine that does the work of each device of `targets` (`core.device.Device.place`), by name."""
        return {name: self[name].place for name in dict.fromkeys(target.device for target in targets)}

    def locate(self, target: Target) -> Located | None:
        """Return where the runtime that a target names is on its device; None where it is not."""
        return self[target.device].locate(target)

    def missing_runtime(self, target: Target) -> tuple[str, str] | None:
        """Return (reason, remedy) when what a target names is not on its device; None when it is."""
        return self[target.device].missing_runtime(target)

    def interrupt(self) -> None:
        """End all connections, so that nobody waits for a device. `close` is called later all the same."""
        with self._lock:
            opened = list(self._open.values())
        for one in opened:
            one.close()

    def close(self) -> None:
        """Close all devices."""
        with self._lock, ExitStack() as stack:
            for opened in self._open.values():
                stack.callback(opened.close)
            self._open = {}


def device(name: str = "local", declared: Devices | None = None) -> Device:
    """Return the device of that name. Its module is imported at the first call. Raises InputError."""
    table = (declared or Devices())[name]
    opened: Device = import_module(f".{DEVICE_KINDS[table.kind].module}", __package__).open_device(name, table)
    return opened


def open_runner(artifact: Artifact, target: Target, *, timeout_seconds: float = 600.0) -> Runner:
    """Return the runner for an artifact on a target of a device that is always there."""
    return device(target.device).open_runner(artifact, target, timeout_seconds=timeout_seconds)


def locate(target: Target) -> Located | None:
    """Return where the runtime that a target names is on its device; None where it is not."""
    return device(target.device).locate(target)


def missing_runtime(target: Target) -> tuple[str, str] | None:
    """Return (reason, remedy) when what a target names is not on its device; None when it is."""
    return device(target.device).missing_runtime(target)
