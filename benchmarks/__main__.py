"""``python -m benchmarks [NAME…]``: runs benchmarks, prints the table, and writes it to files if asked."""

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

from . import (
    accuracy,
    bench,
    conversion,
    head_passes,
    head_training,
    hub_model,
    quantization,
    startup,
    streaming,
    table,
    text_model,
)
from .sides import FULL, QUICK, ROOT, BenchmarkError, Row, Scale

BENCHMARKS: dict[str, Callable[[Scale, Path], list[Row]]] = {
    "startup": startup.run,
    "head_training": head_training.run,
    "head_passes": head_passes.run,
    "hub_model": hub_model.run,
    "text_model": text_model.run,
    "conversion": conversion.run,
    "quantization": quantization.run,
    "accuracy": accuracy.run,
    "bench": bench.run,
    "streaming": streaming.run,
}
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)), metavar="[NAME]…")
@click.option("--quick", is_flag=True, help="Tiny sizes, to test the benchmarks; the figures mean nothing.")
@click.option("--repeat", type=click.IntRange(1), help="Repetitions of the benchmarks that take minutes.  [default: 1]")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table as Markdown to this file."
)
@click.option("--write", is_flag=True, help="Write the table into README.md and docs/benchmarks.md, between the marks.")
def main(names: tuple[str, ...], quick: bool, repeat: int | None, out: Path | None, write: bool) -> None:
    """Time Edgeproof and hand-written code for the same work: all benchmarks, or the named ones.

    NAME is one of startup, head_training, head_passes, hub_model, text_model, conversion, quantization, accuracy,
    bench, streaming. All of them take about an hour on 2 cores; nothing else should run on the machine. Exit status: 0
    every claim is met, 1 one is not, 2 wrong options, 3 a benchmark failed.
    """
    scale = QUICK if quick else FULL
    if repeat:
        scale = replace(scale, long_repeats=repeat)
    if write and (quick or names):
        raise click.UsageError("--write needs a full run of all benchmarks: leave out --quick and the names")
    try:
        for document in DOCUMENTS if write else ():
            table.check_marks(document)
    except BenchmarkError as error:
        raise click.UsageError(str(error)) from error
    load, date = os.getloadavg()[0], time.strftime("%Y-%m-%d", time.gmtime())
    if not quick and load > 0.5:
        click.echo(
            f"warning: the machine is busy (load average {load:.1f}); stop other processes and start again", err=True
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up when it is terminated
    folder = Path(tempfile.mkdtemp(prefix="edgeproof-benchmarks-"))
    try:
        rows = [row for name in names or BENCHMARKS for row in _one(name, scale, folder)]
    except BenchmarkError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    from edgeproof.core.environment import environment

    conditions = table.conditions(environment(), date, load)
    if quick:
        conditions = f"A quick run with tiny sizes, to test the benchmarks; its figures mean nothing. {conditions}"
    table.show(rows, conditions)
    written = table.markdown(rows, conditions)
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
    if sys.argv[1:2] == ["coverage"]:  # not a benchmark: it times nothing, and has its own options
        from .coverage.command import main as coverage

        coverage(sys.argv[2:], prog_name="python -m benchmarks coverage")
    main(prog_name="python -m benchmarks")
