"""The artifact store: finished work under the hash of what it was made from, whole or not at all, and checked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from . import files, sums
from .codec import sha256_of
from .errors import EdgeproofError, InputError, explain_disk_errors
from .progress import Listener, Silent


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of distributions. Imports none of them.

    Those that are missing are left out, and those whose records are damaged: they say no version.
    """
    versions = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError, ValueError, KeyError, TypeError, OSError):
            if version := metadata.version(name):
                versions[name] = str(version)
    return versions


def installed(name: str) -> str:
    """Return the version of a distribution that is there; ``?`` where its record is damaged."""
    return package_versions([name]).get(name, "?")


STORE = ".store"  # in a run's folder
MARK = ".edgeproof-store"  # stands in every store, so that no other folder is taken for one


def open_store(folder: Path, listener: Listener | None = None) -> Store:
    """Return the store of a run's folder, which need not exist yet.

    It may be a link, so that the work lies on another disk: to a folder of the user's own that is empty, or is a store
    already. Raises InputError for every other link, for what is in a store is replaced and removed.
    """
    root = folder / STORE
    if root.is_symlink():
        _check_link(root)
        with suppress(OSError):  # the disk may be for reading only
            (root / MARK).touch()
    return Store(root, listener)


def _check_link(root: Path) -> None:
    real = files.real_path(root)
    remedy = f"remove the link, or have it lead to a new, empty folder of yours: mkdir FOLDER; ln -sfn FOLDER {root}"
    try:
        owner, names = real.stat().st_uid, [path.name for path in real.iterdir()]
    except OSError as error:
        raise InputError(f"{root} is a link to {real}, where no store can be: {error.strerror}", remedy) from error
    if owner != os.geteuid():
        raise InputError(f"{root} is a link to {real}, which belongs to somebody else", remedy)
    if names and MARK not in names:
        raise InputError(f"{root} is a link to {real}, which holds files and is no store (no {MARK})", remedy)


class Store:
    """Entries are folders ``STAGE/KEY``; each appears by one rename, so an entry that exists is complete.

    ``sums/STAGE/KEY.json`` has the checksums of its files. An entry that is no longer what it was is not given out:
    `listener` hears of it, and it is made anew.
    """

    def __init__(self, root: Path, listener: Listener | None = None) -> None:
        self.root = root
        self._listener = listener or Silent()
        self._read: set[str] = set()  # entries whose every byte was looked at

    @staticmethod
    def key(stage: str, spec: Mapping[str, Any], packages: Sequence[str] = ()) -> str:
        """Return ``STAGE/HASH`` for work on `spec`, done with the installed versions of edgeproof and `packages`."""
        return f"{stage}/{sha256_of([stage, spec, package_versions(['edgeproof', *packages])])[:32]}"

    def get(self, key: str, *, shipped: bool = False, old: bool = False) -> Path | None:
        """Return the entry's folder if that work is finished, and is as it was then. A damaged entry is removed.

        Of what is `shipped` every byte is read once; of other entries those files whose size or time has changed.
        `old`: an entry may be of an earlier version, which wrote no checksums; it is taken as it is.
        """
        entry = self.root / key
        if not entry.is_dir():
            return None
        problem = self.problem(key, thorough=shipped, old=old)
        if not problem:
            return entry
        stage = key.partition("/")[0]
        self._listener.note("warning", f"the store's {stage} in {entry} is damaged, so it is made anew: {problem}")
        with explain_disk_errors(entry):
            files.remove(entry, root=self.root)
        return None

    def problem(self, key: str, *, thorough: bool = False, old: bool = False) -> str:
        """Return what of an entry is no longer as it was when it was finished; an empty text where all is."""
        entry = self.root / key
        known = sums.load(self._sums(key))
        if known is None and old and not self._sums(key).exists():
            with suppress(EdgeproofError, OSError):  # the disk may be for reading only
                self._save(sums.take(entry), key)
            return ""
        if known is None:
            return "its checksums are missing"
        try:
            found = sums.check(entry, known, whole=True, thorough=("",) if thorough and key not in self._read else ())
        except OSError as error:
            return f"{error.filename} cannot be read: {error.strerror}"
        if found.problem:
            return found.problem
        if thorough:
            self._read.add(key)
        if found.sums is not known:
            with suppress(EdgeproofError):  # it only saves the next check its time
                self._save(found.sums, key)
        return ""

    def _sums(self, key: str) -> Path:
        return self.root / "sums" / f"{key}.json"

    def _save(self, found: sums.Sums, key: str) -> None:
        sums.save(found, files.below(self.root, self._sums(key)))

    def partial(self, key: str) -> Path:
        """Return the folder for unfinished work on `key`. It outlives a killed process, and is given again."""
        folder = files.below(self.root, self.root / "partial" / key)
        with explain_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (self.root / MARK).touch()
        return folder

    def finish(self, key: str) -> Path:
        """Make the unfinished work on `key` the entry, in one step; return the entry's folder."""
        return self.keep(self.partial(key), key)

    def keep(self, folder: Path, key: str) -> Path:
        """Make a finished folder on the same disk the entry, in one step; return the entry's folder."""
        entry = self.root / key
        with explain_disk_errors(entry):
            entry.parent.mkdir(parents=True, exist_ok=True)
            files.remove(entry, root=self.root)
            self._save(sums.take(folder), key)
            files.move(folder, entry, root=self.root)
        self._read.discard(key)
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
            files.discard(place, root=self.root)


def place(source: Path, destination: Path, *, root: Path, mark: str = "") -> None:
    """Copy a stored file or folder to `destination` below `root`, unless the very same bytes are there already.

    A copy, not a link: what a user does to the files of a run must not reach into the store. What stood there before
    is replaced, and only by the complete new one. Raises InputError where `destination` is not below `root`, or is a
    folder of somebody else's, without the `mark` that folders of this kind have.
    """
    files.below(root, destination)
    if mark:
        files.check_ours(destination, mark)
    with explain_disk_errors(destination):
        if not files.same(source, destination):
            files.copy(source, destination, root=root)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a run's `folder` for this process alone. Raises InputError when another run is writing to it.

    A store that is a link is held too: several runs may share it, one after another.
    """
    linked = (folder / STORE).is_symlink()
    with _held(folder), _held(open_store(folder).root) if linked else nullcontext():
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
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
                f"another run is writing to {folder}", "wait for it to end, or give this one another --out"
            ) from error
        yield
    finally:
        stream.close()
