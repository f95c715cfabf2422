"""Checks external Keras files before Keras opens them: no path escapes, decompression bombs or links."""

from __future__ import annotations

import json
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from ...core.errors import InputError
from ...core.sanitize import checked_path, shorten
from ...core.unpacking import max_unpacked_size
from ...frameworks.hdf5 import DAMAGED, check, check_members

LARGEST_JSON = 256 << 20
MEMBERS = 20_000
# The exceptions of zipfile and its decompressors on hostile bytes.
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RecursionError, NotImplementedError,
    RuntimeError, MemoryError, OverflowError,
)  # fmt: skip


def read_archive(path: Path) -> tuple[Any, Any]:
    """Return (config, metadata), the parsed JSON of a Keras archive. Raises InputError if it is invalid or hostile."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            check_entries(path, entries)
            names = {entry.filename for entry in entries}
            if missing := {"config.json", "metadata.json"} - names:
                raise InputError(
                    f"{path} is a zip archive without {' and '.join(sorted(missing))}, so it is no Keras model",
                    "expected what model.save('NAME.keras') writes",
                )
            if damaged := archive.testzip():  # h5py seeks in an entry, so zipfile does not verify its checksum then
                raise zipfile.BadZipFile(f"the checksum of {damaged} does not fit")
            config = json.loads(_read(archive, "config.json"))
            metadata = json.loads(_read(archive, "metadata.json"))
        check_members(path)
    except ZIP_ERRORS as error:
        raise InputError(f"{path} is damaged: {shorten(str(error), 200)}", DAMAGED) from error
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        raise InputError(f"{path} holds no configuration of a model", DAMAGED)
    return config, metadata


def check_entries(path: Path, entries: list[zipfile.ZipInfo], *, unpacked: bool = True) -> None:
    """Raise InputError unless the entries of a zip archive are plain files and folders of plausible size, each once.

    If they will be `unpacked`, their names must be safe as paths. At most the declared size of an entry is read:
    zipfile stops there, and the checksum must fit.
    """
    size = path.stat().st_size
    if len(entries) > MEMBERS:
        raise InputError(f"{path} holds {len(entries):,} files, more than {MEMBERS:,}", "do not use this file")
    if len({entry.filename for entry in entries}) != len(entries):
        raise InputError(f"{path} holds two files with the same name", DAMAGED)
    for entry in entries:
        if unpacked and not checked_path(entry.filename, f"{path} holds a file whose name").parts:
            raise InputError(f"{path} holds a file without a name", "do not use this file")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{path} holds a link or a device, {shorten(entry.filename)!r}", "do not use this file")
        if entry.flag_bits & 1:
            raise InputError(f"{path} is encrypted", "save it without a password")
    declared = sum(entry.file_size for entry in entries)
    if declared > max_unpacked_size(size):
        raise InputError(f"{path} of {size:,} bytes would unpack to {declared:,}", "do not use this file")


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST_JSON:
        raise InputError(f"{archive.filename}: {name} is larger than {LARGEST_JSON >> 20} MiB", "do not use this file")
    return archive.read(name)


def read_hdf5(path: Path) -> tuple[Any, str]:
    """Return (model configuration, Keras version) of a Keras HDF5 file; the version is empty if the file has none.

    Raises InputError for other files, and hostile ones.
    """
    attributes = check(path)
    if "model_config" not in attributes:
        raise InputError(
            f"{path} holds weights without the model they belong to",
            "save the whole model (model.save), or fine-tune the architecture it belongs to with "
            "backbone = 'keras:NAME' and weights = 'FILE'",
        )
    try:
        config = json.loads(attributes["model_config"])
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged: its model_config is not JSON: {shorten(str(error), 100)}", DAMAGED
        ) from error
    return config, attributes.get("keras_version", "")
