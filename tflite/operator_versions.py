"""The version of a TFLite operator that its tensors need: facts of TensorFlow, for operators that quantizing changes.

Source: ``GetBuiltinOperatorVersion`` in tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc, TensorFlow 2.21.
It has no rule for float inputs with int4 weights; the version in which int4 weights came is taken, for a kernel
that is older cannot know them. Its versions for `quantized_bias_type` are taken for 32-bit biases alone: 64 bits is
what int16 kernels without that option have (tflite-runtime 2.14 runs such files rightly).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_INT32 = 2  # of schema.fbs, enum TensorType

# Version by the type of the first input, for operators where nothing else matters.
_INT8_2_INT16_3 = {"int8": 2, "int16": 3}
_SAME: tuple[tuple[str, Mapping[str, int]], ...] = (
    (
        "MAX_POOL_2D AVERAGE_POOL_2D SOFTMAX MEAN MIRROR_PAD REDUCE_MAX REDUCE_MIN RELU6 RSQRT TANH LOGISTIC LESS "
        "GREATER_EQUAL PACK BATCH_MATMUL",
        _INT8_2_INT16_3,
    ),
    ("PAD PADV2", {**_INT8_2_INT16_3, "bool": 5}),
    (
        "SPACE_TO_DEPTH SPLIT_V SUM LOG_SOFTMAX GREATER LESS_EQUAL SQUARED_DIFFERENCE DEPTH_TO_SPACE ARG_MAX ARG_MIN "
        "SELECT",
        {"int8": 2},
    ),
    ("EXP LOG REDUCE_PROD SQRT", {"int8": 2, "int16": 2}),
    (
        "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR MAXIMUM MINIMUM SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND",
        {"int8": 2, "int16": 4},
    ),
)
_BY_TYPE: dict[str, Mapping[str, int]] = {
    **{name: versions for names, versions in _SAME for name in names.split()},
    "TRANSPOSE": {"int8": 2, "bool": 3, "int16": 5, "int4": 7},
    "CONCATENATION": {"int8": 2, "int16": 3, "uint32": 4, "int4": 5},
    "SLICE": {"int8": 2, "int16": 4, "int4": 7},
    "STRIDED_SLICE": {"int8": 2},
    "UNPACK": {"int8": 2, "uint8": 2, "bool": 3, "int16": 4, "float16": 5},
    "GATHER": {"int8": 2, "bool": 3, "int16": 4, "int4": 7},
    "GATHER_ND": {"int16": 3, "bool": 5},
    "EQUAL": {"int8": 2, "int16": 5},
    "NOT_EQUAL": {"int8": 2, "int16": 4},
    "RELU": {"int8": 2, "uint8": 2, "int16": 3},
    "LEAKY_RELU": {"int16": 2},
    "GELU": {"int8": 2, "uint8": 2},
    "BROADCAST_TO": {"int8": 3, "int16": 3},
    "TILE": {"int8": 3},
    "DYNAMIC_UPDATE_SLICE": {"float16": 3, "int16": 4, "int4": 5},
}


def needed_version(operator: str, signature: Mapping[str, Any]) -> int:
    """Return the version of `operator` that a signature needs; 1 for operators that are not listed here.

    A signature has ``inputs`` and ``outputs`` (types), ``arity`` (the number of inputs, those left out included),
    ``per_channel`` (an input has several scales), ``scaled`` (an input has any), ``rescale`` (see `objects`) and the
    operator's ``options`` by their schema names.
    """
    inputs, outputs = signature["inputs"], signature["outputs"]
    if not inputs:
        return 1
    first, out = inputs[0], outputs[0] if outputs else ""
    weights = inputs[1] if len(inputs) > 1 else ""
    if operator in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return _with_weights(operator, (first, weights, out), signature)
    if operator == "TRANSPOSE_CONV":  # its inputs are the shape, the weights and the picture
        fused = signature["options"].get("fusedActivationFunction")
        return 4 if fused else 3 if len(inputs) == 4 else 2 if weights == "int8" else 1
    if operator == "EMBEDDING_LOOKUP":
        return 5 if weights == "int2" else 4 if weights == "int4" or signature["per_channel"] else 1
    if operator == "SPLIT":  # the first is the axis
        return {"int8": 2, "int32": 3, "int16": 4}.get(weights, 1)
    if operator == "DEQUANTIZE":
        per_type = {"int8": 5 if signature["per_channel"] else 2, "int16": 3, "float16": 3, "int4": 6, "int2": 7}
        return per_type.get(first, 1)
    if operator == "QUANTIZE":
        return 4 if "int4" in (first, out) else 3 if signature["per_channel"] else 2 if out == "int16" else 1
    if operator == "MUL":
        if first == "int16":
            return 4 if signature["scaled"] else 7
        return 3 if signature["rescale"] >= 1 else {"int8": 2, "int64": 5}.get(first, 1)
    if operator == "ADD":
        if first == "int16":
            powers_of_two = signature["options"].get("potScaleInt16", True)
            return 5 if not signature["scaled"] else 1 if powers_of_two else 3
        return {"int8": 2, "int64": 4}.get(first, 1)
    if operator == "SUB":
        if first == "int16" and not signature["options"].get("potScaleInt16", True):
            return 5
        return {"int8": 2, "int64": 4}.get(first, 1)
    return _BY_TYPE.get(operator, {}).get(first, 1)


def _with_weights(operator: str, types: tuple[str, str, str], signature: Mapping[str, Any]) -> int:
    """Return the version that a convolution or a dense layer needs for its (input, weights, output)."""
    if operator == "FULLY_CONNECTED":
        return _dense(types, signature)
    wide, hybrid, per_channel_hybrid = (8, 2, 5) if operator == "CONV_2D" else (1, 4, 6)
    first, weights, out = types
    if weights == "int4":
        return 7
    if types == ("int8", "int8", "int8"):
        return 3
    if types == ("float32", "int8", "float32"):
        return per_channel_hybrid if signature["per_channel"] else hybrid
    if (first, out) == ("int16", "int16"):
        return wide if signature["options"].get("quantizedBiasType") == _INT32 else 1
    return 1


def _dense(types: tuple[str, str, str], signature: Mapping[str, Any]) -> int:
    first, weights, out = types
    options = signature["options"]
    if weights == "int2":
        return 14
    if weights == "int4":
        return 13 if (first, out) == ("int16", "int16") else 10
    if types == ("float32", "int8", "float32") and signature["per_channel"]:
        return 12
    if types == ("int16", "int8", "int16") and options.get("quantizedBiasType") == _INT32:
        return 11
    if types == ("int16", "int16", "int16"):
        return 7
    if signature["arity"] == 2:
        return 6
    if options.get("keepNumDims"):
        return 5
    if types == ("int8", "int8", "int8"):
        return 4
    if types == ("float32", "int8", "float32"):
        return 9 if options.get("asymmetricQuantizeInputs") else 3
    return 1
