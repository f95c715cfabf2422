"""Sources of files: ``folder:`` and ``textfolder:``, with one folder per class.

No sample is opened here. Names are untrusted: links out of the folder are not followed, and hidden files are ignored.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..core.codec import canonical
from ..core.errors import InputError
from ..core.sample_files import Payload, SampleFile
from .listing import (
    TEST,
    TRAIN,
    UNASSIGNED,
    VALIDATION,
    Indices,
    Listing,
    Names,
    Probe,
    Refusal,
    Remark,
    SampleKind,
    count,
    display,
    existing_folder,
    quoted,
)

SPLIT_NAMES = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
TEXT_ENDINGS = ("", ".txt")
# The noun of the files of ``wav:``.
RECORDING = "recording"
# Left behind by file managers. Names that start with a dot are ignored anyway.
JUNK_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"})


def stat_identity(files: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the number of (name, path) pairs and a hash over their names, sizes and modification times."""
    count, digest = 0, hashlib.sha256(b"[")  # of the list of all rows, which is never in memory
    for name, path in files:
        try:
            stat = Path(path).stat()
            row = (name, stat.st_size, stat.st_mtime_ns)
        except OSError:
            row = (name, -1, -1)
        digest.update(f"{',' if count else ''}{canonical(row)}".encode())
        count += 1
    digest.update(b"]")
    return {"files": count, "sha256": digest.hexdigest()}


# Name, label, split, path.
_FileRow: TypeAlias = tuple[str, str, int, str]


@dataclass(frozen=True)
class FolderSource:
    """A folder with one sub-folder per class; or with folders ``train``, ``test`` and perhaps ``val`` of this form.

    Samples may be nested deeper in a class folder. Files beside the class folders are left out, with a remark. Texts
    are files with the suffix ``.txt`` or none. If `own` is given, only the files with these paths are used.
    """

    source: str
    folder: Path
    kind: SampleKind = "image"
    own: frozenset[str] | None = None
    noun: str = ""
    """What messages call a sample; empty: its kind."""

    def probe(self) -> Probe:
        """Return a hash over the files' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, SampleFile))
        facts = {"labels": list(listing.labels), **stat_identity(zip(listing.names, paths, strict=True))}
        return Probe(facts, listing)

    def listing(self) -> Listing:
        """List the files; no sample is opened. Raises InputError when there are no class folders."""
        root, noun = existing_folder(self.folder, self.source), self.noun or self.kind
        folders, refused, _, stray_files = children(root)
        nested = {name for name in set(folders) & set(SPLIT_NAMES) if children(folders[name]).folders}
        splits = {name: code for name, code in SPLIT_NAMES.items() if name in nested}
        remarks = []
        if "train" in splits and (len(splits) > 1 or set(folders) <= set(SPLIT_NAMES)):
            validation = sorted(name for name, code in splits.items() if code == VALIDATION)
            if len(validation) > 1:
                raise InputError(f"{root} holds several validation splits: {', '.join(validation)}", "keep one of them")
            groups = [(code, f"{name}/", folders[name]) for name, code in splits.items()]
            others = sorted(display(name) for name in set(folders) - set(splits))
            if others:
                remarks.append(
                    Remark(
                        f"folders beside the splits of {root} are left out: {quoted(others)}",
                        "a split is a folder called train, val, validation or test that holds class folders",
                    )
                )
        else:
            groups, refused, stray_files = [(UNASSIGNED, "", root)], [], 0
        folders_of_classes: list[tuple[str, str, int, Path]] = []
        labels: dict[int, set[str]] = {}
        hidden: list[str] = []
        for code, prefix, folder in groups:
            classes, links, hidden_here, files_here = children(folder, prefix)
            stray_files += files_here
            hidden += hidden_here
            refused += links
            # A link to a folder is not followed, but its class must not vanish silently.
            labels[code] = {display(name) for name in classes} | {link.name[len(prefix) : -1] for link in links}
            folders_of_classes += [(f"{prefix}{display(n)}/", display(n), code, path) for n, path in classes.items()]
        if hidden:
            remarks.append(
                Remark(
                    f"hidden folders are left out: {quoted(list(dict.fromkeys(hidden)))}",
                    "rename those that are meant as classes",
                )
            )
        if stray_files:
            remarks.append(
                Remark(
                    f"{count(stray_files, 'file')} beside the class folders of {root} left out",
                    f"put each {noun} into its class folder",
                )
            )
        train_labels = labels[groups[0][0]]
        untrained = sorted(set().union(*labels.values()) - train_labels)
        if untrained:
            raise InputError(
                f"the splits of {root} do not have the same classes: train has {quoted(sorted(train_labels))}; only "
                f"the others have {quoted(untrained)}",
                f"every class needs training {noun}s: add a folder for it in train, or remove it from the others",
            )
        if not train_labels:
            raise InputError(
                f"{root} holds no class folders (found {count(stray_files, 'file')})",
                f"make one sub-folder per class and put the {noun}s of the class into it, or use "
                + ("wav:TABLE.csv" if noun == RECORDING else "csv:FILE")
                + (
                    f". To calibrate, or to compare with a float model, {noun}s need no classes"
                    * (self.kind == "image")
                ),
            )

        def walked() -> Iterator[_FileRow]:
            """Yield the files in order, a class at a time: no name is another's beginning, as each ends in a slash."""
            for prefix, label, code, folder in sorted(folders_of_classes):
                files, links = walk(folder, prefix)
                refused.extend(links)
                yield from ((file, label, code, path) for file, path in sorted(files))

        rows: Iterable[_FileRow] = walked()
        if self.kind == "text" or self.own is not None:
            rows, more = self._select_samples(list(rows))
            remarks += more
        return listing_of_files(
            self.source, str(root), sorted(train_labels), rows=rows, refused=refused, remarks=remarks, kind=self.kind
        )

    def _select_samples(self, rows: list[_FileRow]) -> tuple[list[_FileRow], list[Remark]]:
        """Return the files that are samples, and remarks about the others."""
        remarks = []
        if self.own is not None:
            installed = [row for row in rows if row[-1] in self.own]
            if len(installed) < len(rows):
                remarks.append(
                    Remark(
                        f"{count(len(rows) - len(installed), 'file')} in {self.folder} left out: not installed with it",
                        "remove them, or name the folder with textfolder:",
                    )
                )
            rows = installed
        if self.kind == "text":
            texts = [row for row in rows if Path(row[-1]).suffix.lower() in TEXT_ENDINGS]
            others = sorted({Path(row[-1]).suffix for row in rows} - {Path(row[-1]).suffix for row in texts})
            if others:
                remarks.append(
                    Remark(
                        f"{count(len(rows) - len(texts), 'file')} left out, for their endings: {quoted(others, 5)}",
                        "texts are files with the suffix .txt or without one; rename those that are texts",
                    )
                )
            rows = texts
        return rows, remarks


class Children(NamedTuple):
    """The entries of a folder: sub-folders by name, links to folders (not followed), hidden folders, other files."""

    folders: dict[str, Path]
    links: list[Refusal]
    hidden: list[str]
    files: int


def children(folder: Path, prefix: str = "") -> Children:
    """List a folder. `prefix` is put before the names of links. Raises InputError when it cannot be read."""
    folders, links, hidden, files = {}, [], [], 0
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}", "fix its permissions") from error
    for entry in entries:
        if entry.name in JUNK_NAMES:
            continue
        if entry.name.startswith("."):
            hidden += [display(entry.name)] if entry.is_dir(follow_symlinks=False) else []
        elif entry.is_dir(follow_symlinks=False):
            folders[entry.name] = folder / entry.name
        elif entry.is_symlink() and Path(entry.path).is_dir():
            links.append(Refusal(f"{prefix}{display(entry.name)}/", "a link to a folder: not followed"))
        else:
            files += 1
    return Children(folders, links, hidden, files)


def walk(folder: Path, prefix: str) -> tuple[list[tuple[str, str]], list[Refusal]]:
    """Return (name, path) of every file below `folder` except hidden ones, and the folders that were not entered."""
    files: list[tuple[str, str]] = []
    refused: list[Refusal] = []
    pending = [(str(folder), prefix)]
    while pending:  # no recursion: folders may be nested deeper than Python's stack
        path, name = pending.pop()
        try:
            entries = list(os.scandir(path))
        except OSError as error:
            refused.append(Refusal(name, f"cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            entry_name = f"{name}{display(entry.name)}"
            if entry.name.startswith(".") or entry.name in JUNK_NAMES:
                continue
            if entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, f"{entry_name}/"))
            elif entry.is_symlink() and Path(entry.path).is_dir():
                refused.append(Refusal(f"{entry_name}/", "a link to a folder: not followed"))
            else:
                files.append((entry_name, entry.path))
    return files, refused


def listing_of_files(
    source: str,
    root: str,
    labels: list[str],
    *,
    rows: Iterable[_FileRow],
    refused: list[Refusal],
    remarks: list[Remark],
    kind: SampleKind = "image",
) -> Listing:
    """Return the Listing of sorted (name, label, split, path) rows, which are read once; `refused` may grow meanwhile.

    Without `labels` the samples have no classes.
    """
    target_of = {label: target for target, label in enumerate(labels)}
    names, targets, splits = Names(), array("q"), array("b")
    elsewhere: dict[int, str] = {}  # paths that do not follow from the name
    for name, label, split, path in rows:
        if path != f"{root}/{name}":
            elsewhere[len(names)] = path
        names.append(name)
        targets.append(target_of[label] if labels else 0)
        splits.append(split)

    def stream(indices: Indices) -> Iterator[Payload]:
        for index in indices.tolist():
            yield SampleFile(elsewhere.get(index) or f"{root}/{names[index]}", root)

    return Listing(
        source,
        tuple(labels),
        names,
        np.array(targets, np.int64),
        np.array(splits, np.int8),
        stream,
        tuple(refused),
        tuple(remarks),
        kind=kind,
    )
