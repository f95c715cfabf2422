"""``edgeproof bundle``: everything that an app needs of one file, in one folder and one ZIP."""

from __future__ import annotations

from pathlib import Path

import click

from ...core.chips import CHIPS, DEFAULT_CHIP
from ..completing import models
from ..options import labelled_data, sample_columns

OUT = "Where the bundle goes.  [default: bundles in the run that made the file, else beside the file]"


@click.command(short_help="Make a folder with all that an app needs of a file.")
@click.argument("artifact", type=click.Path(path_type=Path), shell_complete=models)
@click.option("--out", type=click.Path(path_type=Path), help=OUT)
@click.option("--data", metavar="SOURCE", default="", help="Samples for the golden vectors.  [default: the run's own]")
@click.option("--samples", type=click.IntRange(1, 1000), default=8, show_default=True, help="Golden vectors.")
@click.option(
    "--tflm",
    metavar="TREE",
    type=click.Path(path_type=Path),
    help="Build the code for microcontrollers with this tree of TFLM, and run it in qemu.",
)
@click.option(
    "--chip", type=click.Choice(list(CHIPS)), default=DEFAULT_CHIP, show_default=True, help="The processor for --tflm."
)
@click.option(
    "--boxes",
    default="",
    metavar="FORMAT",
    help="How a detector's outputs are read, as in evaluate.  [default: as in the run, or what they tell]",
)
@click.option("--anchors", default="", metavar="FILE|KEY=VALUE,…", help="What encoded boxes are relative to.")
@click.option(
    "--value-range",
    metavar="LO,HI",
    help="What a file without a .json wants pixels in.  [default: what the file says, else 0,255]",
)
@sample_columns
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document: bundle.json.")
def command(artifact: Path, out: Path | None, data: str, samples: int, tflm: Path | None, chip: str, boxes: str,
            anchors: str, value_range: str | None, as_json: bool, **columns: str | None) -> int:  # fmt: skip
    """Bundle ARTIFACT, a .tflite or .onnx, or a run's folder, whose recommended file is taken.

    The bundle holds the file (a .tflite of pictures with metadata, such that stock consumers run it unchanged), its
    labels and tokenizer, golden vectors, an example and verify.py, which need numpy and a runtime, code for apps and
    microcontrollers, and checksums.
    """
    from ...report.progress_bars import ProgressBars
    from ...workflows.bundle import bundle
    from ...workflows.model_files import read_range
    from ..output import show_json
    from ..terminal import echo

    source = labelled_data(data, columns) if data else None
    bundled = bundle(artifact, out=out, data=source, samples=samples, tflm=tflm, chip=chip, boxes=boxes,
                     anchors=anchors or None, value_range=read_range(value_range) if value_range else None,
                     progress=ProgressBars())  # fmt: skip
    if as_json:
        show_json({**bundled.manifest, "folder": str(bundled.folder), "archive": str(bundled.archive)})
        return 0
    for row in bundled.manifest["consumers"]:
        file = row.get("file", bundled.manifest["file"]["name"] if row["accepts"] else "")
        takes = f"takes {file}" if file else "takes no file of this bundle"
        echo(f"{row['consumer']} {takes}" + ("" if row["accepts"] else f": {row['why']}"))
        if row.get("command"):
            echo(f"  → {row['command']}")
    image = (bundled.manifest["micro"] or {}).get("cortex_m")
    if image and image["status"] == "ok":
        echo(
            f"{image['chip']} (emulated): {image['identical']} of {image['samples']} golden answers are the same, bit "
            f"for bit; the largest difference is {image['largest']:.3g}; {image['arena_bytes']:,} bytes of arena"
        )
    for note in bundled.manifest["notes"]:
        echo(f"note: {note}")
    if bundled.manifest["golden"]["alike"]:
        echo("note: the golden answers are nearly the same: verify.py tells little by them; --data takes other samples")
    if bundled.manifest["golden"]["random"]:
        echo("note: the golden inputs are random; --data SOURCE takes samples that mean something")
    echo(f"{bundled.archive.stat().st_size:,} bytes  {bundled.archive}")
    echo("next: python verify.py in it, on the device, checks whether the file gives the same answers there")
    echo(f"bundle: {bundled.folder}")
    return 0
