"""An ARM userland for qemu-user, made without privileges: Debian's Python for that architecture, numpy and runtimes.

It is made once, in the user's cache. apt downloads and checks the packages in folders of its own, so that nothing of
this system is changed, and nothing needed but its sources' address and the archive's key. Nothing in the userland is
installed: the packages are unpacked, and their maintainers' scripts are never run.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.codec import read_json, sha256_of, write_json
from ...core.errors import InputError, StageError, explain_disk_errors
from ...core.files import discard, sync
from ...core.sanitize import shorten
from ..remote.wheels import Platform, download
from ..runtimes import INSTALL_SECONDS

# The release whose packages are named below, and where its newer qemu is: 7.2 crashes in LiteRT and ONNX Runtime.
RELEASE, BACKPORTS = "bookworm", "bookworm-backports"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_OLDEST_QEMU = 10
PYTHON, _GLIBC = "3.11", 36
_PACKAGES = (
    "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5",
    f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib",
)  # fmt: skip
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf", "i686": "i386", "ppc64le": "ppc64el"}
# Raised when what a userland holds changes.
_FORM = 1


@dataclass(frozen=True)
class Architecture:
    """An ARM architecture: Debian's name, the wheels' name, qemu's program and processor.

    `packages` are Debian's beside Python, `runtimes` those that have wheels; with `lone_wheels` numpy is Debian's.
    """

    debian: str
    machine: str
    qemu: str
    cpu: str
    runtimes: tuple[str, ...]
    packages: tuple[str, ...] = ()
    lone_wheels: bool = False


ARCHITECTURES: dict[str, Architecture] = {
    "arm64": Architecture(
        "arm64", "aarch64", "qemu-aarch64", "cortex-a72", ("litert", "onnxruntime", "tflite-runtime")
    ),
    # There is no wheel of numpy for armv7.
    "armv7": Architecture(
        "armhf", "armv7l", "qemu-arm", "cortex-a15", ("tflite-runtime",),
        ("python3-numpy", "libblas3", "liblapack3", "libgfortran5"), lone_wheels=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Userland:
    """A userland that is ready: its folder, qemu's program and version, and the packages that it has."""

    folder: Path
    qemu: str
    qemu_version: str
    packages: dict[str, str]

    def command(self, architecture: Architecture) -> list[str]:
        """Return the command that starts its Python."""
        root = self.folder / "root"
        return [self.qemu, "-cpu", architecture.cpu, "-L", str(root), str(root / "usr" / "bin" / f"python{PYTHON}")]

    @property
    def site(self) -> Path:
        """The folder of its Python packages."""
        return self.folder / "site"


def userland_folder(name: str) -> Path:
    """Return where the userland of an architecture lies, whether or not it is there."""
    architecture = ARCHITECTURES[name]
    facts = [_FORM, RELEASE, architecture.packages, architecture.runtimes, _PACKAGES]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "edgeproof" / "userlands" / f"{name}-{sha256_of(facts)[:12]}"


def load(name: str) -> Userland | None:
    """Return the userland of an architecture, or None if it has not been made."""
    folder = userland_folder(name)
    try:
        facts = read_json(folder / "userland.json")
        return Userland(folder, str(folder / facts["qemu"]) if facts["own_qemu"] else facts["qemu"],
                        str(facts["qemu_version"]), dict(facts["packages"]))  # fmt: skip
    except (InputError, OSError, KeyError, TypeError, ValueError):
        return None


def make(name: str, *, mirror: str = "", tell: Callable[[str], None] = lambda words: None) -> Userland:
    """Make the userland of an architecture and return it. Raises StageError with what is missing.

    `mirror` is the address of a Debian archive; not given: that of this system's sources. Whatever happens, the folder
    is either whole or not there.
    """
    architecture, final = ARCHITECTURES[name], userland_folder(name)
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise StageError(f"there is no {program} here", "make the userland on Debian, or in a container of it")
    if not _KEYS.is_file():
        raise StageError(f"{_KEYS} is missing: it holds the keys of Debian's archive", "install debian-archive-keyring")
    mirror = mirror or _mirror()
    root = final.parent
    with explain_disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(dir=root, prefix=".new-"))
        try:
            tell("packages")
            debs = _apt(workspace / "apt", mirror, RELEASE, architecture.debian, [*_PACKAGES, *architecture.packages])
            for deb in debs:
                _run(["dpkg-deb", "-x", str(deb), str(workspace / "root")])
            _merge_usr(workspace / "root")
            qemu, version = _qemu(workspace, mirror, architecture)
            tell("runtimes")
            packages = _wheels(workspace, architecture)
            own = Path(qemu).is_relative_to(workspace)
            shutil.rmtree(workspace / "apt")
            facts = {
                "qemu": str(Path(qemu).relative_to(workspace)) if own else qemu,
                "own_qemu": own, "qemu_version": version, "packages": packages,
            }  # fmt: skip
            write_json(workspace / "userland.json", facts)
            sync(workspace)
            workspace.rename(final)
        finally:
            discard(workspace, root=root)
    made = load(name)
    if made is None:
        raise StageError(f"{final} could not be put in place", "remove what is there, and try again")
    return made


def _mirror() -> str:
    """Return the address of Debian's archive in this system's sources."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    for address in _run(words).split():
        if re.fullmatch(r"https?://\S+/debian/?", address):
            return address.rstrip("/")
    raise StageError(
        "this system's sources name no archive of Debian",
        'name one: [device.arm] kind = "emulated", architecture = "arm64", mirror = "http://…/debian"',
    )


def _apt(folder: Path, mirror: str, release: str, debian: str, packages: Sequence[str]) -> list[Path]:
    """Download Debian packages of an architecture, checked by the archive's signature; return them."""
    for part in ("lists/partial", "archives/partial", "etc", "debs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    (folder / "etc" / "sources.list").write_text(f"deb [arch={debian} signed-by={_KEYS}] {mirror} {release} main\n")
    options = {
        "Dir::State": folder, "Dir::State::lists": folder / "lists", "Dir::State::status": folder / "status",
        "Dir::Cache": folder, "Dir::Cache::archives": folder / "archives", "Dir::Etc": folder / "etc",
        "Dir::Etc::sourcelist": folder / "etc" / "sources.list", "Dir::Etc::sourceparts": "-", "Dir::Etc::main": "-",
        "Dir::Etc::parts": "-", "Dir::Etc::preferencesparts": "-", "Dir::Log": folder,
        "APT::Architecture": debian, "APT::Architectures": debian, "APT::Sandbox::User": "",
        "Acquire::Languages": "none", "APT::Get::List-Cleanup": "0", "Acquire::Retries": "1",
    }  # fmt: skip
    apt = ["apt-get", "-qq", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "download", *packages], cwd=folder / "debs")
    return sorted((folder / "debs").glob("*.deb"))


def _merge_usr(root: Path) -> None:
    """Give the folder the links that Debian's systems have: /lib is /usr/lib."""
    for name in ("lib", "bin", "sbin"):
        old, new = root / name, root / "usr" / name
        if old.is_dir() and not old.is_symlink():
            shutil.copytree(old, new, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(old)
        if new.is_dir() and not old.exists():
            old.symlink_to(f"usr/{name}")
    # What Debian's scripts would link: numpy's libraries are in folders of their own.
    for library in (root / "usr" / "lib").glob("*/*/lib*.so.3"):
        if library.parent.name in ("blas", "lapack") and not (library.parent.parent / library.name).exists():
            (library.parent.parent / library.name).symlink_to(f"{library.parent.name}/{library.name}")


def _qemu(workspace: Path, mirror: str, architecture: Architecture) -> tuple[str, str]:
    """Return qemu's program and version: this system's if it is new enough, else Debian's backported one."""
    here = shutil.which(architecture.qemu)
    if here and int((version := _version(here)).split(".")[0]) >= _OLDEST_QEMU:
        return here, version
    debian = _DEBIAN.get(platform.machine())
    if debian is None:
        raise StageError(f"there is no qemu for {platform.machine()}", f"install qemu-user {_OLDEST_QEMU} or newer")
    for deb in _apt(workspace / "apt" / "qemu", mirror, BACKPORTS, debian, ["qemu-user"]):
        _run(["dpkg-deb", "-x", str(deb), str(workspace / "qemu")])
    program = next((workspace / "qemu").rglob(architecture.qemu), None)
    if program is None:
        raise StageError(f"Debian's qemu-user has no {architecture.qemu}", "install qemu-user 10 or newer")
    kept = workspace / architecture.qemu
    shutil.copy2(program, kept)
    shutil.rmtree(workspace / "qemu")
    return str(kept), _version(str(kept))


def _version(qemu: str) -> str:
    match = re.search(r"version (\d+(?:\.\d+)*)", _run([qemu, "--version"]))
    return match[1] if match else "0"


def _wheels(workspace: Path, architecture: Architecture) -> dict[str, str]:
    """Unpack numpy and the runtimes; return the version of each package."""
    site = workspace / "site"
    site.mkdir()
    target = Platform(PYTHON, architecture.machine, _GLIBC)
    _, wheels = download(target, workspace / "apt" / "wheels", architecture.runtimes, alone=architecture.lone_wheels)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    packages = {}
    debian = workspace / "root" / "usr" / "lib" / "python3" / "dist-packages"
    if debian.is_dir():
        shutil.copytree(debian, site, dirs_exist_ok=True, symlinks=True)
    for record in (*site.glob("*.dist-info"), *site.glob("*.egg-info")):
        match = re.fullmatch(r"(.+?)-(\d[^-]*)", record.stem)
        if match:
            packages[match[1].replace("_", "-").lower()] = match[2]
    return packages


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    """Run a program to its end; return its output. Raises StageError if it fails."""
    environment = {**os.environ, "LC_ALL": "C", "APT_CONFIG": "/dev/null"}
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False, cwd=cwd,
            env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise StageError(f"{command[0]} did not end within {INSTALL_SECONDS:g} s", "check the network") from error
    except OSError as error:
        raise StageError(f"{command[0]} cannot be started: {error.strerror}", "check that program") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()[-1:]
        words = shorten(lines[0] if lines else f"exit status {done.returncode}", 300)
        raise StageError(f"{Path(command[0]).name} failed: {words}", "check the network, and this system's apt sources")
    return done.stdout
