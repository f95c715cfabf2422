"""The checks of ``edgeproof doctor``. They read packages' metadata and import none of them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

from ..core import children
from ..core.dataset import Kind
from ..core.device import Check
from ..core.device_files import load_devices
from ..core.environment import cpu_name, usable_cores
from ..core.errors import EdgeproofError, InputError, explain_os_errors
from ..core.extras import EXTRAS
from ..core.maker import MAKERS
from ..core.recipe import ModelSpec
from ..core.store import package_versions
from ..devices import OpenDevices
from ..train.backbones import check_backbone

# What makes no file: module, extra, purpose, and whether the main job needs it.
_OTHERS = (
    ("tf_keras", "train", "training", True),
    ("tensorflow_hub", "hub", "hub: backbones, package: ones of that format", False),
    ("tensorflow_text", "text", "text backbones", False),
    ("tensorflow_datasets", "tfds", "tfds: sources", False),
)
# Backbones whose weights an installed package contains: name, kind of data, description.
_PACKAGED: tuple[tuple[str, Kind, str], ...] = (
    ("mobilenet_v2", "image", "ImageNet weights"),
    ("efficientnet_lite0", "image", "ImageNet weights"),
    ("use_multilingual_v3", "text", "sentence encoder's weights"),
)
_HERE = Path()


@explain_os_errors
def doctor(device: str = "", *, fix: bool = False) -> list[Check]:
    """Check this environment (Python, packages, runtimes, weights, disk; imports none of the packages), or a device.

    Args:
        device: the name of a declared device to check in place of this environment.
        fix: do what can be done about what the device lacks first.

    Returns:
        One check each; those whose state is ``missing`` prevent the main job, and have a remedy.

    Raises:
        InputError: the device is not declared; or `fix` is for this environment.
    """
    if device:
        with OpenDevices(load_devices()) as devices:
            return devices[device].checks(fix=fix)
    if fix:
        raise InputError("what this environment lacks is installed by you", "run the commands that doctor names")
    python = ".".join(str(part) for part in sys.version_info[:3])
    tested = (3, 10) <= sys.version_info[:2] <= (3, 13)
    checks = [
        Check("Python", "ok" if tested else "note", python, "" if tested else "3.10 to 3.13 are tested"),
        Check("machine", "ok", f"{cpu_name()}, {usable_cores()} usable cores"),
    ]
    makers = ((module, one.extra.name, one.purpose, one.needed) for one in MAKERS.values() for module in one.modules)
    for module, name, purpose, needed in (*makers, *_OTHERS):
        extra = EXTRAS[name]
        distribution = extra.packages[module]
        if extra.missing(module):
            state: Literal["missing", "note"] = "missing" if needed else "note"
            checks.append(Check(distribution, state, f"not installed ({purpose})", extra.remedy))
        else:
            version = package_versions([distribution]).get(distribution, "?")
            checks.append(Check(distribution, "ok", f"{version} ({purpose})"))
    with OpenDevices() as devices:
        checks += devices["local"].checks()
    checks += [_packaged(name, kind, what) for name, kind, what in _PACKAGED]
    most = f"{children.memory_limit() / 2**30:.0f} GiB for a process that opens a file from outside"
    if children.system_enforces_limit():
        checks.append(Check("memory limit", "ok", most))
    else:
        checks.append(
            Check("memory limit", "note", f"{most}; it is watched four times a second, for the system cannot keep it "
                  "beside a driver for graphics cards, or has no such limit")
        )  # fmt: skip
    free = shutil.disk_usage(_HERE).free
    enough = free > 2 << 30
    checks.append(
        Check("disk", "ok" if enough else "note", f"{free / 2**30:.1f} GiB free here",
              "" if enough else "a run of a large data set needs more: --out chooses the disk")
    )  # fmt: skip
    return checks


def _packaged(name: str, kind: Kind, what: str) -> Check:
    backbone = f"package:{name}"
    try:
        check_backbone(ModelSpec(name="m", backbone=backbone), folder=_HERE, kind=kind)
    except EdgeproofError as error:
        return Check(backbone, "note", error.message.removeprefix(f"{backbone} "), error.remedy)
    return Check(backbone, "ok", f"{what} are installed")
