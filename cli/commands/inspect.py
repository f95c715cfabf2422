"""``edgeproof inspect``: a file's contents."""

from __future__ import annotations

from pathlib import Path

import click

from ..completing import models


@click.command(short_help="Show a file's inputs, outputs and operators.")
@click.argument("file", type=click.Path(path_type=Path), shell_complete=models)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(file: Path, as_json: bool) -> None:
    """Show what FILE (.tflite or .onnx) is, without running it.

    Inputs, outputs, quantization and metadata; operators with their versions and the oldest runtime that has each; what
    accelerators would not take of it.
    """
    from ...workflows.inspect import inspect
    from ..output import show_json, show_parts

    inspected = inspect(file)
    if as_json:
        show_json(inspected.to_dict())
        return
    from ...report.inspection import inspection

    show_parts(inspection(file, inspected.bytes, inspected.sha256, inspected.contents))
