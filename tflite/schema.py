"""The part of the ``.tflite`` format that is read here: tables, positions of their fields, and the names of codes.

From TensorFlow Lite's schema.fbs (version 3; fields and codes are only ever added at the end, so newer files are read,
too). Tables and fields have the names of Google's generated code, and a test compares each with that code, which comes
with a runtime. This module needs no runtime: a file can be inspected where nothing can run it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flatbuffers import encode
from flatbuffers import number_types as types
from flatbuffers.packer import uoffset
from flatbuffers.table import Table


def _numbered(names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names.split())}


OPERATORS = _numbered(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION
    LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH
    CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
    EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR
    ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE
    RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND
    COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
    PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE
    HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
    BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1
    UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
    RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE
    STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE
    STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL
    STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
    STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE
    STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
    STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE
    DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT
    STABLEHLO_CASE
    """
)

TENSOR_TYPES = _numbered(
    """
    FLOAT32 FLOAT16 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT64 COMPLEX128 UINT64 RESOURCE VARIANT UINT32
    UINT16 INT4 BFLOAT16 INT2 UINT4 FLOAT8_E4M3FN FLOAT8_E5M2
    """
)

ACTIVATIONS = _numbered(
    """
    NONE RELU RELU_N1_TO_1 RELU6 TANH SIGN_BIT
    """
)

CUSTOM = OPERATORS["CUSTOM"]
BLOCKWISE = 2  # in the union QuantizationDetails


class _Record:
    """A table of the file, at a place."""

    def __init__(self, content: bytes, place: int) -> None:
        self.content = content
        self.table = Table(content, place)

    def offset(self, slot: int) -> int:
        """Return a field's offset from the table's position; 0 if it is left out."""
        return int(self.table.Offset(4 + 2 * slot))

    def place(self, slot: int) -> int:
        """Return a field's position in the file; 0 if it is left out."""
        offset = self.offset(slot)
        return offset and offset + int(self.table.Pos)


def _number(slot: int, kind: Any, default: int = 0) -> Callable[[Any], int]:
    """Return what reads a number."""

    def read(self: _Record) -> int:
        place = self.place(slot)
        return int(self.table.Get(kind, place)) if place else default

    return read


def _text(slot: int) -> Callable[[Any], bytes | None]:
    """Return what reads a text, as bytes."""

    def read(self: _Record) -> bytes | None:
        place = self.place(slot)
        return bytes(self.table.String(place)) if place else None

    return read


def _length(slot: int) -> Callable[[Any], int]:
    """Return what reads how long a vector is."""

    def read(self: _Record) -> int:
        offset = self.offset(slot)
        return int(self.table.VectorLen(offset)) if offset else 0

    return read


def _start(slot: int) -> Callable[[Any], int]:
    """Return a reader of the position of a vector's first element in the file; 0 if it is left out."""

    def read(self: _Record) -> int:
        offset = self.offset(slot)
        return int(self.table.Vector(offset)) if offset else 0

    return read


def _array(slot: int, kind: Any) -> Callable[[Any], Any]:
    """Return what reads a vector of numbers as a numpy array; 0 where it is left out."""

    def read(self: _Record) -> Any:
        offset = self.offset(slot)
        return self.table.GetVectorAsNumpy(kind, offset) if offset else 0

    return read


def _item(slot: int, kind: Any) -> Callable[[Any, int], float]:
    """Return what reads one number of a vector, which must be there."""

    def read(self: _Record, index: int) -> float:
        number: float = self.table.Get(kind, self.table.Vector(self.offset(slot)) + index * kind.bytewidth)
        return number

    return read


def _member(slot: int, kind: Callable[[bytes, int], Any]) -> Callable[[Any, int], Any]:
    """Return what reads one table of a vector, which must be there."""

    def read(self: _Record, index: int) -> Any:
        entry = self.table.Vector(self.offset(slot)) + index * types.UOffsetTFlags.bytewidth
        return kind(self.content, self.table.Indirect(entry))

    return read


def _inner(slot: int, kind: Callable[[bytes, int], Any]) -> Callable[[Any], Any]:
    """Return what reads a table within this one; None where it is left out."""

    def read(self: _Record) -> Any:
        place = self.place(slot)
        return kind(self.content, self.table.Indirect(place)) if place else None

    return read


_INT8, _INT32, _INT64 = types.Int8Flags, types.Int32Flags, types.Int64Flags
_UINT8, _UINT32, _UINT64, _FLOAT32 = types.Uint8Flags, types.Uint32Flags, types.Uint64Flags, types.Float32Flags


class QuantizationParameters(_Record):
    """How the values of a tensor are stored."""

    ScaleLength = _length(2)
    Scale = _item(2, _FLOAT32)
    ZeroPointLength = _length(3)
    ZeroPoint = _item(3, _INT64)
    DetailsType = _number(4, _UINT8)
    QuantizedDimension = _number(6, _INT32)


class SparsityParameters(_Record):
    """How a tensor leaves out zeros."""

    DimMetadataLength = _length(2)


class Tensor(_Record):
    """A tensor."""

    ShapeAsNumpy = _array(0, _INT32)
    Type = _number(1, _INT8)
    Buffer = _number(2, _UINT32)
    Name = _text(3)
    Quantization = _inner(4, QuantizationParameters)
    Sparsity = _inner(6, SparsityParameters)
    ShapeSignatureAsNumpy = _array(7, _INT32)
    VariantTensorsLength = _length(9)


class OperatorCode(_Record):
    """An operator that the graph uses, and its version."""

    DeprecatedBuiltinCode = _number(0, _INT8)
    CustomCode = _text(1)
    Version = _number(2, _INT32, default=1)
    BuiltinCode = _number(3, _INT32)


class Operator(_Record):
    """A node of the graph."""

    OpcodeIndex = _number(0, _UINT32)
    InputsAsNumpy = _array(1, _INT32)
    OutputsAsNumpy = _array(2, _INT32)

    def options(self, kind: Callable[[bytes, int], Any]) -> Any:
        """Return its options as the table that they are; None where it has none."""
        return _inner(4, kind)(self)


class Conv2DOptions(_Record):
    """Options of CONV_2D."""

    StrideW = _number(1, _INT32)
    StrideH = _number(2, _INT32)
    FusedActivationFunction = _number(3, _INT8)
    DilationWFactor = _number(4, _INT32, default=1)
    DilationHFactor = _number(5, _INT32, default=1)


class DepthwiseConv2DOptions(_Record):
    """Options of DEPTHWISE_CONV_2D."""

    StrideW = _number(1, _INT32)
    StrideH = _number(2, _INT32)
    FusedActivationFunction = _number(4, _INT8)
    DilationWFactor = _number(5, _INT32, default=1)
    DilationHFactor = _number(6, _INT32, default=1)


class Pool2DOptions(_Record):
    """Options of the poolings."""

    StrideW = _number(1, _INT32)
    StrideH = _number(2, _INT32)
    FusedActivationFunction = _number(5, _INT8)


class ConcatenationOptions(_Record):
    """Options of CONCATENATION."""

    FusedActivationFunction = _number(1, _INT8)


class SubGraph(_Record):
    """A graph."""

    TensorsLength = _length(0)
    Tensors = _member(0, Tensor)
    InputsAsNumpy = _array(1, _INT32)
    OutputsAsNumpy = _array(2, _INT32)
    OperatorsLength = _length(3)
    Operators = _member(3, Operator)


class Buffer(_Record):
    """What a tensor or an entry of the metadata holds; of files of more than 2 GB it lies behind the flatbuffer."""

    DataLength = _length(0)
    data_start = _start(0)
    DataAsNumpy = _array(0, _UINT8)
    Offset = _number(1, _UINT64)


class Metadata(_Record):
    """An entry of the metadata."""

    Name = _text(0)
    Buffer = _number(1, _UINT32)


class TensorMap(_Record):
    """What a signature calls a tensor."""

    Name = _text(0)
    TensorIndex = _number(1, _UINT32)


class SignatureDef(_Record):
    """How the graph is called by names."""

    InputsLength = _length(0)
    Inputs = _member(0, TensorMap)
    OutputsLength = _length(1)
    Outputs = _member(1, TensorMap)


class Model(_Record):
    """The whole file."""

    OperatorCodesLength = _length(1)
    OperatorCodes = _member(1, OperatorCode)
    SubgraphsLength = _length(2)
    Subgraphs = _member(2, SubGraph)
    Description = _text(3)
    BuffersLength = _length(4)
    Buffers = _member(4, Buffer)
    MetadataLength = _length(6)
    Metadata = _member(6, Metadata)
    SignatureDefsLength = _length(7)
    SignatureDefs = _member(7, SignatureDef)

    @classmethod
    def of(cls, content: bytes) -> Model:
        """Return the model in a file's content."""
        return cls(content, int(encode.Get(uoffset, content, 0)))
