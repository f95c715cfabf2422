"""``edgeproof diagnose``: where a quantized file differs from its float model, and why."""

from __future__ import annotations

from pathlib import Path

import click

from ..completing import models
from ..options import labelled_data, sample_columns


@click.command(short_help="Say where a quantized file loses accuracy, and why.")
@click.argument("artifact", metavar="ARTIFACT", type=click.Path(path_type=Path), shell_complete=models)
@click.option("--float", "reference", metavar="FILE", type=click.Path(path_type=Path), help="Its float32 .tflite.")
@click.option("--data", "source", metavar="SOURCE", default="", help="Samples, e.g. folder:images or csv:texts.csv.")
@click.option("--samples", type=click.IntRange(min=1), default=64, show_default=True, help="How many are compared.")
@click.option("--out", type=click.Path(path_type=Path), help="Where diagnosis/ goes.  [default: the run, or beside]")
@click.option("--boxes", default="", metavar="FORMAT", help="How a detector's outputs are read, as in evaluate.")
@click.option("--anchors", default="", metavar="FILE|KEY=VALUE,…", help="What encoded boxes are relative to.")
@sample_columns
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as one JSON document.")
def command(
    artifact: Path,
    reference: Path | None,
    source: str,
    samples: int,
    out: Path | None,
    boxes: str,
    anchors: str,
    as_json: bool,
    **columns: str | None,
) -> None:
    """Compare every tensor of ARTIFACT, a quantized .tflite, with the float model on the same samples.

    For a file in a run's folder the float file and the samples (of the test split, where the loss was measured) are
    known; for other files give them with --float and --data. OUT/diagnosis/ gets the figures as JSON, and files that
    Model Explorer (Google's viewer of .tflite graphs) loads as node data.
    """
    from ...core.codec import to_json
    from ...report.diagnosis_table import diagnosis_summary
    from ...report.progress_bars import ProgressBars
    from ...workflows.diagnose import diagnose, home
    from ..output import show_json, show_parts
    from ..terminal import echo

    data = labelled_data(source, columns) if source else None
    diagnosis = diagnose(artifact, reference=reference, data=data, samples=samples, out=out, boxes=boxes,
                         anchors=anchors or None, progress=ProgressBars())  # fmt: skip
    if as_json:
        show_json(to_json(diagnosis))
        return
    show_parts(diagnosis_summary(diagnosis), whole_lines=True)
    echo(f"diagnosis: {home(artifact, out) / 'diagnosis' / diagnosis.artifact}.json")
