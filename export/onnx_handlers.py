"""Our rules for tf2onnx: operators that it writes wrongly although ONNX can express them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _resize(ctx: Any, node: Any, **_: Any) -> None:
    """Write bilinear and nearest resizing by output size: scales would give 31 rows where 61 become 32."""
    from onnx import TensorProto

    pictures, size = node.input
    align = bool(node.get_attr_value("align_corners", 0))
    half = bool(node.get_attr_value("half_pixel_centers", 0))
    shapes, shape = node.output_shapes, ctx.get_shape(pictures)
    nearest = node.type == "ResizeNearestNeighbor"
    if node.inputs[1].is_const() and shape and min(shape) > 0:
        height, width = node.inputs[1].get_tensor_value(as_list=False)
        sizes = _constant(ctx, "sizes", np.array([shape[0], shape[3], height, width], np.int64))
    else:
        zero, two = (_constant(ctx, "limit", np.array([n], np.int64)) for n in (0, 2))
        channels_first = ctx.make_node("Transpose", [pictures], {"perm": [0, 3, 1, 2]}).output[0]
        first_sides = ctx.make_node("Slice", [ctx.make_node("Shape", [channels_first]).output[0], zero, two]).output[0]
        new_size = ctx.make_node("Cast", [size], {"to": TensorProto.INT64}).output[0]
        sizes = ctx.make_node("Concat", [first_sides, new_size], {"axis": 0}).output[0]
    if not nearest and ctx.get_dtype(pictures) != TensorProto.FLOAT:
        pictures = ctx.make_node("Cast", [pictures], {"to": TensorProto.FLOAT}).output[0]
    source = ctx.make_node("Transpose", [pictures], {"perm": [0, 3, 1, 2]}).output[0]
    settings = {
        "mode": "nearest" if nearest else "linear",
        "coordinate_transformation_mode": "align_corners" if align else "half_pixel" if half else "asymmetric",
        # TensorFlow rounds a position down; measured from pixel centres that is the nearest, the later of two.
        "nearest_mode": "round_prefer_ceil" if align or half else "floor",
    }
    resized = ctx.make_node("Resize", [source, "", "", sizes], settings).output[0]
    dtypes = node.output_dtypes
    ctx.remove_node(node.name)
    ctx.make_node(
        "Transpose",
        [resized],
        {"perm": [0, 2, 3, 1]},
        name=node.name,
        outputs=node.output,
        shapes=shapes,
        dtypes=dtypes,
    )


def _select(ctx: Any, node: Any, **_: Any) -> None:
    """Write a select as `Where`: tf2onnx multiplies with 0 and 1, so a NaN that was not chosen comes through."""
    condition, rank = ctx.get_rank(node.input[0]), ctx.get_rank(node.input[1])
    if node.type == "Select" and condition == 1 and rank != 1:  # the condition chooses rows
        shape = _constant(ctx, "rows", np.array([-1] + [1] * (rank - 1), np.int64))
        rows = ctx.make_node("Reshape", [node.input[0], shape]).output[0]
        ctx.replace_input(node, node.input[0], rows, 0)
    node.type = "Where"


def _constant(ctx: Any, name: str, value: Any) -> str:
    from tf2onnx import utils

    return ctx.make_const(utils.make_name(name), value).output[0]


HANDLERS: dict[str, Callable[..., None]] = {
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
    "Select": _select,
    "SelectV2": _select,
}
