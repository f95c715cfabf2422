"""The contents of a file, on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.sanitize import shorten
from ..export.inspect import Contents, Quantized

if TYPE_CHECKING:
    from rich.console import RenderableType

# Operators that are named with one reason; the JSON document has all.
NAMES = 8


def inspection(file: Path, size: int, sha256: str, contents: Contents) -> Iterator[RenderableType]:
    """Yield what a terminal shows of a file of `size` bytes. Names from the file are plain text in it, never markup."""
    from rich.table import Table
    from rich.text import Text

    yield Text.assemble((file.name, "bold"), f"  {size:,} bytes  sha256 {sha256[:16]}…")
    yield from map(Text, _facts(contents))
    tensors = Table("", "name", "shape", "dtype", "scale", "zero point")
    for kind, specs in (("input", contents.inputs), ("output", contents.outputs)):
        for spec in specs:
            shape = " × ".join(str(n) for n in spec.shape)
            scale = "–" if spec.scale is None else f"{spec.scale:.6g}"
            zero = "–" if spec.zero_point is None else str(spec.zero_point)
            tensors.add_row(kind, Text(shorten(spec.name)), shape, spec.dtype, scale, zero)
    yield tensors
    oldest = [op.min_runtime or ("custom" if op.custom else "") for op in contents.ops]
    operators = Table("operator", "version", "count", *(["oldest TensorFlow Lite"] if any(oldest) else []))
    for op, runtime in zip(contents.ops, oldest, strict=True):
        known = [runtime or "–"] if any(oldest) else []
        operators.add_row(Text(shorten(op.name)), str(op.version), str(op.count), *known)
    yield operators
    for delegate in contents.delegates:
        yield Text(f"{delegate['delegate']} (estimated): takes {delegate['takes']} of {delegate['total']} operators")
        yield from map(Text, _refusals(delegate["refuses"]))


def _refusals(refuses: list[dict[str, Any]]) -> Iterator[str]:
    """Return a line for each reason why a delegate refuses operators, with their names."""
    reasons: dict[str, list[str]] = {}
    for refused in refuses:
        reasons.setdefault(refused["why"], []).append(f"{shorten(refused['op'])} ({refused['count']}×)")
    for why, operators in reasons.items():
        more = f" and {len(operators) - NAMES} more" if len(operators) > NAMES else ""
        yield f"  not {', '.join(operators[:NAMES])}{more}: {why}"


def _facts(contents: Contents) -> Iterator[str]:
    """Return what there is to say of a file beside its tables, a line each."""
    if contents.min_runtime:
        litert = f", ai-edge-litert {contents.min_litert}" if contents.min_litert else ""
        yield f"oldest runtime that has all of it: {contents.min_runtime}{litert}"
    if contents.claimed_runtime:
        yield f"the file itself says {contents.claimed_runtime}"
    yield from (f"note: {note}" for note in contents.notes)
    if kinds := Counter(_storage(tensor) for tensor in contents.quantized):
        yield "quantized: " + ", ".join(f"{count} {words}" for words, count in kinds.most_common())
    metadata = contents.metadata
    for key in ("name", "description", "version", "author", "license", "problem"):
        if metadata.get(key):
            yield f"metadata: {key}: {shorten(str(metadata[key]), 200)}"
    for side in ("inputs", "outputs"):
        for tensor in metadata.get(side, ()):
            normal = tensor.get("normalization")
            words = [f"mean {normal['mean']}, std {normal['std']}"] if normal else []
            words += [f"{file['type']} in {file['name']}" for file in tensor.get("files", ())]
            yield shorten(f"metadata: {side[:-1]} {tensor.get('name', '')}: {'; '.join(words) or 'no more'}", 300)
    for appended in metadata.get("appended", ()):
        yield f"appended: {appended['name']}, {appended['bytes']:,} bytes"


def _storage(tensor: Quantized) -> str:
    """Return how a tensor is quantized, in words."""
    kind = "weights" if tensor.constant else "activations"
    if tensor.blockwise:
        return f"{tensor.dtype} {kind} by blocks"
    return f"{tensor.dtype} {kind} " + (f"by channel (axis {tensor.axis})" if tensor.scales > 1 else "by tensor")
