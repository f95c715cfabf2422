"""``edgeproof inspect``: what a file says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..completing import models

if TYPE_CHECKING:
    from ...export.inspect import Contents, Quantized

# Operators that are named with one reason; --json has all.
NAMES = 8


@click.command(short_help="Show a file's inputs, outputs and operators.")
@click.argument("file", type=click.Path(path_type=Path), shell_complete=models)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(file: Path, as_json: bool) -> None:
    """Show what FILE (.tflite or .onnx) is, without running it.

    Inputs, outputs, quantization and metadata; operators with their versions and the oldest runtime that has each; what
    accelerators would not take of it.
    """
    from ...core.codec import sha256_file, to_json
    from ...core.sanitize import shorten
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
    from rich.markup import escape
    from rich.table import Table

    from ..console import stdout_console

    console = stdout_console()
    console.print(f"[bold]{escape(file.name)}[/]  {document['bytes']:,} bytes  sha256 {document['sha256'][:16]}…")
    for line in _facts(contents):
        console.print(escape(line))
    tensors = Table("", "name", "shape", "dtype", "scale", "zero point")
    for kind, specs in (("input", contents.inputs), ("output", contents.outputs)):
        for spec in specs:
            shape = " × ".join(str(n) for n in spec.shape)
            scale = "–" if spec.scale is None else f"{spec.scale:.6g}"
            zero = "–" if spec.zero_point is None else str(spec.zero_point)
            tensors.add_row(kind, escape(shorten(spec.name)), shape, spec.dtype, scale, zero)
    console.print(tensors)
    operators = Table("operator", "version", "count", "oldest TensorFlow Lite")
    for op in contents.ops:
        oldest = op.min_runtime or ("custom" if op.custom else "–")
        operators.add_row(escape(shorten(op.name)), str(op.version), str(op.count), oldest)
    console.print(operators)
    for delegate in contents.delegates:
        console.print(f"{delegate['delegate']} (estimated): takes {delegate['takes']} of {delegate['total']} operators")
        for line in _refusals(delegate["refuses"]):
            console.print(escape(line))


def _refusals(refuses: list[dict[str, Any]]) -> Iterator[str]:
    """Return a line for each reason why a delegate refuses operators, with their names."""
    from ...core.sanitize import shorten

    reasons: dict[str, list[str]] = {}
    for refused in refuses:
        reasons.setdefault(refused["why"], []).append(f"{shorten(refused['op'])} ({refused['count']}×)")
    for why, operators in reasons.items():
        more = f" and {len(operators) - NAMES} more" if len(operators) > NAMES else ""
        yield f"  not {', '.join(operators[:NAMES])}{more}: {why}"


def _facts(contents: Contents) -> Iterator[str]:
    """Return what there is to say of a file beside its tables, a line each."""
    from ...core.sanitize import shorten

    if contents.min_runtime:
        litert = f", ai-edge-litert {contents.min_litert}" if contents.min_litert else ""
        yield f"oldest runtime that has all of it: {contents.min_runtime}{litert}"
    if contents.claimed_runtime:
        yield f"the file itself says {contents.claimed_runtime}"
    yield from (f"note: {note}" for note in contents.notes)
    if kinds := Counter(_storage(tensor) for tensor in contents.quantized):
        yield "quantized: " + ", ".join(f"{count} {words}" for words, count in kinds.most_common())
    told = contents.metadata
    for key in ("name", "description", "version", "author", "license", "problem"):
        if told.get(key):
            yield f"metadata: {key}: {shorten(str(told[key]), 200)}"
    for side in ("inputs", "outputs"):
        for tensor in told.get(side, ()):
            normal = tensor.get("normalization")
            words = [f"mean {normal['mean']}, std {normal['std']}"] if normal else []
            words += [f"{file['type']} in {file['name']}" for file in tensor.get("files", ())]
            yield shorten(f"metadata: {side[:-1]} {tensor.get('name', '')}: {'; '.join(words) or 'no more'}", 300)
    for appended in told.get("appended", ()):
        yield f"appended: {appended['name']}, {appended['bytes']:,} bytes"


def _storage(tensor: Quantized) -> str:
    """Return how a tensor is quantized, in words."""
    kind = "weights" if tensor.constant else "activations"
    if tensor.blockwise:
        return f"{tensor.dtype} {kind} by blocks"
    return f"{tensor.dtype} {kind} " + (f"by channel (axis {tensor.axis})" if tensor.scales > 1 else "by tensor")
