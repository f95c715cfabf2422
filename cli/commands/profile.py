"""``edgeproof profile``: where the time of a file on a target goes."""

from __future__ import annotations

from pathlib import Path

import click

from .. import completing
from ..options import labelled_data, sample_columns


@click.command(short_help="Say where a file's time goes on a target, operator by operator.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), shell_complete=completing.models)
@click.option(
    "--on",
    "target",
    metavar="TARGET",
    default="local/litert",
    show_default=True,
    shell_complete=completing.targets,
    help="e.g. local/litert or local/onnxruntime.",
)
@click.option("--data", "source", metavar="SOURCE", default="", help="Samples, e.g. folder:images or csv:texts.csv.")
@click.option("--runs", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many are profiled.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Of the runtime.")
@click.option("--out", type=click.Path(path_type=Path), help="Where profile/ goes.  [default: the run, or beside]")
@sample_columns
@click.option("--json", "as_json", is_flag=True, help="Print the profile as one JSON document.")
def command(
    file: Path,
    target: str,
    source: str,
    runs: int,
    threads: int,
    out: Path | None,
    as_json: bool,
    **columns: str | None,
) -> None:
    """Time each operator of FILE (.tflite, .onnx, or a model's folder) on a TARGET.

    Beside the times stand multiply-accumulates and bytes, by the shapes, and why it takes this long where the cause is
    known: operators that fell back to slower kernels, conversions between number types. A profiled run is slower than
    a timed one: compare files by the latencies of `edgeproof evaluate`. OUT/profile/ gets the figures as JSON, and for
    .tflite a file that Model Explorer (Google's viewer of graphs) loads as node data. Exit status 3 where the runtime
    has no profiler.
    """
    from ...core.codec import to_json
    from ...report.profile_table import profile_summary
    from ...report.progress_bars import ProgressBars
    from ...workflows.diagnose import home
    from ...workflows.profile import profile
    from ..output import show_json, show_parts
    from ..terminal import echo

    data = labelled_data(source, columns) if source else None
    found = profile(file, target, data=data, runs=runs, threads=threads, out=out, progress=ProgressBars())
    if as_json:
        show_json(to_json(found))
        return
    show_parts(profile_summary(found), whole_lines=True)
    echo(f"profile: {home(file, out) / 'profile'}")
