"""Sources of files: ``folder:`` and ``textfolder:``, a folder a class.

Nothing here opens a sample. Names come from outside: links are not followed out of the folder, and hidden files are
left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..core.codec import sha256_of
from ..core.errors import InputError
from .listing import (
    TEST,
    TRAIN,
    UNASSIGNED,
    VALIDATION,
    Indices,
    Listing,
    Look,
    Payload,
    Refusal,
    Remark,
    SampleFile,
    SampleKind,
    count,
    display,
    existing_folder,
    quoted,
)

SPLIT_NAMES = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
TEXT_ENDINGS = ("", ".txt")
# What file managers leave behind; names that start with a dot are left alone anyway.
LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"})


def stat_identity(files: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the number of (name, path) pairs and a hash over their names, sizes and modification times."""
    facts = []
    for name, path in files:
        try:
            stat = Path(path).stat()
            facts.append((name, stat.st_size, stat.st_mtime_ns))
        except OSError:
            facts.append((name, -1, -1))
    return {"files": len(facts), "sha256": sha256_of(facts)}


# Name, label, split, path.
_Found: TypeAlias = tuple[str, str, int, str]


@dataclass(frozen=True)
class FolderSource:
    """A folder with one sub-folder a class; or with ``train``, ``test`` and perhaps ``val`` folders of such.

    Samples may lie deeper inside a class's folder. Files beside the class folders are left out, with a remark. Texts
    are files called ``.txt`` or without any ending. `own` names (by their paths) the only files to be taken.
    """

    source: str
    folder: Path
    kind: SampleKind = "image"
    own: frozenset[str] | None = None

    def look(self) -> Look:
        """Return a hash over the files' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, SampleFile))
        facts = {"labels": list(listing.labels), **stat_identity(zip(listing.names, paths, strict=True))}
        return Look(facts, listing)

    def listing(self) -> Listing:
        """List the files; no sample is opened. Raises InputError when there are no class folders."""
        root = existing_folder(self.folder, self.source)
        folders, refused, _, beside = children(root)
        nested = {name for name in set(folders) & set(SPLIT_NAMES) if children(folders[name]).folders}
        given = {name: code for name, code in SPLIT_NAMES.items() if name in nested}
        remarks = []
        if "train" in given and (len(given) > 1 or set(folders) <= set(SPLIT_NAMES)):
            twice = sorted(name for name, code in given.items() if code == VALIDATION)
            if len(twice) > 1:
                raise InputError(f"{root} holds several validation splits: {', '.join(twice)}", "keep one of them")
            groups = [(code, f"{name}/", folders[name]) for name, code in given.items()]
            others = sorted(display(name) for name in set(folders) - set(given))
            if others:
                remarks.append(
                    Remark(
                        f"folders beside the splits of {root} are left out: {quoted(others)}",
                        "a split is a folder called train, val, validation or test that holds class folders",
                    )
                )
        else:
            groups, refused, beside = [(UNASSIGNED, "", root)], [], 0
        found: list[_Found] = []
        labels: dict[int, set[str]] = {}
        hidden: list[str] = []
        for code, prefix, folder in groups:
            classes, links, unseen, loose = children(folder, prefix)
            beside += loose
            hidden += unseen
            refused += links
            # A link to a folder is not followed, but the class that it stands for must not vanish without a word.
            labels[code] = {display(name) for name in classes} | {link.name[len(prefix) : -1] for link in links}
            for name, path in classes.items():
                files, links = walk(path, f"{prefix}{display(name)}/")
                refused += links
                found += [(file, display(name), code, where) for file, where in files]
        if hidden:
            remarks.append(
                Remark(f"hidden folders are left out: {quoted(hidden)}", "rename those that are meant as classes")
            )
        if beside:
            remarks.append(
                Remark(
                    f"{count(beside, 'file')} beside the class folders of {root} left out",
                    f"put each {self.kind} into its class's folder",
                )
            )
        trained = labels[groups[0][0]]
        strange = sorted(set().union(*labels.values()) - trained)
        if strange:
            raise InputError(
                f"the splits of {root} do not have the same classes: train has {quoted(sorted(trained))}; only the "
                f"others have {quoted(strange)}",
                f"every class needs training {self.kind}s: add a folder for it in train, or take it out of the others",
            )
        if not trained:
            raise InputError(
                f"{root} holds no class folders (found {count(beside, 'file')})",
                f"make one sub-folder a class and put the class's {self.kind}s into it, or use csv:"
                + (
                    ". To calibrate with, or to compare with a float model, pictures need no classes"
                    * (self.kind == "image")
                ),
            )
        found, more = self._taken(found)
        return listing_of_files(
            self.source, str(root), sorted(trained), found=found, refused=refused, remarks=remarks + more,
            kind=self.kind,
        )  # fmt: skip

    def _taken(self, found: list[_Found]) -> tuple[list[_Found], list[Remark]]:
        """Return the files that are samples, and what to say about the others."""
        remarks = []
        if self.own is not None:
            inside = [file for file in found if file[-1] in self.own]
            if len(inside) < len(found):
                remarks.append(
                    Remark(
                        f"{count(len(found) - len(inside), 'file')} in {self.folder} left out: not installed with it",
                        "take them away, or name the folder with textfolder:",
                    )
                )
            found = inside
        if self.kind == "text":
            texts = [file for file in found if Path(file[-1]).suffix.lower() in TEXT_ENDINGS]
            others = sorted({Path(file[-1]).suffix for file in found} - {Path(file[-1]).suffix for file in texts})
            if others:
                remarks.append(
                    Remark(
                        f"{count(len(found) - len(texts), 'file')} left out, for their endings: {quoted(others, 5)}",
                        "texts are files that end in .txt, or in nothing; rename those that are texts",
                    )
                )
            found = texts
        return found, remarks


class Children(NamedTuple):
    """What stands in a folder: sub-folders by name, links to folders (not followed), hidden folders, other files."""

    folders: dict[str, Path]
    links: list[Refusal]
    hidden: list[str]
    files: int


def children(folder: Path, prefix: str = "") -> Children:
    """Look into a folder; `prefix` stands before the names of links."""
    folders, links, hidden, files = {}, [], [], 0
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}", "mend its permissions") from error
    for entry in entries:
        if entry.name in LITTER:
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
    """Return (name, path) of every file below `folder`, hidden ones aside, and what is not gone into."""
    files: list[tuple[str, str]] = []
    refused: list[Refusal] = []
    waiting = [(str(folder), prefix)]
    while waiting:  # a stack of its own: folders may be nested deeper than Python recurses
        path, name = waiting.pop()
        try:
            entries = list(os.scandir(path))
        except OSError as error:
            refused.append(Refusal(name, f"cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            shown = f"{name}{display(entry.name)}"
            if entry.name.startswith(".") or entry.name in LITTER:
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append((entry.path, f"{shown}/"))
            elif entry.is_symlink() and Path(entry.path).is_dir():
                refused.append(Refusal(f"{shown}/", "a link to a folder: not followed"))
            else:
                files.append((shown, entry.path))
    return files, refused


def listing_of_files(
    source: str,
    root: str,
    labels: list[str],
    *,
    found: list[_Found],
    refused: list[Refusal],
    remarks: list[Remark],
    kind: SampleKind = "image",
) -> Listing:
    """Return the Listing of (name, label, split, path) rows, sorted: file systems and spreadsheets sort at will.

    Without `labels` the samples have no classes.
    """
    found = sorted(found)
    numbers = {label: number for number, label in enumerate(labels)}
    paths = [path for *_, path in found]

    def stream(indices: Indices) -> Iterator[Payload]:
        for index in indices.tolist():
            yield SampleFile(paths[index], root)

    return Listing(
        source,
        tuple(labels),
        [name for name, *_ in found],
        np.array([numbers[label] if labels else 0 for _, label, _, _ in found], np.int64),
        np.array([split for _, _, split, _ in found], np.int8),
        stream,
        tuple(refused),
        tuple(remarks),
        kind=kind,
    )
