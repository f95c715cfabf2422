"""Unpacks a SavedModel's ``.tar.gz`` from a stranger: only plain files and folders, only below the target, bounded."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ...core.errors import EdgeproofError, InputError, explain_disk_errors
from ...core.names import shorten

GZIP = b"\x1f\x8b"
MEMBERS = 20_000
TOTAL_BYTES = 16 << 30
# Weights hardly compress. Deflate can do 1032 : 1, which only a bomb comes near.
RATIO = 200
SMALL_BYTES = 64 << 20  # below this the ratio says nothing
BLOCK = 1 << 20
REMEDY = "get the archive anew from a source that you trust, or unpack it yourself and give the folder"


class _Bounded(gzip.GzipFile):
    """Decompresses, and refuses one huge read: tar's extended headers are read whole, whatever size they claim."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= BLOCK:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def unpack(archive: Path, target: Path) -> None:
    """Unpack `archive` into the new folder `target`.

    Raises InputError for anything that is not a gzip-compressed tar of plain files and folders with relative names,
    each once, or that is larger than a model can be (`MEMBERS`, `TOTAL_BYTES`, `RATIO`); StageError when the disk
    refuses. What was written until then is left in `target`: the caller throws the folder away.
    """
    limit = min(TOTAL_BYTES, max(SMALL_BYTES, RATIO * archive.stat().st_size))
    with explain_disk_errors(target):
        target.mkdir(parents=True)
    total = 0
    try:
        with _Bounded(archive, "rb") as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            for count, member in enumerate(tar, 1):
                total += max(member.size, 0)
                if count > MEMBERS or total > limit:
                    raise _refused(archive, f"it holds more than {limit:,} bytes or {MEMBERS:,} entries when unpacked")
                path = target / _checked(archive, member)
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    source = tar.extractfile(member)
                    if source is None:
                        raise _refused(archive, f"{shorten(member.name)!r} has no content")
                    with source, path.open("xb") as stream:
                        _copy(archive, source, stream, member.size)
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
    except EdgeproofError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, f"{shorten(str(error.filename))!r} stands in it twice") from error
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise _refused(archive, f"it is no .tar.gz, or damaged: {shorten(str(error), 120)}") from error
    except OSError as error:
        with explain_disk_errors(target):
            raise
        raise _refused(archive, shorten(str(error.strerror), 120)) from error


def _checked(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Return the member's relative path. Raises InputError for links, devices, sparse files and names that escape."""
    shown = repr(shorten(member.name))
    name = PurePosixPath(member.name)
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _refused(archive, f"{shown} is neither a plain file nor a folder (a link or a device)")
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise _refused(archive, f"the name {shown} leads out of the archive's folder")
    if member.size < 0 or not (name.parts or member.isdir()):
        raise _refused(archive, f"the entry {shown} is malformed")
    return name


def _copy(archive: Path, source: IO[bytes], stream: Any, size: int) -> None:
    """Copy exactly the `size` bytes that the header declared."""
    left = size
    while left and (block := source.read(min(left, BLOCK))):
        stream.write(block)
        left -= len(block)
    if left:
        raise _refused(archive, "it ends in the middle of a file")


def _refused(archive: Path, why: str) -> InputError:
    return InputError(f"{archive.name} was not unpacked: {why}", REMEDY)
