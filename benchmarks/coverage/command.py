"""``python -m benchmarks coverage``: make the matrix's missing cells, keep them, and write the page."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import click

from edgeproof.core.environment import environment
from edgeproof.core.errors import EdgeproofError

from . import page
from .process import Limits, run_row
from .rows import RowSpec, all_rows, chosen, in_order
from .state import FILE, Cell, State, code_sha256


@click.command()
@click.option("--only", multiple=True, metavar="PATTERN", help="Rows by id, e.g. 'keras:ConvNeXt*'. Repeatable.")
@click.option("--but", multiple=True, metavar="PATTERN", help="Leave these rows out. Repeatable.")
@click.option("--skip", multiple=True, metavar="CELL", help="Leave these cells out, e.g. tflite:qat-int8. Repeatable.")
@click.option("--failed", is_flag=True, help="Also make the cells again that are not ok.")
@click.option("--again", is_flag=True, help="Make all cells again.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Rows at a time.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds for one row.")
@click.option("--memory", default=16.0, show_default=True, help="GiB that one row's process may allocate.")
@click.option("--state", default=FILE, type=click.Path(dir_okay=False, path_type=Path), help="Where results are kept.")
@click.option("--page-only", is_flag=True, help="Make no cell: write the page of the results that there are.")
def main(
    only: tuple[str, ...],
    but: tuple[str, ...],
    skip: tuple[str, ...],
    failed: bool,
    again: bool,
    jobs: int,
    timeout: float,
    memory: float,
    state: Path,
    page_only: bool,
) -> None:
    """Take models through training, freezing, export and the runtimes, and write which of it works.

    Only cells that have no result yet are made; results are kept after each row, and the command can be ended and
    started again at any time. The page stands beside the state file (docs/coverage.md). Exit status: 0 every cell asked
    for is ok, 1 some are not, 2 wrong options.
    """
    rows = chosen(all_rows(), only, but)
    if not rows:
        raise click.UsageError(f"no row has an id like {' or '.join(only)}")
    try:
        results = State(state)
    except EdgeproofError as error:
        raise click.UsageError(str(error)) from error
    if not page_only:
        work = [(row, results.missing(row, failed=failed, again=again, skip=skip)) for row in in_order(rows)]
        _make([(row, cells) for row, cells in work if cells], results, Limits(timeout, memory), jobs)
    page.write(results.rows, state)
    asked = [results.cell(row, cell) for row in rows for cell in row.cells if cell not in skip]
    sys.exit(0 if all(cell.get("status") == "ok" for cell in asked) else 1)


def _make(work: list[tuple[RowSpec, tuple[str, ...]]], results: State, limits: Limits, jobs: int) -> None:
    """Make rows, `jobs` at a time. Ended from outside, it ends what runs and keeps what was finished."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started it in the background
    folder = Path(tempfile.mkdtemp(prefix="edgeproof-coverage-"))
    workshop = _Maker(results, limits, folder)
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(workshop.make, row, cells) for row, cells in work]
        for future in futures:
            future.result()
    except KeyboardInterrupt:
        workshop.stop.set()
        pool.shutdown(cancel_futures=True)
        click.echo("ended; what was finished is kept, and the same command goes on from there", err=True)
        sys.exit(130)
    finally:
        pool.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Maker:
    results: State
    limits: Limits
    folder: Path
    stop: Event = field(default_factory=Event)

    def make(self, row: RowSpec, cells: tuple[str, ...]) -> None:
        """Make cells of one row, keep them, and say how it went."""
        began, load = time.monotonic(), os.getloadavg()[0]

        def keep(made: dict[str, Cell]) -> None:
            date, code = time.strftime("%Y-%m-%d", time.gmtime()), code_sha256()
            dated = {cell: {**result, "date": date, "code": code} for cell, result in made.items()}
            self.results.put(row, dated, environment()["packages"])
            bad = "; ".join(f"{cell} {result['status']}" for cell, result in made.items() if result["status"] != "ok")
            spent = time.monotonic() - began
            click.echo(f"{row.id}: {len(made)} cells, {spent:.0f} s, load {load:.0f}{bad and f': {bad}'}", err=True)

        run_row(row, cells, self.limits, self.folder, stop=self.stop, keep=keep)
