"""Checks untrusted HDF5 files before Keras opens them: no links, no external data, no decompression bombs.

The HDF5 library is C and has had vulnerabilities, so a separate process reads the file (`core/isolated`). That
process imports only this module and h5py.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..core import isolated
from ..core.errors import InputError
from ..core.sanitize import shorten
from ..core.unpacking import max_unpacked_size

DAMAGED = "make or copy it again"
REFUSED = "do not use this file"
MODEL = ("model_config", "keras_version")  # the attributes that describe the model


def check(path: Path) -> dict[str, str]:
    """Check every link and data set of an HDF5 file; return the text attributes `MODEL`, which describe its model.

    Raises InputError for links to other files, external or virtual data sets, declared sizes out of proportion to the
    file's, and for a file that is not HDF5. Reads in another process.
    """
    attributes: dict[str, str] = _in_child("file_attributes", path)
    return attributes


def check_members(path: Path) -> None:
    """Check every HDF5 file in a zip archive. Raises InputError as `check`. Reads in another process."""
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith(".h5") for name in archive.namelist()):
            _in_child("check_members_here", path)


def _in_child(function: str, path: Path) -> Any:
    try:
        return isolated.call(f"{__name__}:{function}", str(path.absolute()), str(path))
    except isolated.ProcessEndedError as error:
        raise InputError(f"{path} is not a readable HDF5 file: {shorten(str(error), 200)}", DAMAGED) from error


def file_attributes(path: str, shown: str) -> dict[str, str]:
    """As `check`, in this process; `shown` is what messages call the file."""
    with Path(path).open("rb") as stream:
        return _attributes(stream, shown, Path(path).stat().st_size)


def check_members_here(path: str, shown: str) -> None:
    """As `check_members`, in this process."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".h5")):
            with archive.open(name) as stream:
                _attributes(stream, f"{shown} ({shorten(name)})", archive.getinfo(name).file_size)


def _attributes(stream: BinaryIO | Any, where: str, size: int) -> dict[str, str]:
    import h5py

    declared = 0
    try:
        with h5py.File(stream, "r") as file:
            for name, member in _objects(h5py, file, where):
                if not isinstance(member, h5py.Dataset):
                    continue
                if member.is_virtual or member.external:
                    raise InputError(f"{where}: {shorten(name)!r} takes its numbers from another file", REFUSED)
                declared += int(member.nbytes)
                if declared > max_unpacked_size(size):
                    raise InputError(f"{where} of {size:,} bytes declares {declared:,} bytes of numbers", REFUSED)
            return {name: _text(file.attrs[name]) for name in MODEL if name in file.attrs}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{where} is not a readable HDF5 file: {shorten(str(error), 200)}", DAMAGED) from error


def _objects(h5py: Any, file: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield every object once; soft links stay inside the file, and are not followed."""
    seen = set()
    stack = [("", file)]
    while stack:
        place, group = stack.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise InputError(f"{where}: {shorten(f'{place}/{name}')!r} is a link into another file", REFUSED)
            if not isinstance(link, h5py.HardLink):
                continue
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address in seen:
                continue
            seen.add(address)
            yield f"{place}/{name}", member
            if isinstance(member, h5py.Group):
                stack.append((f"{place}/{name}", member))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
