"""The operators of TensorFlow Lite for Microcontrollers, as a program registers them in its resolver."""

from __future__ import annotations

# The builtin operators for which tflite-micro's class MicroMutableOpResolver has a method Add… named after them, and
# those whose method is named otherwise (tensorflow/lite/micro/micro_mutable_op_resolver.h, commit 90b983c2, 2026-08).
_REGULAR = frozenset(
    """ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_TO_SPACE_ND BROADCAST_ARGS BROADCAST_TO
    CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE
    ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER
    GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT
    LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL PACK PAD PRELU
    QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE
    SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE TRANSPOSE_CONV UNPACK VAR_HANDLE WHILE
    ZEROS_LIKE""".split()  # noqa: SIM905 - a literal each would be a hundred lines
)
_IRREGULAR = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
    "TFLite_Detection_PostProcess": "DetectionPostprocess",
}


def resolver_method(operator: str) -> str:
    """Return the method of MicroMutableOpResolver that adds an operator; empty where there is none."""
    if operator in _REGULAR:
        return "Add" + "".join(part.capitalize() if part[0].isalpha() else part for part in operator.split("_"))
    return f"Add{_IRREGULAR[operator]}" if operator in _IRREGULAR else ""
