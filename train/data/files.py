"""Sources of image files: ``folder:`` (a folder a class) and ``csv:`` (a path and a label a row).

Nothing here opens an image. Names come from outside: links are not followed out of the folder, hidden files are
left alone, and a path in a CSV file that leads out of its base folder is refused.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...core.codec import sha256_file, sha256_of
from ...core.errors import InputError
from ...core.names import shorten
from .listing import (
    TEST,
    TRAIN,
    UNASSIGNED,
    VALIDATION,
    ImageFile,
    Indices,
    Listing,
    Look,
    Payload,
    Refusal,
    Remark,
    count,
    display,
    existing_folder,
    quoted,
)

SPLIT_NAMES = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
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


@dataclass(frozen=True)
class FolderSource:
    """A folder with one sub-folder a class; or with ``train``, ``test`` and perhaps ``val`` folders of such.

    Images may lie deeper inside a class's folder. Files beside the class folders are left out, with a remark.
    """

    source: str
    folder: Path

    def look(self) -> Look:
        """Return a hash over the files' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, ImageFile))
        facts = {"labels": list(listing.labels), **stat_identity(zip(listing.names, paths, strict=True))}
        return Look(facts, listing)

    def listing(self) -> Listing:
        """List the files; no image is opened. Raises InputError when there are no class folders."""
        root = existing_folder(self.folder, self.source)
        folders, refused, _, beside = _children(root)
        nested = {name for name in set(folders) & set(SPLIT_NAMES) if _children(folders[name]).folders}
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
        found: list[tuple[str, str, int, str]] = []  # name, label, split, path
        labels: dict[int, set[str]] = {}
        hidden: list[str] = []
        for code, prefix, folder in groups:
            classes, links, unseen, loose = _children(folder, prefix)
            beside += loose
            hidden += unseen
            refused += links
            # A link to a folder is not followed, but the class that it stands for must not vanish without a word.
            labels[code] = {display(name) for name in classes} | {link.name[len(prefix) : -1] for link in links}
            for name, path in classes.items():
                files, links = _walk(path, f"{prefix}{display(name)}/")
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
                    "put each image into its class's folder",
                )
            )
        trained = labels[groups[0][0]]
        strange = sorted(set().union(*labels.values()) - trained)
        if strange:
            raise InputError(
                f"the splits of {root} do not have the same classes: train has {quoted(sorted(trained))}; only the "
                f"others have {quoted(strange)}",
                "every class needs training images: add a folder for it in train, or take it out of the others",
            )
        if not trained:
            raise InputError(
                f"{root} holds no class folders (found {count(beside, 'file')})",
                "make one sub-folder a class and put the class's images into it, or use csv:",
            )
        return _listing(self.source, str(root), sorted(trained), found=found, refused=refused, remarks=remarks)


class _Children(NamedTuple):
    """What stands in a folder: sub-folders by name, links to folders (not followed), hidden folders, other files."""

    folders: dict[str, Path]
    links: list[Refusal]
    hidden: list[str]
    files: int


def _children(folder: Path, prefix: str = "") -> _Children:
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
    return _Children(folders, links, hidden, files)


def _walk(folder: Path, prefix: str) -> tuple[list[tuple[str, str]], list[Refusal]]:
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


@dataclass(frozen=True)
class CsvSource:
    """A CSV file (UTF-8, commas, a header) with columns ``path``, ``label`` and perhaps ``split``.

    Paths are meant from `root`, by default the CSV file's folder, and must stay in it. Other columns are ignored.
    """

    source: str
    file: Path
    root: Path | None

    def look(self) -> Look:
        """Return the CSV file's hash and one over the images' names, sizes and times."""
        listing = self.listing()
        paths = (payload.path for payload in listing.stream(np.arange(len(listing))) if isinstance(payload, ImageFile))
        facts = {"csv": sha256_file(self.file), **stat_identity(zip(listing.names, paths, strict=True))}
        return Look(facts, listing)

    def listing(self) -> Listing:
        """Read the rows. Raises InputError naming the first rows that are wrong."""
        if not self.file.is_file():
            raise InputError(
                f"data source {shorten(self.source, 200)!r}: there is no file {self.file}",
                "check the path; relative paths are meant from the recipe's folder",
            )
        base = self.root or self.file.parent
        root = str(existing_folder(base, self.source))
        given = os.path.abspath(base)  # noqa: PTH100 - resolve() would follow links; rows may name the folder either way
        found, problems = [], []
        for row, path, label, split in self._rows():
            # Lexical on purpose: a path must not depend on what links there happen to be. Links are the decoder's.
            where = os.path.normpath(os.path.join(root, path))  # noqa: PTH118
            if os.path.commonpath([given, where]) == given:
                where = os.path.normpath(os.path.join(root, os.path.relpath(where, given)))  # noqa: PTH118
            if not path or not label.strip():
                problems.append(f"row {row}: the {'label' if path else 'path'} is empty")
            elif os.path.commonpath([root, where]) != root or where == root:
                problems.append(f"row {row}: the path {shorten(path)!r} leads out of {root}")
            elif split not in SPLIT_NAMES and split != "":
                problems.append(
                    f"row {row}: unknown split {shorten(split)!r}; known: {', '.join(SPLIT_NAMES)}, or empty"
                )
            else:
                found.append((os.path.relpath(where, root), label, SPLIT_NAMES.get(split, UNASSIGNED), where))
        if problems:
            more = f"\n  - and {len(problems) - 5} more" if len(problems) > 5 else ""
            raise InputError(
                f"{self.file}: {count(len(problems), 'row')} wrong\n  - " + "\n  - ".join(problems[:5]) + more,
                f"paths are meant from {root} (data.root sets another folder) and must stay inside it",
            )
        if not found:
            raise InputError(f"{self.file} has a header and no rows", "give one row an image: path,label")
        codes = {code for _, _, code, _ in found}
        if UNASSIGNED in codes and len(codes) > 1:
            raise InputError(
                f"{self.file}: some rows have a split and some do not", "fill the column in for all rows, or for none"
            )
        if UNASSIGNED not in codes and TRAIN not in codes:
            raise InputError(f"{self.file}: no row has the split train", "mark the training images with it")
        return _listing(
            self.source, root, sorted({label for _, label, _, _ in found}), found=found, refused=[], remarks=[]
        )

    def _rows(self) -> Iterator[tuple[int, str, str, str]]:
        """Yield line number, path, label and split (lower case; empty where there is none)."""
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.reader(stream, strict=True)
                header = [cell.strip().lower() for cell in next(reader, [])]
                missing = [name for name in ("path", "label") if name not in header]
                if missing:
                    raise InputError(
                        f"{self.file}: the header lacks {' and '.join(map(repr, missing))}; found {quoted(header)}",
                        "the first line must name the columns, separated by commas: path,label or path,label,split",
                    )
                path, label = header.index("path"), header.index("label")
                split = header.index("split") if "split" in header else None
                for cells in reader:
                    if not cells:
                        continue
                    if len(cells) != len(header):
                        raise InputError(
                            f"{self.file}, row {reader.line_num}: {count(len(cells), 'cell')}, and the header has "
                            f"{len(header)}",
                            'put quotes around a value with a comma in it: "a, b"',
                        )
                    given = cells[split].strip().lower() if split is not None else ""
                    yield reader.line_num, cells[path], cells[label], given
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.file} is not UTF-8: {error.reason} at byte {error.start}", "save it as UTF-8"
            ) from error
        except csv.Error as error:
            raise InputError(f"{self.file}, row {reader.line_num + 1}: {error}", "mend the row") from error
        except OSError as error:
            raise InputError(f"{self.file} cannot be read: {error.strerror}", "mend its permissions") from error


def _listing(
    source: str,
    root: str,
    labels: list[str],
    *,
    found: list[tuple[str, str, int, str]],
    refused: list[Refusal],
    remarks: list[Remark],
) -> Listing:
    """Return the Listing of (name, label, split, path) rows, sorted: file systems and spreadsheets sort at will."""
    found = sorted(found)
    numbers = {label: number for number, label in enumerate(labels)}
    paths = [path for *_, path in found]

    def stream(indices: Indices) -> Iterator[Payload]:
        for index in indices.tolist():
            yield ImageFile(paths[index], root)

    return Listing(
        source,
        tuple(labels),
        [name for name, *_ in found],
        np.array([numbers[label] for _, label, _, _ in found], np.int64),
        np.array([split for _, _, split, _ in found], np.int8),
        stream,
        tuple(refused),
        tuple(remarks),
    )
