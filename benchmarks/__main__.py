"""``python -m benchmarks [NAME…]``: run benchmarks, show the table, write it where it is asked for."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from . import accuracy, conversion, head_passes, head_training, startup, table
from .sides import FULL, QUICK, ROOT, BenchmarkError, Row, Scale

BENCHMARKS: dict[str, Callable[[Scale, Path], list[Row]]] = {
    "startup": startup.run,
    "head_training": head_training.run,
    "head_passes": head_passes.run,
    "conversion": conversion.run,
    "accuracy": accuracy.run,
}
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)), metavar="[NAME]…")
@click.option("--quick", is_flag=True, help="Tiny sizes: shows that everything works; the figures mean nothing.")
@click.option("--repeat", type=click.IntRange(1), help="How often the minutes-long ones run.  [default: 1]")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table as Markdown to this file."
)
@click.option("--write", is_flag=True, help="Put the table into README.md and docs/benchmarks.md, between their marks.")
def main(names: tuple[str, ...], quick: bool, repeat: int | None, out: Path | None, write: bool) -> None:
    """Time Edgeproof against what one would write by hand: all benchmarks, or those that are named.

    NAME is one of startup, head_training, head_passes, conversion, accuracy. All of them take some 30 minutes on 2
    cores; nothing else should run meanwhile. Exit status: 0 every claim is met, 1 one is not, 2 wrong options, 3 a
    benchmark failed.
    """
    scale = QUICK if quick else FULL
    if repeat:
        scale = replace(scale, long_repeats=repeat)
    if write and (quick or names):
        raise click.UsageError("--write quotes a whole full run: leave out --quick and the names")
    try:
        for document in DOCUMENTS if write else ():
            table.check_marks(document)
    except BenchmarkError as error:
        raise click.UsageError(str(error)) from error
    load, date = os.getloadavg()[0], time.strftime("%Y-%m-%d", time.gmtime())
    if not quick and load > 0.5:
        click.echo(
            f"warning: the machine is busy (load average {load:.1f}); stop what else runs and start again", err=True
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside, it still cleans up
    folder = Path(tempfile.mkdtemp(prefix="edgeproof-benchmarks-"))
    try:
        rows = [row for name in names or BENCHMARKS for row in _one(name, scale, folder)]
    except BenchmarkError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    from edgeproof.core.environment import environment

    told = table.circumstances(environment(), date, load)
    if quick:
        told = f"A quick run on tiny sizes: it shows that the benchmarks work, its figures mean nothing. {told}"
    table.show(rows, told)
    written = table.markdown(rows, told)
    if out:
        out.write_text(written + "\n", encoding="utf-8")
    for document in DOCUMENTS if write else ():
        table.replace_table(document, written)
    sys.exit(1 if any(row.met is False for row in rows) else 0)


def _one(name: str, scale: Scale, folder: Path) -> list[Row]:
    click.echo(f"{name} …", err=True)
    began = time.monotonic()
    rows = BENCHMARKS[name](scale, folder)
    click.echo(f"{name}: {time.monotonic() - began:.0f} s", err=True)
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["coverage"]:  # no benchmark: it times nothing, and has options of its own
        from .coverage.command import main as coverage

        coverage(sys.argv[2:], prog_name="python -m benchmarks coverage")
    main(prog_name="python -m benchmarks")
