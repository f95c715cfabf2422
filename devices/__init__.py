"""Targets: `open_runner(artifact, target)` gives a runner; ``agent.py`` is the one file that travels to a device."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ..core.artifact import Artifact
from ..core.device import Device, Located
from ..core.runner import Runner
from ..core.target import DEVICES, Target
from .runtimes import install

__all__ = ["Device", "Located", "device", "environment_of", "install", "locate", "missing_runtime", "open_runner"]


def device(name: str = "local") -> Device:
    """Return the device of that name, one of `core.target.DEVICES`. Its module is imported at the first call."""
    loaded: Device = import_module(f".{DEVICES[name]}", __package__).DEVICE
    return loaded


def open_runner(artifact: Artifact, target: Target, *, timeout_seconds: float = 600.0) -> Runner:
    """Return the runner for an artifact on a target. Starts nothing; each verb starts its own process."""
    return device(target.device).open_runner(artifact, target, timeout_seconds=timeout_seconds)


def environment_of(targets: Sequence[Target]) -> dict[str, Any]:
    """Return the environment in which figures for `targets` are taken: that of the first one's device.

    Without targets it is this machine's.
    """
    return device(*(target.device for target in targets[:1])).environment()


def locate(target: Target) -> Located | None:
    """Return where the runtime that a target names is on its device; None where it is not."""
    return device(target.device).locate(target)


def missing_runtime(target: Target) -> tuple[str, str] | None:
    """Return (reason, remedy) when what a target names is not on its device; None when it is."""
    return device(target.device).missing_runtime(target)
