"""Why a file takes this long on a target, in words, where its profile and its graph tell the cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..core.formatting import ms, percent
from ..core.profile import OperatorTime
from ..core.sanitize import shorten
from ..tflite.graph import Node

# Smaller shares of the time are no answer to "why is it slow".
_LEAST = 0.02
_NAMED = 4
# Kernels that LiteRT's profiler times.
_WHOLE_MICROSECONDS = ("xnnpack", "builtin")
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST", "QuantizeLinear", "DequantizeLinear", "Cast")
_LAYOUTS = ("TRANSPOSE", "Transpose", "ReorderInput", "ReorderOutput")
_AT_RUN_TIME = ("QDU8", "QD8", "DynamicQuantize", "MatMulInteger", "ConvInteger")


def findings(rows: Sequence[OperatorTime], nodes: Sequence[Node], run_ms: float) -> tuple[str, ...]:
    """Return the findings on executed operators; `nodes` is the graph of a ``.tflite``, empty for other files."""
    return (
        *_kernels(rows, nodes),
        *_conversions(rows, nodes),
        *_at_run_time(rows),
        *_layouts(rows),
        *_outside(rows, run_ms),
    )


def _kernels(rows: Sequence[OperatorTime], nodes: Sequence[Node]) -> Iterator[str]:
    """Yield which operators XNNPACK left to the runtime's own kernels."""
    left = [row for row in rows if row.kernel == "builtin"]
    taken = [row for row in rows if row.kernel == "xnnpack"]
    if not left:
        return
    kinds = Counter(f"{shorten(row.op)}{_types(row, nodes)}" for row in left)
    named = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common(_NAMED))
    more = f" and {len(kinds) - _NAMED} more kinds" if len(kinds) > _NAMED else ""
    if not taken:
        yield f"XNNPACK runs none of the {len(left)} operators: all run in the runtime's own kernels ({named}{more})"
        return
    share = sum(row.share for row in left)
    if share >= _LEAST:
        parts = sum(a.kernel != "xnnpack" and b.kernel == "xnnpack" for a, b in zip([*left[:1], *rows], rows))  # noqa: B905
        apart = f"; it runs the rest in {parts} separate parts" if parts > 1 else ""
        yield (
            f"XNNPACK leaves {len(left)} of {len(rows)} operators to the runtime's own kernels, which take "
            f"{percent(share)} of the time: {named}{more}{apart}"
        )


def _types(row: OperatorTime, nodes: Sequence[Node]) -> str:
    """Return the types of an operator's values and weights, for which a library may have no kernel."""
    if row.node is None or row.node >= len(nodes):
        return ""
    node = nodes[row.node]
    flowing = next((tensor.dtype for tensor in node.inputs if not tensor.constant), "")
    stored = next((tensor.dtype for tensor in node.inputs[1:] if tensor.constant), "")
    words = [f"{flowing} values"] * bool(flowing) + [f"{stored} weights"] * bool(stored and stored != flowing)
    return f" ({', '.join(words)})" if words else ""


def _conversions(rows: Sequence[OperatorTime], nodes: Sequence[Node]) -> Iterator[str]:
    """Yield what conversions between number types take, and whether they lie between other operators."""
    between = [row for row in rows if _is_conversion(row)]
    share = sum(row.share for row in between)
    inside = [row for row in between if _is_inside(row, nodes)]
    if share < _LEAST and len(inside) < 2:
        return
    kinds = ", ".join(dict.fromkeys(shorten(row.op) for row in between))
    words = f"{len(between)} conversions between number types ({kinds}) take {percent(share)} of the time"
    if inside:
        words += f"; {len(inside)} of them lie inside the graph, so what is between them runs in float"
    yield words


def _is_conversion(row: OperatorTime) -> bool:
    return row.op in _CONVERSIONS or row.runtime_op.startswith("Convert")


def _is_inside(row: OperatorTime, nodes: Sequence[Node]) -> bool:
    """Whether a conversion is neither of an input or stored value, nor of an output, of the graph."""
    if row.node is None or row.node >= len(nodes):
        return row.op == "DequantizeLinear"  # ONNX Runtime fuses those that it has integer kernels for
    node = nodes[row.node]
    made = {tensor.name for other in nodes for tensor in other.outputs}
    used = {tensor.name for other in nodes for tensor in other.inputs}
    return any(t.name in made for t in node.inputs[:1]) and any(t.name in used for t in node.outputs)


def _at_run_time(rows: Sequence[OperatorTime]) -> Iterator[str]:
    dynamic = [row for row in rows if any(mark in row.runtime_op for mark in _AT_RUN_TIME)]
    if dynamic:
        who = (
            "1 operator quantizes its inputs while it runs, at each inference; it takes"
            if len(dynamic) == 1
            else f"{len(dynamic)} operators quantize their inputs while they run, at each inference; they take"
        )
        yield f"{who} {percent(sum(row.share for row in dynamic))} of the time"


def _layouts(rows: Sequence[OperatorTime]) -> Iterator[str]:
    moved = [row for row in rows if row.op in _LAYOUTS]
    share = sum(row.share for row in moved)
    if share >= _LEAST:
        who = "1 operator only reorders values" if len(moved) == 1 else f"{len(moved)} operators only reorder values"
        yield f"{who} in memory: {percent(share)} of the time"


def _outside(rows: Sequence[OperatorTime], run_ms: float) -> Iterator[str]:
    inside = sum(row.ms for row in rows)
    if rows and not inside:
        yield "no operator takes as long as the profiler's clock resolves (a microsecond)"
    short = sum(row.ms for row in rows if row.kernel in _WHOLE_MICROSECONDS and row.ms < 0.001)
    if inside and short >= inside / 2:
        yield (
            f"{percent(short / inside)} of the time is of operators shorter than the microsecond that the profiler's "
            "clock resolves: their times and shares are rough"
        )
    if run_ms > 0 and 0 < inside < 0.7 * run_ms:
        yield (
            f"operators take {ms(inside)} of a profiled run of {ms(run_ms)}: the rest is the runtime's own work "
            "between them, and the profiler's"
        )
