"""``edgeproof inspect``: what a file says of itself."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Show a file's inputs, outputs and operators.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(file: Path, as_json: bool) -> None:
    """Show the inputs, outputs, quantization and operators of FILE (.tflite or .onnx), without running it."""
    from ...core.codec import sha256_file, to_json
    from ...export import inspect
    from ..output import show_json

    contents = inspect(file)
    document = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "sha256": sha256_file(file),
        **to_json(contents),
    }
    if as_json:
        show_json(document)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{escape(file.name)}[/]  {document['bytes']:,} bytes  sha256 {document['sha256'][:16]}…")
    if contents.min_runtime:
        console.print(f"oldest runtime, as the file itself says: {escape(contents.min_runtime)}")
    tensors = Table("", "name", "shape", "dtype", "scale", "zero point")
    for kind, specs in (("input", contents.inputs), ("output", contents.outputs)):
        for spec in specs:
            shape = " × ".join(str(n) for n in spec.shape)
            scale = "–" if spec.scale is None else f"{spec.scale:.6g}"
            zero = "–" if spec.zero_point is None else str(spec.zero_point)
            tensors.add_row(kind, escape(spec.name), shape, spec.dtype, scale, zero)
    console.print(tensors)
    operators = Table("operator", "version", "count")
    for op in contents.ops:
        operators.add_row(escape(op.name), str(op.version), str(op.count))
    console.print(operators)
