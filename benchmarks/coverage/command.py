"""``python -m benchmarks coverage``: runs the matrix's missing cells, stores the results, and writes the page."""

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
@click.option("--failed", is_flag=True, help="Also run the cells again that are not ok.")
@click.option("--again", is_flag=True, help="Run all cells again.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Rows at a time.")
@click.option("--timeout", default=1800.0, show_default=True, help="Seconds for one row.")
@click.option("--memory", default=16.0, show_default=True, help="GiB that one row's process may allocate.")
@click.option("--state", default=FILE, type=click.Path(dir_okay=False, path_type=Path), help="The file of the results.")
@click.option("--page-only", is_flag=True, help="Run no cell: write the page of the existing results.")
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
    """Train, freeze, export and run many models, and write a page of what works.

    Only cells without a result are run. Results are stored after each row, and the command can be interrupted and
    started again at any time. The page is beside the state file (docs/coverage.md). Exit status: 0 every selected cell
    is ok, 1 some are not, 2 wrong options.
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
        _run([(row, cells) for row, cells in work if cells], results, Limits(timeout, memory), jobs)
    page.write(results.rows, state)
    selected = [results.cell(row, cell) for row in rows for cell in row.cells if cell not in skip]
    sys.exit(0 if all(cell.get("status") == "ok" for cell in selected) else 1)


def _run(work: list[tuple[RowSpec, tuple[str, ...]]], results: State, limits: Limits, jobs: int) -> None:
    """Run rows, `jobs` at a time. When it is interrupted, it ends the running rows and stores the finished cells."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for background jobs
    folder = Path(tempfile.mkdtemp(prefix="edgeproof-coverage-"))
    runner = _RowRunner(results, limits, folder)
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(runner.run, row, cells) for row, cells in work]
        for future in futures:
            future.result()
    except KeyboardInterrupt:
        runner.stop.set()
        pool.shutdown(cancel_futures=True)
        click.echo("interrupted; finished cells are stored, and the same command resumes from there", err=True)
        sys.exit(130)
    finally:
        pool.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _RowRunner:
    results: State
    limits: Limits
    folder: Path
    stop: Event = field(default_factory=Event)

    def run(self, row: RowSpec, cells: tuple[str, ...]) -> None:
        """Run cells of one row, store the results, and print a summary."""
        began, load = time.monotonic(), os.getloadavg()[0]

        def keep(finished: dict[str, Cell]) -> None:
            date, code = time.strftime("%Y-%m-%d", time.gmtime()), code_sha256()
            dated = {cell: {**result, "date": date, "code": code} for cell, result in finished.items()}
            self.results.put(row, dated, environment()["packages"])
            bad = "; ".join(
                f"{cell} {result['status']}" for cell, result in finished.items() if result["status"] != "ok"
            )
            spent = time.monotonic() - began
            click.echo(f"{row.id}: {len(finished)} cells, {spent:.0f} s, load {load:.0f}{bad and f': {bad}'}", err=True)

        run_row(row, cells, self.limits, self.folder, stop=self.stop, keep=keep)
