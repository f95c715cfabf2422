"""Samples without classes: enough to calibrate quantization with, and to compare a file with its float model.

``images:`` is such a source. The others become one where nothing is trained: a folder of files without class folders,
a table without a column of labels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..core.sanitize import shorten
from .files import FolderSource, children, listing_of_files, stat_identity, walk
from .listing import UNASSIGNED, Listing, Look, Refusal, SampleFile, Source, display, existing_folder
from .tables import ImageTable, TextTable, has_labels


@dataclass(frozen=True)
class PicturesSource:
    """One picture, or all files below a folder."""

    source: str
    path: Path

    def look(self) -> Look:
        """Return a hash over the files' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, SampleFile))
        return Look({"labels": [], **stat_identity(zip(listing.names, paths, strict=True))}, listing)

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
                f"data source {shorten(self.source, 200)!r}: there is no file in {root}", "put pictures into it"
            )
        found = [(name, "", UNASSIGNED, path) for name, path in files]
        return listing_of_files(self.source, str(root), [], found=found, refused=refused, remarks=[])


def without_classes(source: Source) -> Source:
    """Return `source` as one that needs no classes: where it has none, its samples are taken without any."""
    if isinstance(source, FolderSource):
        return _MaybeFlat(source)
    if isinstance(source, ImageTable | TextTable) and not has_labels(source):
        return replace(source, columns=source.columns._replace(label=""))
    return source


@dataclass(frozen=True)
class _MaybeFlat:
    """A folder whose samples lie in it beside each other, or one of class folders."""

    folder: FolderSource

    def look(self) -> Look:
        return self._chosen().look()

    def listing(self) -> Listing:
        return self._chosen().listing()

    def _chosen(self) -> Source:
        wanted = self.folder
        inside = children(existing_folder(wanted.folder, wanted.source))
        flat = (
            wanted.kind == "image" and wanted.own is None and not inside.folders and not inside.links and inside.files
        )
        return PicturesSource(wanted.source, wanted.folder) if flat else wanted
