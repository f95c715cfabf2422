"""The checks of ``edgeproof doctor``. They read packages' metadata and import none of them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core import children
from ..core.dataset import Kind
from ..core.environment import cpu_name, usable_cores
from ..core.errors import EdgeproofError, explain_os_errors
from ..core.extras import EXTRAS
from ..core.maker import MAKERS
from ..core.recipe import ModelSpec
from ..core.store import package_versions
from ..core.target import DEVICES, Target
from ..devices import device
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


@dataclass(frozen=True)
class Check:
    """The result of one check: ``missing`` prevents the main job, ``note`` does not."""

    what: str
    state: Literal["ok", "missing", "note"]
    found: str
    remedy: str = ""


@explain_os_errors
def doctor() -> list[Check]:
    """Check this environment: Python, packages, runtimes, weights, disk. Imports none of the packages.

    Returns:
        One check each; those whose state is ``missing`` prevent the main job, and have a remedy.
    """
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
    for name in DEVICES:
        for runtime, version in device(name).runtimes().items():
            target = Target(name, runtime)
            missing = device(name).missing_runtime(target)
            checks.append(Check(str(target), "note", *missing) if missing else Check(str(target), "ok", version))
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
