"""Makes a device over a connection ready: an environment there with numpy and runtimes; wheels are copied over."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.codec import sha256_file
from ...core.device import Check
from ...core.errors import EdgeproofError
from ...core.runtime import RUNTIMES
from .replies import About
from .wheels import Platform, download

if TYPE_CHECKING:
    from .device import RemoteDevice

_INSTALL_SECONDS = 600.0


def fix_device(device: RemoteDevice, about: About) -> list[Check]:
    """Make the environment on a device, unless it runs files already; return what was done, or why it could not be.

    Wheels are resolved here for its Python and architecture, so that it needs no network and no pip.
    """
    usable = [name for name, version in device.runtimes().items() if version and name != "tensorflow"]
    if usable and "numpy" in about.packages:
        return []
    try:
        platform = Platform.of(about.python, about.architecture, about.libc)
        with tempfile.TemporaryDirectory(prefix="edgeproof-wheels-") as folder:
            refused, wheels = download(platform, Path(folder))
            failure = _install(device, wheels)
    except EdgeproofError as error:
        return [Check("environment", "missing", error.message, error.remedy)]
    if failure is not None:
        return [failure]
    made = Check("environment", "ok", f"made in {about.folder}/venv, with {len(wheels)} packages for {platform}")
    notes = [
        Check(f"{device.name}/{name}", "note", f"{RUNTIMES[name].distribution}: {why}") for name, why in refused.items()
    ]
    return [made, *notes]


def _install(device: RemoteDevice, wheels: list[Path]) -> Check | None:
    names = {f"{sha256_file(wheel)}.whl": wheel for wheel in wheels}
    outcome = device.put(names)
    device.forget_files()  # they are unpacked
    for job in ({"verb": "venv"}, {"verb": "unpack", "names": list(names)}):
        outcome = outcome or device.ask(job, seconds=_INSTALL_SECONDS)
        if not outcome.ok:
            remedy = outcome.remedy or "make an environment with numpy and a runtime there by hand, and name its python"
            return Check("environment", "missing", outcome.reason, remedy)
        outcome = None
    return None
