"""Versions of a runtime: the installed one, and others that lie beside it, each in a folder of its own.

A target such as ``local/litert==1.0.1`` is run by the installed runtime where that is the version; otherwise by a side
installation, made by ``edgeproof devices --install litert==1.0.1``. Only the process that runs a file sees it: the
environment stays as it is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path

from ..core.device import Located
from ..core.errors import InputError, StageError, explain_disk_errors
from ..core.files import discard, sync
from ..core.runtime import RUNTIMES
from ..core.sanitize import shorten
from ..core.store import package_versions
from ..core.target import Target, same_version
from .accelerators import missing_hardware

INSTALL_SECONDS = 600.0


def installed_versions() -> dict[str, str]:
    """Return each runtime's version, as a target without one gets it; an empty text where it has none. Imports none."""
    located = {runtime: locate(Target("local", runtime)) for runtime, row in RUNTIMES.items() if row.in_python}
    return {runtime: there.version if there else "" for runtime, there in located.items()}


def installed_version(runtime: str) -> str:
    """Return the version of a runtime in this environment, or an empty text. Imports nothing."""
    row = RUNTIMES[runtime]
    return package_versions([row.distribution]).get(row.distribution, "unknown") if row.installed else ""


def only_version(target: Target, versions: Mapping[str, str]) -> Located | None:
    """Return a target's runtime on a device that has one version of each, if it is there and the one asked for."""
    version = versions.get(target.runtime, "")
    if not version or (target.version and not same_version(target.version, version)):
        return None
    return Located(target.runtime, version)


def runtimes_folder() -> Path:
    """Return where side installations lie: EDGEPROOF_RUNTIMES, or ``edgeproof/runtimes`` in the user's cache."""
    if named := os.environ.get("EDGEPROOF_RUNTIMES"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "edgeproof" / "runtimes"


def side_installations() -> list[Located]:
    """Return the side installations for this Python: by runtime, the newest version first."""
    beside = []
    with suppress(OSError):
        for folder in runtimes_folder().glob(f"*-{_tag()}"):
            runtime, _, version = folder.name.removesuffix(f"-{_tag()}").rpartition("-")
            if runtime in _side_by_side() and re.fullmatch(r"[0-9A-Za-z.]+", version) and folder.is_dir():
                beside.append(Located(runtime, version, folder.resolve()))
    return sorted(beside, key=lambda one: (one.runtime, [-int(n) for n in re.findall(r"\d+", one.version)]))


def locate(target: Target) -> Located | None:
    """Return where the runtime that a target names is on this machine; None where it is not.

    One whose package would replace another's is the newest beside the environment, unless it is installed.
    """
    version = installed_version(target.runtime)
    if version and (not target.version or same_version(target.version, version)):
        return Located(target.runtime, version)
    if not target.version and not target.engine.apart:
        return None
    beside = (one for one in side_installations() if one.runtime == target.engine.package)
    return next((one for one in beside if not target.version or same_version(target.version, one.version)), None)


def missing_runtime(target: Target) -> tuple[str, str] | None:
    """Return (reason, remedy) when what a target names, or the hardware for it, is not here; None when it is."""
    if target.engine.program:
        return target.engine.not_installed()
    if elsewhere := target.engine.only_at_home("a machine"):
        return elsewhere
    if locate(target) is not None:
        return missing_hardware(target.engine)
    if not target.version:
        return target.engine.not_installed()
    version = installed_version(target.runtime)
    there = f"this environment has {version}" if version else "this environment has none"
    reason = f"{target.runtime} {target.version} is not on this machine ({there})"
    if not target.engine.side_by_side:
        return reason, f"run edgeproof in an environment with {target.runtime}=={target.version}"
    return reason, f"edgeproof devices --install {target.runtime}=={target.version}"


def install(target: Target) -> Located:
    """Put a version of a runtime beside the environment, unless it is on this machine; return where it is.

    Raises InputError when that runtime cannot be put beside another, StageError when its package cannot be had, or does
    not work here. Whatever happens, a folder is either whole or not there.
    """
    if not target.engine.side_by_side or not target.version:
        raise InputError(
            f"{target.runtime}{'==' * bool(target.version)}{target.version} cannot be installed beside",
            f"write NAME==VERSION with one of: {', '.join(_side_by_side())}",
        )
    if located := locate(target):
        return located
    root = runtimes_folder()
    with explain_disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(dir=root, prefix=".new-"))
        try:
            _fill(workspace, target)
            version = _version_in(workspace, target.engine.distribution)
            final = root / f"{target.engine.package}-{version}-{_tag()}"
            # Another process may have been faster; then its folder stays.
            sync(workspace)
            with suppress(OSError):
                workspace.rename(final)
        finally:
            discard(workspace, root=root)
    if located := locate(target):
        return located
    raise StageError(f"{final} could not be put in place", "remove what is there, and try again")


def _side_by_side() -> list[str]:
    """Return the runtimes of which versions can be installed beside the environment."""
    return [runtime.name for runtime in RUNTIMES.values() if runtime.side_by_side]


def _tag() -> str:
    """Which Python a folder is for: wheels hold code for one."""
    return f"py{sys.version_info.major}{sys.version_info.minor}"


def _fill(workspace: Path, target: Target) -> None:
    """Install the runtime alone, and what it lacks then: the packages of this environment come behind it."""
    # By PEP 440 ==2.14 is 2.14.0 alone; here it names all of 2.14.
    parts = target.version.count(".") + 1
    requirement = f"{target.engine.distribution}=={target.version}" + (".*" if parts < 3 else "")
    _pip(workspace, target, ["--no-deps", requirement])
    problem = _does_not_import(workspace, target.engine.interpreter)
    for more in (["--no-deps", "numpy<2"], [requirement]):
        if not problem:
            return
        _pip(workspace, target, ["--upgrade", *more])
        problem = _does_not_import(workspace, target.engine.interpreter)
    if problem:
        raise StageError(
            f"{target.runtime} {target.version} was installed and does not work in this Python: {problem}",
            "run edgeproof in the Python that this version was made for",
        )


def _pip(workspace: Path, target: Target, arguments: Sequence[str]) -> None:
    """Run pip with its output discarded. Raises StageError if it fails."""
    command = [sys.executable, "-m", "pip", "install", "--target", str(workspace), "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise StageError(
            f"installing {target.runtime} {target.version} did not end within {INSTALL_SECONDS:g} s",
            "check the network, and try again",
        ) from error
    if done.returncode:
        raise StageError(*_explained(done.stdout + done.stderr, target))


def _explained(output: str, target: Target) -> tuple[str, str]:
    what, python = f"{target.runtime} {target.version}", f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if "No module named pip" in output:
        return f"{what} cannot be installed: this Python has no pip", "python -m ensurepip, and try again"
    if re.search(r"connection|Temporary failure|Max retries|Network is unreachable|timed out", output):
        return f"{what} cannot be fetched: the package index does not answer", "check the network or pip's settings"
    if match := re.search(r"\(from versions: (.*?)\)", output, re.DOTALL):
        versions = "" if match[1] == "none" else f"; there are {shorten(match[1], 200)}"
        return (
            f"there is no wheel of {what} for {python} on this kind of machine{versions}",
            "choose another version, or run edgeproof in a Python that it was made for",
        )
    lines = output.splitlines()
    lines = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no words"]
    return f"pip could not install {what}: {shorten(lines[0], 300)}", "see pip's own words with pip install"


def _does_not_import(workspace: Path, module: str) -> str:
    """Return why a runtime does not import from a folder; an empty text where it does."""
    code = (
        f"import sys; sys.path.insert(0, sys.argv[1]); import numpy, {module}; print(sys.modules[{module!r}].__file__)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, str(workspace)],
            capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "importing it does not end"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return shorten(lines[-1], 200) if lines else f"importing it ends with status {done.returncode}"


def _version_in(folder: Path, name: str) -> str:
    """Return the version of a distribution that lies in a folder."""
    normalized = name.replace("-", "_")
    for package in distributions(path=[str(folder)]):
        if (package.metadata["Name"] or "").lower().replace("-", "_") == normalized:
            return package.version
    raise StageError(f"pip installed no {name}", "see pip's own words with pip install")
