"""Files and folders put in place, copied and removed: durable, whole or not at all, and only below a given root.

Whoever removes or replaces something says below which folder it must lie. A path that leads out of there, by ``..``
or by a link, is refused before anything is touched.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .errors import InputError


def below(root: Path, path: Path, *, follow: bool = False) -> Path:
    """Return `path` if it lies below `root` (and is not `root`), links on the way resolved. Raises InputError if not.

    The last part is taken as it is: to remove or replace a link touches the link. With `follow` it is resolved too,
    for what will be read.
    """
    real = real_path(path) if follow else real_path(path.parent) / path.name
    if path.name in ("", ".", "..") or real_path(root) not in real.parents:
        raise InputError(
            f"{path} leads out of {root}: it is {real}",
            "put a plain file or folder there in place of a link, or name another folder",
        )
    return path


def real_path(path: Path) -> Path:
    """Return the absolute path with all links resolved; of links that lead in a circle what can be resolved."""
    return Path(os.path.realpath(path))


def remove(path: Path, *, root: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; nothing where there is nothing."""
    below(root, path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path, *, root: Path) -> None:
    """As `remove`, for what is no longer needed: it stays where the system refuses."""
    with suppress(OSError):
        remove(path, root=root)


def move(source: Path, destination: Path, *, root: Path, durable: bool = True) -> None:
    """Give a finished file or folder its final name. It replaces its like, a file a file, a folder a folder.

    `source` is on the same disk. Where it is to be `durable`, data reach the disk before the name does, and the name
    before this returns.
    """
    below(root, destination)
    if durable:
        sync(source)
    if source.is_dir() and destination.is_dir():  # a rename replaces files only
        remove(destination, root=root)
    source.replace(destination)
    if durable:
        _sync_one(destination.parent)


def copy(source: Path, destination: Path, *, root: Path) -> None:
    """Copy a file or a folder to `destination`, which is replaced by the whole of it or not at all.

    A folder's links stay behind, for they may lead anywhere; so do pipes and devices. Raises InputError where a folder
    would be copied into itself.
    """
    below(root, destination)
    real = real_path(destination.parent) / destination.name
    if real_path(source) in (real, *real.parents):
        raise InputError(f"{source} would be copied into itself, to {destination}", "name another folder")
    destination.parent.mkdir(parents=True, exist_ok=True)
    fresh = destination.with_name(f".{destination.name}.new")
    remove(fresh, root=root)
    try:
        if source.is_dir():
            shutil.copytree(source, fresh, ignore=unplain)
        else:
            shutil.copy2(source, fresh)
        move(fresh, destination, root=root)
    except BaseException:
        discard(fresh, root=root)
        raise


def check_ours(folder: Path, mark: str) -> None:
    """Raise InputError if a folder would be replaced that is somebody else's: one that holds files, and no `mark`."""
    if folder.is_dir() and not (folder / mark).is_file() and any(folder.iterdir()):
        raise InputError(
            f"{folder} is in the way: it was not made by this program (it holds no {mark})",
            "move it away, or give another --out",
        )


def unplain(folder: str, names: list[str]) -> list[str]:
    """Return what in a folder is neither a plain file nor a folder: the `ignore` of shutil.copytree."""
    kinds = {name: (Path(folder) / name).lstat().st_mode for name in names}
    return [name for name, mode in kinds.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))]


def plain_files(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted; links are neither followed nor among them."""
    found = []
    for here, _, names in os.walk(folder):
        paths = (Path(here) / name for name in names)
        found += [path for path in paths if stat.S_ISREG(path.lstat().st_mode)]
    return sorted(found)


def same(source: Path, destination: Path) -> bool:
    """Whether `destination` is a copy of `source`, byte by byte: a file, or a folder with the same files."""
    if destination.is_symlink() or source.is_dir() != destination.is_dir() or not destination.exists():
        return False
    if source.is_file():
        return filecmp.cmp(source, destination, shallow=False)
    if any(path.is_symlink() for path in destination.rglob("*")):
        return False
    names = [path.relative_to(source) for path in plain_files(source)]
    others = [path.relative_to(destination) for path in plain_files(destination)]
    return names == others and all(filecmp.cmp(source / name, destination / name, shallow=False) for name in names)


def open_log(path: Path) -> BinaryIO:
    """Open a file to append to, never through a link. Raises InputError where something else stands there."""
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        stream = os.fdopen(os.open(path, flags, 0o644), "ab")
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            return stream
        stream.close()
    raise InputError(f"{path} is a link, a pipe or a device", "remove it: it is written there by this program")


def sync(path: Path) -> None:
    """Have a file, or a folder with all that is in it, written to the disk."""
    if path.is_dir():
        for file in plain_files(path):
            _sync_one(file)
        for here, _, _ in os.walk(path):
            _sync_one(Path(here))
    else:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems have no such call
            raise
    finally:
        os.close(descriptor)
