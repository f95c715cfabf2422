"""The artifact store: finished work under the hash of what it was made from, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from .codec import sha256_of
from .errors import InputError, explain_disk_errors


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of distributions; those that are missing are left out. Imports none of them."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


class Store:
    """Entries are folders ``STAGE/KEY``; each appears by one rename, so an entry that exists is complete."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @staticmethod
    def key(stage: str, spec: Mapping[str, Any], packages: Sequence[str] = ()) -> str:
        """Return ``STAGE/HASH`` for work on `spec`, done with the installed versions of edgeproof and `packages`."""
        return f"{stage}/{sha256_of([stage, spec, package_versions(['edgeproof', *packages])])[:32]}"

    def get(self, key: str) -> Path | None:
        """Return the entry's folder if that work is finished."""
        entry = self.root / key
        return entry if entry.is_dir() else None

    def partial(self, key: str) -> Path:
        """Return the folder for unfinished work on `key`. It outlives a killed process, and is given again."""
        folder = self.root / "partial" / key
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self, key: str) -> Path:
        """Make the unfinished work on `key` the entry, in one step; return the entry's folder."""
        entry = self.root / key
        with explain_disk_errors(entry):
            entry.parent.mkdir(parents=True, exist_ok=True)
            if entry.exists():
                shutil.rmtree(entry)
            self.partial(key).replace(entry)
        return entry

    @contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Give a folder to work in; it becomes the entry when the block ends without an exception.

        When the block fails or the process dies, the folder is kept for the next attempt: work that saves its
        progress there (checkpoints) goes on, work that does not simply writes its files anew.
        """
        folder = self.partial(key)
        with explain_disk_errors(folder):
            yield folder
        self.finish(key)

    def discard(self, key: str) -> None:
        """Forget an entry, finished or not."""
        for place in (self.root / key, self.root / "partial" / key):
            shutil.rmtree(place, ignore_errors=True)


def place(source: Path, destination: Path) -> None:
    """Copy a stored file or folder to `destination`, unless the same is there already.

    A copy, not a link: what a user does to the files of a run must not reach into the store. What stood there before
    is replaced, and only by the complete new one.
    """
    if _same(source, destination):
        return
    with explain_disk_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = destination.with_name(f".{destination.name}.new")
        _remove(temporary)
        if source.is_dir():
            shutil.copytree(source, temporary)
        else:
            shutil.copy2(source, temporary)
        if destination.is_dir():
            _remove(destination)
        temporary.replace(destination)


def _same(source: Path, destination: Path) -> bool:
    """Whether two files, or all files of two folders, agree in size and time of change (which copies keep)."""
    if source.is_dir() or destination.is_dir():
        names = {p.relative_to(source) for p in source.rglob("*") if p.is_file()}
        others = {p.relative_to(destination) for p in destination.rglob("*") if p.is_file()}
        return bool(names) and names == others and all(_same(source / name, destination / name) for name in names)
    if not destination.exists():
        return False
    ours, theirs = source.stat(), destination.stat()
    return (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone. Raises InputError when another run is writing to it."""
    import fcntl  # POSIX only, like the runs themselves

    path = folder / ".lock"
    with explain_disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    try:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another run is writing to {folder}", "wait for it to end, or give this one another --out"
            ) from error
        yield
    finally:
        stream.close()
