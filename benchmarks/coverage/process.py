"""Runs one row in a separate process, with limits of time and memory; a crash is the result of one cell."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from edgeproof.core.variant import Variant

from ..sides import ENVIRONMENT, ROOT
from .rows import MODEL, RowSpec
from .state import Cell

POLL_SECONDS = 0.2
RESTARTS = 8  # then the row is abandoned


@dataclass(frozen=True)
class Limits:
    """`seconds` for a whole row; `gigabytes` of memory that its process may allocate."""

    seconds: float = 1800.0
    gigabytes: float = 16.0


def run_row(
    row: RowSpec,
    cells: Sequence[str],
    limits: Limits,
    folder: Path,
    *,
    stop: Event,
    keep: Callable[[dict[str, Cell]], None],
) -> None:
    """Run `cells` of `row` and call `keep` with their results.

    Files are written to a new folder within `folder`, which is removed at the end. When `stop` is set, the row's
    process is killed, `keep` is called with the finished cells, and InterruptedError is raised.
    """
    done: dict[str, Cell] = {}
    avoid: dict[str, list[str]] = {}  # by cell, the tools that crashed the process
    deadline = time.monotonic() + limits.seconds
    mine = Path(tempfile.mkdtemp(prefix="row-", dir=folder))
    try:
        for _ in range(RESTARTS):
            missing = [cell for cell in cells if cell not in done]
            if not missing:
                break
            events = mine / "events.jsonl"
            events.unlink(missing_ok=True)
            try:
                left = max(1.0, deadline - time.monotonic())
                status, reason = _run_process(row, missing, left, limits.gigabytes, mine, stop, avoid)
            finally:
                begun, maker = _read(events, done)
            if status == "ok":
                break
            ended = begun if begun and begun not in done else missing[0]
            if status == "crashed" and maker and _others(ended, maker):
                avoid.setdefault(ended, []).append(maker)  # another tool may not crash
                continue
            done[ended] = {"status": status, "reason": reason, "remedy": _REMEDIES[status]}
            if ended == MODEL:
                break
            if status == "timeout":
                _skip(cells, done, "the row's time was over before")
        model = done.get(MODEL, {"status": "ok"})["status"] == "ok"
        _skip(cells, done, "its process was taken down too often" if model else "there is no model")
    finally:
        keep(done)
        shutil.rmtree(mine, ignore_errors=True)


def _others(cell: str, maker: str) -> bool:
    """Whether there are more tools after `maker` that make the file of a cell."""
    return ":" in cell and maker != Variant.parse(cell).scheme.makers[-1]


_REMEDIES = {
    "timeout": "run the row alone, with a larger --timeout",
    "crashed": "ship another file of this row; if its own process was out of memory, a larger --memory helps",
}


def _skip(cells: Sequence[str], done: dict[str, Cell], why: str) -> None:
    for cell in cells:
        done.setdefault(cell, {"status": "skipped", "reason": why, "remedy": ""})


def _run_process(
    row: RowSpec,
    cells: Sequence[str],
    seconds: float,
    gigabytes: float,
    folder: Path,
    stop: Event,
    avoid: Mapping[str, Sequence[str]],
) -> tuple[str, str]:
    """Run the worker; return its status (``ok``, ``timeout``, ``crashed``) and the reason."""
    job = {
        "row": row.id,
        "cells": list(cells),
        "avoid": {cell: list(makers) for cell, makers in avoid.items()},
        "folder": str(folder),
        "events": str(folder / "events.jsonl"),
        "gigabytes": gigabytes,
    }
    question, log = folder / "job.json", folder / "log.txt"
    question.write_text(json.dumps(job), encoding="utf-8")
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.coverage.worker", str(question)],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        end = time.monotonic() + seconds
        try:
            while (code := process.poll()) is None:
                if stop.wait(POLL_SECONDS):
                    raise InterruptedError
                if time.monotonic() > end:
                    return "timeout", f"not done after {seconds:.0f} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code == 0:
        return "ok", ""
    if code < 0:
        return "crashed", f"the process was ended by {signal.Signals(-code).name}"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "crashed", f"the process ended with exit status {code}: {''.join(lines[-1:])[:200]}"


def _read(events: Path, done: dict[str, Cell]) -> tuple[str, str]:
    """Add the worker's finished cells to `done`; return the cell that it began last, and the last tool of that cell."""
    begun = maker = ""
    for line in events.read_text(encoding="utf-8").splitlines() if events.is_file() else ():
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:  # an incomplete line: the worker was killed while it wrote
            break
        if "begin" in event:
            begun, maker = event["begin"], ""
        elif "maker" in event:
            maker = event["maker"]
        else:
            done[event["cell"]] = event["result"]
    return begun, maker
