"""The runtimes that pages load, whether the page is in this machine's browser or in a linked one."""

from __future__ import annotations

from collections.abc import Mapping

from ...core.artifact import Artifact
from ...core.device import Check, Located
from ...core.errors import EdgeproofError
from ...core.runtime import RUNTIMES
from ...core.target import Target
from ..runtimes import only_version
from . import packages
from .page_runner import PageDevice, PageRunner


class PageOwner(PageDevice):
    """What devices that have a page share; see `core.device.Device`."""

    def open_runner(self, artifact: Artifact, target: Target, *, timeout_seconds: float) -> PageRunner:
        """Return the runner for an artifact on a target of the page."""
        return PageRunner(artifact, target, timeout_seconds, device=self)

    def runtimes(self) -> dict[str, str]:
        """Return the versions that pages load."""
        return page_runtimes()

    def other_versions(self) -> list[Located]:
        """Return none."""
        return []

    def locate(self, target: Target) -> Located | None:
        """Return a target's runtime if pages can load it."""
        return only_version(target, self.runtimes())


def page_runtimes() -> dict[str, str]:
    """Return the version of each runtime that pages can load."""
    rows = (row for row in RUNTIMES.values() if row.home == "browser")
    return {row.name: packages.installed(row.session) for row in rows}


def page_packages() -> dict[str, str]:
    """Return the npm packages that pages load, with their versions."""
    versions = page_runtimes()
    return {RUNTIMES[name].distribution: version for name, version in versions.items() if version}


def missing_page_runtime(name: str, target: Target) -> tuple[str, str] | None:
    """Return (reason, remedy) if pages of a device cannot load a target's runtime; None if they can."""
    versions: Mapping[str, str] = page_runtimes()
    if target.runtime not in versions:
        return f"{name} runs no {target.runtime}: it is a browser", f"write {name}/litert-js or {name}/onnxruntime-web"
    if only_version(target, versions) is not None:
        return None
    version = packages.VERSIONS[target.engine.session]
    if target.version and versions[target.runtime]:
        return f"{target.runtime} {target.version} is not there: pages load {version}", f"write {name}/{target.runtime}"
    return f"{target.engine.title} {version} is not installed", target.engine.extra.remedy


def package_checks(name: str, *, fix: bool) -> list[Check]:
    """Check the packages that pages load; with `fix` those that are missing are installed first."""
    checks = []
    for runtime in packages.VERSIONS:
        problem = None
        if fix:
            try:
                packages.install(runtime)
            except EdgeproofError as error:
                problem = (error.message, error.remedy)
        target = Target(name, runtime)
        if problem or (problem := missing_page_runtime(name, target)):
            checks.append(Check(str(target), "missing", *problem))
        else:
            checks.append(Check(str(target), "ok", packages.VERSIONS[runtime]))
    return checks
