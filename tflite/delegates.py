"""Operators of a file that accelerators do not support, from their makers' published lists. Estimates.

An accelerator runs the supported parts of a graph; the rest runs on the CPU, and each switch costs time. The lists are
of one version of each compiler or delegate; the compiler itself, on the device, decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .graph import Node, Tensor


@dataclass(frozen=True)
class Delegate:
    """An accelerator: its name, the source of its list, and `why`, the reason for refusing a node ("": accepted)."""

    name: str
    source: str
    why: Callable[[Node], str]


def estimate(nodes: Sequence[Node]) -> tuple[dict[str, Any], ...]:
    """Return for each accelerator how much of a graph's operators it supports.

    {``delegate``, ``kind`` ("estimated"), ``source``, ``takes`` and ``total`` (operators of the graph), ``refuses``:
    [{``op``, ``count``, ``why``}], most first}.
    """
    estimates = []
    for delegate in DELEGATES:
        refused = Counter((node.op, why) for node in nodes if (why := delegate.why(node)))
        estimates.append(
            {
                "delegate": delegate.name,
                "kind": "estimated",
                "source": delegate.source,
                "takes": len(nodes) - sum(refused.values()),
                "total": len(nodes),
                "refuses": [{"op": op, "count": n, "why": why} for (op, why), n in refused.most_common()],
            }
        )
    return tuple(estimates)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _flowing(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the tensors that are computed, not stored."""
    return [tensor for tensor in tensors if not tensor.constant]


def _dynamic(node: Node, allowed: frozenset[int] = frozenset()) -> str:
    free = sorted({d for t in (*node.inputs, *node.outputs) for d in t.dynamic} - allowed)
    return f"dimension {free[0]} of its shape is only known when it runs" if free else ""


def _types(tensors: Sequence[Tensor], accepted: frozenset[str]) -> str:
    wrong = sorted({tensor.dtype for tensor in tensors} - accepted)
    return f"{' and '.join(wrong)} values" if wrong else ""


# --- GPU ------------------------------------------------------------------------------------------------------------

# The newest version of each operator that the delegate's parsers accept; None where they do not check it.
_GPU: dict[str, int | None] = {
    **dict.fromkeys(
        _names(
            "ABS ADD COS DIV ELU EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD GELU GREATER GREATER_EQUAL LESS LESS_EQUAL LOG "
            "LOGICAL_AND LOGISTIC MAXIMUM MINIMUM NEG NOT_EQUAL POW RSQRT SIGN SIN SQRT SQUARE SQUARED_DIFFERENCE SUB "
            "TANH AVERAGE_POOL_2D MAX_POOL_2D CONCATENATION PAD PADV2 MIRROR_PAD QUANTIZE RELU RELU6 RELU_0_TO_1 "
            "RELU_N1_TO_1 LEAKY_RELU SLICE SOFTMAX SPACE_TO_DEPTH"
        ),
        2,
    ),
    **dict.fromkeys(_names("CUMSUM DENSIFY GATHER ONE_HOT PRELU RESHAPE SELECT SELECT_V2"), 1),
    **dict.fromkeys(_names("MUL DEQUANTIZE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR TRANSPOSE_CONV"), 3),
    **dict.fromkeys(_names("LSTM STRIDED_SLICE TRANSPOSE"), 4),
    **dict.fromkeys(_names("CONV_2D DEPTHWISE_CONV_2D"), 6),
    "FULLY_CONNECTED": 9,
    **dict.fromkeys(
        _names(
            "ADD_N BATCH_MATMUL CAST DEPTH_TO_SPACE HARD_SWISH MEAN PACK REDUCE_MAX REDUCE_MIN REDUCE_PROD SPLIT "
            "SPLIT_V SUM TILE UNPACK"
        )
    ),
}
_GPU_CUSTOM = frozenset({"Convolution2DTransposeBias", "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "Resampler"})
_GPU_TYPES = frozenset({"float32", "float16", "int8", "uint8"})
_GPU_MORE = {
    "CAST": frozenset({"bool", "int32"}),
    "ONE_HOT": frozenset({"int32"}),
    "GATHER": frozenset({"int32"}),
    **dict.fromkeys(("SELECT", "SELECT_V2", "LOGICAL_AND"), frozenset({"bool"})),
    **dict.fromkeys(("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "EQUAL", "NOT_EQUAL"), frozenset({"bool"})),
}


def _gpu(node: Node) -> str:
    if node.custom:
        return "" if node.op in _GPU_CUSTOM else "a custom operator"
    if node.op not in _GPU:
        return "not among its operators"
    newest = _GPU[node.op]
    if newest is not None and node.version > newest:
        return f"it takes versions up to {newest}, the file has version {node.version}"
    accepted = _GPU_TYPES | _GPU_MORE.get(node.op, frozenset())
    if wrong := _types(_flowing((*node.inputs, *node.outputs)), accepted):
        return wrong
    return _dynamic(node)


# --- Arm Ethos-U ----------------------------------------------------------------------------------------------------

_U55 = _names(
    "ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D ELU EXP EXPAND_DIMS "
    "FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG "
    "PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE "
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SLICE SOFTMAX SPLIT SPLIT_V SQUARED_DIFFERENCE "
    "SQUEEZE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK"
)
_U85 = _U55 | _names(
    "ASSIGN_VARIABLE CAST DIV EQUAL GATHER GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND LOGICAL_NOT "
    "LOGICAL_OR NOT_EQUAL READ_VARIABLE REDUCE_ALL REDUCE_ANY SCATTER_ND SELECT SELECT_V2"
)
_BYTES = frozenset({"int8", "uint8"})
_INTEGERS = frozenset({"int8", "uint8", "int16", "int32", "int64"})
_PER_CHANNEL = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_UNSCALED = frozenset({"ARG_MAX", "EXPAND_DIMS", "MIRROR_PAD", "PAD", "PADV2", "QUANTIZE", "TRANSPOSE", "RESHAPE"})
# Operators that may have feature maps of 32 bits in the U55 and U65; in the U85 all may.
_WIDE = _names(
    "ADD ARG_MAX BATCH_MATMUL EXPAND_DIMS FULLY_CONNECTED MIRROR_PAD MUL NEG RESHAPE SQUEEZE SUB SUM TRANSPOSE"
)
_NARROW = {
    "ELU": frozenset({"int8"}),
    "GELU": frozenset({"int8", "uint8"}),
    "LOG": frozenset({"int8", "int16"}),
    "RSQRT": frozenset({"int8", "int16"}),
    "MEAN": frozenset({"int8", "uint8", "int16"}),
}


def _u55(node: Node) -> str:
    return _ethos(node, _U55, _INTEGERS, _WIDE)


def _u85(node: Node) -> str:
    return _ethos(node, _U85, _INTEGERS | {"bool"}, _U85)


def _ethos(node: Node, accepted: frozenset[str], types: frozenset[str], wide: frozenset[str]) -> str:
    if node.custom:
        return "a custom operator"
    if node.op not in accepted:
        return "not among its operators"
    maps = _flowing((*node.inputs, *node.outputs))
    if wrong := _types(maps, types):
        return f"{wrong}: it takes quantized ones alone"
    if node.op in _NARROW and (wrong := _types(maps, _NARROW[node.op])):
        return wrong
    if free := _dynamic(node, frozenset({0})):
        return free
    if node.op != "ARG_MAX" and any(tensor.dtype == "int64" for tensor in maps):
        return "feature maps of 64 bits"
    if node.op not in wide and any(tensor.dtype == "int32" for tensor in maps):
        return "feature maps of 32 bits"
    if accepted is _U55 and node.op not in _UNSCALED and any(not tensor.scales for tensor in maps):
        return "a feature map without a scale"
    if node.op not in _PER_CHANNEL:
        if any(tensor.per_channel for tensor in node.inputs):
            return "a scale for each channel"
    elif wrong := _types([tensor for tensor in node.inputs[:2] if tensor.constant][-1:], _BYTES):
        return f"{wrong.removesuffix(' values')} weights: it takes 8 bits"
    if node.op == "MEAN" and maps and len(maps[0].shape) == 4 and maps[0].shape[0] > 1:
        return f"a batch of {maps[0].shape[0]}"
    if accepted is _U55 and node.op in ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"):
        return "strides above 3" if max(node.options.get("strides", (1,))) > 3 else ""
    return ""


# --- Coral Edge TPU -------------------------------------------------------------------------------------------------

_EDGE_TPU = _names(
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED L2_NORMALIZATION "
    "LOGISTIC UNIDIRECTIONAL_SEQUENCE_LSTM MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PADV2 PRELU QUANTIZE "
    "REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SLICE SOFTMAX "
    "SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH TRANSPOSE TRANSPOSE_CONV"
)


def _edge_tpu(node: Node) -> str:
    if node.custom:
        return "" if node.op == "edgetpu-custom-op" else "a custom operator"
    if node.op not in _EDGE_TPU:
        return "not among its operators"
    maps = _flowing((*node.inputs, *node.outputs))
    if wrong := _types(maps, _BYTES):
        return f"{wrong}: it takes 8-bit ones alone"
    if free := _dynamic(node):
        return free
    if any(side > 1 for tensor in maps for side in tensor.shape[:-3]):
        return "a batch of more than 1: only the three innermost dimensions may be larger"
    if node.op in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"):
        activation = node.options.get("activation", "NONE")
        return "" if activation == "NONE" else f"a fused activation ({activation})"
    if node.op in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        dilation = node.options.get("dilation", (1, 1))
        return "" if len(set(dilation)) == 1 else "another dilation along x than along y"
    if node.op == "SOFTMAX" and any(_elements(tensor) > 16_000 for tensor in maps):
        return "more than 16,000 values"
    return ""


def _elements(tensor: Tensor) -> int:
    count = 1
    for side in tensor.shape:
        count *= max(side, 1)
    return count


DELEGATES = (
    Delegate(
        "TFLite GPU delegate",
        "tflite/delegates/gpu/common/model_builder.cc and tflite/tools/versioning/gpu_compatibility.cc of "
        "github.com/google-ai-edge/LiteRT, 2026-06",
        _gpu,
    ),
    Delegate(
        "Arm Ethos-U55/U65",
        "vela 5.2.0 --supported-ops-report",
        _u55,
    ),
    Delegate(
        "Arm Ethos-U85",
        "vela 5.2.0 --supported-ops-report",
        _u85,
    ),
    Delegate("Coral Edge TPU", "coral.ai/docs/edgetpu/models-intro, table of supported operations", _edge_tpu),
)
