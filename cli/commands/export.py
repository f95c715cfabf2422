"""``edgeproof export``: files from a trained model, our own or an external one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from ...core.maker import MakerChoice
from .. import completing
from ..options import channel_options, labelled_data, sample_columns


@click.command(short_help="Export files from a trained model, of Edgeproof or external.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "variants",
    metavar="VARIANT",
    multiple=True,
    required=True,
    shell_complete=completing.variants,
    help="e.g. tflite:int8; repeatable.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where the files go.  [default: MODEL/artifacts, or exported/NAME]"
)
@click.option(
    "--calibrate",
    metavar="SOURCE",
    default="",
    help="Samples for int8 and int16x8, e.g. folder:images, without classes images:PATH, npz:FILE or wav:FOLDER.",
)
@click.option("--samples", type=click.IntRange(min=1), default=200, show_default=True, help="Calibration samples.")
@click.option(
    "--maker",
    type=click.Choice(get_args(MakerChoice)),
    default="best",
    show_default=True,
    help="The tool, where several make a variant; best tries them on samples of --calibrate.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="The classes, one a line, in the order of the output; names may repeat.",
)
@click.option("--value-range", metavar="LO,HI", help="What the model wants pixels in, e.g. 0,1 or -1,1.")
@click.option("--size", type=click.IntRange(min=1), help="Height and width, where the model leaves them open.")
@click.option("--shape", "shapes", metavar="[NAME=]1,…", multiple=True, help="An input's shape, where it is left open.")
@click.option("--output", default="", help="Which of several outputs is judged.")
@click.option("--tags", default="", help="Which of several graphs of a SavedModel is used, e.g. serve,gpu; or none.")
@click.option("--signature", default="", help="Which signature or function of a SavedModel is used.")
@click.option("--trust", is_flag=True, help="Run code that the file contains (Lambda layers, custom classes).")
@click.option(
    "--custom-objects",
    metavar="MODULE",
    multiple=True,
    help="A module, or FILE.py, that defines what the file needs; it is imported, as with --trust.  Repeatable.",
)
@channel_options
@sample_columns
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    model: Path,
    variants: tuple[str, ...],
    out: Path | None,
    calibrate: str,
    samples: int,
    maker: MakerChoice,
    labels: Path | None,
    value_range: str | None,
    channel_order: str | None,
    mean: str | None,
    std: str | None,
    size: int | None,
    shapes: tuple[str, ...],
    output: str,
    tags: str,
    signature: str,
    trust: bool,
    custom_objects: tuple[str, ...],
    as_json: bool,
    **columns: str | None,
) -> int:
    """Make files of MODEL. Exit status 3 when one of them could not be made.

    MODEL is a run's models/NAME folder, or an external model: a SavedModel (folder or .tar.gz) or a Keras 2 or 3 file
    (.keras, .h5). Such a model is frozen as it is into OUT/model; `edgeproof evaluate OUT/model OUT/*.tflite` then
    evaluates the files, by agreement with it if the classes are not known. The options from --labels on are for those.

    A float .tflite is quantized as it is, without TensorFlow, to what ai-edge-quantizer makes of it (tflite:dynamic,
    int8, int16x8, weight-int8, weight-int4, int4, int4-block32). It then stands beside the files, which
    `edgeproof evaluate OUT/*.tflite` compares with it. Shapes that it leaves open are fixed: the batch at 1,
    the others by --size or --shape.
    """
    from ...core.codec import to_json
    from ...report.progress_bars import ProgressBars
    from ...workflows.export import export
    from ...workflows.model_files import read_numbers, read_range, read_shapes
    from ..output import show_json
    from ..terminal import echo

    files = export(
        model,
        variants,
        out=out,
        calibration=labelled_data(calibrate, columns) if calibrate else None,
        samples=samples,
        maker=maker,
        labels=labels or (),
        value_range=read_range(value_range) if value_range else None,
        channel_order=channel_order or "",
        mean=read_numbers("--mean", mean),
        std=read_numbers("--std", std),
        size=size,
        shapes=read_shapes(shapes),
        output=output,
        tags=tags,
        signature=signature,
        trust=trust,
        custom_objects=custom_objects,
        progress=ProgressBars(),
    )
    if as_json:
        show_json([to_json(artifact) for artifact in files.values()])
        return 0 if files.all_ok else 3
    for artifact in files.values():
        echo(f"{artifact.bytes:>12,} bytes  {artifact.path}" if artifact.path else f"{artifact.id}: {artifact.reason}")
        if artifact.remedy:
            echo(f"  → {artifact.remedy}")
    return 0 if files.all_ok else 3
