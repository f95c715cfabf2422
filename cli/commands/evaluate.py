"""``edgeproof evaluate``: evaluate existing files on the user's data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from .. import completing
from ..options import channel_options, cluster_option, labelled_data, sample_columns


@click.command(short_help="Prove finished files on a data source and targets.")
@click.argument(
    "files",
    metavar="FILE…",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=completing.models,
)
@click.option(
    "--data",
    "source",
    metavar="SOURCE",
    required=True,
    help="e.g. folder:images, csv:texts.csv, npz:windows.npz or masks:photos; its test split, or all of it.",
)
@click.option(
    "--on",
    "targets",
    metavar="TARGET",
    multiple=True,
    shell_complete=completing.targets,
    help="e.g. local/litert; repeatable. `edgeproof devices` lists all.  [default: as in a recipe]",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/evaluate"), show_default=True)
@click.option("--resize", type=click.Choice(["stretch", "crop", "pad"]), help="How pictures are resized.")
@click.option(
    "--value-range",
    metavar="LO,HI",
    help="What files without a .json want pixels in, e.g. 0,1 or -1,1.  [default: what the file says, else 0,255]",
)
@channel_options
@click.option(
    "--labels",
    metavar="FILE|from-folders",
    help="The classes of files that do not say theirs: one a line, in the order of the output; or that this is the "
    "order of the data's classes.",
)
@click.option("--task", default="", help="What the targets are.  [default: what their shape tells]", metavar="TASK")
@click.option(
    "--boxes",
    default="",
    metavar="FORMAT",
    help="How a detector's outputs are read: xyxy, yxyx, cxcywh, yolov8, yolov5, yolox, detr, rtdetr, or ssd with "
    "--anchors.  [default: what they tell]",
)
@click.option(
    "--anchors",
    default="",
    metavar="FILE|KEY=VALUE,…",
    help="What encoded boxes are relative to: a .npy or .csv of ycenter,xcenter,height,width, or parameters such as "
    "strides=16:32:64; `edgeproof docs tasks` lists them.",
)
@click.option(
    "--budget",
    "limits",
    metavar="KEY=VALUE",
    multiple=True,
    help="What a file must keep, as in a recipe's [budget], e.g. max_accuracy_drop=0.02; repeatable.",
)
@click.option(
    "--latency",
    "timing",
    metavar="KEY=VALUE",
    multiple=True,
    help="How latency is measured, as in a recipe's [evaluate.latency], e.g. threads=4 or processes=10; repeatable.",
)
@click.option(
    "--strict-placement", is_flag=True, help="Fail a file that an accelerator runs in part, as [evaluate] strict."
)
@click.option("--profile", is_flag=True, help="Also time each operator, apart from the latencies: see the report.")
@cluster_option
@click.option("--strict", is_flag=True, help="Exit status 1 also when it is not shown that a file fits the budget.")
@sample_columns
@click.option("--json", "as_json", is_flag=True, help="Print results.json on stdout, and nothing else there.")
def command(
    files: tuple[Path, ...],
    source: str,
    targets: tuple[str, ...],
    out: Path,
    resize: Literal["stretch", "crop", "pad"] | None,
    value_range: str | None,
    channel_order: str | None,
    mean: str | None,
    std: str | None,
    labels: str | None,
    task: str,
    boxes: str,
    anchors: str,
    limits: tuple[str, ...],
    timing: tuple[str, ...],
    strict_placement: bool,
    profile: bool,
    cluster: str,
    strict: bool,
    as_json: bool,
    **columns: str | None,
) -> int:
    """Measure accuracy and latency of FILEs (.tflite, .onnx, or a run's models/NAME folder) and write a report.

    With a model's folder among the files, agreement and accuracy drop are against it; without one, against the model's
    float32 .tflite. Files whose classes are not known are judged by agreement with it alone, on data of any classes, on
    pictures without any (images:PATH) or on arrays (npy:FILE). Data may have a part of the file's classes, by name.
    Files that take arrays are measured with targets on npz:FILE (x and y), npy:X,Y, csv:FILE or parquet:FILE;
    segmenters on masks:FOLDER, pictures with label pictures; detectors on coco:FILE.json, pictures with boxes; models
    of waveforms on wav:FOLDER.
    With --budget one file is recommended per target, and the exit status is 1 when none fits. Where the samples are too
    few to show that one fits, the best is recommended as such. The exit status is 3 when no file ran anywhere.
    """
    from ...core.recipe_file import parse_budget, parse_latency
    from ...report.progress_bars import ProgressBars
    from ...workflows.evaluate import evaluate
    from ...workflows.model_files import read_numbers, read_range
    from ..exit_status import exit_status
    from ..output import show

    measured = evaluate(
        files,
        labelled_data(source, columns),
        targets,
        out=out,
        budget=parse_budget(limits) if limits else None,
        latency=parse_latency(timing),
        profile=profile,
        labels=labels or (),
        value_range=read_range(value_range) if value_range else None,
        channel_order=channel_order or "",
        mean=read_numbers("--mean", mean),
        std=read_numbers("--std", std),
        resize=resize,
        strict_placement=strict_placement,
        cluster=cluster,
        task=task,
        boxes=boxes,
        anchors=anchors or None,
        progress=ProgressBars(),
    )
    show(measured, as_json=as_json)
    return exit_status(measured.results, strict=strict)
