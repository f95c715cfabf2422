"""Unpacks an untrusted SavedModel ``.tar.gz``: only plain files and folders, only below the target, with limits."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ...core.errors import EdgeproofError, InputError, explain_disk_errors
from ...core.sanitize import checked_path, shorten

GZIP = b"\x1f\x8b"
MEMBERS = 20_000
TOTAL_BYTES = 16 << 30
# Weights hardly compress. Deflate reaches at most 1032 : 1; only decompression bombs come close.
RATIO = 200
SMALL_BYTES = 64 << 20  # below this size the ratio is not checked
BLOCK = 1 << 20
HEADER = 64 << 10  # bytes of an extended header: a long name, or unused attributes
OVERHEAD = 64 << 20  # bytes of all headers and padding
NAME_BYTES = 255  # the limit of file systems
REMEDY = "download the archive again from a source that you trust, or unpack it yourself and give the folder"


class _Bounded(gzip.GzipFile):
    """Decompresses up to `limit` bytes, in reads of up to `most`: tar reads headers of any claimed size at once."""

    def __init__(self, archive: Path, limit: int) -> None:
        super().__init__(archive, "rb")
        self.limit = limit
        self.most = HEADER

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= self.most:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        if self.tell() > self.limit:
            raise tarfile.ReadError(f"it unpacks to more than {self.limit:,} bytes")
        content = super().read(size)
        # Python's parser of such headers takes quadratic time in the length of a run of digits.
        if self.most == HEADER and size > tarfile.BLOCKSIZE and re.search(rb"\d{64}", content):
            raise tarfile.ReadError("a header is malformed")
        return content


class _Member(tarfile.TarInfo):
    """Raises for every damaged header; tarfile itself treats one as the archive's end, except for the first."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Any:
        if len(tarfile_.pax_headers) > 100:
            raise tarfile.ReadError("too many global headers")
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from error


def unpack(archive: Path, target: Path) -> None:
    """Unpack `archive` into the new folder `target`.

    Raises InputError for anything that is not a gzip-compressed tar of plain files and folders with relative names,
    each once, with valid checksums, or that exceeds the limits for a model (`MEMBERS`, `TOTAL_BYTES`, `RATIO`);
    StageError when the disk refuses. Partial output stays in `target`; the caller removes it.
    """
    limit = min(TOTAL_BYTES, max(SMALL_BYTES, RATIO * archive.stat().st_size))
    with explain_disk_errors(target):
        target.mkdir(parents=True)
    total = 0
    try:
        with (
            _Bounded(archive, limit + OVERHEAD) as plain,
            tarfile.open(fileobj=plain, mode="r:", tarinfo=_Member) as tar,
        ):
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
                    plain.most = BLOCK
                    with source, path.open("xb") as stream:
                        _copy(archive, source, stream, member.size)
                    plain.most = HEADER
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
            while plain.read(HEADER):  # gzip's checksum is at the very end
                pass
    except EdgeproofError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, f"{shorten(str(error.filename))!r}is in it twice") from error
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise _refused(archive, f"it is not a .tar.gz, or is damaged: {shorten(str(error), 120)}") from error
    except OSError:
        with explain_disk_errors(target):
            raise


def _checked(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Return the member's relative path. Raises InputError for links, devices, sparse files and names that escape."""
    shown = repr(shorten(member.name))
    name = PurePosixPath(member.name)
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        raise _refused(archive, f"{shown} is neither a plain file nor a folder (a link or a device)")
    if name.is_absolute() or ".." in name.parts:
        raise _refused(archive, f"the name {shown} leads out of the archive's folder")
    if member.size < 0 or not (name.parts or member.isdir()):
        raise _refused(archive, f"the entry {shown} is malformed")
    try:
        return checked_path(member.name, "the name", NAME_BYTES)
    except InputError as error:
        raise _refused(archive, error.message) from error


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
