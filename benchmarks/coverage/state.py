"""The results of all cells: one JSON file, written after every row, so that an interrupted command can resume."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeproof.core.codec import read_json, write_json

from ..sides import ROOT
from .rows import RowSpec

FILE = ROOT / "docs" / "coverage.json"
VERSION = 1
_CODE = ("core", "train", "quantize", "export", "devices")

Cell = dict[str, Any]
Results = dict[str, dict[str, Any]]


def code_sha256() -> str:
    """Return a short hash of the source files that export and run models."""
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


class State:
    """The results of the rows by id, each ``{"cells": {…}, "packages": {…}}``; a cell has its date and code hash."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self.rows = _read(path)

    def cell(self, row: RowSpec, cell: str) -> Cell:
        """Return the result of a cell; empty without one."""
        result: Cell = self.rows.get(row.id, {}).get("cells", {}).get(cell, {})
        return result

    def missing(
        self, row: RowSpec, *, failed: bool = False, again: bool = False, skip: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Return the cells of `row` to run: those without a result, with `failed` also those that are not ok."""
        return tuple(
            name
            for name in row.cells
            if name not in skip and (again or not (cell := self.cell(row, name)) or (failed and cell["status"] != "ok"))
        )

    def put(self, row: RowSpec, cells: Mapping[str, Cell], packages: Mapping[str, str]) -> None:
        """Add cells to a row and write the file; results of other processes are kept.

        Cells that the row no longer has are dropped.
        """
        if not cells:
            return
        with self._lock, _locked(self.path):
            self.rows = _read(self.path)
            merged = {**self.rows.get(row.id, {}).get("cells", {}), **cells}
            ordered = {cell: merged[cell] for cell in row.cells if cell in merged}
            self.rows[row.id] = {"packages": dict(packages), "cells": ordered}
            write_json(self.path, {"version": VERSION, "rows": dict(sorted(self.rows.items()))})


def _read(path: Path) -> Results:
    rows: Results = read_json(path)["rows"] if path.is_file() else {}
    return rows


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with (Path(tempfile.gettempdir()) / f"edgeproof-{path.stem}-{os.getuid()}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
