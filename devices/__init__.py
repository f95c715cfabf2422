"""Targets: `open_runner(artifact, target)` gives a runner; ``agent.py`` is the one file that travels to a device."""

from __future__ import annotations

from ..core.artifact import Artifact
from ..core.runner import Runner
from ..core.runtime import RUNTIMES
from ..core.target import Target
from .local import LocalRunner
from .runtimes import Located, install, installed_version, locate, missing_runtime, side_installations

__all__ = [
    "Located",
    "install",
    "local_runtimes",
    "locate",
    "missing_runtime",
    "open_runner",
    "side_installations",
]


def open_runner(artifact: Artifact, target: Target, *, timeout_seconds: float = 600.0) -> Runner:
    """Return the runner for an artifact on a target. Starts nothing; each verb starts its own process."""
    return LocalRunner(artifact, target, timeout_seconds)


def local_runtimes() -> dict[str, str]:
    """Return each runtime's version on this machine; an empty text where it is not installed. Imports none."""
    return {runtime: installed_version(runtime) for runtime in RUNTIMES}
