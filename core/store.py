"""The artifact store: finished work under the hash of its inputs, written atomically and verified by checksums."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from . import checksums, files
from .codec import sha256_of
from .errors import EdgeproofError, InputError, explain_disk_errors
from .progress import Listener, Silent


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of distributions. Imports nothing.

    Missing distributions, and those with a damaged record, are left out.
    """
    versions = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError, ValueError, KeyError, TypeError, OSError):
            if version := metadata.version(name):
                versions[name] = str(version)
    return versions


def recorded_version(name: str) -> str:
    """Return the version of an installed distribution, or ``?`` if its record is damaged."""
    return package_versions([name]).get(name, "?")


STORE = ".store"  # in a run's folder
MARK = ".edgeproof-store"  # a file in every store, by which it is recognized


def open_store(folder: Path, listener: Listener | None = None) -> Store:
    """Return the store of a run's folder, which need not exist yet.

    It may be a link, so that the work is on another disk: to an empty folder that the user owns, or to a store. Raises
    InputError for every other link, because files in a store are replaced and removed.
    """
    root = folder / STORE
    if root.is_symlink():
        _check_link(root)
        with suppress(OSError):  # the disk may be read-only
            (root / MARK).touch()
    return Store(root, listener)


def _check_link(root: Path) -> None:
    real = files.real_path(root)
    remedy = f"remove the link, or link to a new, empty folder that you own: mkdir FOLDER; ln -sfn FOLDER {root}"
    try:
        owner, names = real.stat().st_uid, [path.name for path in real.iterdir()]
    except OSError as error:
        raise InputError(f"{root} is a link to {real}, which cannot be a store: {error.strerror}", remedy) from error
    if owner != os.geteuid():
        raise InputError(f"{root} is a link to {real}, which another user owns", remedy)
    if names and MARK not in names:
        raise InputError(f"{root} is a link to {real}, which holds files and is not a store (no {MARK})", remedy)


class Store:
    """Entries are folders ``STAGE/KEY``. Each appears by one rename, so an existing entry is complete.

    ``sums/STAGE/KEY.json`` holds the checksums of its files. A damaged entry is removed, and reported to `listener`;
    its work is done again.
    """

    def __init__(self, root: Path, listener: Listener | None = None) -> None:
        self.root = root
        self._listener = listener or Silent()
        self._verified: set[str] = set()  # entries that were read completely

    @staticmethod
    def key(stage: str, spec: Mapping[str, Any], packages: Sequence[str] = ()) -> str:
        """Return ``STAGE/HASH`` for work on `spec`, done with the installed versions of edgeproof and `packages`."""
        return f"{stage}/{sha256_of([stage, spec, package_versions(['edgeproof', *packages])])[:32]}"

    def get(self, key: str, *, shipped: bool = False, old: bool = False) -> Path | None:
        """Return the entry's folder if the work is finished and undamaged, else None. A damaged entry is removed.

        With `shipped` every byte is read once; otherwise only files whose size or time has changed. With `old` an entry
        of an earlier version, which has no checksums, is accepted unchecked.
        """
        entry = self.root / key
        if not entry.is_dir():
            return None
        problem = self.problem(key, thorough=shipped, old=old)
        if not problem:
            return entry
        stage = key.partition("/")[0]
        self._listener.note("warning", f"the store's {stage} in {entry} is damaged, so it is made again: {problem}")
        with explain_disk_errors(entry):
            files.remove(entry, root=self.root)
        return None

    def problem(self, key: str, *, thorough: bool = False, old: bool = False) -> str:
        """Return how an entry differs from when it was finished, or ``""``."""
        entry = self.root / key
        recorded = checksums.load(self._checksum_file(key))
        if recorded is None and old and not self._checksum_file(key).exists():
            with suppress(EdgeproofError, OSError):  # the disk may be read-only
                self._save(checksums.compute(entry), key)
            return ""
        if recorded is None:
            return "its checksums are missing"
        read_all = thorough and key not in self._verified
        try:
            result = checksums.check(entry, recorded, complete=True, thorough=("",) if read_all else ())
        except OSError as error:
            return f"{error.filename} cannot be read: {error.strerror}"
        if result.problem:
            return result.problem
        if thorough:
            self._verified.add(key)
        if result.checksums is not recorded:
            with suppress(EdgeproofError):  # it only makes the next check faster
                self._save(result.checksums, key)
        return ""

    def _checksum_file(self, key: str) -> Path:
        return self.root / "sums" / f"{key}.json"

    def _save(self, entry: checksums.Checksums, key: str) -> None:
        checksums.save(entry, files.below(self.root, self._checksum_file(key)))

    def partial(self, key: str) -> Path:
        """Return the folder for unfinished work on `key`. It survives a killed process, and is then continued."""
        folder = files.below(self.root, self.root / "partial" / key)
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (self.root / MARK).touch()
        return folder

    def finish(self, key: str) -> Path:
        """Turn the folder of unfinished work on `key` into the entry, atomically. Returns the entry's folder."""
        return self.keep(self.partial(key), key)

    def keep(self, folder: Path, key: str) -> Path:
        """Turn a finished folder on the same disk into the entry, atomically. Returns the entry's folder."""
        entry = self.root / key
        with explain_disk_errors(entry):
            entry.parent.mkdir(parents=True, exist_ok=True)
            files.remove(entry, root=self.root)
            self._save(checksums.compute(folder), key)
            files.move(folder, entry, root=self.root)
        self._verified.discard(key)
        return entry

    @contextmanager
    def write(self, key: str) -> Iterator[Path]:
        """Yield a folder to work in; it becomes the entry when the block ends without an exception.

        If the block fails or the process is killed, the folder stays for the next attempt: work that saves its progress
        there (checkpoints) continues, other work writes its files again.
        """
        folder = self.partial(key)
        with explain_disk_errors(folder):
            yield folder
        self.finish(key)

    def discard(self, key: str) -> None:
        """Remove an entry, finished or not."""
        for folder in (self.root / key, self.root / "partial" / key):
            files.discard(folder, root=self.root)


def copy_out(source: Path, destination: Path, *, root: Path, mark: str = "") -> None:
    """Copy a stored file or folder to `destination` below `root`, unless the same bytes are there already.

    It is a copy, not a link: changes to the files of a run must not affect the store. An existing file or folder is
    replaced atomically. Raises InputError if `destination` is not below `root`, or is a folder with files but without
    the file `mark`, so not made by this program.
    """
    files.below(root, destination)
    if mark:
        files.check_owned(destination, mark)
    with explain_disk_errors(destination):
        if not files.same(source, destination):
            files.copy(source, destination, root=root)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock a run's `folder` for this process. Raises InputError when another run is writing to it.

    A store behind a link is locked too: several runs may share it, one after another.
    """
    linked = (folder / STORE).is_symlink()
    with _locked(folder), _locked(open_store(folder).root) if linked else nullcontext():
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import fcntl  # POSIX only, like the runs themselves

    path = folder / ".lock"
    with explain_disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        stream = files.open_log(path)
    try:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another run is writing to {folder}", "wait for it to end, or choose another --out"
            ) from error
        yield
    finally:
        stream.close()
