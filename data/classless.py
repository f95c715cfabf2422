"""Samples without classes: enough to calibrate quantization, and to compare a file with its float model.

``images:`` is such a source. When nothing is trained, a folder without class folders and a table without a label column
are accepted too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.sample_files import SampleFile
from ..core.sanitize import shorten
from .files import FolderSource, children, listing_of_files, stat_identity, walk
from .listing import UNASSIGNED, Listing, Probe, Refusal, Source, display, existing_folder
from .tables import ImageTable, TextTable, has_labels


@dataclass(frozen=True)
class PicturesSource:
    """One image or recording (`noun`), or all files below a folder."""

    source: str
    path: Path
    noun: str = "image"

    def probe(self) -> Probe:
        """Return a hash over the files' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, SampleFile))
        return Probe({"labels": [], **stat_identity(zip(listing.names, paths, strict=True))}, listing)

    def listing(self) -> Listing:
        """List the files; none is opened. Raises InputError when there are none."""
        if self.path.is_file():
            root = self.path.parent.resolve()
            files, refused = [(display(self.path.name), os.fspath(root / self.path.name))], list[Refusal]()
        else:
            root = existing_folder(self.path, self.source)
            files, refused = walk(root, "")
        if not files:
            raise InputError(
                f"data source {shorten(self.source, 200)!r}: there is no file in {root}", f"put {self.noun}s into it"
            )
        rows = [(name, "", UNASSIGNED, path) for name, path in files]
        return listing_of_files(self.source, str(root), [], rows=sorted(rows), refused=refused, remarks=[])


def without_classes(source: Source) -> Source:
    """Return `source` as one whose classes are optional."""
    if isinstance(source, FolderSource):
        return _FlatOrClassFolders(source)
    if isinstance(source, ImageTable | TextTable) and not has_labels(source):
        return replace(source, columns=source.columns._replace(label=""))
    return replace(source, any_labels=True) if isinstance(source, TextTable) else source


@dataclass(frozen=True)
class _FlatOrClassFolders:
    """A folder of samples, or a folder of class folders."""

    folder: FolderSource

    def probe(self) -> Probe:
        return self._chosen().probe()

    def listing(self) -> Listing:
        return self._chosen().listing()

    def _chosen(self) -> Source:
        source = self.folder
        entries = children(existing_folder(source.folder, source.source))
        flat = (
            source.kind == "image"
            and source.own is None
            and not entries.folders
            and not entries.links
            and entries.files
        )
        return PicturesSource(source.source, source.folder, source.noun or source.kind) if flat else source
