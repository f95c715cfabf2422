"""Checksums of a folder's files, and the check that the files still have them.

Size and modification time are stored beside the hash. A file whose size and time are the same counts as unchanged
without being read, unless the check is thorough; otherwise its hash decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from .codec import from_json, read_json, sha256_file, to_json, write_json
from .errors import InputError
from .files import plain_files

HASHERS = 4  # threads


@dataclass(frozen=True)
class Checksum:
    """A file's size, its modification time in nanoseconds, and its hash."""

    bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Checksums:
    """The checksums of a folder's files, by relative name."""

    files: dict[str, Checksum]


@dataclass(frozen=True)
class CheckResult:
    """The result of a check: `problem` is the first difference, or ``""``.

    `checksums` have the files' present modification times; it is the same object if none has changed.
    """

    problem: str
    checksums: Checksums


def compute(folder: Path, files: Iterable[Path] | None = None) -> Checksums:
    """Return the checksums of `files` below `folder`, by default of all of them."""
    paths = plain_files(folder) if files is None else sorted(files)
    stats = [path.stat() for path in paths]
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows = zip(names, stats, _hashes(paths), strict=True)
    return Checksums({name: Checksum(stat.st_size, stat.st_mtime_ns, sha256) for name, stat, sha256 in rows})


def check(folder: Path, checksums: Checksums, *, complete: bool, thorough: Iterable[str] = ()) -> CheckResult:
    """Compare the files below `folder` with `checksums`.

    With `complete` a file without a checksum is a problem too. Files whose names start with one of `thorough` are
    always read (``""`` means all). Raises OSError when a file cannot be read.
    """
    prefixes = tuple(thorough)
    present = {path.relative_to(folder).as_posix() for path in plain_files(folder)} if complete else None
    times: dict[str, int] = {}
    to_hash = []
    for name, recorded in checksums.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            return CheckResult(f"{name} is missing", checksums)
        stat = path.stat()
        if stat.st_size != recorded.bytes:
            return CheckResult(f"{name} has {stat.st_size:,} bytes, and had {recorded.bytes:,}", checksums)
        if stat.st_mtime_ns != recorded.mtime_ns:
            times[name] = stat.st_mtime_ns
        if name in times or (prefixes and name.startswith(prefixes)):
            to_hash.append(name)
    if present is not None and (extra := sorted(present - set(checksums.files))):
        return CheckResult(f"{extra[0]} does not belong there", checksums)
    for name, sha256 in zip(to_hash, _hashes([folder / name for name in to_hash]), strict=True):
        if sha256 != checksums.files[name].sha256:
            return CheckResult(f"the content of {name} has changed", checksums)
    return CheckResult("", _with_times(checksums, times) if times else checksums)


def save(checksums: Checksums, path: Path) -> None:
    """Write checksums to a JSON file."""
    write_json(path, to_json(checksums))


def load(path: Path) -> Checksums | None:
    """Read what `save` wrote. Returns None when it is missing or damaged."""
    try:
        return from_json(Checksums, read_json(path), str(path))
    except InputError:
        return None


def _with_times(checksums: Checksums, times: Mapping[str, int]) -> Checksums:
    return Checksums(
        {name: replace(file, mtime_ns=times.get(name, file.mtime_ns)) for name, file in checksums.files.items()}
    )


def _hashes(paths: Sequence[Path]) -> list[str]:
    """Return the files' hashes; several threads compute them, since hashing releases the interpreter lock."""
    if len(paths) < 2:
        return [sha256_file(path) for path in paths]
    with ThreadPoolExecutor(HASHERS) as pool:
        return list(pool.map(sha256_file, paths))
