"""The user's `benchmark_model` for a device: a program, or a folder that has one for several processors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...core.codec import sha256_file
from ...core.sanitize import shorten

# Android's name of a processor → that in names of programs, and its number in an ELF file's header.
_ABIS = {"arm64-v8a": ("aarch64", 183), "armeabi-v7a": ("arm", 40), "x86_64": ("x86-64", 62), "x86": ("x86", 3)}
_WHERE = (
    "TensorFlow's nightly builds have android_aarch64_benchmark_model, bazel builds it from source; then name it: "
    "[device.{name}] benchmark_model = … (docs/devices.md)"
)


@dataclass(frozen=True)
class Tool:
    """The program, or why there is none."""

    path: Path | None = None
    sha256: str = ""
    reason: str = ""
    remedy: str = ""

    @property
    def version(self) -> str:
        """The first digits of its SHA-256: it does not tell its version."""
        return self.sha256[:12]

    @property
    def name(self) -> str:
        """Its name on the device."""
        return f"{self.sha256}.exe"


def find_tool(named: str, abis: Sequence[str], device: str) -> Tool:
    """Return the program for a device that runs these ABIs, the best first (none are known: the device was away)."""
    where = _WHERE.format(name=device)
    if not named:
        return Tool(reason="no benchmark_model is named", remedy=where)
    path = Path(named).expanduser()
    if path.is_dir():
        places = [place for abi in abis for place in _places(path, abi) if place.is_file()]
        if not places:
            words = f"{shorten(str(path), 200)} has no benchmark_model for {', '.join(abis) or 'a device that is away'}"
            wanted = f"put it into {abis[0]}/benchmark_model there; " if abis else ""
            return Tool(reason=words, remedy=wanted + where)
        path = places[0]
    if not path.is_file():
        return Tool(reason=f"there is no {shorten(str(path), 200)}", remedy=where)
    abi = abi_of(path)
    if abi and abis and abi not in abis:
        return Tool(
            reason=f"{shorten(str(path), 200)} is built for {abi}, the device runs {', '.join(abis)}", remedy=where
        )
    stat = path.stat()
    return Tool(path, _digest(str(path), stat.st_size, stat.st_mtime_ns))


def _places(folder: Path, abi: str) -> list[Path]:
    short = _ABIS.get(abi, (abi, 0))[0]
    names = (f"{abi}/benchmark_model", f"benchmark_model_{abi}", f"android_{short}_benchmark_model")
    return [folder / name for name in names if ".." not in name and not name.startswith("/")]


def abi_of(path: Path) -> str:
    """Return Android's name of the processor that a program is built for; empty if it is no ELF file or of another."""
    with path.open("rb") as stream:
        head = stream.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    machine = int.from_bytes(head[18:20], "little")
    return next((abi for abi, (_, number) in _ABIS.items() if number == machine), f"machine {machine}")


@lru_cache(maxsize=64)
def _digest(path: str, size: int, modified: int) -> str:
    return sha256_file(Path(path))
