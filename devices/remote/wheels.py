"""Wheels for another machine: pip resolves and downloads them here, for that machine's Python and architecture."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import StageError
from ...core.runtime import RUNTIMES
from ...core.sanitize import shorten
from ..runtimes import INSTALL_SECONDS

# The runtimes that a device is given, the more usual first.
WANTED = ("litert", "onnxruntime", "tflite-runtime")
# The oldest and the newest minor version of glibc 2 that wheels for Linux are tagged with.
_OLDEST, _NEWEST = 17, 50


@dataclass(frozen=True)
class Platform:
    """A Python on a kind of Linux: ``3.11``, ``aarch64``, and the minor version of its glibc 2."""

    python: str
    machine: str
    glibc: int

    @classmethod
    def of(cls, python: str, machine: str, libc: str) -> Platform:
        """Return the platform that a device's words name. Raises StageError for what there are no wheels for."""
        version, minor = re.match(r"3\.(\d{1,2})(\.|$)", python), re.fullmatch(r"glibc 2\.(\d{1,2})", libc)
        if version is None or minor is None or not re.fullmatch(r"[a-z0-9_]{3,20}", machine):
            words = shorten(", ".join((f"Python {python}", machine, libc or "another C library than glibc")))
            raise StageError(f"there are no wheels for {words}", "install numpy and a runtime there by hand")
        return cls(f"3.{version[1]}", machine, min(int(minor[1]), _NEWEST))

    @property
    def options(self) -> list[str]:
        """Pip's options for this platform."""
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in range(self.glibc, _OLDEST - 1, -1)]
        tags += [f"manylinux2014_{self.machine}", f"linux_{self.machine}"]
        platforms = [part for tag in tags for part in ("--platform", tag)]
        return ["--only-binary", ":all:", "--python-version", self.python, "--implementation", "cp", *platforms]

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine}"


def download(
    platform: Platform, folder: Path, wanted: Sequence[str] = WANTED, *, alone: bool = False
) -> tuple[dict[str, str], list[Path]]:
    """Download the wheels of numpy and of each wanted runtime that fits beside the others before it.

    Returns why the other runtimes have none, by name, and the wheels. With `alone` the runtimes' wheels are downloaded
    without numpy and what else they need. Raises StageError if there is none for numpy, or for any runtime then.
    """
    if alone:
        requirements = [_requirement(name) for name in wanted]
        if why := _download(["--no-deps", *requirements], platform, folder):
            raise StageError(f"there is no {', '.join(requirements)} for {platform}: {why}", "check the network")
        return {}, sorted(folder.glob("*.whl"))
    if why := _download(["numpy"], platform, folder / "numpy"):
        raise StageError(f"there is no numpy for {platform}: {why}", "install it and a runtime there by hand")
    chosen: list[str] = []
    refused: dict[str, str] = {}
    best = folder / "numpy"
    for runtime in wanted:
        requirements = [*(_requirement(name) for name in chosen), _requirement(runtime)]
        target = folder / runtime
        # tflite-runtime was built for numpy 1, and does not say so.
        pins = ["numpy<2"] if "tflite-runtime" in (*chosen, runtime) else ["numpy"]
        if why := _download([*requirements, *pins], platform, target):
            refused[runtime] = why
        else:
            chosen.append(runtime)
            best = target
    return refused, sorted(best.glob("*.whl"))


def _requirement(runtime: str) -> str:
    return RUNTIMES[runtime].distribution


def _download(requirements: Sequence[str], platform: Platform, folder: Path) -> str:
    """Let pip download wheels with all that they need; return why it cannot, or an empty text."""
    command = [sys.executable, "-m", "pip", "download", "--dest", str(folder), "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", *platform.options, *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"pip did not end within {INSTALL_SECONDS:g} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
    return shorten(lines[0] if lines else "pip failed", 200)
