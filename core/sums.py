"""Checksums of a folder's files: what they were when the folder was finished, and whether they still are.

Size and time of change are remembered beside the hash. Where they are what they were, a file is taken as unchanged
without being read, unless the check is to be thorough; where they differ, its hash decides.
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
class Sum:
    """A file as it was: its size, its time of change in nanoseconds, and its hash."""

    bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Sums:
    """The files of a folder by their relative names."""

    files: dict[str, Sum]


@dataclass(frozen=True)
class Checked:
    """What a check came to: `problem` says what is otherwise than it was (empty: nothing).

    `sums` are the checksums with the times that the files have now; the same object where none had changed.
    """

    problem: str
    sums: Sums


def take(folder: Path, files: Iterable[Path] | None = None) -> Sums:
    """Return the checksums of `files` below `folder`; of all of them where none are named."""
    paths = plain_files(folder) if files is None else sorted(files)
    stats = [path.stat() for path in paths]
    names = [path.relative_to(folder).as_posix() for path in paths]
    rows = zip(names, stats, _hashes(paths), strict=True)
    return Sums({name: Sum(found.st_size, found.st_mtime_ns, sha256) for name, found, sha256 in rows})


def check(folder: Path, sums: Sums, *, whole: bool, thorough: Iterable[str] = ()) -> Checked:
    """Compare the files below `folder` with `sums`.

    `whole`: a file that is not among them is a problem too. Files whose names start with one of `thorough` are always
    read (``""`` is all of them). Raises OSError when a file cannot be read.
    """
    starts = tuple(thorough)
    there = {path.relative_to(folder).as_posix() for path in plain_files(folder)} if whole else None
    times: dict[str, int] = {}
    doubtful = []
    for name, was in sums.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            return Checked(f"{name} is missing", sums)
        now = path.stat()
        if now.st_size != was.bytes:
            return Checked(f"{name} has {now.st_size:,} bytes, and had {was.bytes:,}", sums)
        if now.st_mtime_ns != was.mtime_ns:
            times[name] = now.st_mtime_ns
        if name in times or (starts and name.startswith(starts)):
            doubtful.append(name)
    if there is not None and (extra := sorted(there - set(sums.files))):
        return Checked(f"{extra[0]} does not belong there", sums)
    for name, sha256 in zip(doubtful, _hashes([folder / name for name in doubtful]), strict=True):
        if sha256 != sums.files[name].sha256:
            return Checked(f"the content of {name} has changed", sums)
    return Checked("", _with_times(sums, times) if times else sums)


def save(sums: Sums, path: Path) -> None:
    """Write checksums to a JSON file."""
    write_json(path, to_json(sums))


def load(path: Path) -> Sums | None:
    """Read what `save` wrote; None where it is missing or damaged, which is to say that nothing can be vouched for."""
    try:
        return from_json(Sums, read_json(path), str(path))
    except InputError:
        return None


def _with_times(sums: Sums, times: Mapping[str, int]) -> Sums:
    return Sums({name: replace(was, mtime_ns=times.get(name, was.mtime_ns)) for name, was in sums.files.items()})


def _hashes(paths: Sequence[Path]) -> list[str]:
    """Return the files' hashes, several at a time: hashing lets other threads run."""
    if len(paths) < 2:
        return [sha256_file(path) for path in paths]
    with ThreadPoolExecutor(HASHERS) as pool:
        return list(pool.map(sha256_file, paths))
