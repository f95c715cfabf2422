"""Moves, copies and removes files and folders: durably, atomically, and only below a given root.

Every function that removes or replaces something takes the root below which it must be. A path that leads out of the
root, by ``..`` or by a link, is refused before anything is changed.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .errors import InputError


def below(root: Path, path: Path, *, follow: bool = False) -> Path:
    """Return `path` if it is below `root` (and not `root` itself) after links are resolved. Raises InputError if not.

    A link in the last part is not resolved: removing or replacing it affects the link. With `follow` it is resolved
    too, for paths that will be read.
    """
    real = real_path(path) if follow else real_path(path.parent) / path.name
    if path.name in ("", ".", "..") or real_path(root) not in real.parents:
        raise InputError(
            f"{path} leads out of {root}: it is {real}",
            "replace the link by a regular file or folder, or name another folder",
        )
    return path


def real_path(path: Path) -> Path:
    """Return the absolute path with all links resolved; in a loop of links, as far as possible."""
    return Path(os.path.realpath(path))


def remove(path: Path, *, root: Path) -> None:
    """Remove a file, a link, or a folder with its content, if it exists."""
    below(root, path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path, *, root: Path) -> None:
    """As `remove`, but errors of the operating system are ignored: for what is no longer needed."""
    with suppress(OSError):
        remove(path, root=root)


def move(source: Path, destination: Path, *, root: Path, durable: bool = True) -> None:
    """Give a finished file or folder its final name. A file replaces a file, a folder replaces a folder.

    `source` must be on the same disk. With `durable` the data reach the disk before the name does, and the name before
    this function returns.
    """
    below(root, destination)
    if durable:
        sync(source)
    if source.is_dir() and destination.is_dir():  # rename replaces files only
        remove(destination, root=root)
    source.replace(destination)
    if durable:
        _sync_one(destination.parent)


def copy(source: Path, destination: Path, *, root: Path) -> None:
    """Copy a file or a folder to `destination`, which is replaced atomically.

    Links in a folder are not copied, since they may lead anywhere; neither are pipes and devices. Raises InputError if
    a folder would be copied into itself.
    """
    below(root, destination)
    real = real_path(destination.parent) / destination.name
    if real_path(source) in (real, *real.parents):
        raise InputError(f"{source} would be copied into itself, to {destination}", "name another folder")
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.new")
    remove(temporary, root=root)
    try:
        if source.is_dir():
            shutil.copytree(source, temporary, ignore=special_files)
        else:
            shutil.copy2(source, temporary)
        move(temporary, destination, root=root)
    except BaseException:
        discard(temporary, root=root)
        raise


def check_owned(folder: Path, mark: str) -> None:
    """Raise InputError if `folder` was not made by this program: it holds files, but no file `mark`."""
    if folder.is_dir() and not (folder / mark).is_file() and any(folder.iterdir()):
        raise InputError(
            f"{folder} is in the way: it was not made by this program (it holds no {mark})",
            "move it away, or give another --out",
        )


def check_replaceable(path: Path, *, mark: bytes, kind: str, option: str) -> None:
    """Raise InputError unless this program may write a file at `path`, and make its folder if there is none.

    What is there must be empty, or of this `kind`: with `mark` among its first 4,096 bytes. `option` names the file.
    """
    remedy = f"name another file with {option}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent}: {error.strerror}", remedy) from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"no permission to write into {path.parent}", remedy)
    if not path.exists() and not path.is_symlink():
        return
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as stream:
            begin = stream.read(4096)
        if not begin or mark in begin:
            return
    raise InputError(f"{path} is in the way: it is no {kind}", remedy)


def special_files(folder: str, names: list[str]) -> list[str]:
    """Return the `names` that are neither regular files nor folders: an `ignore` for shutil.copytree."""
    modes = {name: (Path(folder) / name).lstat().st_mode for name in names}
    return [name for name, mode in modes.items() if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))]


def plain_files(folder: Path) -> list[Path]:
    """Return the regular files below a folder, sorted. Links are neither followed nor returned."""
    files = []
    for parent, _, names in os.walk(folder):
        paths = (Path(parent) / name for name in names)
        files += [path for path in paths if stat.S_ISREG(path.lstat().st_mode)]
    return sorted(files)


def same(source: Path, destination: Path) -> bool:
    """Return whether `destination` equals `source` byte by byte: a file, or a folder with the same files."""
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
    """Open a regular file for appending, never through a link. Raises InputError if it is something else."""
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
    raise InputError(f"{path} is a link, a pipe or a device", "remove it: this program writes a file there")


def folder_for_sockets() -> str:
    """Return the folder for temporary folders that hold sockets, whose paths have some 100 characters at most.

    It is that of all temporary files, or ``/tmp`` where the path of that is long.
    """
    usual = tempfile.gettempdir()
    return usual if len(usual) < _SHORT else "/tmp"  # noqa: S108 (what is made there is its owner's alone)


_SHORT = 60


def sync(path: Path) -> None:
    """Flush a file, or a folder with its content, to the disk."""
    if path.is_dir():
        for file in plain_files(path):
            _sync_one(file)
        for folder, _, _ in os.walk(path):
            _sync_one(Path(folder))
    else:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not supported by some file systems
            raise
    finally:
        os.close(descriptor)
